/**
 * Planned reads: a READ of a file whose blocks are fetched after the layer's lock was given back, several at a time and
 * without a thread that waits.
 *
 *   planRead       under the lock: notes in a plan which blocks to fetch to where, and what each sums up to
 *   readRunsNow    fetches the runs that are at hand; the others, `waitsFor`, are for the caller to fetch
 *   provePlan      when all have come: proves them, and clears holes and what lies behind the end
 *
 * Nothing keeps a block of a writable layer from being overwritten or given to another file meanwhile. Its checksum finds
 * that out; a plan that cannot be proved, for this or a worse reason, is read again by `read` (contents.ts), which holds
 * the lock and tells damage from change.
 *
 * Contents of a sealed layer never change, and the kernel caches them by file: so they are read past its cache of the
 * device. Only what that holds already, as after an import, is taken from there, and leaves it. Small files, which lie
 * together, are fetched into it with their neighbours, as these are likely to be asked for next. Other
 * layers are read through it: its own reading ahead makes up for the copy.
 */
import { BLOCK_BYTES, LAYER_SEALED, type BlockNumber, type Ino, type LayerIndex } from '../layout/constants.js';
import { extentBlock, extentLength, layerState } from '../layout/records.js';
import { clearBytes } from '../linux/bytes.js';
import { crc32 } from '../linux/libc.js';
import { sumOfBlocks } from './block-sums.js';
import { bringNear, currentDevice, readBlocksDirect, readBlocksNow, takeFromCache } from './device.js';
import { extentStart, extentSum, nextExtent, seekExtent } from './extents.js';
import { findRegular, inodeSize } from './inode.js';
import { abandon, beginRead, end, opRecord } from './operation.js';

/** The longest request has 1 MiB. */
export const PLAN_BLOCKS_MAX = 256;
/** A file in more pieces than this is read in the ordinary way. */
export const PLAN_RUNS_MAX = 32;
/** A file of a sealed layer with no more than this is fetched with its neighbours: 64 KiB. */
const SMALL_BYTES = 16 * BLOCK_BYTES;
/** Small files are fetched in aligned runs of so many blocks: 128 KiB. */
const NEIGHBOURHOOD_BLOCKS = 32;
/** Returned for a request that is not planned. Beyond any error number. */
export const NOT_PLANNED = -0x1_0003;

/** What a request reads. Made once for each buffer and used again and again. */
export class ReadPlan {
  /** Bytes that the request gets. */
  length = 0;
  isSealed = false;
  /** To be fetched with what lies around it. */
  isSmall = false;
  runs = 0;
  /** For each run: its first block, how many, and which block of the request the first one is. */
  readonly runBlock = new Uint32Array(PLAN_RUNS_MAX);
  readonly runBlocks = new Uint32Array(PLAN_RUNS_MAX);
  readonly runAt = new Uint32Array(PLAN_RUNS_MAX);
  /** Runs that are not at hand. */
  waiting = 0;
  readonly waitsFor = new Uint32Array(PLAN_RUNS_MAX);
  /** Checksums of the blocks of the request; those of holes mean nothing. */
  readonly sums = new Uint32Array(PLAN_BLOCKS_MAX);
}

/** Whether a request can be planned: whole blocks, as those that fill the kernel's cache are. */
export function isPlannable(offset: number, size: number): boolean {
  return offset % BLOCK_BYTES === 0 && size % BLOCK_BYTES === 0 && size <= PLAN_BLOCKS_MAX * BLOCK_BYTES;
}

/**
 * Plans to read `size` bytes from `offset`, which `isPlannable` has let through. Returns how many there are before the end of
 * the file; NOT_PLANNED for a file in too many pieces and, with `sealedOnly`, of a layer that is not sealed; else as `read`.
 */
export function planRead(plan: ReadPlan, layer: LayerIndex, ino: Ino, offset: number, size: number, sealedOnly: boolean): number {
  const refused = beginRead(layer);
  if (refused < 0) return refused;
  plan.isSealed = layerState(opRecord()) === LAYER_SEALED;
  if (sealedOnly && !plan.isSealed) return end(NOT_PLANNED);
  try {
    return end(planBlocks(plan, ino, offset, size));
  } catch (error) {
    return abandon(error);
  }
}

function planBlocks(plan: ReadPlan, ino: Ino, offset: number, size: number): number {
  const inode = findRegular(ino);
  if (inode < 0) return inode;
  plan.runs = 0;
  plan.length = Math.max(0, Math.min(size, inodeSize(inode) - offset));
  plan.isSmall = plan.isSealed && inodeSize(inode) <= SMALL_BYTES;
  const first = offset / BLOCK_BYTES;
  const last = first + Math.ceil(plan.length / BLOCK_BYTES);
  for (let at = seekExtent(ino, first); at !== 0; at = nextExtent(ino)) {
    if (extentStart >= last) break;
    if (!planExtent(plan, at, first, last)) return NOT_PLANNED;
  }
  return plan.length;
}

/** Adds what an extent holds of file blocks [first, last). False if the plan is full. */
function planExtent(plan: ReadPlan, at: number, first: number, last: number): boolean {
  const from = Math.max(first, extentStart);
  const to = Math.min(last, extentStart + extentLength(at));
  if (to <= from) return true;
  for (let block = from; block < to; block++) plan.sums[block - first] = extentSum(at, block - extentStart);
  return addRun(plan, extentBlock(at) + from - extentStart, to - from, from - first);
}

/** Adds a run, to the one before if it goes on there. */
function addRun(plan: ReadPlan, block: BlockNumber, count: number, at: number): boolean {
  const before = plan.runs - 1;
  if (before >= 0) {
    const length = plan.runBlocks[before]!;
    if (plan.runBlock[before]! + length === block && plan.runAt[before]! + length === at) {
      plan.runBlocks[before] = length + count;
      return true;
    }
    if (plan.runs === PLAN_RUNS_MAX) return false;
  }
  plan.runBlock[plan.runs] = block;
  plan.runBlocks[plan.runs] = count;
  plan.runAt[plan.runs++] = at;
  return true;
}

/**
 * Reads the runs that are at hand to their places in the buffer at `to`; those of a small file are made so, for which the
 * request may be put aside. Returns how many are not.
 */
export function readRunsNow(plan: ReadPlan, to: number): number {
  plan.waiting = 0;
  if (plan.isSmall && !bringRunsNear(plan)) return plan.runs;
  for (let run = 0; run < plan.runs; run++) if (!readRunNow(plan, run, to)) plan.waitsFor[plan.waiting++] = run;
  return plan.waiting;
}

function bringRunsNear(plan: ReadPlan): boolean {
  for (let run = 0; run < plan.runs; run++) {
    if (!bringNear(plan.runBlock[run]!, plan.runBlocks[run]!, NEIGHBOURHOOD_BLOCKS)) return false;
  }
  return true;
}

function readRunNow(plan: ReadPlan, run: number, to: number): boolean {
  const address = to + plan.runAt[run]! * BLOCK_BYTES;
  return plan.isSealed && currentDevice().directFd !== undefined
    ? takeFromCache(plan.runBlock[run]!, plan.runBlocks[run]!, address)
    : readBlocksNow(plan.runBlock[run]!, plan.runBlocks[run]!, address);
}

/** Descriptor to read the other runs through; -1 if there is none. */
export function planFd(plan: ReadPlan): number {
  const { fd, directFd } = currentDevice();
  return (plan.isSealed ? directFd : undefined) ?? fd ?? -1;
}

/** Reads all runs of a plan for a sealed layer, and waits for them. False if one cannot be read. */
export function readRunsWaiting(plan: ReadPlan, to: number): boolean {
  for (let i = readRunsNow(plan, to) - 1; i >= 0; i--) {
    const run = plan.waitsFor[i]!;
    if (!readBlocksDirect(plan.runBlock[run]!, plan.runBlocks[run]!, to + plan.runAt[run]! * BLOCK_BYTES)) return false;
  }
  return true;
}

/** Whether what was read is what the plan wants; then the buffer at `to` is made the file's contents. */
export function provePlan(plan: ReadPlan, to: number): boolean {
  let row = 0;
  for (let run = 0; run < plan.runs; run++) {
    const at = plan.runAt[run]!;
    const count = plan.runBlocks[run]!;
    if (at > row) clearBytes(to + row * BLOCK_BYTES, (at - row) * BLOCK_BYTES);
    if (crc32(0, to + at * BLOCK_BYTES, count * BLOCK_BYTES) !== sumOfBlocks(plan.sums, at, count)) return false;
    row = at + count;
  }
  if (plan.length > row * BLOCK_BYTES) clearBytes(to + row * BLOCK_BYTES, plan.length - row * BLOCK_BYTES);
  return true;
}
