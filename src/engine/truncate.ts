/**
 * Changing the size of a file, and fallocate(2).
 *
 * What must be freed may be a terabyte, so it goes in steps, each an operation of its own that frees a bounded number of
 * extents. A file is cut from its end: after each step it is a whole file of some size in between, also after a crash.
 * What can be refused – a new block for the bytes of the last block that stay – comes in the first step.
 *
 * fallocate without a mode, and ZERO_RANGE, do not set blocks aside: a copy-on-write file needs new blocks again after
 * each checkpoint anyway. They fail with ENOSPC or EDQUOT when the range could not be stored now, so that programs that ask
 * in advance whether there is room get an answer.
 */
import { BLOCK_BYTES, FILE_BYTES_MAX, type Ino, type LayerIndex } from '../layout/constants.js';
import { inodeBlocks, inodeFlags, inodeMode, layerOwnBlocks, layerQuotaBlocks, setInodeMode } from '../layout/records.js';
import { EDQUOT, EFBIG, EINVAL, ENOSPC, EOPNOTSUPP } from '../linux/errno.js';
import { readClock } from './clock.js';
import { countFromZero, storedBlocks, unmap, unmapEnd } from './extents.js';
import { addInodeBlocks, changeInode, findRegular, inodeSize, keepFound, ownContents, setInodeSize, stampContents } from './inode.js';
import { abandon, beginRead, beginWrite, end, opRecord } from './operation.js';
import { dropCapability, foreseeCapability, withoutSetIds } from './privileges.js';
import { withhold } from './origins.js';
import { ZEROS, abandonStore, storeBytes, storeChanges } from './store.js';

/** Modes of `allocate` (linux/falloc.h). */
export const KEEP_SIZE = 1;
export const PUNCH_HOLE = 2;
export const ZERO_RANGE = 16;

/** Extents freed in one operation: 128 × 256 KiB = 32 MiB. */
const EXTENTS_PER_STEP = 128;
/** A step that is not the last one. */
const MORE = 1;

/** Changes of the tree to admit for taking out `extents` neighbouring extents, of 308 bytes at most: 8 of them are less than the six pages of a change. */
export function unmapChanges(extents: number): number {
  return 2 + Math.ceil(extents / 8);
}

/** One more try with less, down to a single extent, when a step was not admitted. Returns 0 if that was it. */
export function fewerExtents(extents: number): number {
  return Math.floor(extents / 8);
}

/**
 * Makes a file `size` bytes long. With `killSetIds` it loses its set-id bits; `isPart` says that more follows before what
 * was asked for is done. Returns 0; -EFBIG, -ENOSPC or -EDQUOT;
 * -ESTALE, -EISDIR, -EINVAL, -EROFS or -EIO.
 */
export function truncate(layer: LayerIndex, ino: Ino, size: number, killSetIds: boolean, isPart = false): number {
  if (size < 0) return -EINVAL;
  if (size > FILE_BYTES_MAX) return -EFBIG;
  let most = EXTENTS_PER_STEP;
  let isFirst = true;
  for (;;) {
    const result = truncateStep(layer, ino, size, killSetIds, most, isFirst, isPart);
    if (result === -ENOSPC) {
      most = fewerExtents(most);
      if (most === 0) return result;
    } else if (result !== MORE) return result;
    else isFirst = false;
  }
}

function truncateStep(
  layer: LayerIndex,
  ino: Ino,
  size: number,
  killSetIds: boolean,
  most: number,
  isFirst: boolean,
  isPart: boolean,
): number {
  const tail = size % BLOCK_BYTES === 0 ? 0 : 1;
  const refused = beginWrite(layer, tail, tail * storeChanges(1) + unmapChanges(most), true);
  if (refused < 0) return refused;
  try {
    return end(cutOrExtend(ino, size, killSetIds, most, isFirst, isPart));
  } catch (error) {
    return abandonStore(error);
  }
}

function cutOrExtend(ino: Ino, size: number, killSetIds: boolean, most: number, isFirst: boolean, isPart: boolean): number {
  const old = findRegular(ino);
  if (old < 0) return old;
  const oldSize = inodeSize(old);
  const features = inodeFlags(old);
  foreseeCapability(ino, features);
  let reached = size;
  countFromZero();
  if (size < oldSize) {
    if (isFirst) {
      const failed = clearTail(ino, size, oldSize);
      if (failed < 0) return failed;
    }
    reached = cutTo(ino, size, oldSize, most);
  }
  readClock();
  dropCapability(ino, features);
  const at = changeInode(ino);
  setInodeSize(at, reached);
  addInodeBlocks(at, storedBlocks());
  if (killSetIds) setInodeMode(at, withoutSetIds(inodeMode(at)));
  stampContents(at);
  keepFound(ino, at);
  withhold(isPart || reached > size);
  return reached > size ? MORE : 0;
}

/** Clears what the block in which the file will end holds behind that end (E2). */
function clearTail(ino: Ino, size: number, oldSize: number): number {
  const blockEnd = Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;
  return blockEnd === size ? 0 : storeBytes(ino, size, Math.min(blockEnd, oldSize) - size, ZEROS);
}

/** Frees the file's end, at most so many extents. Returns the size that the file has then. */
export function cutTo(ino: Ino, size: number, oldSize: number, most: number): number {
  const keep = Math.ceil(size / BLOCK_BYTES);
  const reached = unmapEnd(ino, keep, most);
  return reached > keep ? Math.min(oldSize, reached * BLOCK_BYTES) : size;
}

/** fallocate(2) with KEEP_SIZE, PUNCH_HOLE and ZERO_RANGE. Returns 0 or a negative error number. */
export function allocate(layer: LayerIndex, ino: Ino, mode: number, offset: number, length: number): number {
  if (offset < 0 || length <= 0) return -EINVAL;
  if ((mode & ~(KEEP_SIZE | PUNCH_HOLE | ZERO_RANGE)) !== 0) return -EOPNOTSUPP;
  if ((mode & PUNCH_HOLE) !== 0 && mode !== (PUNCH_HOLE | KEEP_SIZE)) return -EOPNOTSUPP;
  if (offset + length > FILE_BYTES_MAX) return -EFBIG;
  if ((mode & PUNCH_HOLE) !== 0) return clearRange(layer, ino, offset, offset + length, false);
  const keepSize = (mode & KEEP_SIZE) !== 0;
  if ((mode & ZERO_RANGE) !== 0) return clearRange(layer, ino, offset, offset + length, !keepSize);
  return extend(layer, ino, offset, offset + length, keepSize);
}

/** Sees that bytes [from, to) could be stored, and makes the file that long unless it must keep its size. */
function extend(layer: LayerIndex, ino: Ino, from: number, to: number, keepSize: boolean): number {
  const stored = countStored(layer, ino);
  if (stored < 0) return stored;
  // No more than this is missing for sure; blocks elsewhere in the file make it too few, never too many.
  const missing = Math.max(0, Math.ceil(to / BLOCK_BYTES) - Math.floor(from / BLOCK_BYTES) - stored);
  const refused = beginWrite(layer, missing, 1);
  if (refused < 0) return refused;
  try {
    return end(extendTo(ino, keepSize ? 0 : to, missing));
  } catch (error) {
    return abandon(error);
  }
}

function countStored(layer: LayerIndex, ino: Ino): number {
  const refused = beginRead(layer);
  if (refused < 0) return refused;
  try {
    const at = findRegular(ino);
    return end(at < 0 ? at : inodeBlocks(at));
  } catch (error) {
    return abandon(error);
  }
}

function extendTo(ino: Ino, size: number, missing: number): number {
  const old = findRegular(ino);
  if (old < 0) return old;
  const quota = layerQuotaBlocks(opRecord());
  if (quota !== 0 && missing > 0 && layerOwnBlocks(opRecord()) + missing > quota) return -EDQUOT;
  readClock();
  const at = changeInode(ino);
  if (size > inodeSize(at)) setInodeSize(at, size);
  // Like the file systems of Linux, which stamp both times whether or not the size changes.
  stampContents(at);
  keepFound(ino, at);
  return 0;
}

/** Makes bytes [from, to) read as zeros, and the file at least that long if it is to grow. */
function clearRange(layer: LayerIndex, ino: Ino, from: number, to: number, grow: boolean): number {
  const firstWhole = Math.ceil(from / BLOCK_BYTES) * BLOCK_BYTES;
  const lastWhole = Math.floor(to / BLOCK_BYTES) * BLOCK_BYTES;
  let failed = from < firstWhole ? clearPart(layer, ino, from, Math.min(firstWhole, to)) : 0;
  if (failed === 0 && lastWhole < to && lastWhole >= firstWhole) failed = clearPart(layer, ino, lastWhole, to);
  return failed < 0 ? failed : clearWhole(layer, ino, from, to, grow);
}

/** Clears a part of one block. */
function clearPart(layer: LayerIndex, ino: Ino, from: number, to: number): number {
  const refused = beginWrite(layer, 1, storeChanges(1), true);
  if (refused < 0) return refused;
  try {
    return end(clearBytesOf(ino, from, to));
  } catch (error) {
    return abandonStore(error);
  }
}

function clearBytesOf(ino: Ino, from: number, to: number): number {
  const old = findRegular(ino);
  if (old < 0) return old;
  const end = Math.min(to, inodeSize(old));
  if (from >= end) return 0;
  countFromZero();
  const stored = storeBytes(ino, from, end - from, ZEROS);
  if (stored < 0) return stored;
  const at = changeInode(ino);
  addInodeBlocks(at, storedBlocks());
  ownContents(at);
  withhold(true);
  return 0;
}

/** Clears the whole blocks of [from, to), in steps. */
function clearWhole(layer: LayerIndex, ino: Ino, from: number, to: number, grow: boolean): number {
  let most = EXTENTS_PER_STEP;
  for (;;) {
    const result = clearStep(layer, ino, from, to, grow, most);
    if (result === -ENOSPC) {
      most = fewerExtents(most);
      if (most === 0) return result;
    } else if (result !== MORE) return result;
  }
}

function clearStep(layer: LayerIndex, ino: Ino, from: number, to: number, grow: boolean, most: number): number {
  const refused = beginWrite(layer, 0, unmapChanges(most), true);
  if (refused < 0) return refused;
  try {
    return end(clearBlocks(ino, from, to, grow, most));
  } catch (error) {
    return abandon(error);
  }
}

function clearBlocks(ino: Ino, from: number, to: number, grow: boolean, most: number): number {
  const old = findRegular(ino);
  if (old < 0) return old;
  const size = inodeSize(old);
  const features = inodeFlags(old);
  foreseeCapability(ino, features);
  const first = Math.ceil(from / BLOCK_BYTES);
  // Behind the end all is zero already, so the last block is one to clear as a whole.
  const last = to >= size ? Math.ceil(size / BLOCK_BYTES) : Math.floor(to / BLOCK_BYTES);
  countFromZero();
  const isDone = first >= last || unmap(ino, first, last, most) >= last;
  readClock();
  dropCapability(ino, features);
  const at = changeInode(ino);
  addInodeBlocks(at, storedBlocks());
  if (isDone && grow && to > size) setInodeSize(at, to);
  stampContents(at);
  keepFound(ino, at);
  withhold(!isDone);
  return isDone ? 0 : MORE;
}
