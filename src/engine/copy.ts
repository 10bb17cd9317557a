/**
 * copy_file_range(2). Blocks are copied, not shared: each block has one owner, the layer that wrote it, and is freed with
 * it. Holes are not read; they become holes of the target.
 */
import { BLOCK_BYTES, type Ino, type LayerIndex } from '../layout/constants.js';
import { EINVAL, ENXIO } from '../linux/errno.js';
import { ioBuffer, type IoBuffer } from '../linux/libc.js';
import { read, write } from './contents.js';
import { SEEK_DATA, SEEK_HOLE, seekData } from './holes.js';
import { foundAt, getInode, inodeSize } from './inode.js';
import { setOrigin } from './origins.js';
import { KEEP_SIZE, PUNCH_HOLE, allocate, truncate } from './truncate.js';

/** One call copies no more data than this, so that it does not keep a serving thread; the caller asks again. */
const DATA_PER_CALL = 16 << 20;
const CHUNK_BYTES = 256 * BLOCK_BYTES;

let buffer: IoBuffer | undefined;

/**
 * Copies up to `length` bytes between files that do not overlap. Returns how many, fewer at the end of the source or after
 * 16 MiB of data; or a negative error number if none were.
 */
export function copyRange(
  layer: LayerIndex,
  ino: Ino,
  offset: number,
  toLayer: LayerIndex,
  toIno: Ino,
  toOffset: number,
  length: number,
): number {
  // How far it came is not known afterwards: it is done again.
  setOrigin(0, 0, 0);
  const failed = getInode(layer, ino);
  if (failed < 0) return failed;
  const total = Math.min(length, inodeSize(foundAt) - offset);
  if (offset < 0 || toOffset < 0) return -EINVAL;
  let done = 0;
  let data = 0;
  while (done < total && data < DATA_PER_CALL) {
    const dataAt = nextData(layer, ino, offset + done, offset + total);
    if (dataAt < 0) return done > 0 ? done : dataAt;
    const hole = dataAt - (offset + done);
    const copied =
      hole > 0
        ? copyHole(toLayer, toIno, toOffset + done, hole)
        : copyData(layer, ino, offset + done, toLayer, toIno, toOffset + done, offset + total);
    if (copied <= 0) return done > 0 ? done : copied;
    done += copied;
    if (hole === 0) data += copied;
  }
  return Math.max(done, 0);
}

/** Where data begins from `from` on, at the latest `end`. */
function nextData(layer: LayerIndex, ino: Ino, from: number, end: number): number {
  const at = seekData(layer, ino, from, SEEK_DATA);
  if (at === -ENXIO) return end;
  return at < 0 ? at : Math.min(at, end);
}

/** Copies one chunk, up to the next hole. */
function copyData(layer: LayerIndex, ino: Ino, from: number, toLayer: LayerIndex, toIno: Ino, to: number, end: number): number {
  buffer ??= ioBuffer(CHUNK_BYTES);
  const holeAt = seekData(layer, ino, from, SEEK_HOLE);
  if (holeAt < 0) return holeAt === -ENXIO ? 0 : holeAt;
  const bytes = read(layer, ino, from, Math.min(CHUNK_BYTES, Math.min(end, holeAt) - from), buffer, 0);
  return bytes <= 0 ? bytes : write(toLayer, toIno, to, bytes, buffer, 0, 0);
}

/** Makes a hole in the target, and the target long enough to have it. */
function copyHole(layer: LayerIndex, ino: Ino, at: number, bytes: number): number {
  let failed = allocate(layer, ino, PUNCH_HOLE | KEEP_SIZE, at, bytes);
  if (failed === 0) failed = getInode(layer, ino);
  if (failed === 0 && inodeSize(foundAt) < at + bytes) failed = truncate(layer, ino, at + bytes, false);
  return failed < 0 ? failed : bytes;
}
