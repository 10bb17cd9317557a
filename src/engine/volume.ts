/**
 * Volumes: formatting, opening, attaching threads, growing, closing.
 *
 * A process has at most one volume open. Opening reads the newer valid superblock and the bitmaps, and after a crash replays
 * the intent log; no tree is walked.
 *
 * Invariant V1: a generation belongs to one opening of the volume. So a page that a crash left behind is never taken for
 * one that was written later and lost: generations tell them apart. Opening sees to that in two ways. It completes a
 * checkpoint of nothing, before anything is written, which marks the volume as in use; and if the volume was in use
 * already, it passes over the generations that the crash may have cut off.
 */
import { execFileSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { closeSync, constants, existsSync, fstatSync, ftruncateSync, openSync, readSync } from 'node:fs';
import {
  BLOCK_BYTES,
  CATALOG_OWNER,
  FORMAT_VERSION,
  GROUP,
  GROUP_BLOCKS,
  LOG_START_BLOCK,
  PAGE_MAGIC,
  REMOVING,
  SUPERBLOCK_MAGIC,
  VOLUME_BLOCKS_MAX,
  VOLUME_BLOCKS_MIN,
} from '../layout/constants.js';
import { I, W } from '../layout/memory.js';
import {
  groupChecksum,
  groupLive,
  logGeneration,
  logUuid0At,
  superblockBlocks,
  superblockCatalogBlock,
  superblockCatalogGeneration,
  superblockChecksum as storedChecksum,
  superblockCleanlyClosed,
  superblockCreatedHi,
  superblockCreatedLo,
  superblockGeneration,
  superblockHashKey0,
  superblockHashKey1,
  superblockLayers,
  superblockLogBlocks,
  superblockLogGeneration,
  superblockLogPosition,
  superblockLogSequence,
  superblockMagic,
  superblockNextLayer,
  superblockUuid0At,
  superblockVersion,
} from '../layout/records.js';
import { addressOf, crc32, errno, ioctl } from '../linux/libc.js';
import {
  CATALOG_LOCK,
  CATALOG_ROOT,
  CHECKPOINT_LOCK,
  CHECKPOINT_MUTEX,
  CHANGED,
  CREATED,
  FRAME_COUNT,
  FRAME_LIMIT,
  FREE_BLOCKS,
  GENERATION,
  HASH_KEY,
  LAYER_COUNT,
  LOG_AT,
  LOG_BLOCKS,
  LOG_START,
  LOG_START_GENERATION,
  LOG_START_SEQUENCE,
  NEXT_LAYER,
  OPENED_CLEAN,
  OPENED_GENERATION,
  REMOVING_LAYERS,
  REPLAYED,
  REPLAY_PENDING,
  RESERVE_BLOCKS,
  RUN_AT,
  SPACE_LOCK,
  SYNC_INTERVAL_MS,
  TOTAL_BLOCKS,
  UUID,
  addressOfWord,
  attachArena,
  createArena,
  type ArenaShape,
} from './arena.js';
import { findInCatalog, nextInCatalog, seekInCatalog, useCatalog } from './catalog.js';
import { checkpoint, superblockChecksum } from './checkpoint.js';
import { nowHi, nowLo, readClock } from './clock.js';
import { descriptorDevice, readBlocks, readBlocksDirect, useDevice, type Device } from './device.js';
import { BlockError, LcfsError } from './errors.js';
import { createGlobalLayer } from './layers.js';
import { beginLogging, logGrowth } from './log.js';
import { NO_LOG, isLogSize, logBlocksFor, readBatches, type LogFound } from './log-device.js';
import { clearLog, createLogMemory, holdsLog, logWordsFor, mapLogMemory, setBatches, type LogMemory } from './log-memory.js';
import { keepLeftOrphans } from './maintenance.js';
import { keepApplied } from './origins.js';
import { mendOverwrites, replayLog, type Replayed } from './replay.js';
import { lockExclusive, lockShared, unlockExclusive, unlockShared } from './locks.js';
import { overlayDevice } from './overlay-device.js';
import { bitmapBlock, growSpace, groupCount, loadGroup, pendingBlocks, reserveFor } from './space.js';
import { createTree, recordType, releasePath, valueOf } from './tree.js';
import { openDevice } from './volume-device.js';

const CACHE_BYTES_DEFAULT = 256 << 20;
const CACHE_BYTES_MIN = 4 << 20;
const SYNC_INTERVAL_MS_DEFAULT = 5000;
/** Bitmaps are reserved for a volume of this size at least, so that it can grow while it is mounted. */
const GROWTH_GROUPS_MIN = 8192; // 1 TiB
/** Blocks at the start of each group that hold its bitmap. */
const BITMAP_COPIES = 2;
/**
 * Generations that may have begun after the last complete checkpoint: the next one, and the one behind it while that is
 * being completed. An even number, so that the next superblock goes where the older one lies.
 */
const GENERATIONS_CUT_OFF = 2;
/** The first pages of the catalog lie in so many blocks behind the log. */
const START_BLOCKS = 256;
const BLKGETSIZE64 = 0x80081272;

/** An open volume, as another thread of the process gets it. */
export interface VolumeHandle {
  readonly path: string;
  readonly fd: number;
  /** The same device for reading past the kernel's cache; -1 where it cannot be opened so. */
  readonly directFd: number;
  readonly readOnly: boolean;
  readonly arena: ArenaShape;
  /** Memory of the intent log; null while a volume is formatted. */
  readonly log: LogMemory | null;
}

export interface VolumeInfo {
  path: string;
  uuid: string;
  generation: number;
  blocks: { total: number; used: number; free: number; reserved: number };
  layers: number;
  removing: number;
  cacheBytes: number;
  created: Date;
  openedClean: boolean;
  /** The checkpoint that the volume was opened at. */
  openedGeneration: number;
  /** Operations behind that checkpoint that the intent log made good. */
  replayed: number;
}

let current: VolumeHandle | null = null;

/** The volume that this thread is attached to. */
export function currentVolume(): VolumeHandle {
  if (current === null) throw new LcfsError('state', 'no volume is open');
  return current;
}

// Devices

function sizeOf(fd: number): number {
  const stat = fstatSync(fd);
  if (!stat.isBlockDevice()) return stat.size;
  const size = new BigUint64Array(1);
  if (ioctl(fd, BLKGETSIZE64, addressOf(size)) !== 0) throw new LcfsError('io', `the size of the device cannot be read (errno ${errno()})`);
  return Number(size[0]);
}

/** Blocks of a volume on so many bytes. A last group without room for more than its bitmaps is left out. */
function blocksWithin(bytes: number): number {
  const blocks = Math.min(Math.floor(bytes / BLOCK_BYTES), VOLUME_BLOCKS_MAX);
  const inLastGroup = blocks % GROUP_BLOCKS;
  return inLastGroup <= BITMAP_COPIES ? blocks - inLastGroup : blocks;
}

/** Blocks that fit on the device of the open volume. */
export function volumeBlocksMax(): number {
  return blocksWithin(sizeOf(currentVolume().fd));
}

/** Groups to reserve memory for, for a volume on so many bytes that may still grow. */
function groupsFor(bytes: number): number {
  const groups = Math.ceil(bytes / BLOCK_BYTES / GROUP_BLOCKS);
  return Math.min(Math.max(groups * 4, GROWTH_GROUPS_MIN), Math.ceil(VOLUME_BLOCKS_MAX / GROUP_BLOCKS));
}

/**
 * Opens a device a second time, past the kernel's cache; -1 where that is not possible. To be closed with the first: a
 * process loses the lock on a file with any descriptor of it that it closes.
 */
function openDirect(fd: number): number {
  try {
    return openSync(`/proc/self/fd/${fd}`, constants.O_RDONLY | constants.O_DIRECT);
  } catch {
    return -1;
  }
}

/** What other software would take the device for, or an empty string. */
function foreignContent(path: string): string {
  try {
    return execFileSync('blkid', ['-p', '-o', 'value', '-s', 'TYPE', '-s', 'PTTYPE', path], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return ''; // exit code 2: nothing found
  }
}

// Formatting

export interface FormatOptions {
  /** Size of the volume; a file is made or extended to it. Without, all of the device or file. */
  bytes?: number;
  /** Format even if the device holds something. */
  force?: boolean;
  /** A supervisor has its part of the volume's lock (volume-device.ts). */
  supervised?: boolean;
}

/**
 * Makes an empty volume on a block device or in a file. Throws LcfsError: 'exists' if the device holds a filesystem or a
 * volume and `force` is not set, 'busy', 'invalid' for a size below 4 MiB or above 16 TiB.
 */
export function formatVolume(path: string, options: FormatOptions = {}): void {
  const made = !existsSync(path);
  if (made && options.bytes === undefined)
    throw new LcfsError('not-found', `there is no ${path}; to make a file, say how large: --size 20G`);
  if (made) closeSync(openSync(path, 'wx', 0o600));
  const fd = openDevice(path, { readOnly: false, supervised: options.supervised === true });
  try {
    const bytes = prepareDevice(fd, path, options);
    withArena(fd, path, () => writeEmptyVolume(blocksWithin(bytes)));
  } finally {
    closeSync(fd);
  }
}

function prepareDevice(fd: number, path: string, options: FormatOptions): number {
  const content = options.force === true ? '' : foreignContent(path) || (isVolume(fd) ? 'an LCFS volume' : '');
  if (content !== '')
    throw new LcfsError('exists', `${path} holds ${content.replaceAll('\n', ', ')}; nothing was changed; to destroy it: --force`);
  const present = sizeOf(fd);
  const bytes = options.bytes ?? present;
  if (bytes < VOLUME_BLOCKS_MIN * BLOCK_BYTES) throw new LcfsError('invalid', `a volume has 4 MiB at least, not ${bytes} bytes`);
  if (bytes > VOLUME_BLOCKS_MAX * BLOCK_BYTES) throw new LcfsError('invalid', `a volume has 16 TiB at most, not ${bytes} bytes`);
  if (fstatSync(fd).isFile()) ftruncateSync(fd, Math.max(bytes, present));
  else if (bytes > present) throw new LcfsError('invalid', `${path} has ${present} bytes only`);
  return bytes;
}

/** Whether a device holds a volume, be it a damaged one: superblocks or tree pages lie where a volume begins. */
function isVolume(fd: number): boolean {
  const behindLog = LOG_START_BLOCK + logBlocksFor(Math.floor(sizeOf(fd) / BLOCK_BYTES));
  return holdsMagic(fd, 0) || holdsMagic(fd, behindLog);
}

function holdsMagic(fd: number, block: number): boolean {
  const blocks = Buffer.alloc(START_BLOCKS * BLOCK_BYTES);
  const bytes = readSync(fd, blocks, 0, blocks.length, block * BLOCK_BYTES);
  for (let at = 0; at + BLOCK_BYTES <= bytes; at += BLOCK_BYTES)
    if ([SUPERBLOCK_MAGIC, PAGE_MAGIC].includes(blocks.readUInt32LE(at))) return true;
  return false;
}

/** The same for a path; false if it cannot be read. Something that cannot be opened as a volume may be one all the same. */
export function holdsVolume(path: string): boolean {
  try {
    const fd = openSync(path, 'r');
    try {
      return isVolume(fd);
    } finally {
      closeSync(fd);
    }
  } catch {
    return false;
  }
}

/** Runs with a small arena of its own on a device. */
function withArena<T>(fd: number, path: string, work: () => T): T {
  if (current !== null) throw new LcfsError('state', 'this process has a volume open already');
  current = openArena(fd, -1, path, false, CACHE_BYTES_MIN, groupsFor(sizeOf(fd)), null);
  try {
    return work();
  } finally {
    current = null;
  }
}

function writeEmptyVolume(blocks: number): void {
  readClock();
  W[TOTAL_BLOCKS] = blocks;
  W[GENERATION] = 1;
  W[NEXT_LAYER] = 1;
  W[LAYER_COUNT] = 1;
  W[CREATED] = nowLo;
  W[CREATED + 1] = nowHi;
  randomFillSync(W.subarray(UUID, UUID + 4));
  randomFillSync(W.subarray(HASH_KEY, HASH_KEY + 2));
  W[RESERVE_BLOCKS] = reserveFor(blocks);
  W[LOG_BLOCKS] = logBlocksFor(blocks);
  W[LOG_START_SEQUENCE] = 1;
  for (let group = 0; group < groupCount(); group++) loadGroup(group, 0);
  useCatalog();
  createTree();
  createGlobalLayer();
  // Both superblocks are written, so that nothing of an earlier volume can come back.
  checkpoint(true);
  checkpoint(true);
}

// Opening

export interface OpenOptions {
  /** Memory for tree pages, 4 MiB at least; 256 MiB by default. */
  cacheBytes?: number;
  readOnly?: boolean;
  /** Memory of the intent log, which the caller keeps and closes; without, the volume makes some for itself. */
  log?: LogMemory;
  /**
   * Goes on where the process that had the volume with this `log` has died: everything that it had done is there, inodes
   * without a name are kept for those who have them open, and `appliedOrigin` tells which requests had their effect.
   */
  takeover?: boolean;
  /** A supervisor has its part of the volume's lock (volume-device.ts). */
  supervised?: boolean;
  /** A process that has ended, but is not gone and has the lock still (volume-device.ts). */
  beside?: number | null;
  /** Only the superblock is read, for `repairVolume` to do the rest; with `readOnly` what it writes stays in memory. */
  forRepair?: boolean;
  /** Replaces the device, for tests. */
  device?: Device;
}

function openArena(
  fd: number,
  directFd: number,
  path: string,
  readOnly: boolean,
  cacheBytes: number,
  groups: number,
  log: LogMemory | null,
  device?: Device,
): VolumeHandle {
  const frames = Math.floor(Math.max(cacheBytes, CACHE_BYTES_MIN) / BLOCK_BYTES);
  const arena = createArena(frames, groups, log === null ? 0 : logWordsFor(log));
  const handle = { path, fd, directFd, readOnly, arena, log };
  if (log !== null) mapLogMemory(log, arena);
  useDevice(device ?? descriptorDevice(fd, directFd));
  W[FRAME_LIMIT] = FRAME_COUNT;
  W[SYNC_INTERVAL_MS] = SYNC_INTERVAL_MS_DEFAULT;
  return handle;
}

/**
 * Opens a volume at its last checkpoint and attaches the calling thread. Throws LcfsError: 'busy' naming the process that
 * has it, 'corrupt' if it is no volume or damaged, 'not-found', 'io'.
 */
export function openVolume(path: string, options: OpenOptions = {}): VolumeHandle {
  if (current !== null) throw new LcfsError('state', `this process has a volume open already (${current.path})`);
  const readOnly = options.readOnly === true;
  const fd = openDevice(path, { readOnly, supervised: options.supervised === true, beside: options.beside ?? null });
  const directFd = openDirect(fd);
  const log = options.log ?? makeOwnLog();
  try {
    const cacheBytes = options.cacheBytes ?? CACHE_BYTES_DEFAULT;
    current = openArena(fd, directFd, path, readOnly, cacheBytes, groupsFor(sizeOf(fd)), log, options.device);
    loadSuperblock(path, sizeOf(fd));
    // The log is replayed and a repair tried all the same.
    if (readOnly) useDevice(overlayDevice(options.device ?? descriptorDevice(fd, directFd)));
    if (options.forRepair === true) {
      clearLog(log);
    } else takeUp(path, log, options.takeover === true, readOnly);
    return current;
  } catch (error) {
    current = null;
    closeDescriptors(fd, directFd);
    throw error instanceof BlockError ? new LcfsError('corrupt', `${path}: ${error.message}`) : error;
  }
}

/** Makes ready for changes, after replaying those that were made before and that no checkpoint has. */
function beginLog(log: LogMemory, takeover: boolean, readOnly: boolean): void {
  if (takeover && holdsLog() && isLogOfVolume()) return takeOver();
  clearLog(log);
  W.copyWithin(logUuid0At(LOG_AT), UUID, UUID + 4);
  setBatches(0, W[LOG_START]!, W[LOG_START_SEQUENCE]!);
  logOpened = { ...NOTHING_REPLAYED, found: W[OPENED_CLEAN] === 1 ? NO_LOG : readBatches() };
  const { batches } = logOpened.found;
  if (readOnly) replayBatches(batches);
  else openForChanges(batches);
}

const NOTHING_REPLAYED: Replayed = { entries: 0, lost: 0, reasons: [] };

/** What the log had when the volume was opened, and what was replayed. */
let logOpened: Replayed & { readonly found: LogFound } = { ...NOTHING_REPLAYED, found: NO_LOG };

/** What there was behind the checkpoint that the volume was opened at, and what came of it. */
export function openedLog(): Replayed & { readonly found: LogFound } {
  return logOpened;
}

/**
 * The checkpoint of nothing still says that the log is to be replayed, so that a crash in between changes nothing. Then
 * everything is in a checkpoint of its own, and the log begins anew.
 */
function openForChanges(batches: number): void {
  I[REPLAY_PENDING] = batches > 0 ? 1 : 0;
  markInUse();
  replayBatches(batches);
  I[REPLAY_PENDING] = 0;
  beginLogging();
  if (batches === 0) return;
  Atomics.store(I, CHANGED, 1);
  checkpoint();
}

function replayBatches(batches: number): void {
  if (batches === 0) return;
  logOpened = { ...logOpened, ...replayLog(W[LOG_START_GENERATION]!) };
  W[REPLAYED] = logOpened.entries;
}

/** Whether the memory holds the log of this volume, and nobody else had the volume since. */
function isLogOfVolume(): boolean {
  for (let word = 0; word < 4; word++) if (W[logUuid0At(LOG_AT) + word] !== W[UUID + word]) return false;
  return logGeneration(LOG_AT) > W[OPENED_GENERATION]!;
}

/**
 * The log stays as it is: until the next checkpoint it leads from the last one to everything that was and will be done. So
 * nothing has to be written, and V1 holds as the log knows which generations were open.
 */
function takeOver(): void {
  const from = W[LOG_START_GENERATION]!;
  passOver(logGeneration(LOG_AT));
  W[REPLAYED] = replayLog(from).entries;
  keepApplied();
  if (W[OPENED_CLEAN] === 1) markInUse();
  beginLogging();
  Atomics.store(I, CHANGED, 1);
  mendOverwrites(from);
  keepLeftOrphans();
}

/** What comes next is newer than what was done in that generation, and goes where it would have gone anyway. */
export function passOver(generation: number): void {
  while (W[GENERATION]! <= generation) W[GENERATION]! += GENERATIONS_CUT_OFF;
}

/** Descriptor of the log memory that the volume made for itself; -1: none. */
let ownLogFd = -1;

function makeOwnLog(): LogMemory {
  const log = createLogMemory();
  ownLogFd = log.fd;
  return log;
}

/** What repair finds out and does by itself. */
function takeUp(path: string, log: LogMemory, takeover: boolean, readOnly: boolean): void {
  loadBitmaps(path);
  countRemoving();
  beginLog(log, takeover, readOnly);
}

/** Nothing has been written yet: if this fails half-way, the next opening finds what this one found. */
function markInUse(): void {
  Atomics.store(I, CHANGED, 1);
  checkpoint();
}

function closeDescriptors(fd: number, directFd: number): void {
  closeSync(fd);
  if (directFd >= 0) closeSync(directFd);
  if (ownLogFd >= 0) closeSync(ownLogFd);
  ownLogFd = -1;
}

/**
 * Reads a superblock to RUN_AT; false if it is none. What the kernel has cached would not do: it may be what an earlier
 * process wrote and could not flush, and then it is on no device.
 */
function readSuperblock(copy: number): boolean {
  try {
    if (!readBlocksDirect(copy, 1, addressOfWord(RUN_AT))) readBlocks(copy, 1, addressOfWord(RUN_AT));
  } catch {
    return false;
  }
  if (superblockMagic(RUN_AT) !== SUPERBLOCK_MAGIC || storedChecksum(RUN_AT) !== superblockChecksum(RUN_AT)) return false;
  return superblockVersion(RUN_AT) !== FORMAT_VERSION || isPossible(RUN_AT);
}

/** Whether the fields of a superblock go together on which it hangs where everything else lies. */
function isPossible(at: number): boolean {
  const blocks = superblockBlocks(at);
  return blocks >= VOLUME_BLOCKS_MIN && blocks <= VOLUME_BLOCKS_MAX && isLogSize(superblockLogBlocks(at), blocks);
}

function loadSuperblock(path: string, bytes: number): void {
  let newest = -1;
  let generation = 0;
  for (const copy of [0, 1]) {
    if (!readSuperblock(copy) || superblockGeneration(RUN_AT) <= generation) continue;
    newest = copy;
    generation = superblockGeneration(RUN_AT);
  }
  if (newest < 0 || !readSuperblock(newest))
    throw new LcfsError('corrupt', `${path} is not an LCFS volume, or both superblocks are damaged; to make one: lcfs format ${path}`);
  if (superblockVersion(RUN_AT) !== FORMAT_VERSION)
    throw new LcfsError('corrupt', `${path} has format version ${superblockVersion(RUN_AT)}; this lcfs reads version ${FORMAT_VERSION}`);
  if (superblockBlocks(RUN_AT) * BLOCK_BYTES > bytes) {
    throw new LcfsError(
      'corrupt',
      `${path} has ${bytes} bytes but the volume on it ${superblockBlocks(RUN_AT) * BLOCK_BYTES}: the device was cut; give it back its size`,
    );
  }
  takeSuperblock(RUN_AT);
  // The next one must not be written over this one, wherever it was found.
  if ((W[GENERATION]! & 1) === newest) W[GENERATION]!++;
}

/**
 * For repair: goes back to the checkpoint before the last one. False if its superblock is damaged. Whatever comes next is
 * newer than both, and is not written over the one that was taken.
 */
export function useOlderSuperblock(): boolean {
  const newer = W[OPENED_GENERATION]!;
  for (const copy of [0, 1]) {
    if (!readSuperblock(copy) || superblockGeneration(RUN_AT) >= newer) continue;
    takeSuperblock(RUN_AT);
    W[GENERATION] = newer + 1 + GENERATIONS_CUT_OFF;
    if ((W[GENERATION]! & 1) === copy) W[GENERATION]!++;
    return true;
  }
  return false;
}

function takeSuperblock(at: number): void {
  const opened = superblockGeneration(at);
  W[OPENED_GENERATION] = opened;
  W[GENERATION] = opened + 1 + (superblockCleanlyClosed(at) === 1 ? 0 : GENERATIONS_CUT_OFF);
  W[TOTAL_BLOCKS] = superblockBlocks(at);
  W[CATALOG_ROOT] = superblockCatalogBlock(at);
  W[CATALOG_ROOT + 1] = CATALOG_OWNER;
  W[CATALOG_ROOT + 2] = superblockCatalogGeneration(at);
  W[NEXT_LAYER] = superblockNextLayer(at);
  W[HASH_KEY] = superblockHashKey0(at);
  W[HASH_KEY + 1] = superblockHashKey1(at);
  W.copyWithin(UUID, superblockUuid0At(at), superblockUuid0At(at) + 4);
  W[CREATED] = superblockCreatedLo(at);
  W[CREATED + 1] = superblockCreatedHi(at);
  W[LAYER_COUNT] = superblockLayers(at);
  W[OPENED_CLEAN] = superblockCleanlyClosed(at);
  W[RESERVE_BLOCKS] = reserveFor(W[TOTAL_BLOCKS]!);
  W[LOG_BLOCKS] = superblockLogBlocks(at);
  W[LOG_START] = superblockLogPosition(at);
  W[LOG_START_SEQUENCE] = superblockLogSequence(at);
  W[LOG_START_GENERATION] = superblockLogGeneration(at);
}

function loadBitmaps(path: string): void {
  lockExclusive(CATALOG_LOCK);
  try {
    useCatalog();
    for (let group = 0; group < groupCount(); group++) {
      const record = findInCatalog(group, GROUP, 0, 0);
      if (record === 0) loadGroup(group, 0);
      else loadBitmap(path, group, valueOf(record));
    }
  } catch (error) {
    if (error instanceof LcfsError) throw error;
    throw new LcfsError('corrupt', `${path}: ${(error as Error).message}`);
  } finally {
    releasePath();
    unlockExclusive(CATALOG_LOCK);
  }
}

function loadBitmap(path: string, group: number, record: number): void {
  const block = bitmapBlock(group, groupLive(record));
  readBlocks(block, 1, addressOfWord(RUN_AT));
  if (crc32(0, addressOfWord(RUN_AT), BLOCK_BYTES) !== groupChecksum(record)) {
    throw new LcfsError('corrupt', `${path}: the bitmap of block group ${group} (block ${block}) has a wrong checksum`);
  }
  loadGroup(group, RUN_AT);
}

function countRemoving(): void {
  lockExclusive(CATALOG_LOCK);
  useCatalog();
  for (
    let record = seekInCatalog(0, REMOVING, 0, 0);
    record !== 0 && W[record] === 0 && recordType(record) === REMOVING;
    record = nextInCatalog()
  ) {
    I[REMOVING_LAYERS]!++;
  }
  releasePath();
  unlockExclusive(CATALOG_LOCK);
}

/** Attaches another thread of the process to the volume. Once a thread. */
export function attachVolume(handle: VolumeHandle, device?: Device): void {
  attachArena(handle.arena);
  useDevice(device ?? descriptorDevice(handle.fd, handle.directFd));
  current = handle;
}

/** Makes everything durable, marks the volume as cleanly closed and closes it. No other thread may use it any more. */
export function closeVolume(): void {
  try {
    if (!currentVolume().readOnly) checkpoint(true);
  } finally {
    abandonVolume();
  }
}

/** Lets go of the volume without writing anything, as a crash would. */
export function abandonVolume(): void {
  closeDescriptors(currentVolume().fd, currentVolume().directFd);
  current = null;
  useDevice(descriptorDevice(-1));
}

/** Makes the volume as large as its device has become. Returns the new size in blocks. Throws LcfsError. */
export function growVolume(): number {
  const { fd, path, arena } = currentVolume();
  lockExclusive(CHECKPOINT_MUTEX);
  lockExclusive(CHECKPOINT_LOCK);
  lockExclusive(SPACE_LOCK);
  try {
    const blocks = blocksWithin(sizeOf(fd));
    if (blocks > arena.groupsMax * GROUP_BLOCKS) {
      throw new LcfsError('state', `${path} grew to more than four times its size; unmount and mount it again, then grow it`);
    }
    if (blocks > W[TOTAL_BLOCKS]!) {
      growSpace(blocks);
      logGrowth(blocks);
    }
    I[CHANGED] = 1;
    W[RESERVE_BLOCKS] = reserveFor(W[TOTAL_BLOCKS]!);
  } finally {
    unlockExclusive(SPACE_LOCK);
    unlockExclusive(CHECKPOINT_LOCK);
    unlockExclusive(CHECKPOINT_MUTEX);
  }
  checkpoint();
  return W[TOTAL_BLOCKS]!;
}

function uuidText(): string {
  const hex = Array.from(W.subarray(UUID, UUID + 4), (word) => word.toString(16).padStart(8, '0')).join('');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

export function volumeInfo(): VolumeInfo {
  lockShared(SPACE_LOCK);
  const total = W[TOTAL_BLOCKS]!;
  const free = W[FREE_BLOCKS]! + pendingBlocks();
  unlockShared(SPACE_LOCK);
  return {
    path: currentVolume().path,
    uuid: uuidText(),
    generation: W[GENERATION]!,
    blocks: { total, used: total - free, free, reserved: W[RESERVE_BLOCKS]! },
    layers: W[LAYER_COUNT]! - 1,
    removing: I[REMOVING_LAYERS]!,
    cacheBytes: W[FRAME_LIMIT]! * BLOCK_BYTES,
    created: new Date((W[CREATED]! + W[CREATED + 1]! * 2 ** 32) * 1000),
    openedClean: W[OPENED_CLEAN] === 1,
    openedGeneration: W[OPENED_GENERATION]!,
    replayed: W[REPLAYED]!,
  };
}
