/** SEEK_DATA and SEEK_HOLE: where a file has data and where holes. */
import { BLOCK_BYTES, type Ino, type LayerIndex } from '../layout/constants.js';
import { extentLength } from '../layout/records.js';
import { EINVAL, ENXIO } from '../linux/errno.js';
import { extentStart, nextExtent, seekExtent } from './extents.js';
import { findRegular, inodeSize } from './inode.js';
import { abandon, beginRead, end } from './operation.js';

export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;

/** A search that has passed so many extents without a hole lets writers in: 4,096 × 256 KiB = 1 GiB. */
const EXTENTS_PER_OPERATION = 4096;

/**
 * The first offset from `offset` on where there is data, or a hole (there is one at the end of each file). -ENXIO if there is
 * none or `offset` is not within the file; -EINVAL, -EISDIR, -ESTALE or -EIO.
 */
export function seekData(layer: LayerIndex, ino: Ino, offset: number, whence: number): number {
  if (whence !== SEEK_DATA && whence !== SEEK_HOLE) return -EINVAL;
  if (offset < 0) return -ENXIO;
  for (let from = offset; ;) {
    const found = seekOnce(layer, ino, from, whence);
    if (found < 0 || !unfinished) return found;
    from = found;
  }
}

/** The last search answered how far it came, not what it looked for. */
let unfinished = false;

function seekOnce(layer: LayerIndex, ino: Ino, offset: number, whence: number): number {
  unfinished = false;
  const refused = beginRead(layer);
  if (refused < 0) return refused;
  try {
    return end(whence === SEEK_DATA ? findData(ino, offset) : findHole(ino, offset));
  } catch (error) {
    return abandon(error);
  }
}

function findData(ino: Ino, offset: number): number {
  const inode = findRegular(ino);
  if (inode < 0) return inode;
  if (offset >= inodeSize(inode)) return -ENXIO;
  const at = seekExtent(ino, Math.floor(offset / BLOCK_BYTES));
  return at === 0 ? -ENXIO : Math.max(offset, extentStart * BLOCK_BYTES);
}

function findHole(ino: Ino, offset: number): number {
  const inode = findRegular(ino);
  if (inode < 0) return inode;
  const size = inodeSize(inode);
  if (offset >= size) return -ENXIO;
  let block = Math.floor(offset / BLOCK_BYTES);
  let passed = 0;
  for (let at = seekExtent(ino, block); at !== 0 && extentStart <= block; at = nextExtent(ino)) {
    block = extentStart + extentLength(at);
    if (++passed < EXTENTS_PER_OPERATION || block * BLOCK_BYTES >= size) continue;
    unfinished = true;
    break;
  }
  return Math.min(size, Math.max(offset, block * BLOCK_BYTES));
}
