/**
 * Scrub: reads everything that is in use from the device, slowly and again and again, so that what the device forgets is found
 * while there is still another copy of it somewhere.
 *
 * A thread of its own works through superblocks, catalog, bitmaps and then layer by layer, a batch of 1 MiB at most at a time:
 *   1. gather  under the layer's lock, shared: the next pages and extents that the layer owns (others' are theirs to scrub)
 *   2. read    without any lock, past the kernel's cache where that is possible
 *   3. prove   by checksum; what does not pass is looked up and read once more under the lock, as it may have been changed or
 *              given away meanwhile
 *   4. rest    as long as the rate demands
 * A layer that is removed meanwhile ends there; a place in a tree is remembered by its key, so changes do no harm.
 *
 * Only what a complete checkpoint refers to is looked at: nothing overwrites that, so a good copy in memory – a page in the
 * cache, data in the kernel's – is what ought to be on the device, and is written there again (`mended`).
 *
 * When the last pass ended, and how far the one is that runs, is kept with the volume as a property of the global layer (`Kept`). So a
 * pass that a stop or a death cuts off goes on where it was, or a few minutes before.
 *
 * What cannot be read is logged with layer and path, at most LOGGED_MAX times a pass, and counted. Tree pages that are not in
 * memory come into the cache on the way; data does not.
 */
import {
  BLOCK_BYTES,
  CATALOG_OWNER,
  EXTENT,
  EXTENT_BLOCKS_MAX,
  GLOBAL_LAYER,
  GROUP,
  PAGE_MAGIC,
  ROOT_INO,
  SUPERBLOCK_MAGIC,
  type BlockNumber,
  type Ino,
  type LayerIndex,
} from '../layout/constants.js';
import { I, W } from '../layout/memory.js';
import {
  childOwner,
  extentBlock,
  extentGeneration,
  extentLength,
  extentOwner,
  groupChecksum,
  groupLive,
  layerRootBlockAt,
  pageBlock,
  pageGeneration,
  pageOwner,
  recordKey0,
  recordLo,
} from '../layout/records.js';
import { complain } from '../linux/complain.js';
import { crc32, ioBuffer } from '../linux/libc.js';
import {
  CATALOG_LOCK,
  CATALOG_ROOT,
  CHECKPOINT_LOCK,
  CHECKPOINT_MUTEX,
  CREATED,
  FREE_BLOCKS,
  GENERATION,
  SCRUB_BELL,
  SCRUB_DAMAGED,
  LOG_BLOCKS,
  SCRUB_DONE,
  SCRUB_ENDED,
  SCRUB_FOUND,
  SCRUB_MENDED,
  SCRUB_ORDER,
  SCRUB_PASSES,
  SCRUB_RATE_KIB,
  SCRUB_STATE,
  SCRUB_STOP,
  SCRUB_TOTAL,
  TOTAL_BLOCKS,
  addressOfWord,
} from './arena.js';
import { findInCatalog, useCatalog } from './catalog.js';
import { readBlocks, readBlocksDirect, writeBlocks } from './device.js';
import { BlockError, LcfsError } from './errors.js';
import { extentStart, extentSum, seekExtent } from './extents.js';
import { layerIndices, layerInfo, updateLayer } from './layers.js';
import { namesOf } from './link-names.js';
import { lockShared, unlockShared } from './locks.js';
import { abandon, beginRead, end, opRecord } from './operation.js';
import { unpinPage } from './pager.js';
import { takesChanges } from './read-only.js';
import { bitmapBlock, pendingBlocks } from './space.js';
import { LOWEST, compareKey, keyOf, type Key } from './survey.js';
import { childIndex, pageCount, pageLevel, pinPointer, recordAt, recordType, releasePath, valueOf } from './tree.js';

/** 1 MiB. */
const BATCH_BLOCKS = 256;
const LOGGED_MAX = 100;
const PATH_DEPTH_MAX = 64;
/** Nothing begins or goes on before others are done with their starting. */
const START_MS = 300_000;
/** How often it is kept how far a pass is: a death costs so much of it, and each time a checkpoint. */
const KEEP_MS = 300_000;
const SCRUB_PROPERTY = 'lcfs.scrub';
/** A pass begins a week after the last one ended, or after the volume was formatted. */
const PASS_MS = 7 * 24 * 3_600_000;
/** Longest sleep: Atomics.wait takes any number, but a clock may jump. */
const SLEEP_MS_MAX = 60_000;

/** Short rests are not worth the wake-up: 256 KiB. */
const BLOCKS_PER_REST = 64;

/** SCRUB_STATE. */
const IDLE = 0;
const RUNNING = 1;
/** A pass that was cut off will go on. */
const WAITING = 2;
/** SCRUB_ORDER: what a command asked for. */
const START = 1;
const CANCEL = 2;

export interface ScrubInfo {
  /** Bytes a second; 0: off. */
  rate: number;
  running: boolean;
  /** Whether a pass that was cut off by a restart goes on soon. */
  waiting: boolean;
  /** Of the pass that runs or waits, or of the last one. */
  doneBytes: number;
  /** What was in use when it began. */
  totalBytes: number;
  /** Blocks that could not be read in it, and those that were written again from memory. */
  damagedBlocks: number;
  mendedBlocks: number;
  /** Complete passes since the volume was opened. When the last one ended, and what it found; null: there never was one. */
  passes: number;
  lastEnded: Date | null;
  lastDamagedBlocks: number | null;
}

export function scrubInfo(): ScrubInfo {
  const isEver = W[SCRUB_ENDED] !== 0;
  return {
    rate: W[SCRUB_RATE_KIB]! * 1024,
    running: W[SCRUB_STATE] === RUNNING,
    waiting: W[SCRUB_STATE] === WAITING,
    doneBytes: Math.min(W[SCRUB_DONE]!, W[SCRUB_TOTAL]!) * BLOCK_BYTES,
    totalBytes: W[SCRUB_TOTAL]! * BLOCK_BYTES,
    damagedBlocks: W[SCRUB_DAMAGED]!,
    mendedBlocks: W[SCRUB_MENDED]!,
    passes: W[SCRUB_PASSES]!,
    lastEnded: isEver ? new Date(W[SCRUB_ENDED]! * 1000) : null,
    lastDamagedBlocks: isEver ? W[SCRUB_FOUND]! : null,
  };
}

function ring(): void {
  Atomics.add(I, SCRUB_BELL, 1);
  Atomics.notify(I, SCRUB_BELL);
}

/** Sets the rate in bytes a second, in steps of 1 KiB, 4 TiB at most; 0 lets a pass rest where it is. */
export function setScrubRate(bytes: number): void {
  W[SCRUB_RATE_KIB] = Math.min(Math.ceil(bytes / 1024), 0xffff_ffff);
  ring();
}

/** Begins a pass now, or goes on with one that was cut off, unless one runs. Throws LcfsError('state') at a rate of 0. */
export function startScrub(): void {
  if (W[SCRUB_RATE_KIB] === 0) throw new LcfsError('state', 'scrubbing is off: set a rate, as in lcfs scrub start --rate 50M');
  if (W[SCRUB_STATE] !== RUNNING) Atomics.store(I, SCRUB_ORDER, START);
  ring();
}

/** Ends the pass that runs. */
export function cancelScrub(): void {
  Atomics.store(I, SCRUB_ORDER, CANCEL);
  ring();
}

/** Lets `runScrub` return, whichever thread runs it. */
export function endScrub(): void {
  Atomics.store(I, SCRUB_STOP, 1);
  ring();
}

class Cancelled extends Error {}

/** Where a pass goes on: a tree, and a key in it. */
export interface Place {
  readonly layer: LayerIndex;
  readonly key: Key;
}

const BEGINNING: Place = { layer: CATALOG_OWNER, key: LOWEST };

/** What is kept with the volume. */
interface Kept {
  /** When the last complete pass ended, in seconds since 1970, and what it found; 0: there was none. */
  ended: number;
  found: number;
  /** The pass that is not complete, in blocks; null: there is none. */
  pass: { layer: number; key: number[]; done: number; total: number; damaged: number; mended: number } | null;
}

/** Takes up what an earlier opening left. Returns where its pass goes on; null if that was complete. */
export function recallScrub(): Place | null {
  const kept = readKept();
  if (kept === null) return null;
  W[SCRUB_ENDED] = kept.ended;
  W[SCRUB_FOUND] = kept.found;
  if (kept.pass === null) return null;
  const { layer, key, done, total, damaged, mended } = kept.pass;
  W[SCRUB_DONE] = done;
  W[SCRUB_TOTAL] = total;
  W[SCRUB_DAMAGED] = damaged;
  W[SCRUB_MENDED] = mended;
  W[SCRUB_STATE] = WAITING;
  return { layer: layer >>> 0, key: [key[0]! >>> 0, key[1]! >>> 0, key[2]! >>> 0, key[3]! >>> 0] };
}

/** Null if there is nothing that can be understood: scrubbing begins anew then. */
function readKept(): Kept | null {
  try {
    const text = layerInfo(GLOBAL_LAYER).properties[SCRUB_PROPERTY];
    const kept = text === undefined ? null : (JSON.parse(text) as Kept | null);
    return kept !== null && isKept(kept) ? kept : null;
  } catch (error) {
    if (error instanceof LcfsError || error instanceof SyntaxError) return null;
    throw error;
  }
}

function isKept({ ended, found, pass }: Kept): boolean {
  const numbers = pass === null ? [] : [pass?.layer, pass?.done, pass?.total, pass?.damaged, pass?.mended, ...keyWords(pass?.key)];
  return [ended, found, ...numbers].every((value) => Number.isInteger(value));
}

function keyWords(key: unknown): unknown[] {
  return Array.isArray(key) && key.length === 4 ? key : [null];
}

/** Keeps how far the pass is; null: it is complete, or was given up. A volume that takes no changes keeps nothing. */
function keep(place: Place | null): void {
  keepAt = performance.now() + KEEP_MS;
  const at = place === null ? null : { layer: place.layer, key: [...place.key] };
  const counts = { done: W[SCRUB_DONE]!, total: W[SCRUB_TOTAL]!, damaged: W[SCRUB_DAMAGED]!, mended: W[SCRUB_MENDED]! };
  const kept: Kept = { ended: W[SCRUB_ENDED]!, found: W[SCRUB_FOUND]!, pass: at === null ? null : { ...at, ...counts } };
  try {
    updateLayer(GLOBAL_LAYER, { properties: { [SCRUB_PROPERTY]: JSON.stringify(kept) } });
  } catch (error) {
    if (!(error instanceof LcfsError)) throw error;
  }
}

let keepAt = 0;
/** What is being read begins here. */
let place: Place = BEGINNING;

/** Milliseconds until the next pass. */
function untilDue(): number {
  const last = W[SCRUB_ENDED]! || W[CREATED]! + W[CREATED + 1]! * 2 ** 32;
  return Math.min(PASS_MS, Math.max(START_MS, last * 1000 + PASS_MS - Date.now()));
}

/** Scrubs until `endScrub`. Blocks its thread. */
export function runScrub(): void {
  let from = recallScrub();
  for (let due = performance.now() + (from === null ? untilDue() : START_MS); I[SCRUB_STOP] === 0;) {
    const bell = Atomics.load(I, SCRUB_BELL);
    const ordered = Atomics.exchange(I, SCRUB_ORDER, 0) === START;
    const wait = due - performance.now();
    if (W[SCRUB_RATE_KIB] !== 0 && (ordered || wait <= 0)) {
      scrubOnce(from ?? BEGINNING);
      from = null;
      due = performance.now() + PASS_MS;
    } else Atomics.wait(I, SCRUB_BELL, bell, Math.min(Math.max(wait, 1), SLEEP_MS_MAX));
  }
}

function beginPass(): void {
  W[SCRUB_DONE] = 0;
  W[SCRUB_DAMAGED] = 0;
  W[SCRUB_MENDED] = 0;
  // The intent log is read when it is needed, and means nothing before and after.
  W[SCRUB_TOTAL] = W[TOTAL_BLOCKS]! - W[FREE_BLOCKS]! - pendingBlocks() - W[LOG_BLOCKS]!;
}

/** One pass, or the rest of one that was recalled, in the calling thread. Returns false if it was cancelled, or cut off by `endScrub`. */
export function scrubOnce(from: Place = BEGINNING): boolean {
  if (from === BEGINNING) beginPass();
  W[SCRUB_STATE] = RUNNING;
  logged = 0;
  place = from;
  keepAt = performance.now() + KEEP_MS;
  try {
    scrubAll(from);
  } catch (error) {
    if (!(error instanceof Cancelled)) throw error;
    keep(I[SCRUB_STOP] === 0 ? null : place);
    return false;
  } finally {
    W[SCRUB_STATE] = IDLE;
  }
  W[SCRUB_ENDED] = Math.floor(Date.now() / 1000);
  W[SCRUB_FOUND] = W[SCRUB_DAMAGED]!;
  W[SCRUB_PASSES] = W[SCRUB_PASSES]! + 1;
  keep(null);
  return true;
}

/** The catalog, the global layer, and then the others by their indices. */
function scrubAll({ layer, key }: Place): void {
  const first = layer === CATALOG_OWNER ? -1 : layer;
  if (first < 0) {
    scrubSuperblocks();
    scrubTree(CATALOG_OWNER, key);
  }
  if (first <= 0) scrubTree(GLOBAL_LAYER, first === 0 ? key : LOWEST);
  for (let from = Math.max(1, first); ;) {
    const indices = readableIndices(from);
    for (const index of indices) scrubTree(index, index === first ? key : LOWEST);
    if (indices.length < LAYERS_AT_ONCE) return;
    from = indices.at(-1)! + 1;
  }
}

const LAYERS_AT_ONCE = 256;

/** A catalog that cannot be read has been counted when it was scrubbed. */
function readableIndices(from: LayerIndex): LayerIndex[] {
  try {
    return layerIndices(from, LAYERS_AT_ONCE);
  } catch (error) {
    if (!(error instanceof LcfsError)) throw error;
    return [];
  }
}

// What is damaged

let logged = 0;

function found(count: number, text: () => string): void {
  W[SCRUB_DAMAGED] = W[SCRUB_DAMAGED]! + count;
  if (logged++ < LOGGED_MAX) complain(`scrub: ${text()}`);
}

function nameOf(layer: LayerIndex): string {
  if (layer === CATALOG_OWNER) return 'the catalog';
  try {
    return `layer "${layerInfo(layer).name}"`;
  } catch {
    return `layer ${layer}`;
  }
}

function pathOf(layer: LayerIndex, ino: Ino): string {
  const parts: string[] = [];
  for (let at = ino; at !== ROOT_INO && parts.length < PATH_DEPTH_MAX;) {
    const name = namesOf(layer, at)[0];
    if (name === undefined) return `inode ${ino}`;
    parts.push(Buffer.from(name.name).toString());
    at = name.dir;
  }
  return `/${parts.toReversed().join('/')}`;
}

// Gathering

/** A run of blocks to read, and what proves it. */
interface Item {
  block: BlockNumber;
  count: number;
  /** Data: the file; pages and bitmaps: 0. */
  ino: Ino;
  fileBlock: number;
  /** Checksums of data and bitmaps. */
  sums: Uint32Array | null;
  /** Of pages: how they are found again. */
  level: number;
  low: Key;
  owner: LayerIndex;
  generation: number;
}

let scrubbed: LayerIndex = 0;
let items: Item[] = [];
/** Pages that stood in the way. */
let unreadable: string[] = [];
let gathered = 0;
let cursor: Key = LOWEST;
let seeking = false;
let last = 0;

/** Scrubs what one layer, or the catalog, owns, from a key on. */
function scrubTree(layer: LayerIndex, from: Key): void {
  scrubbed = layer;
  cursor = from;
  for (let more = true; more;) {
    place = { layer, key: cursor };
    if (performance.now() >= keepAt) keep(place);
    items = [];
    unreadable = [];
    gathered = 0;
    const result = inTree(layer, gather);
    more = result === MORE;
    for (const message of unreadable) found(1, () => `${nameOf(layer)}: ${message}`);
    for (const item of items) scrubItem(layer, item);
  }
}

const MORE = 1;
const BAD = 2;

/** Runs with a tree that does not change: 0 or what `work` says; negative if the layer is gone or cannot be read. */
function inTree(layer: LayerIndex, work: (root: number) => number): number {
  if (layer === CATALOG_OWNER) {
    lockShared(CATALOG_LOCK);
    try {
      return work(CATALOG_ROOT);
    } finally {
      unlockShared(CATALOG_LOCK);
    }
  }
  const refused = beginRead(layer);
  if (refused < 0) return refused;
  try {
    return end(work(layerRootBlockAt(opRecord())));
  } catch (error) {
    return abandon(error);
  }
}

function gather(root: number): number {
  // A generation whose checkpoint is not complete may still change.
  last = W[GENERATION]! - (I[CHECKPOINT_MUTEX] === 0 && takesChanges() ? 1 : 2);
  seeking = compareKey(cursor, LOWEST) > 0;
  return childOwner(root) === scrubbed && !gatherBelow(root, -1, LOWEST) ? MORE : 0;
}

/** False if the batch is full; the cursor then says where to go on. */
function gatherBelow(pointer: number, level: number, low: Key): boolean {
  let page: number;
  try {
    page = pinPointer(pointer, level);
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    unreadable.push(error.message);
    return true;
  }
  if (!seeking || compareKey(low, cursor) >= 0) addPage(page, low);
  const isDone = pageLevel(page) === 0 ? gatherLeaf(page) : gatherChildren(page, low);
  unpinPage(page);
  return isDone;
}

function gatherChildren(page: number, low: Key): boolean {
  const count = pageCount(page);
  for (let i = seeking ? childIndex(page, cursor[0], cursor[1], cursor[2], cursor[3]) : 0; i < count; i++) {
    const pointer = valueOf(recordAt(page, i));
    const from = i === 0 ? low : keyOf(recordAt(page, i));
    if (childOwner(pointer) === scrubbed && !gatherBelow(pointer, pageLevel(page) - 1, from)) return false;
    seeking = false;
    if (i + 1 < count) cursor = keyOf(recordAt(page, i + 1));
    if (i + 1 < count && gathered >= BATCH_BLOCKS) return false;
  }
  return true;
}

function addPage(page: number, low: Key): void {
  if (pageGeneration(page) > last) return;
  const place = { block: pageBlock(page), count: 1, ino: 0, fileBlock: 0, level: pageLevel(page), low };
  add({ ...place, sums: null, owner: pageOwner(page), generation: pageGeneration(page) });
}

function gatherLeaf(page: number): boolean {
  seeking = false;
  for (let i = 0; i < pageCount(page); i++) {
    const record = recordAt(page, i);
    if (scrubbed === CATALOG_OWNER) addBitmap(record);
    else if (recordType(record) === EXTENT) addExtent(record);
  }
  return true;
}

function addBitmap(record: number): void {
  if (recordType(record) !== GROUP) return;
  const at = valueOf(record);
  const block = bitmapBlock(recordKey0(record), groupLive(at));
  const place = { block, count: 1, ino: 0, fileBlock: recordKey0(record), level: 0, low: LOWEST };
  add({ ...place, sums: Uint32Array.of(groupChecksum(at)), owner: CATALOG_OWNER, generation: 0 });
}

function addExtent(record: number): void {
  const at = valueOf(record);
  if (extentOwner(at) !== scrubbed || extentGeneration(at) > last) return;
  const sums = Uint32Array.from({ length: extentLength(at) }, (_, i) => extentSum(at, i));
  const place = {
    block: extentBlock(at),
    count: extentLength(at),
    ino: recordKey0(record),
    fileBlock: recordLo(record),
    level: 0,
    low: LOWEST,
  };
  add({ ...place, sums, owner: scrubbed, generation: extentGeneration(at) });
}

function add(item: Item): void {
  items.push(item);
  gathered += item.count;
}

// Reading

const buffer = ioBuffer(EXTENT_BLOCKS_MAX * BLOCK_BYTES);
const words = new Uint32Array(buffer.bytes.buffer, buffer.bytes.byteOffset, buffer.bytes.length / 4);

function scrubItem(layer: LayerIndex, item: Item): void {
  pace(item.count);
  if (readBlocksDirect(item.block, item.count, buffer.address) && isAllRight(item)) return;
  for (let i = 0; i < item.count; i++) {
    if (readBlocksDirect(item.block + i, 1, buffer.address) && isRight(item, i, 0)) continue;
    if (inTree(layer, (root) => lookAgain(root, item, i)) === BAD) found(1, () => textOf(layer, item, i));
  }
}

function isAllRight(item: Item): boolean {
  for (let i = 0; i < item.count; i++) if (!isRight(item, i, i)) return false;
  return true;
}

/** Whether block `i` of an item, which lies in the buffer as its block `at`, is what it ought to be. */
function isRight(item: Item, i: number, at: number): boolean {
  const address = buffer.address + at * BLOCK_BYTES;
  if (item.sums !== null) return crc32(0, address, BLOCK_BYTES) === item.sums[i];
  const word = (at * BLOCK_BYTES) / 4;
  const isPage = words[word] === PAGE_MAGIC && words[word + 2] === item.block && words[word + 3] === item.owner;
  return isPage && words[word + 4] === item.generation && words[word + 1] === crc32(0, address + 8, BLOCK_BYTES - 8);
}

function textOf(layer: LayerIndex, item: Item, i: number): string {
  const block = item.block + i;
  if (item.sums === null) return `${nameOf(layer)}: tree page in block ${block} cannot be read`;
  if (item.ino === 0) return `the bitmap of block group ${item.fileBlock} in block ${block} cannot be read`;
  return `${nameOf(layer)}, ${pathOf(layer, item.ino)}: file block ${item.fileBlock + i} in block ${block} cannot be read`;
}

/** The same under the lock: BAD if the block is still what it was, cannot be read, and has no good copy. */
function lookAgain(root: number, item: Item, i: number): number {
  const block = item.block + i;
  if (item.sums === null) return lookAgainAtPage(root, item);
  if (!(item.ino === 0 ? isStillBitmap(item) : isStillData(item, i)) || isGoodOnDevice(item, i)) return 0;
  try {
    readBlocks(block, 1, buffer.address);
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    return BAD;
  }
  return isRight(item, i, 0) && writeAgain(item, i, buffer.address) ? 0 : BAD;
}

function isGoodOnDevice(item: Item, i: number): boolean {
  return readBlocksDirect(item.block + i, 1, buffer.address) && isRight(item, i, 0);
}

function isStillData(item: Item, i: number): boolean {
  const fileBlock = item.fileBlock + i;
  const at = seekExtent(item.ino, fileBlock);
  if (at === 0 || extentStart > fileBlock) return false;
  return extentBlock(at) + fileBlock - extentStart === item.block + i && extentSum(at, fileBlock - extentStart) === item.sums![i];
}

function isStillBitmap(item: Item): boolean {
  useCatalog();
  const record = findInCatalog(item.fileBlock, GROUP, 0, 0);
  const isStill =
    record !== 0 &&
    bitmapBlock(item.fileBlock, groupLive(valueOf(record))) === item.block &&
    groupChecksum(valueOf(record)) === item.sums![0];
  releasePath();
  return isStill;
}

function lookAgainAtPage(root: number, item: Item): number {
  let page: number;
  try {
    page = pinOnWay(root, item);
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    return error.block === item.block ? BAD : 0;
  }
  const isStill = pageBlock(page) === item.block && pageGeneration(page) === item.generation;
  const isGood = !isStill || isGoodOnDevice(item, 0) || writeAgain(item, 0, addressOfWord(page));
  unpinPage(page);
  return isGood ? 0 : BAD;
}

/** The page at the item's level on the way to its key, pinned. Throws BlockError. */
function pinOnWay(root: number, { level, low }: Item): number {
  let page = pinPointer(root, -1);
  while (pageLevel(page) > level) {
    const above = page;
    try {
      page = pinPointer(valueOf(recordAt(above, childIndex(above, low[0], low[1], low[2], low[3]))), pageLevel(above) - 1);
    } finally {
      unpinPage(above);
    }
  }
  return page;
}

/** Writes a good copy to where it was. True if it can be read from there now. */
function writeAgain(item: Item, i: number, from: number): boolean {
  if (!takesChanges()) return false;
  try {
    writeBlocks(item.block + i, 1, from);
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    return false;
  }
  if (!isGoodOnDevice(item, i)) return false;
  W[SCRUB_MENDED] = W[SCRUB_MENDED]! + 1;
  if (logged++ < LOGGED_MAX) complain(`scrub: block ${item.block + i} could not be read; it was written again from memory`);
  return true;
}

/** The older one is of use only when the newer one is damaged, but then it is. */
function scrubSuperblocks(): void {
  for (const copy of [0, 1]) {
    pace(1);
    if (isSuperblock(copy)) continue;
    // A checkpoint may be writing it.
    lockShared(CHECKPOINT_LOCK);
    unlockShared(CHECKPOINT_LOCK);
    if (!isSuperblock(copy)) found(1, () => `the superblock in block ${copy} cannot be read; the next checkpoints write both again`);
  }
}

function isSuperblock(copy: BlockNumber): boolean {
  return (
    readBlocksDirect(copy, 1, buffer.address) && words[0] === SUPERBLOCK_MAGIC && words[1] === crc32(0, buffer.address + 8, BLOCK_BYTES - 8)
  );
}

// Pace

let tickets = 0;

/** Before so many blocks are read: rests as the rate demands. Throws Cancelled. */
function pace(blocks: number): void {
  tickets += blocks;
  W[SCRUB_DONE] = W[SCRUB_DONE]! + blocks;
  if (tickets >= BLOCKS_PER_REST) rest();
  if (I[SCRUB_STOP] !== 0 || Atomics.compareExchange(I, SCRUB_ORDER, CANCEL, 0) === CANCEL) throw new Cancelled();
}

/** As long as what was read since the last rest may take; at a rate of 0 until there is another. */
function rest(): void {
  const until = performance.now();
  for (let waited = 0; ;) {
    const bell = Atomics.load(I, SCRUB_BELL);
    const rate = W[SCRUB_RATE_KIB]!;
    const wait = rate === 0 ? SLEEP_MS_MAX : (tickets * BLOCK_BYTES * 1000) / (rate * 1024) - waited;
    if (wait <= 0 || I[SCRUB_STOP] !== 0 || I[SCRUB_ORDER] === CANCEL) break;
    Atomics.wait(I, SCRUB_BELL, bell, Math.min(wait, SLEEP_MS_MAX));
    waited = performance.now() - until;
  }
  tickets = 0;
}
