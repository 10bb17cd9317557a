/**
 * Replaying the intent log: from a checkpoint and the entries behind it to the state after the last one.
 *
 *  1. All blocks that entries allocate are taken, so that copies of tree pages do not get them (the volume grows first).
 *  2. The entries are applied in order: each record becomes what it was after the operation.
 *  3. What threads of the dead process were overwriting in place is summed up again, and logged: so far nothing was, as the
 *     entries are still there and may be replayed once more, should this process die before its first checkpoint.
 *
 * One thread, with nothing else going on. A page that cannot be read costs what lies in it, as it did before: the rest is
 * replayed. What the log says of a layer that is lost is passed over.
 *
 * A repair has steps of its own in between: it takes the blocks, makes all trees readable, applies the entries, and then counts
 * anew what is in use (repair.ts). So it looks at no FREE, and what was allocated and is of no use in the end is free.
 */
import {
  BLOCK_BYTES,
  CATALOG_OWNER,
  LAYER_REMOVING,
  LAYER_SEALED,
  LAYER_WRITABLE,
  type BlockNumber,
  type Ino,
  type LayerIndex,
} from '../layout/constants.js';
import { I, W } from '../layout/memory.js';
import {
  RECORD_WORDS,
  extentBlock,
  extentGeneration,
  extentLength,
  extentOwner,
  layerOwnPagesAt,
  layerRootBlockAt,
  layerState,
  loadLogHead,
  loadLogTail,
  setLayerChildren,
  setLayerFlags,
  setLayerInodes,
  setLayerNextIno,
  setLayerOwnBlocks,
  setLayerQuotaBlocks,
  setLayerState,
  storeLogHead,
} from '../layout/records.js';
import { complain } from '../linux/complain.js';
import { crc32, ioBuffer } from '../linux/libc.js';
import { LOG_AT, RESERVE_BLOCKS, THREADS_MAX, TOTAL_BLOCKS } from './arena.js';
import { useCatalog } from './catalog.js';
import { setClock } from './clock.js';
import { readBlocks } from './device.js';
import { BlockError, LcfsError, fail } from './errors.js';
import { extentStart, extentSum, replaceSums, seekExtent } from './extents.js';
import { countOut, makeLayer } from './layers.js';
import { ALLOC, DELETE, ENTRY, FREE, GROW, NEW, PUT, STATE, TREE, itemWords } from './log-items.js';
import { overwriteAt, ringAt } from './log-memory.js';
import { abandon, beginWrite, end } from './operation.js';
import { markApplied } from './origins.js';
import { acquireSlot, markSlotDirty, releaseSlot, slotRecord } from './slots.js';
import { freeBlocks, growSpace, reserveFor, takeBlocks } from './space.js';
import { storeChanges } from './store.js';
import { find, findForUpdate, insert, recordBytes, recordWords, releasePath, remove, treeChanges, useTree, valueOf } from './tree.js';

/** What replaying came to. */
export interface Replayed {
  entries: number;
  /** Records that could not be replayed, as the page or layer that they belong to is lost. */
  lost: number;
  /** Why, for the first few. */
  reasons: readonly string[];
}

const REASONS_MAX = 5;

let lost = 0;
const reasons = new Set<string>();
/** Whether the tree that the records are for is not to be had. */
let isPassing = false;
/** Whether a repair counts what is in use. */
let isCountedAnew = false;
/** Layer whose tree is in use, and its slot, pinned; 0: none. */
let slot = 0;
let slotOf: LayerIndex = 0;

/** Brings the volume, as of a checkpoint, to the state after the last entry of a generation beyond `generation`. */
export function replayLog(generation: number): Replayed {
  eachEntry(generation, takeSpace);
  const replayed = applyEntries(generation);
  eachEntry(0, keepOrigin);
  return replayed;
}

function applyEntries(generation: number): Replayed {
  lost = 0;
  reasons.clear();
  let entries = 0;
  eachEntry(generation, (at) => {
    applyEntry(at);
    entries++;
  });
  letGo();
  return { entries, lost, reasons: [...reasons] };
}

// For a repair

/** How large the volume is after the last entry, in blocks. */
export function blocksAfterLog(generation: number): number {
  let blocks = W[TOTAL_BLOCKS]!;
  eachEntry(generation, (entry) => {
    const end = entry + W[entry + ENTRY.length]!;
    for (let at = entry + ENTRY.items; at < end; at += itemWords(at)) if (W[at] === GROW) blocks = Math.max(blocks, W[at + 1]!);
  });
  return blocks;
}

/**
 * Takes the blocks that entries allocate, up to the first entry that has a generation beyond `last` or whose blocks are in use:
 * with that the log ends. Returns how many entries were cut off so.
 */
export function takeLogSpace(generation: number, last: number): number {
  let cut = 0;
  let head = loadLogHead(LOG_AT);
  eachEntry(generation, (at, position) => {
    if (cut === 0 && W[at + ENTRY.generation]! <= last && tryTakeSpace(at)) return;
    if (cut++ === 0) head = position;
  });
  storeLogHead(LOG_AT, head);
  return cut;
}

function tryTakeSpace(entry: number): boolean {
  try {
    takeSpace(entry);
    return true;
  } catch (error) {
    if (!(error instanceof LcfsError)) throw error;
    return false;
  }
}

/** Applies the entries to trees that can be read. */
export function applyLog(generation: number): Replayed {
  isCountedAnew = true;
  try {
    return applyEntries(generation);
  } finally {
    isCountedAnew = false;
  }
}

/** `work` gets where an entry lies, and its position in the log. */
function eachEntry(generation: number, work: (at: number, position: number) => void): void {
  const head = loadLogHead(LOG_AT) >>> 0;
  for (let position = loadLogTail(LOG_AT) >>> 0; position !== head;) {
    const at = ringAt(position);
    const length = W[at + ENTRY.length]!;
    if (length < ENTRY.items || length > (head - position) >>> 0) throw new LcfsError('corrupt', 'the memory of the intent log is damaged');
    if (W[at + ENTRY.generation]! > generation) work(at, position);
    position = (position + length) >>> 0;
  }
}

/** A place's last entry may be newer than what the table of places says. */
function keepOrigin(at: number): void {
  const lo = W[at + ENTRY.originLo]!;
  const hi = W[at + ENTRY.originHi]!;
  if ((lo | hi) !== 0) markApplied(lo, hi, W[at + ENTRY.place]!);
}

// 1

function takeSpace(entry: number): void {
  const end = entry + W[entry + ENTRY.length]!;
  for (let at = entry + ENTRY.items; at < end; at += itemWords(at)) {
    if (W[at] === ALLOC) takeBlocks(W[at + 1]!, W[at + 2]!);
    else if (W[at] === GROW && W[at + 1]! > W[TOTAL_BLOCKS]!) grow(W[at + 1]!);
  }
}

function grow(blocks: number): void {
  growSpace(blocks);
  W[RESERVE_BLOCKS] = reserveFor(blocks);
}

// 2

function applyEntry(entry: number): void {
  const end = entry + W[entry + ENTRY.length]!;
  for (let at = entry + ENTRY.items; at < end; at += itemWords(at)) applyItem(at);
  isPassing = false;
}

function applyItem(at: number): void {
  const changes = treeChanges;
  try {
    if (W[at] === TREE) turnTo(W[at + 1]!);
    else if (W[at] === PUT || W[at] === DELETE) applyRecord(at);
    else if (W[at] === FREE && !isCountedAnew) freeBlocks(W[at + 1]!, W[at + 2]!);
    else if (W[at] === STATE) putState(at);
    else if (W[at] === NEW) putNewLayer(at);
  } catch (error) {
    if (!(error instanceof BlockError) || treeChanges !== changes) throw error;
    if (lost++ === 0) complain(`a part of the last seconds is lost: ${error.message}`);
    if (reasons.size < REASONS_MAX) reasons.add(error.message);
    releasePath();
  }
}

function applyRecord(at: number): void {
  if (isPassing) lost++;
  else if (W[at] === PUT) putRecord(at + 1);
  else remove(W[at + 1]!, W[at + 2]!, W[at + 3]!, W[at + 4]!);
}

/** Pins the slot of a layer in place of the one before. */
function pinLayer(layer: LayerIndex): void {
  if (slot !== 0 && slotOf === layer) return;
  letGo();
  slot = acquireSlot(layer);
  if (slot === 0) throw new BlockError(0, `layer ${layer} could not be made again`);
  slotOf = layer;
}

function letGo(): void {
  releasePath();
  if (slot !== 0) releaseSlot(slot);
  slot = 0;
}

/** If this throws, the records that follow have no tree. */
function turnTo(owner: LayerIndex): void {
  isPassing = true;
  if (owner === CATALOG_OWNER) useCatalog();
  else useLayer(owner);
  isPassing = false;
}

function useLayer(owner: LayerIndex): void {
  pinLayer(owner);
  useTree(layerRootBlockAt(slotRecord(slot)), owner, layerOwnPagesAt(slotRecord(slot)));
  markSlotDirty(slot);
}

function putRecord(from: number): void {
  const k0 = W[from]!;
  const type = W[from + 1]! >>> 16;
  const hi = W[from + 2]!;
  const lo = W[from + 3]!;
  const found = find(k0, type, hi, lo);
  if (found !== 0 && recordBytes(found) !== recordBytes(from)) remove(k0, type, hi, lo);
  const isThere = found !== 0 && recordBytes(found) === recordBytes(from);
  const record = isThere ? findForUpdate(k0, type, hi, lo) : insert(k0, type, hi, lo, recordBytes(from));
  W.copyWithin(valueOf(record), from + RECORD_WORDS, from + recordWords(from));
}

function putState(at: number): void {
  pinLayer(W[at + 1]!);
  const record = slotRecord(slot);
  if (W[at + 2] === LAYER_REMOVING && layerState(record) !== LAYER_REMOVING) countOut(W[at + 1]!);
  if (![LAYER_WRITABLE, LAYER_SEALED, LAYER_REMOVING].includes(W[at + 2]!)) fail('LG: layers have a state', W[at + 2]!);
  setLayerState(record, W[at + 2]!);
  setLayerNextIno(record, W[at + 3]!);
  setLayerInodes(record, W[at + 4]!);
  setLayerOwnBlocks(record, W[at + 5]!);
  setLayerQuotaBlocks(record, W[at + 6]!);
  setLayerChildren(record, W[at + 7]!);
  setLayerFlags(record, W[at + 8]!);
  markSlotDirty(slot);
}

function putNewLayer(at: number): void {
  const parent = W[at + 2]!;
  if (parent !== 0) pinLayer(parent);
  setClock(W[at + 4]!, I[at + 5]!, W[at + 6]!);
  makeLayer(W[at + 1]!, parent === 0 ? 0 : slot, parent, W[at + 3]!, W[at + 7]!);
}

// 3

/** Sums up again what was being overwritten when the process died, in extents of generations beyond `generation`. */
export function mendOverwrites(generation: number): void {
  for (let thread = 0; thread < THREADS_MAX; thread++) {
    const at = overwriteAt(thread);
    if (W[at] !== 0) mend(W[at + 1]!, W[at + 2]!, W[at + 3]!, W[at]!, generation);
    W[at] = 0;
  }
}

function mend(layer: LayerIndex, ino: Ino, first: number, count: number, generation: number): void {
  const refused = beginWrite(layer, 0, storeChanges(count));
  if (refused < 0) return writeRefused(layer, ino, refused);
  try {
    for (let at = seekExtent(ino, first); at !== 0;) {
      if (extentStart >= first + count) break;
      const next = extentStart + extentLength(at);
      const isOpen = extentOwner(at) === layer && extentGeneration(at) > generation;
      if (isOpen) mendExtent(ino, at, Math.max(first, extentStart), Math.min(first + count, next));
      at = seekExtent(ino, next);
    }
    end(0);
  } catch (error) {
    abandon(error);
  }
}

function writeRefused(layer: LayerIndex, ino: Ino, refused: number): void {
  complain(`layer ${layer} inode ${ino}: what was being written cannot be read (errno ${-refused}); write it again`);
}

const block = ioBuffer(BLOCK_BYTES);
const sums = new Uint32Array(1);

/** Sums a block up; one that cannot be read stays one that cannot be read. */
function readsToSum(number: BlockNumber): boolean {
  try {
    readBlocks(number, 1, block.address);
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    return false;
  }
  sums[0] = crc32(0, block.address, BLOCK_BYTES);
  return true;
}

function mendExtent(ino: Ino, at: number, from: number, to: number): void {
  const start = extentStart;
  const shift = extentBlock(at) - start;
  for (let fileBlock = from; fileBlock < to; fileBlock++) {
    if (!readsToSum(shift + fileBlock)) continue;
    const extent = seekExtent(ino, fileBlock);
    if (extentSum(extent, fileBlock - start) !== sums[0]) replaceSums(ino, start, fileBlock - start, 1, sums, 0);
  }
}
