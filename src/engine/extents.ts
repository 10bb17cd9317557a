/**
 * Extents: which device blocks hold the blocks of a file, and how each sums up. All inside an operation.
 *
 * A record (inode, EXTENT, first file block) holds the first device block, the length, who wrote it and when, and one
 * crc32 for each block. What no extent covers is a hole and reads as zeros.
 *
 * Invariants
 *  E1  Extents of a file do not overlap; each has 1 to EXTENT_BLOCKS_MAX blocks.
 *  E2  No extent reaches beyond the last block of the file's size, and bytes of that block beyond the size are zero.
 *  E3  No stored block is all zeros.
 *  E4  `blocks` of the inode is the number of blocks its extents cover.
 *  E5  A block may be overwritten in place only if the layer of the operation owns it and it was allocated in the current
 *      generation, and since the last batch of the log was closed: nobody else refers to it then, neither another layer nor a
 *      checkpoint nor the log on the device.
 */
import { EXTENT, EXTENT_BLOCKS_MAX, type BlockNumber, type Ino } from '../layout/constants.js';
import { W } from '../layout/memory.js';
import {
  EXTENT_WORDS,
  extentBlock,
  extentGeneration,
  extentLength,
  extentOwner,
  recordKey0,
  recordLo,
  setExtentBlock,
  setExtentGeneration,
  setExtentLength,
  setExtentOwner,
} from '../layout/records.js';
import { generation } from './arena.js';
import { fail } from './errors.js';
import { opLayer, settleForLess } from './operation.js';
import { freeData } from './space.js';
import { findForUpdate, insert, next, recordType, remove, seek, seekFloor, valueOf } from './tree.js';

const FILE_BLOCK_MAX = 0xffff_ffff;
const UNREADABLE = -1;

/** By how many blocks the file that is being changed has grown since `takeStored`. */
let stored = 0;

/** The extent that is being cut or grown: its value, out of the way of the tree's changes. */
const cut = new Uint32Array(EXTENT_WORDS + EXTENT_BLOCKS_MAX);
const CUT_BLOCK = 0;
const CUT_LENGTH = 1;
const CUT_OWNER = 2;
const CUT_GENERATION = 3;
let cutStart = 0;

/** Forgets what an operation before may have counted and left behind when it failed. */
export function countFromZero(): void {
  stored = 0;
}

/** By how many blocks the file has grown since `countFromZero`; negative if it shrank. */
export function storedBlocks(): number {
  return stored;
}

// Looking

/** Address of the value of the extent that covers a file block, or of the first one behind it; 0 if there is none. Sets `extentStart`. */
export function seekExtent(ino: Ino, fileBlock: number): number {
  const floor = seekFloor(ino, EXTENT, 0, fileBlock);
  if (isExtentOf(floor, ino) && recordLo(floor) + extentLength(valueOf(floor)) > fileBlock) return keepStart(floor);
  const record = floor === 0 ? seek(ino, EXTENT, 0, fileBlock) : next();
  return isExtentOf(record, ino) ? keepStart(record) : 0;
}

/** The extent behind the one that `seekExtent` or this function answered last. Nothing but looking may have happened between. */
export function nextExtent(ino: Ino): number {
  const record = next();
  return isExtentOf(record, ino) ? keepStart(record) : 0;
}

/** The last extent that begins before a file block; 0 if there is none. */
export function extentBefore(ino: Ino, fileBlock: number): number {
  if (fileBlock === 0) return 0;
  const floor = seekFloor(ino, EXTENT, 0, fileBlock - 1);
  return isExtentOf(floor, ino) ? keepStart(floor) : 0;
}

/** First file block of the extent that was answered last. */
export let extentStart = 0;

function isExtentOf(record: number, ino: Ino): boolean {
  return record !== 0 && recordKey0(record) === ino && recordType(record) === EXTENT;
}

function keepStart(record: number): number {
  extentStart = recordLo(record);
  return valueOf(record);
}

/** Checksum of the `index`th block of an extent. */
export function extentSum(at: number, index: number): number {
  return W[at + EXTENT_WORDS + index]!;
}

/** Whether the layer of the operation wrote the extent in the current generation: only then may it grow, too. */
export function isRecent(at: number): boolean {
  return extentOwner(at) === opLayer() && extentGeneration(at) === generation();
}

// Changing

/** Gives blocks of an extent that begins at file block `start` new checksums, `count` from `sums[from]` on. */
export function replaceSums(ino: Ino, start: number, index: number, count: number, sums: Uint32Array, from: number): void {
  const record = findForUpdate(ino, EXTENT, 0, start);
  if (record === 0) fail('extents: what is overwritten is mapped', ino, start);
  const at = valueOf(record) + EXTENT_WORDS + index;
  for (let i = 0; i < count; i++) W[at + i] = sums[from + i]!;
}

/**
 * Makes file blocks [from, to) a hole, changing at most `most` extents, and frees the blocks that the layer owns. Returns
 * the file block up to which that is done. A page that cannot be read ends it early, like `most`.
 */
export function unmap(ino: Ino, from: number, to: number, most: number): number {
  let done = from;
  for (let i = 0; i < most; i++) {
    const at = searchFrom(ino, done);
    if (at === UNREADABLE) return done;
    if (at === 0 || extentStart >= to) return to;
    done = cutOut(ino, at, from, to);
  }
  return done;
}

/**
 * Makes everything from file block `from` on a hole, starting at the end, changing at most `most` extents. Returns the
 * file block behind which nothing is stored any more.
 */
export function unmapEnd(ino: Ino, from: number, most: number): number {
  let end = FILE_BLOCK_MAX;
  for (let i = 0; i < most; i++) {
    const at = searchLast(ino);
    if (at === UNREADABLE) return end;
    if (at === 0 || extentStart + extentLength(at) <= from) return from;
    end = Math.max(extentStart, from);
    cutOut(ino, at, from, FILE_BLOCK_MAX);
  }
  return end;
}

/** `seekExtent` for the next of several extents to cut; UNREADABLE if the cutting ends here. */
function searchFrom(ino: Ino, fileBlock: number): number {
  try {
    return seekExtent(ino, fileBlock);
  } catch (error) {
    settleForLess(error);
    return UNREADABLE;
  }
}

/** The file's last extent, in the same way. */
function searchLast(ino: Ino): number {
  try {
    return extentBefore(ino, FILE_BLOCK_MAX);
  } catch (error) {
    settleForLess(error);
    return UNREADABLE;
  }
}

/** Cuts [from, to) out of the extent at `at`. Returns the file block where the cut ends. */
function cutOut(ino: Ino, at: number, from: number, to: number): number {
  takeOut(ino, at);
  const length = cut[CUT_LENGTH]!;
  const head = Math.max(0, from - cutStart);
  const tail = Math.min(length, to - cutStart);
  if (head > 0) putPiece(ino, 0, head);
  if (tail < length) putPiece(ino, tail, length);
  if (cut[CUT_OWNER] === opLayer()) freeData(cut[CUT_BLOCK]! + head, tail - head);
  stored -= tail - head;
  return cutStart + tail;
}

/** Moves the extent that was answered last from the tree to `cut`. */
function takeOut(ino: Ino, at: number): void {
  cutStart = extentStart;
  const words = EXTENT_WORDS + extentLength(at);
  for (let word = 0; word < words; word++) cut[word] = W[at + word]!;
  remove(ino, EXTENT, 0, cutStart);
}

/** Puts blocks [from, to) of `cut` back, as an extent of their own. */
function putPiece(ino: Ino, from: number, to: number): void {
  const at = putExtent(ino, cutStart + from, cut[CUT_BLOCK]! + from, to - from, cut[CUT_OWNER]!, cut[CUT_GENERATION]!);
  for (let i = from; i < to; i++) W[at + EXTENT_WORDS + i - from] = cut[EXTENT_WORDS + i]!;
}

function putExtent(ino: Ino, start: number, block: BlockNumber, length: number, owner: number, written: number): number {
  const at = valueOf(insert(ino, EXTENT, 0, start, (EXTENT_WORDS + length) * 4));
  setExtentBlock(at, block);
  setExtentLength(at, length);
  setExtentOwner(at, owner);
  setExtentGeneration(at, written);
  return at;
}

/** Maps `count` blocks that were just allocated and written, from `block` on, at a hole that begins at `fileBlock`. */
export function map(ino: Ino, fileBlock: number, block: BlockNumber, count: number, sums: Uint32Array, from: number): void {
  stored += count;
  let done = growBefore(ino, fileBlock, block, count, sums, from);
  while (done < count) {
    const length = Math.min(count - done, EXTENT_BLOCKS_MAX);
    const at = putExtent(ino, fileBlock + done, block + done, length, opLayer(), generation());
    for (let i = 0; i < length; i++) W[at + EXTENT_WORDS + i] = sums[from + done + i]!;
    done += length;
  }
}

/** Lets the extent in front grow by as many of the blocks as belong to it and fit; returns how many. */
function growBefore(ino: Ino, fileBlock: number, block: BlockNumber, count: number, sums: Uint32Array, from: number): number {
  const before = extentBefore(ino, fileBlock);
  if (before === 0 || !isRecent(before)) return 0;
  const length = extentLength(before);
  if (extentStart + length !== fileBlock || extentBlock(before) + length !== block) return 0;
  const more = Math.min(count, EXTENT_BLOCKS_MAX - length);
  if (more === 0) return 0;
  takeOut(ino, before);
  for (let i = 0; i < more; i++) cut[EXTENT_WORDS + length + i] = sums[from + i]!;
  putPiece(ino, 0, length + more);
  return more;
}
