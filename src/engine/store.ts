/**
 * Storing bytes in a file: the one way in which data blocks come into being. Inside an operation.
 *
 * A piece of at most STORE_BLOCKS_MAX blocks goes through these steps, each of which fills a column of the tables below,
 * one row for each block:
 *   1. survey    what the blocks are mapped to now
 *   2. fill      a first and a last block that the piece covers only in part: the rest comes from what is stored
 *   3. sum       checksums; all-zero blocks are not stored
 *   4. fit       how many of the blocks the layer's quota lets in
 *   5. place     overwritable blocks stay where they are (E5), the others get new ones
 *   6. writeOut  the data goes to the device
 *   7. record    the extents are changed
 * Until step 7 nothing has changed but the contents of blocks that nobody else can see, so whatever fails before ends as
 * an error of this piece alone; `abandonStore` then gives the new blocks back.
 */
import { BLOCK_BYTES, type BlockNumber, type Ino } from '../layout/constants.js';
import { extentBlock, extentLength, extentOwner, layerOwnBlocks, layerQuotaBlocks } from '../layout/records.js';
import { clearBytes, copyBytes, equalBytes } from '../linux/bytes.js';
import { EDQUOT, EIO, ENOSPC } from '../linux/errno.js';
import { crc32, ioBuffer } from '../linux/libc.js';
import { reportCorruption } from './corruption.js';
import { forbidDeferral } from './deferral.js';
import { readBlocks, writeBlocks } from './device.js';
import { fail } from './errors.js';
import { extentBefore, extentStart, extentSum, isRecent, map, nextExtent, replaceSums, seekExtent, unmap } from './extents.js';
import { abandon, opLayer, opRecord } from './operation.js';
import { noteOverwrite } from './overwrites.js';
import { allocateData, allocatedLength, freeData, isFreshBlock } from './space.js';

/** 1 MiB, and one block more for a piece that does not begin at a block. */
export const STORE_BLOCKS_MAX = 257;

/**
 * Changes of the tree to admit for a piece. At worst each block is an extent of its own that is taken out and put back; but
 * those records are neighbours, of 40 bytes: 16 fill a sixth of a page, and a change admits six pages. The inode and what is
 * split at both ends come on top.
 */
export function storeChanges(blocks: number): number {
  return 3 + Math.ceil(blocks / 16);
}

/** As a source: bytes that are all zero. */
export const ZEROS = 0;

/** Room for the first and the last block of a piece, and a block of zeros. The functions below keep it alive: an address does not. */
const edges = ioBuffer(3 * BLOCK_BYTES);
const firstEdge = (): number => edges.address;
const lastEdge = (): number => edges.address + BLOCK_BYTES;
const zeroBlock = (): number => edges.address + 2 * BLOCK_BYTES;
const ZERO_SUM = crc32(0, zeroBlock(), BLOCK_BYTES);

// Tables, one row for each block of the piece.

/** 1. Device block that holds the block now; 0 for a hole. */
const oldBlock = new Uint32Array(STORE_BLOCKS_MAX);
const oldSum = new Uint32Array(STORE_BLOCKS_MAX);
/** First file block of the extent that covers it. */
const oldStart = new Uint32Array(STORE_BLOCKS_MAX);
/** HOLE, or how the extent is held. */
const holding = new Uint8Array(STORE_BLOCKS_MAX);
const HOLE = 0;
const INHERITED = 1;
const OWN = 2;
const OVERWRITABLE = 3;
/** 2. Machine address of the new contents. */
const source = new Float64Array(STORE_BLOCKS_MAX);
/** 3. Checksum of the new contents, and whether they are all zero. */
const newSum = new Uint32Array(STORE_BLOCKS_MAX);
const isZero = new Uint8Array(STORE_BLOCKS_MAX);
/** 5. Device block that will hold the block; 0 for a hole. */
const newBlock = new Uint32Array(STORE_BLOCKS_MAX);

/** Where the next new block would lie best; 0 if it is all the same. */
let goal: BlockNumber = 0;

/** Runs allocated by the piece, until the extents refer to them. */
const runBlock = new Uint32Array(STORE_BLOCKS_MAX);
const runLength = new Uint32Array(STORE_BLOCKS_MAX);
let runs = 0;

/**
 * Stores `size` bytes from the machine address `from` (or zeros) at `offset`. The size of the file is not touched.
 * Returns how many bytes were stored: fewer when the quota is reached; -EDQUOT, -ENOSPC or -EIO if none were.
 */
export function storeBytes(ino: Ino, offset: number, size: number, from: number): number {
  const first = Math.floor(offset / BLOCK_BYTES);
  const start = first * BLOCK_BYTES;
  const count = Math.ceil((offset + size) / BLOCK_BYTES) - first;
  runs = 0;
  survey(ino, first, count);
  if (!fill(ino, first, count, offset - start, size, from)) return -EIO;
  sum(count);
  const fitting = fit(count);
  if (fitting === 0) return -EDQUOT;
  const placed = place(ino, fitting);
  if (placed === 0) return -ENOSPC;
  forbidDeferral(); // what is overwritten no longer sums up to what the extents say
  if (overwrites(placed)) noteOverwrite(opLayer(), ino, first, placed);
  writeOut(placed);
  record(ino, first, placed);
  return Math.min(size, placed * BLOCK_BYTES - (offset - start));
}

/** For the `catch` of an operation that stores: gives back blocks that nothing refers to yet, then abandons it. */
export function abandonStore(error: unknown): number {
  for (let run = 0; run < runs; run++) freeData(runBlock[run]!, runLength[run]!);
  runs = 0;
  return abandon(error);
}

// 1

function survey(ino: Ino, first: number, count: number): void {
  for (let row = 0; row < count; row++) {
    oldBlock[row] = 0;
    holding[row] = HOLE;
  }
  const before = extentBefore(ino, first);
  goal = before === 0 ? 0 : extentBlock(before) + extentLength(before);
  const end = first + count;
  for (let at = seekExtent(ino, first); at !== 0; at = nextExtent(ino)) {
    if (extentStart >= end) break;
    surveyExtent(at, first, count);
  }
}

function surveyExtent(at: number, first: number, count: number): void {
  const held = extentOwner(at) === opLayer() ? OWN : INHERITED;
  const recent = isRecent(at);
  const from = Math.max(first, extentStart);
  const to = Math.min(first + count, extentStart + extentLength(at));
  for (let block = from; block < to; block++) {
    const row = block - first;
    oldBlock[row] = extentBlock(at) + block - extentStart;
    oldSum[row] = extentSum(at, block - extentStart);
    oldStart[row] = extentStart;
    holding[row] = recent && isFreshBlock(oldBlock[row]!) ? OVERWRITABLE : held;
  }
}

// 2

/** `skip` is where the piece begins in its first block. False if a block that is kept in part is corrupted. */
function fill(ino: Ino, first: number, count: number, skip: number, size: number, from: number): boolean {
  for (let row = 0; row < count; row++) source[row] = from === ZEROS ? zeroBlock() : from - skip + row * BLOCK_BYTES;
  const end = skip + size;
  const last = count - 1;
  const tail = end - last * BLOCK_BYTES;
  if (skip > 0 || (last === 0 && tail < BLOCK_BYTES)) {
    if (!fillEdge(ino, first, 0, firstEdge(), skip, Math.min(end, BLOCK_BYTES), from)) return false;
  }
  if (last > 0 && tail < BLOCK_BYTES) return fillEdge(ino, first, last, lastEdge(), 0, tail, from === ZEROS ? ZEROS : source[last]!);
  return true;
}

/** Makes the new contents of one block at `edge`: what is stored, but bytes [from, to) taken from `bytes` on. */
function fillEdge(ino: Ino, first: number, row: number, edge: number, from: number, to: number, bytes: number): boolean {
  source[row] = edge;
  if (oldBlock[row] === 0) clearBytes(edge, BLOCK_BYTES);
  else {
    readBlocks(oldBlock[row]!, 1, edge);
    if (crc32(0, edge, BLOCK_BYTES) !== oldSum[row]) return reportCorruption(ino, first + row, oldBlock[row]!);
  }
  if (bytes === ZEROS) clearBytes(edge + from, to - from);
  else copyBytes(edge + from, bytes, to - from);
  return true;
}

// 3

function sum(count: number): void {
  for (let row = 0; row < count; row++) {
    const crc = crc32(0, source[row]!, BLOCK_BYTES);
    newSum[row] = crc;
    isZero[row] = crc === ZERO_SUM && equalBytes(source[row]!, zeroBlock(), BLOCK_BYTES) ? 1 : 0;
  }
}

// 4

/** How many rows can be stored before the layer owns more blocks than its quota. A block that it owns already costs nothing. */
function fit(count: number): number {
  const quota = layerQuotaBlocks(opRecord());
  if (quota === 0) return count;
  let room = quota - layerOwnBlocks(opRecord());
  for (let row = 0; row < count; row++) {
    const owned = holding[row]! >= OWN;
    if (isZero[row] === 1) room += owned ? 1 : 0;
    else if (!owned && --room < 0) return row;
  }
  return count;
}

// 5

/** Decides where the rows go. Returns for how many of them there was room. */
function place(ino: Ino, count: number): number {
  for (let row = 0; row < count;) {
    if (isZero[row] === 1) newBlock[row++] = 0;
    else if (holding[row] === OVERWRITABLE) {
      newBlock[row] = oldBlock[row]!;
      goal = oldBlock[row++]! + 1;
    } else {
      const length = placeRun(ino, row, count);
      if (length === 0) return row;
      row += length;
    }
  }
  return count;
}

/** Allocates one run for the rows from `row` on. Returns its length, 0 if there is no space. */
function placeRun(ino: Ino, row: number, count: number): number {
  let want = 1;
  while (row + want < count && needsBlock(row + want)) want++;
  const block = allocateData(ino, goal, want);
  if (block === 0) return 0;
  const length = allocatedLength;
  runBlock[runs] = block;
  runLength[runs++] = length;
  for (let i = 0; i < length; i++) newBlock[row + i] = block + i;
  goal = block + length;
  return length;
}

function needsBlock(row: number): boolean {
  return isZero[row] === 0 && holding[row] !== OVERWRITABLE;
}

// 6

function overwrites(count: number): boolean {
  for (let row = 0; row < count; row++) if (stays(row)) return true;
  return false;
}

function writeOut(count: number): void {
  for (let row = 0; row < count;) {
    if (newBlock[row] === 0) {
      row++;
      continue;
    }
    let length = 1;
    while (row + length < count && continues(row + length)) length++;
    writeBlocks(newBlock[row]!, length, source[row]!);
    row += length;
  }
}

/** Whether a row follows the one before it both on the device and in memory. */
function continues(row: number): boolean {
  return newBlock[row] === newBlock[row - 1]! + 1 && source[row] === source[row - 1]! + BLOCK_BYTES;
}

// 7

/** Blocks that stay come first: the others may cut the extents in which those lie. */
function record(ino: Ino, first: number, count: number): void {
  runs = 0;
  for (let row = 0; row < count;) row = stays(row) ? recordOverwritten(ino, first, row, count) : row + 1;
  for (let row = 0; row < count;) row = stays(row) ? row + 1 : recordMoved(ino, first, row, count);
}

/** Whether a block is overwritten where it is. */
function stays(row: number): boolean {
  return isZero[row] === 0 && holding[row] === OVERWRITABLE;
}

/** Records blocks of one extent that stayed, from `row` on. Returns the row behind them. */
function recordOverwritten(ino: Ino, first: number, row: number, count: number): number {
  const start = oldStart[row]!;
  let end = row + 1;
  while (end < count && stays(end) && oldStart[end] === start) end++;
  replaceSums(ino, start, first + row - start, end - row, newSum, row);
  return end;
}

/** Records blocks in a row that got new places or became holes. Returns the row behind them. */
function recordMoved(ino: Ino, first: number, row: number, count: number): number {
  let end = row;
  let mapped = false;
  while (end < count && !stays(end)) mapped = holding[end++] !== HOLE || mapped;
  if (mapped && unmap(ino, first + row, first + end, STORE_BLOCKS_MAX) < first + end) fail('store: what was surveyed is read', ino);
  for (let at = row; at < end;) at = newBlock[at] === 0 ? at + 1 : recordRun(ino, first, at, end);
  return end;
}

/** Maps a run of new blocks. Returns the row behind it. */
function recordRun(ino: Ino, first: number, row: number, end: number): number {
  let length = 1;
  while (row + length < end && newBlock[row + length] === newBlock[row]! + length) length++;
  map(ino, first + row, newBlock[row]!, length, newSum, row);
  return row + length;
}
