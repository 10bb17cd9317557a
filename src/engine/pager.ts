/**
 * The pager: tree pages in a fixed number of frames of the arena.
 *
 * A page is used between `pinPage` and `unpinPage`. A hash table over block numbers finds its frame; a stripe lock guards
 * each part of the table for the few instructions of a look-up. Eviction is second chance: a frame that nobody has pinned
 * and that was not used since the hand last passed is claimed, written if dirty, and taken out of the table.
 *
 * State of a frame (FRAME_STATE): -1 claimed by an evictor or being filled, otherwise the number of pins.
 *
 * Invariants
 *  P1  A claimed frame is changed only by the thread that claimed it; look-ups of its block wait until it is gone.
 *  P2  The contents of a page change only while it is pinned by a thread that holds the tree's lock exclusively, and only
 *      in the generation in which the page was allocated. So a page of a closed generation can be written at any time.
 *  P3  Nothing is written to a block that the last complete checkpoint refers to: pages get new blocks (tree.ts) and a
 *      block that is free in a checkpoint is allocated only after that checkpoint is complete (space.ts).
 *  P4  A page that came from the device has the right magic, block number, checksum and shape (page-shape.ts). Owner and generation are checked
 *      against the pointer that led to it (tree.ts), which finds pages that are valid but old.
 */
import { BLOCK_BYTES, BLOCK_WORDS, PAGE_MAGIC, type BlockNumber, type LayerIndex } from '../layout/constants.js';
import { I, W } from '../layout/memory.js';
import {
  pageBlock,
  pageChecksum,
  pageGeneration,
  pageMagic,
  setPageBlock,
  setPageChecksum,
  setPageGeneration,
  setPageMagic,
  setPageOwner,
} from '../layout/records.js';
import { crc32 } from '../linux/libc.js';
import {
  BUCKET_MASK,
  DIRTY_GROUP_FRAMES,
  DIRTY_PAGES,
  FRAME_BLOCK,
  FRAME_BUCKETS,
  FRAME_COUNT,
  FRAME_DIRTY,
  FRAME_DIRTY_GROUPS,
  FRAME_HAND,
  FRAME_LIMIT,
  FRAME_NEXT,
  FRAME_STATE,
  FRAME_USED,
  PAGES_AT,
  PAGES_READ,
  PAGES_WRITTEN,
  RUN_AT,
  RUN_BLOCKS,
  STRIPES_AT,
  STRIPE_COUNT,
  addressOfWord,
} from './arena.js';
import { bringNear, readBlocks, writeBlocks } from './device.js';
import { deferral } from './deferral.js';
import { BlockError, fail } from './errors.js';
import { lockExclusive, unlockExclusive } from './locks.js';
import { flawOf } from './page-shape.js';

const CLAIMED = -1;
/** A claimed frame is in the middle of one block of I/O; look again after this many milliseconds. */
const CLAIM_WAIT_MS = 1;
/** Pages are fetched from the device in aligned runs of so many: 64 KiB. */
const RUN_BLOCKS_READ = 16;
/** Chains are one or two frames long: there are at least two buckets for each frame. */
const CHAIN_STEPS_MAX = 16;

/** Fibonacci hashing: neighbouring blocks spread over all buckets. */
function bucketOf(block: BlockNumber): number {
  return (Math.imul(block, 0x9e3779b1) >>> 7) & BUCKET_MASK;
}

function stripeOf(bucket: number): number {
  return STRIPES_AT + (bucket & (STRIPE_COUNT - 1)) * 2;
}

function frameOf(page: number): number {
  return (page - PAGES_AT) / BLOCK_WORDS;
}

function pageOf(frame: number): number {
  return PAGES_AT + frame * BLOCK_WORDS;
}

/** The frame that holds a block, or -1. The stripe is held. */
function findFrame(bucket: number, block: BlockNumber): number {
  let frame = W[FRAME_BUCKETS + bucket]! - 1;
  while (frame >= 0 && W[FRAME_BLOCK + frame] !== block) frame = W[FRAME_NEXT + frame]! - 1;
  return frame;
}

/** Adds a pin unless the frame is claimed. */
function tryPin(frame: number): boolean {
  for (;;) {
    const pins = Atomics.load(I, FRAME_STATE + frame);
    if (pins === CLAIMED) return false;
    if (Atomics.compareExchange(I, FRAME_STATE + frame, pins, pins + 1) === pins) return true;
  }
}

/** Takes a claimed frame out of the hash table. */
function unlinkFrame(frame: number): void {
  const block = W[FRAME_BLOCK + frame]!;
  const bucket = bucketOf(block);
  const stripe = stripeOf(bucket);
  lockExclusive(stripe);
  let at = FRAME_BUCKETS + bucket;
  while (W[at]! - 1 !== frame) at = FRAME_NEXT + W[at]! - 1;
  W[at] = W[FRAME_NEXT + frame]!;
  W[FRAME_BLOCK + frame] = 0;
  // A thread that read this block from the device meanwhile must not use what it read (see pinPage).
  W[stripe + 1] = W[stripe + 1]! + 1;
  unlockExclusive(stripe);
}

/** Clears the dirty mark; returns whether it was set. */
function takeDirty(frame: number): boolean {
  const was = Atomics.exchange(I, FRAME_DIRTY + frame, 0) === 1;
  if (was) Atomics.sub(I, DIRTY_PAGES, 1);
  return was;
}

/** Empties a claimed frame, writing its page if it must be kept. False, with the frame released as it was, if that fails. */
function emptyFrame(frame: number): boolean {
  if (takeDirty(frame) && !writeFrame(frame)) {
    markDirty(pageOf(frame));
    returnFrame(frame);
    return false;
  }
  unlinkFrame(frame);
  return true;
}

/** The last page that could not be written to make room. */
let writeError: BlockError | null = null;

function writeFrame(frame: number): boolean {
  try {
    sealPage(pageOf(frame));
    writeBlocks(W[FRAME_BLOCK + frame]!, 1, addressOfWord(pageOf(frame)));
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    writeError = error;
    return false;
  }
  Atomics.add(I, PAGES_WRITTEN, 1);
  return true;
}

/**
 * Claims a frame that nobody uses and empties it. If the device takes no more writes, clean pages make room, as what is
 * asked for has nothing to do with the page that happens to be in the way. Throws BlockError when there are none either.
 */
function takeFrame(): number {
  const patience = FRAME_COUNT * 64;
  writeError = null;
  for (let tries = 0; tries < patience; tries++) {
    const frame = (Atomics.add(I, FRAME_HAND, 1) >>> 0) % W[FRAME_LIMIT]!;
    if (Atomics.load(I, FRAME_STATE + frame) !== 0) continue;
    if (W[FRAME_USED + frame] !== 0 && W[FRAME_BLOCK + frame] !== 0) {
      W[FRAME_USED + frame] = 0;
      continue;
    }
    if (writeError !== null && Atomics.load(I, FRAME_DIRTY + frame) === 1) continue;
    if (Atomics.compareExchange(I, FRAME_STATE + frame, 0, CLAIMED) !== 0) continue;
    if (W[FRAME_BLOCK + frame] === 0 || emptyFrame(frame)) return frame;
  }
  throw writeError ?? fail('pager: some frame is not pinned', FRAME_COUNT);
}

/** Puts a claimed frame into the table for `block` with one pin, unless another thread was faster. Returns the frame. */
function publishFrame(frame: number, block: BlockNumber, version: number): number {
  const bucket = bucketOf(block);
  const stripe = stripeOf(bucket);
  lockExclusive(stripe);
  const other = findFrame(bucket, block);
  if (other >= 0 || (version >= 0 && W[stripe + 1] !== version)) {
    unlockExclusive(stripe);
    Atomics.store(I, FRAME_STATE + frame, 0);
    return -1;
  }
  W[FRAME_BLOCK + frame] = block;
  W[FRAME_NEXT + frame] = W[FRAME_BUCKETS + bucket]!;
  W[FRAME_BUCKETS + bucket] = frame + 1;
  W[FRAME_USED + frame] = 1;
  Atomics.store(I, FRAME_STATE + frame, 1);
  unlockExclusive(stripe);
  return frame;
}

/** Gives a claimed frame back, empty. */
function returnFrame(frame: number): void {
  Atomics.store(I, FRAME_STATE + frame, 0);
}

/** What pinning a cached block came to: a pinned frame, or one of these. */
const ABSENT = -1;
const BUSY = -2;
let stripeVersion = 0;

/**
 * Pins a block that is cached, without a lock. The table may change meanwhile: chains may be cut short or lead elsewhere,
 * so whatever is found is proved after it is pinned – a pinned frame keeps its block – and a miss proves nothing.
 */
function pinOptimistic(bucket: number, block: BlockNumber): number {
  let frame = W[FRAME_BUCKETS + bucket]! - 1;
  for (let steps = 0; frame >= 0 && W[FRAME_BLOCK + frame] !== block; steps++) {
    if (steps === CHAIN_STEPS_MAX) return ABSENT;
    frame = W[FRAME_NEXT + frame]! - 1;
  }
  if (frame < 0 || !tryPin(frame)) return ABSENT;
  if (W[FRAME_BLOCK + frame] === block) return frame;
  Atomics.sub(I, FRAME_STATE + frame, 1);
  return ABSENT;
}

function pinCached(block: BlockNumber): number {
  const bucket = bucketOf(block);
  const quick = pinOptimistic(bucket, block);
  if (quick >= 0) {
    if (W[FRAME_USED + quick] === 0) W[FRAME_USED + quick] = 1;
    return quick;
  }
  return pinLocked(bucket, block);
}

function pinLocked(bucket: number, block: BlockNumber): number {
  const stripe = stripeOf(bucket);
  lockExclusive(stripe);
  stripeVersion = W[stripe + 1]!;
  const frame = findFrame(bucket, block);
  const pinned = frame >= 0 && tryPin(frame);
  unlockExclusive(stripe);
  if (frame < 0) return ABSENT;
  if (!pinned) {
    Atomics.wait(I, FRAME_STATE + frame, CLAIMED, CLAIM_WAIT_MS);
    return BUSY;
  }
  if (W[FRAME_USED + frame] === 0) W[FRAME_USED + frame] = 1;
  return frame;
}

/** Reads a page into a claimed frame and proves it. Throws BlockError or `deferral` with the frame given back. */
function fillFrame(frame: number, block: BlockNumber): void {
  const page = pageOf(frame);
  try {
    readBlocks(block, 1, addressOfWord(page));
    Atomics.add(I, PAGES_READ, 1);
    verifyPage(page, block);
  } catch (error) {
    returnFrame(frame);
    throw error;
  }
}

function verifyPage(page: number, block: BlockNumber): void {
  if (pageMagic(page) !== PAGE_MAGIC || pageBlock(page) !== block)
    throw new BlockError(block, `block ${block} is not the tree page that belongs there`);
  if (pageChecksum(page) !== checksumOf(page)) throw new BlockError(block, `tree page in block ${block} has a wrong checksum`);
  const flaw = flawOf(page);
  if (flaw !== null) throw new BlockError(block, `tree page in block ${block} has a right checksum, but ${flaw} cannot be right`);
}

function checksumOf(page: number): number {
  return crc32(0, addressOfWord(page) + 8, BLOCK_BYTES - 8);
}

/** Makes the header of a page ready for the device. */
export function sealPage(page: number): void {
  setPageChecksum(page, checksumOf(page));
}

/** Whether the last `pinPage` has read the page from the device. */
export let isFresh = false;

/** Pins the page in `block`, reading it if need be. Returns its word address. Throws BlockError or `deferral`. */
export function pinPage(block: BlockNumber): number {
  for (;;) {
    const cached = pinCached(block);
    if (cached >= 0) {
      isFresh = false;
      return pageOf(cached);
    }
    if (cached === BUSY) continue;
    const version = stripeVersion;
    if (!bringNear(block, 1, RUN_BLOCKS_READ)) throw deferral; // before a frame is emptied for it
    const frame = takeFrame();
    fillFrame(frame, block);
    if (publishFrame(frame, block, version) < 0) continue;
    isFresh = true;
    return pageOf(frame);
  }
}

export function unpinPage(page: number): void {
  if (Atomics.sub(I, FRAME_STATE + frameOf(page), 1) <= 0) fail('pager: only a pinned page is unpinned', page);
}

/**
 * A page, zeroed but for its header, for a block that was just allocated, pinned and dirty. A stale copy of an earlier life
 * is dropped. Owner and generation are set before others can see the page: one without them would look like a page of a
 * closed generation, which a checkpoint writes and calls clean while it is being filled.
 */
export function newPage(block: BlockNumber, owner: LayerIndex, generation: number): number {
  for (;;) {
    dropPage(block);
    const frame = takeFrame();
    const page = pageOf(frame);
    W.fill(0, page, page + BLOCK_WORDS);
    setPageMagic(page, PAGE_MAGIC);
    setPageBlock(page, block);
    setPageOwner(page, owner);
    setPageGeneration(page, generation);
    if (publishFrame(frame, block, -1) < 0) continue;
    markDirty(page);
    return page;
  }
}

/** Forgets a cached page whose block no longer holds one. */
export function dropPage(block: BlockNumber): void {
  for (let frame = pinCached(block); frame !== ABSENT; frame = pinCached(block)) {
    if (frame === BUSY) continue;
    takeDirty(frame);
    if (Atomics.compareExchange(I, FRAME_STATE + frame, 1, CLAIMED) === 1) {
      unlinkFrame(frame);
      return returnFrame(frame);
    }
    // The checkpoint or an evictor looks at the frame for a moment.
    unpinPage(pageOf(frame));
  }
}

export function markDirty(page: number): void {
  const frame = frameOf(page);
  if (Atomics.exchange(I, FRAME_DIRTY + frame, 1) !== 0) return;
  Atomics.store(I, groupOf(frame), 1); // after the mark, so that a checkpoint that clears it finds the mark
  Atomics.add(I, DIRTY_PAGES, 1);
}

/** The page was freed in the generation that made it: no checkpoint will ever need it. */
export function markClean(page: number): void {
  takeDirty(frameOf(page));
}

/**
 * Writes every dirty page of generation `last` or older, in runs of neighbouring blocks. Those pages do not change any
 * more (P2). One thread at a time. Returns the number of pages. Throws BlockError.
 */
export function writeDirtyPages(last: number): number {
  const blocks = dirtyBlocks(last);
  let written = 0;
  for (let at = 0; at < blocks.length;) {
    const run = gatherRun(blocks, at, last);
    if (run > 0) writeRun(blocks[at]!, run);
    written += run;
    at += Math.max(run, 1);
  }
  Atomics.add(I, PAGES_WRITTEN, written);
  return written;
}

function groupOf(frame: number): number {
  return FRAME_DIRTY_GROUPS + Math.floor(frame / DIRTY_GROUP_FRAMES);
}

/** Block numbers of the dirty pages in question, ascending. */
function dirtyBlocks(last: number): Float64Array {
  const blocks: BlockNumber[] = [];
  for (let frame = 0; frame < FRAME_COUNT; frame += DIRTY_GROUP_FRAMES) {
    if (Atomics.exchange(I, groupOf(frame), 0) !== 0) addDirtyOfGroup(frame, last, blocks);
  }
  return Float64Array.from(blocks).sort();
}

/** The group stays marked while a frame is dirty: the next checkpoint looks again. */
function addDirtyOfGroup(first: number, last: number, blocks: BlockNumber[]): void {
  for (let frame = first; frame < Math.min(first + DIRTY_GROUP_FRAMES, FRAME_COUNT); frame++) {
    if (!isDirty(frame)) continue;
    Atomics.store(I, groupOf(first), 1);
    const block = W[FRAME_BLOCK + frame]!;
    if (block !== 0 && pageGeneration(pageOf(frame)) <= last) blocks.push(block);
  }
}

/** Whether a frame is dirty. An evictor takes the mark away before it writes, so a claimed frame is waited for. */
function isDirty(frame: number): boolean {
  for (;;) {
    if (Atomics.load(I, FRAME_DIRTY + frame) === 1) return true;
    if (Atomics.load(I, FRAME_STATE + frame) === CLAIMED) Atomics.wait(I, FRAME_STATE + frame, CLAIMED, CLAIM_WAIT_MS);
    else if (Atomics.load(I, FRAME_DIRTY + frame) === 0) return false;
  }
}

const runFrames = new Int32Array(RUN_BLOCKS);

/** Copies the pages of consecutive blocks from `at` on to RUN_AT and leaves them pinned; returns how many. */
function gatherRun(blocks: Float64Array, at: number, last: number): number {
  let run = 0;
  while (run < RUN_BLOCKS && at + run < blocks.length && blocks[at + run] === blocks[at]! + run) {
    const frame = pinDirty(blocks[at + run]!, last);
    if (frame < 0) break;
    runFrames[run] = frame;
    const page = pageOf(frame);
    sealPage(page);
    W.copyWithin(RUN_AT + run * BLOCK_WORDS, page, page + BLOCK_WORDS);
    run++;
  }
  return run;
}

/** Pins a block that is cached, dirty and of generation `last` or older; -1 if an evictor wrote it meanwhile. */
function pinDirty(block: BlockNumber, last: number): number {
  for (;;) {
    const frame = pinCached(block);
    if (frame === ABSENT) return -1;
    if (frame === BUSY) continue;
    // Only now is it certain which page the frame holds: it was listed without a pin.
    if (Atomics.load(I, FRAME_DIRTY + frame) === 1 && pageGeneration(pageOf(frame)) <= last) return frame;
    unpinPage(pageOf(frame));
    return -1;
  }
}

/** Writes the run that was gathered and lets go of its pages, which are clean then, unless the device failed. */
function writeRun(block: BlockNumber, run: number): void {
  try {
    writeBlocks(block, run, addressOfWord(RUN_AT));
    for (let i = 0; i < run; i++) takeDirty(runFrames[i]!);
  } finally {
    for (let i = 0; i < run; i++) unpinPage(pageOf(runFrames[i]!));
  }
}

/** Drops every clean page that nobody uses; returns how many. */
export function dropCleanPages(): number {
  let dropped = 0;
  for (let frame = 0; frame < FRAME_COUNT; frame++) {
    if (W[FRAME_BLOCK + frame] === 0 || Atomics.load(I, FRAME_DIRTY + frame) === 1) continue;
    if (Atomics.compareExchange(I, FRAME_STATE + frame, 0, CLAIMED) !== 0) continue;
    if (W[FRAME_BLOCK + frame] !== 0 && Atomics.load(I, FRAME_DIRTY + frame) === 0) {
      unlinkFrame(frame);
      dropped++;
    }
    returnFrame(frame);
  }
  return dropped;
}

/** Lets the pager use `frames` frames (at least 1,024, at most what was reserved) and empties the others. */
export function limitFrames(frames: number): number {
  const limit = Math.min(Math.max(frames, 1024), FRAME_COUNT);
  Atomics.store(I, FRAME_LIMIT, limit);
  for (let frame = limit; frame < FRAME_COUNT; frame++) {
    if (Atomics.compareExchange(I, FRAME_STATE + frame, 0, CLAIMED) !== 0) continue;
    // A page that cannot be written stays where it is: the next checkpoint tells of the device.
    if (W[FRAME_BLOCK + frame] === 0 || emptyFrame(frame)) returnFrame(frame);
  }
  return limit;
}

export function cachedPages(): number {
  let count = 0;
  for (let frame = 0; frame < FRAME_COUNT; frame++) if (W[FRAME_BLOCK + frame] !== 0) count++;
  return count;
}
