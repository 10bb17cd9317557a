/**
 * Space: which blocks of the device are in use.
 *
 * One bit a block, 32,768 blocks a group. The bitmap in the arena has a bit set for everything that may not be
 * allocated now: blocks in use, blocks of a window, and blocks that were freed but that the last complete checkpoint
 * still refers to. The latter have a bit in one of two *pending* bitmaps too, one for each parity of generations, and are
 * cleared when the checkpoint of the generation that freed them is complete.
 *
 * A *window* is a run of blocks set aside in memory, so that what belongs together lies together: the pages of a layer,
 * its small files, and each file that is being written at length. Windows are given back when another needs their place,
 * when they were idle for a whole generation, and when space runs short. They never reach the device: the image of the
 * bitmap that a checkpoint writes has windows and pending frees cleared.
 *
 * On the device a group has two copies of its bitmap in its first two blocks (group 0: blocks 2 and 3, after the
 * superblocks). A checkpoint writes the copy that is not live; the group's record in the catalog says which one is, and
 * how it sums up. A group without a record is empty but for its bitmaps.
 *
 * Invariants
 *  S1  FREE_BLOCKS is the number of clear bits and of blocks in windows; PENDING_BLOCKS count the bits of the pendings. Windows
 *      come and go without a change of FREE_BLOCKS, as admission looks at it without the lock.
 *  S2  A block is freed once, by its owner, while its bit is set and it is neither windowed nor pending.
 *  S3  An operation allocates only what it was admitted for, so allocation within one never fails.
 */
import { writeSync } from 'node:fs';
import { CATALOG_OWNER, GROUP_BLOCKS, LOG_START_BLOCK, type BlockNumber, type Ino, type LayerIndex } from '../layout/constants.js';
import { I, W } from '../layout/memory.js';
import {
  WINDOW_WORDS,
  setWindowGrants,
  setWindowIno,
  setWindowLayer,
  setWindowLength,
  setWindowStart,
  setWindowTick,
  windowGrants,
  windowIno,
  windowLayer,
  windowLength,
  windowStart,
  windowTick,
} from '../layout/records.js';
import {
  ADMITTED_BLOCKS,
  BITMAP_AT,
  BITMAP_WORDS,
  CHANGED,
  FREE_BLOCKS,
  GENERATION,
  GROUP_DIRTY,
  GROUP_FREE,
  GROUP_PENDING,
  GROUPS_MAX,
  FRESH_AT,
  GROUP_FRESH,
  IDLE_TICK,
  LOG_BLOCKS,
  PENDING_AT,
  PENDING_BLOCKS,
  RESERVE_BLOCKS,
  SPACE_LOCK,
  TOTAL_BLOCKS,
  WINDOWS_AT,
  WINDOW_COUNT,
  WINDOW_TICK,
} from './arena.js';
import { LcfsError, fail } from './errors.js';
import { lockExclusive, unlockExclusive } from './locks.js';
import { ALLOCATED, FREED, noteRun } from './notes.js';

/** Whose window it is, beside inode numbers. */
export const WINDOW_SHARED: Ino = 0;
export const WINDOW_PAGES: Ino = 0xffff_ffff;
/** The catalog's pages have a window of their own; layer indices stay below CATALOG_OWNER. */
const PAGES_PER_WINDOW = 64;
const SHARED_PER_WINDOW = 512;
/** A file that begins with so few blocks is taken for a small one. */
const SMALL_BLOCKS_MAX = 16;
/** A file that keeps growing gets room for four times what it asks, up to 8 MiB. */
const FILE_WINDOW_MAX = 2048;

const GROUP_WORDS = GROUP_BLOCKS / 32;

export function groupCount(): number {
  return Math.ceil(W[TOTAL_BLOCKS]! / GROUP_BLOCKS);
}

/** First block of the group that may hold anything but the volume's own structures. */
export function groupDataStart(group: number): BlockNumber {
  return group === 0 ? LOG_START_BLOCK + W[LOG_BLOCKS]! : group * GROUP_BLOCKS + 2;
}

/** The block of copy 0 or 1 of a group's bitmap. */
export function bitmapBlock(group: number, copy: number): BlockNumber {
  return group === 0 ? 2 + copy : group * GROUP_BLOCKS + copy;
}

// Bits

function bitIsSet(bitmap: number, block: BlockNumber): boolean {
  return (W[bitmap + (block >>> 5)]! & (1 << (block & 31))) !== 0;
}

/** Mask of the bits `from`.. of a word, `count` of them at most; bits beyond the word are left out. */
function bitMask(from: number, count: number): number {
  const bits = Math.min(count, 32 - from);
  return bits === 32 ? 0xffff_ffff : (((1 << bits) - 1) << from) >>> 0;
}

function setBits(bitmap: number, block: BlockNumber, count: number): void {
  while (count > 0) {
    const from = block & 31;
    const bits = Math.min(count, 32 - from);
    W[bitmap + (block >>> 5)]! |= bitMask(from, count);
    block += bits;
    count -= bits;
  }
}

function clearBits(bitmap: number, block: BlockNumber, count: number): void {
  while (count > 0) {
    const from = block & 31;
    const bits = Math.min(count, 32 - from);
    W[bitmap + (block >>> 5)]! &= ~bitMask(from, count);
    block += bits;
    count -= bits;
  }
}

function allBitsAre(bitmap: number, block: BlockNumber, count: number, set: boolean): boolean {
  while (count > 0) {
    const from = block & 31;
    const bits = Math.min(count, 32 - from);
    const mask = bitMask(from, count);
    if ((W[bitmap + (block >>> 5)]! & mask) >>> 0 !== (set ? mask : 0)) return false;
    block += bits;
    count -= bits;
  }
  return true;
}

export function countBits(word: number): number {
  let bits = word - ((word >>> 1) & 0x5555_5555);
  bits = (bits & 0x3333_3333) + ((bits >>> 2) & 0x3333_3333);
  return Math.imul((bits + (bits >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
}

/** First block from `block` on, below `end`, whose bit is clear; `end` if there is none. */
function nextClear(block: BlockNumber, end: BlockNumber): BlockNumber {
  while (block < end) {
    const word = ~W[BITMAP_AT + (block >>> 5)]! & (0xffff_ffff << (block & 31));
    if (word !== 0) return Math.min(end, ((block & ~31) >>> 0) + 31 - Math.clz32(word & -word));
    block = ((block | 31) >>> 0) + 1;
  }
  return end;
}

/** First block from `block` on, below `end`, whose bit is set; `end` if there is none. */
function nextSet(block: BlockNumber, end: BlockNumber): BlockNumber {
  while (block < end) {
    const word = W[BITMAP_AT + (block >>> 5)]! & (0xffff_ffff << (block & 31));
    if (word !== 0) return Math.min(end, ((block & ~31) >>> 0) + 31 - Math.clz32(word & -word));
    block = ((block | 31) >>> 0) + 1;
  }
  return end;
}

/** Changes the groups' counters after blocks of possibly several groups were taken (sign < 0: given back). */
function chargeGroups(block: BlockNumber, count: number, sign: number): void {
  while (count > 0) {
    const group = Math.floor(block / GROUP_BLOCKS);
    const here = Math.min(count, (group + 1) * GROUP_BLOCKS - block);
    W[GROUP_FREE + group]! -= sign * here;
    block += here;
    count -= here;
  }
}

function markGroupsDirty(block: BlockNumber, count: number): void {
  const last = Math.floor((block + count - 1) / GROUP_BLOCKS);
  for (let group = Math.floor(block / GROUP_BLOCKS); group <= last; group++) W[GROUP_DIRTY + group] = 1;
}

// Search

let runStart: BlockNumber = 0;
let runLength = 0;

/** Looks for `want` clear bits in a row in [from, end); leaves the first such run, or the longest seen, in runStart/runLength. */
function searchRange(from: BlockNumber, end: BlockNumber, want: number): boolean {
  for (let block = nextClear(from, end); block < end;) {
    const stop = nextSet(block, Math.min(end, block + want));
    if (stop - block > runLength) {
      runStart = block;
      runLength = stop - block;
      if (runLength >= want) return true;
    }
    block = nextClear(stop, end);
  }
  return false;
}

/** Finds a run from `goal` on, wrapping around: of `want` blocks if there is one, otherwise the longest of some group. */
function searchRun(goal: BlockNumber, want: number): void {
  const groups = groupCount();
  const total = W[TOTAL_BLOCKS]!;
  const first = Math.min(Math.floor(goal / GROUP_BLOCKS), groups - 1);
  runLength = 0;
  if (searchRange(goal, Math.min(total, (first + 1) * GROUP_BLOCKS), want)) return;
  for (let i = 1; i <= groups; i++) {
    const group = (first + i) % groups;
    const free = W[GROUP_FREE + group]!;
    if (free === 0 || free <= runLength) continue;
    if (searchRange(groupDataStart(group), Math.min(total, (group + 1) * GROUP_BLOCKS), want)) return;
  }
}

// Windows

/** The window of (layer, ino), or the one that was idle longest, emptied for it. */
function windowFor(layer: LayerIndex, ino: Ino): number {
  let victim = WINDOWS_AT;
  for (let at = WINDOWS_AT; at < WINDOWS_AT + WINDOW_COUNT * WINDOW_WORDS; at += WINDOW_WORDS) {
    if (windowLayer(at) === layer + 1 && windowIno(at) === ino) return at;
    if (windowLayer(at) === 0) victim = at;
    else if (windowLayer(victim) !== 0 && windowTick(at) < windowTick(victim)) victim = at;
  }
  closeWindow(victim);
  setWindowLayer(victim, layer + 1);
  setWindowIno(victim, ino);
  setWindowGrants(victim, 0);
  setWindowStart(victim, 0); // nobody's: where another owner's blocks were is no place for these
  return victim;
}

/**
 * The window for `want` blocks of a file. Small files come one after another from the layer's shared window, in the order in
 * which they are written, and the last of them goes on there while no other has come.
 */
function chooseWindow(layer: LayerIndex, ino: Ino, goal: BlockNumber, want: number): number {
  if (ino === WINDOW_PAGES) return windowFor(layer, ino);
  if (goal === 0) return windowFor(layer, want > SMALL_BLOCKS_MAX ? ino : WINDOW_SHARED);
  const shared = findWindow(layer, WINDOW_SHARED);
  return shared !== 0 && windowStart(shared) === goal ? shared : windowFor(layer, ino);
}

/** The window of (layer, ino), 0 if there is none. */
function findWindow(layer: LayerIndex, ino: Ino): number {
  for (let at = WINDOWS_AT; at < WINDOWS_AT + WINDOW_COUNT * WINDOW_WORDS; at += WINDOW_WORDS) {
    if (windowLayer(at) === layer + 1 && windowIno(at) === ino) return at;
  }
  return 0;
}

function closeWindow(at: number): void {
  const length = windowLength(at);
  if (windowLayer(at) !== 0 && length > 0) {
    clearBits(BITMAP_AT, windowStart(at), length);
    chargeGroups(windowStart(at), length, -1);
  }
  setWindowLength(at, 0);
  setWindowLayer(at, 0);
}

function closeAllWindows(): void {
  for (let at = WINDOWS_AT; at < WINDOWS_AT + WINDOW_COUNT * WINDOW_WORDS; at += WINDOW_WORDS) closeWindow(at);
}

/** How many blocks a window takes when it is refilled for a request of `want`. */
function windowSize(at: number, want: number): number {
  const ino = windowIno(at);
  if (ino === WINDOW_PAGES) return PAGES_PER_WINDOW;
  if (ino === WINDOW_SHARED) return Math.max(want, SHARED_PER_WINDOW);
  const grants = Math.min(windowGrants(at), 3);
  return Math.max(want, Math.min(FILE_WINDOW_MAX, want << grants));
}

/** Refills an empty window from the bitmap, near the goal. False if no block is free. */
function refillWindow(at: number, goal: BlockNumber, want: number): boolean {
  searchRun(goal, windowSize(at, want));
  if (runLength === 0) return false;
  setBits(BITMAP_AT, runStart, runLength);
  chargeGroups(runStart, runLength, 1);
  setWindowStart(at, runStart);
  setWindowLength(at, runLength);
  setWindowGrants(at, windowGrants(at) + 1);
  return true;
}

/** Length of the run that the last allocation gave, in blocks. */
export let allocatedLength = 0;

/**
 * Gives `want` blocks or fewer, in one run, to (layer, ino); `goal` is where they would lie best (0: where the last ones
 * did). Returns the first block and sets `allocatedLength`; 0 if nothing at all is free.
 */
export function allocateBlocks(layer: LayerIndex, ino: Ino, goal: BlockNumber, want: number): BlockNumber {
  lockExclusive(SPACE_LOCK);
  const start = allocateLocked(layer, ino, goal, want);
  unlockExclusive(SPACE_LOCK);
  return start;
}

function allocateLocked(layer: LayerIndex, ino: Ino, goal: BlockNumber, want: number): BlockNumber {
  let window = chooseWindow(layer, ino, goal, want);
  if (windowLength(window) === 0) {
    const near = goal !== 0 ? goal : windowStart(window) !== 0 ? windowStart(window) : startOf(layer, ino);
    if (!refillWindow(window, near, want)) {
      closeAllWindows();
      window = chooseWindow(layer, ino, goal, want);
      if (!refillWindow(window, near, want)) return 0;
    }
  }
  const start = windowStart(window);
  const length = Math.min(want, windowLength(window));
  setWindowStart(window, start + length);
  setWindowLength(window, windowLength(window) - length);
  setWindowTick(window, ++W[WINDOW_TICK]!);
  W[FREE_BLOCKS]! -= length;
  markGroupsDirty(start, length);
  allocatedLength = length;
  return start;
}

/** Where a layer's first window is looked for: layers spread over the groups, so that they do not grow into each other. */
function startOf(layer: LayerIndex, ino: Ino): BlockNumber {
  if (layer === CATALOG_OWNER) return groupDataStart(0);
  const groups = groupCount();
  const group = groups === 1 ? 0 : Math.imul(layer, 0x9e3779b1) >>> 0;
  // Pages at the group's start, data an eighth of a group later.
  return groupDataStart(group % groups) + (ino === WINDOW_PAGES ? 0 : GROUP_BLOCKS >>> 3);
}

const STRANGE_FREES_SHOWN = 10;

/** How often this thread was to free what is not in use: never, unless the volume is damaged. Tests look at it. */
export let strangeFrees = 0;

/** On a damaged volume two may believe that a block is theirs. It stays in use then: better lost than given to a third. */
function reportStrange(block: BlockNumber, count: number): void {
  strangeFrees++;
  if (strangeFrees > STRANGE_FREES_SHOWN) return;
  writeSync(
    2,
    `lcfs: blocks ${block} to ${block + count - 1} are to be freed but not in use: the volume is damaged, lcfs check tells more\n`,
  );
}

/** Gives back blocks of a file or page. They become allocatable when no checkpoint needs them any more. */
export function freeBlocks(block: BlockNumber, count: number): void {
  lockExclusive(SPACE_LOCK);
  const parity = W[GENERATION]! & 1;
  const pending = PENDING_AT + parity * BITMAP_WORDS;
  const settling = PENDING_AT + (1 - parity) * BITMAP_WORDS;
  if (
    !allBitsAre(BITMAP_AT, block, count, true) ||
    !allBitsAre(pending, block, count, false) ||
    !allBitsAre(settling, block, count, false)
  ) {
    unlockExclusive(SPACE_LOCK);
    return reportStrange(block, count);
  }
  setBits(pending, block, count);
  W[PENDING_BLOCKS + parity]! += count;
  markGroupsDirty(block, count);
  for (let at = block; at < block + count; at = (Math.floor(at / GROUP_BLOCKS) + 1) * GROUP_BLOCKS) {
    W[GROUP_PENDING + parity * GROUPS_MAX + Math.floor(at / GROUP_BLOCKS)] = 1;
  }
  unlockExclusive(SPACE_LOCK);
}

/** The layer that data blocks are allocated for and freed by, and the word that counts them. */
let chargedLayer: LayerIndex = 0;
let chargedCounter = 0;

/** Charges the data blocks of the operation that begins to a layer. */
export function chargeTo(layer: LayerIndex, counter: number): void {
  chargedLayer = layer;
  chargedCounter = counter;
}

/** `allocateBlocks` for data of the layer of the current operation. */
export function allocateData(ino: Ino, goal: BlockNumber, want: number): BlockNumber {
  lockExclusive(SPACE_LOCK);
  const block = allocateLocked(chargedLayer, ino, goal, want);
  if (block !== 0) markFresh(block, allocatedLength);
  unlockExclusive(SPACE_LOCK);
  if (block === 0) fail('S3', chargedLayer, want);
  W[chargedCounter]! += allocatedLength;
  noteRun(ALLOCATED, block, allocatedLength);
  return block;
}

/** `freeBlocks` for data that the layer of the current operation owns. */
export function freeData(block: BlockNumber, count: number): void {
  freeBlocks(block, count);
  W[chargedCounter]! -= count;
  noteRun(FREED, block, count);
}

/** Gives the layer's windows back: it is sealed, or gone. */
export function closeWindowsOf(layer: LayerIndex): void {
  lockExclusive(SPACE_LOCK);
  for (let at = WINDOWS_AT; at < WINDOWS_AT + WINDOW_COUNT * WINDOW_WORDS; at += WINDOW_WORDS) {
    if (windowLayer(at) === layer + 1) closeWindow(at);
  }
  unlockExclusive(SPACE_LOCK);
}

// Fresh data

/** The blocks belong to operations that no batch of the log has yet. */
function markFresh(block: BlockNumber, count: number): void {
  setBits(FRESH_AT, block, count);
  const last = Math.floor((block + count - 1) / GROUP_BLOCKS);
  for (let group = Math.floor(block / GROUP_BLOCKS); group <= last; group++) W[GROUP_FRESH + group] = 1;
}

/** Whether a data block was allocated since the last batch of the log and the last checkpoint were closed. */
export function isFreshBlock(block: BlockNumber): boolean {
  return bitIsSet(FRESH_AT, block);
}

/** A batch or a generation is closed: what was allocated is not to be overwritten in place any more. The checkpoint lock is held exclusively. */
export function forgetFresh(): void {
  for (let group = 0; group < groupCount(); group++) {
    if (W[GROUP_FRESH + group] === 0) continue;
    W.fill(0, FRESH_AT + group * GROUP_WORDS, FRESH_AT + (group + 1) * GROUP_WORDS);
    W[GROUP_FRESH + group] = 0;
  }
}

// Admission

/**
 * Promises `blocks` blocks to an operation that is about to begin; false if that would touch the reserve. What removes
 * things may use half of the reserve: without room to copy pages nothing could ever be freed on a full volume.
 */
export function admit(blocks: number, frees: boolean): boolean {
  const admitted = Atomics.add(I, ADMITTED_BLOCKS, blocks) + blocks;
  const reserve = frees ? W[RESERVE_BLOCKS]! >>> 1 : W[RESERVE_BLOCKS]!;
  if (W[FREE_BLOCKS]! - admitted >= reserve) return true;
  Atomics.sub(I, ADMITTED_BLOCKS, blocks);
  return false;
}

/** Promises blocks that were part of what an operation under way was admitted for, and stay promised when it ends. */
export function keepPromised(blocks: number): void {
  Atomics.add(I, ADMITTED_BLOCKS, blocks);
}

export function dismiss(blocks: number): void {
  Atomics.sub(I, ADMITTED_BLOCKS, blocks);
}

/** Blocks that would become free with a checkpoint or two. */
export function pendingBlocks(): number {
  return W[PENDING_BLOCKS]! + W[PENDING_BLOCKS + 1]!;
}

/** Blocks freed in the current generation. */
export function freedBlocks(): number {
  return W[PENDING_BLOCKS + (W[GENERATION]! & 1)]!;
}

/** Whether a checkpoint would let more be admitted: frees become allocatable, and saved slots need no more room. */
export function checkpointGivesSpace(): boolean {
  return pendingBlocks() > 0 || Atomics.load(I, CHANGED) !== 0;
}

/** For a repair: nothing is set aside any more. */
export function closeWindows(): void {
  lockExclusive(SPACE_LOCK);
  closeAllWindows();
  unlockExclusive(SPACE_LOCK);
}

// Checkpoint

/** Forgets windows that nobody used since the last call. */
export function closeIdleWindows(): void {
  lockExclusive(SPACE_LOCK);
  for (let at = WINDOWS_AT; at < WINDOWS_AT + WINDOW_COUNT * WINDOW_WORDS; at += WINDOW_WORDS) {
    if (windowTick(at) < W[IDLE_TICK]!) closeWindow(at);
  }
  W[IDLE_TICK] = W[WINDOW_TICK]!;
  unlockExclusive(SPACE_LOCK);
}

/** Copies a group's bitmap to `at`, without pending frees and windows; returns the number of free blocks in it. */
export function groupImage(group: number, at: number): number {
  const from = group * GROUP_WORDS;
  const even = PENDING_AT + from;
  const odd = even + BITMAP_WORDS;
  for (let i = 0; i < GROUP_WORDS; i++) W[at + i] = W[BITMAP_AT + from + i]! & ~W[even + i]! & ~W[odd + i]!;
  clearWindows(group, at);
  let used = 0;
  for (let i = 0; i < GROUP_WORDS; i++) used += countBits(W[at + i]!);
  return GROUP_BLOCKS - used;
}

function clearWindows(group: number, image: number): void {
  const first = group * GROUP_BLOCKS;
  for (let at = WINDOWS_AT; at < WINDOWS_AT + WINDOW_COUNT * WINDOW_WORDS; at += WINDOW_WORDS) {
    if (windowLayer(at) === 0) continue;
    const from = Math.max(windowStart(at), first);
    const end = Math.min(windowStart(at) + windowLength(at), first + GROUP_BLOCKS);
    if (end > from) clearBits(image, from - first, end - from);
  }
}

/**
 * The checkpoint of `generation` is complete: what was freed in it may be allocated. Calls `discard` for every run before,
 * without the lock: until its bits are cleared nobody else has to do with it, and a device may take its time.
 */
export function settlePending(generation: number, discard: (block: BlockNumber, count: number) => void): void {
  const parity = generation & 1;
  for (let group = 0; group < groupCount(); group++) {
    if (W[GROUP_PENDING + parity * GROUPS_MAX + group] !== 0) settleGroup(group, parity, discard);
  }
}

function settleGroup(group: number, parity: number, discard: (block: BlockNumber, count: number) => void): void {
  const pending = PENDING_AT + parity * BITMAP_WORDS;
  W[GROUP_PENDING + parity * GROUPS_MAX + group] = 0;
  let start = -1;
  const end = Math.min((group + 1) * GROUP_BLOCKS, W[TOTAL_BLOCKS]!);
  for (let block = group * GROUP_BLOCKS; block <= end; block++) {
    if ((block & 31) === 0 && start < 0 && block < end && W[pending + (block >>> 5)] === 0) {
      block += 31;
      continue;
    }
    const set = block < end && bitIsSet(pending, block);
    if (set && start < 0) start = block;
    if (set || start < 0) continue;
    discard(start, block - start);
    settleRun(start, block - start, pending, parity);
    start = -1;
  }
}

function settleRun(block: BlockNumber, count: number, pending: number, parity: number): void {
  lockExclusive(SPACE_LOCK);
  clearBits(pending, block, count);
  clearBits(BITMAP_AT, block, count);
  chargeGroups(block, count, -1);
  W[FREE_BLOCKS]! += count;
  W[PENDING_BLOCKS + parity]! -= count;
  unlockExclusive(SPACE_LOCK);
}

// Opening

/** Takes a group's bitmap as it was read to `at` (0: a group never written). */
export function loadGroup(group: number, at: number): void {
  const words = BITMAP_AT + group * GROUP_WORDS;
  if (at !== 0) W.copyWithin(words, at, at + GROUP_WORDS);
  else setBits(BITMAP_AT, group * GROUP_BLOCKS, groupDataStart(group) - group * GROUP_BLOCKS);
  const beyond = (group + 1) * GROUP_BLOCKS - W[TOTAL_BLOCKS]!;
  if (beyond > 0) setBits(BITMAP_AT, W[TOTAL_BLOCKS]!, beyond);
  const used = countGroup(BITMAP_AT, group);
  W[GROUP_FREE + group] = GROUP_BLOCKS - used;
  W[FREE_BLOCKS]! += GROUP_BLOCKS - used;
}

/** Takes blocks that are free in the checkpoint, as the log says that they were allocated after it. */
export function takeBlocks(block: BlockNumber, count: number): void {
  lockExclusive(SPACE_LOCK);
  const isFree = block + count <= W[TOTAL_BLOCKS]! && allBitsAre(BITMAP_AT, block, count, false);
  if (!isFree) {
    unlockExclusive(SPACE_LOCK);
    throw new LcfsError('corrupt', `the intent log gives out block ${block}, which is in use (LG3)`);
  }
  setBits(BITMAP_AT, block, count);
  chargeGroups(block, count, 1);
  W[FREE_BLOCKS]! -= count;
  markGroupsDirty(block, count);
  unlockExclusive(SPACE_LOCK);
}

/** Makes the blocks from the old end of the volume to the new one allocatable. The space lock is held. */
export function growSpace(blocks: number): void {
  const before = W[TOTAL_BLOCKS]!;
  const lastGroup = Math.floor((before - 1) / GROUP_BLOCKS);
  const lastEnd = Math.min((lastGroup + 1) * GROUP_BLOCKS, blocks);
  W[TOTAL_BLOCKS] = blocks;
  if (lastEnd > before) {
    clearBits(BITMAP_AT, before, lastEnd - before);
    chargeGroups(before, lastEnd - before, -1);
    W[FREE_BLOCKS]! += lastEnd - before;
    W[GROUP_DIRTY + lastGroup] = 1;
  }
  for (let group = lastGroup + 1; group < groupCount(); group++) loadGroup(group, 0);
}

/** Recounts what S1 says of the counters. Returns what is wrong, in words. For check, with nothing going on. */
export function recountSpace(): string[] {
  const wrong: string[] = [];
  let free = 0;
  let pending = 0;
  for (let group = 0; group < groupCount(); group++) {
    const clear = GROUP_BLOCKS - countGroup(BITMAP_AT, group);
    if (clear !== W[GROUP_FREE + group]) wrong.push(`group ${group} has ${clear} free blocks but counts ${W[GROUP_FREE + group]}`);
    free += clear;
    pending += countGroup(PENDING_AT, group) + countGroup(PENDING_AT + BITMAP_WORDS, group);
  }
  for (let at = WINDOWS_AT; at < WINDOWS_AT + WINDOW_COUNT * WINDOW_WORDS; at += WINDOW_WORDS) free += windowLength(at);
  if (free !== W[FREE_BLOCKS]) wrong.push(`${free} blocks are free, but ${W[FREE_BLOCKS]} are counted`);
  if (pending !== pendingBlocks()) wrong.push(`${pending} blocks wait to become free, but ${pendingBlocks()} are counted`);
  return wrong;
}

function countGroup(bitmap: number, group: number): number {
  let bits = 0;
  for (let i = 0; i < GROUP_WORDS; i++) bits += countBits(W[bitmap + group * GROUP_WORDS + i]!);
  return bits;
}

/** Whether a block was freed since the last complete checkpoint, which still needs it. */
export function isPending(block: BlockNumber): boolean {
  return bitIsSet(PENDING_AT, block) || bitIsSet(PENDING_AT + BITMAP_WORDS, block);
}

/** Whether the bit of a block is set, for check. */
export function blockIsTaken(block: BlockNumber): boolean {
  return bitIsSet(BITMAP_AT, block);
}

/** 1/64 of the volume, at least 128 blocks and at most 32 MiB: enough for the pages that removal and a checkpoint copy. */
export function reserveFor(blocks: number): number {
  return Math.min(8192, Math.max(128, blocks >>> 6));
}
