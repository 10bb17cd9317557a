/**
 * Contents of regular files: reading and writing.
 *
 * Every stored block has a checksum in its extent, so blocks are read and written whole; what a request covers only in
 * part goes through a buffer of one block (here for reads, in store.ts for writes). A write of any length is cut into
 * pieces, each an operation of its own, so that the blocks an operation must be admitted for stay few.
 */
import { BLOCK_BYTES, FILE_BYTES_MAX, type Ino, type LayerIndex } from '../layout/constants.js';
import { extentBlock, extentLength, inodeFlags, inodeMode, setInodeMode } from '../layout/records.js';
import { clearBytes, copyBytes } from '../linux/bytes.js';
import { EFBIG, EINVAL, EIO, ENOSPC } from '../linux/errno.js';
import { crc32, ioBuffer, type IoBuffer } from '../linux/libc.js';
import { readClock } from './clock.js';
import { reportCorruption } from './corruption.js';
import { readBlocks } from './device.js';
import { countFromZero, extentStart, extentSum, nextExtent, seekExtent, storedBlocks } from './extents.js';
import { addInodeBlocks, changeInode, findRegular, inodeSize, keepFound, setInodeSize, stampContents } from './inode.js';
import { abandon, beginRead, beginWrite, end } from './operation.js';
import { dropCapability, foreseeCapability, withoutSetIds } from './privileges.js';
import { withhold } from './origins.js';
import { abandonStore, STORE_BLOCKS_MAX, storeBytes, storeChanges } from './store.js';

/** Flag of `write`: the writer may not keep set-user-id and set-group-id bits. */
export const WRITE_KILL_SET_IDS = 1;

const PIECE_BYTES = (STORE_BLOCKS_MAX - 1) * BLOCK_BYTES;

const edge = ioBuffer(BLOCK_BYTES);

/**
 * Reads up to `size` bytes from `offset` to `io` from its byte `at` on. Returns how many there are before the end of the
 * file; -ESTALE, -EISDIR, -EINVAL (no regular file) or -EIO. Up to `size` bytes of `io` are overwritten in any case.
 */
export function read(layer: LayerIndex, ino: Ino, offset: number, size: number, io: IoBuffer, at: number): number {
  const refused = beginRead(layer);
  if (refused < 0) return refused;
  try {
    return end(readBytes(ino, offset, size, io.address + at));
  } catch (error) {
    return abandon(error);
  }
}

function readBytes(ino: Ino, offset: number, size: number, to: number): number {
  const inode = findRegular(ino);
  if (inode < 0) return inode;
  const length = Math.min(size, inodeSize(inode) - offset);
  if (length <= 0) return 0;
  let done = 0;
  for (let at = seekExtent(ino, Math.floor(offset / BLOCK_BYTES)); at !== 0 && done < length; at = nextExtent(ino)) {
    const from = extentStart * BLOCK_BYTES - offset;
    if (from >= length) break;
    if (from > done) clearBytes(to + done, from - done);
    done = readExtent(ino, at, offset, size, Math.max(from, done), length, to);
    if (done < 0) return done;
  }
  if (done < length) clearBytes(to + done, length - done);
  return length;
}

/**
 * Reads what the extent holds of bytes [from, length) of a request; the buffer has room for `size` bytes. Returns the byte
 * behind the last one, or -EIO.
 */
function readExtent(ino: Ino, at: number, offset: number, size: number, from: number, length: number, to: number): number {
  const end = Math.min(length, (extentStart + extentLength(at)) * BLOCK_BYTES - offset);
  while (from < end) {
    const skip = (offset + from) % BLOCK_BYTES;
    const index = (offset + from - skip) / BLOCK_BYTES - extentStart;
    // The last block of a file may be read whole if the buffer has room: what lies behind the end is zero.
    const whole =
      skip > 0 ? 0 : Math.min(extentLength(at) - index, Math.floor((size - from) / BLOCK_BYTES), Math.ceil((end - from) / BLOCK_BYTES));
    if (whole > 0) {
      if (!readWhole(ino, at, index, whole, to + from)) return -EIO;
      from += whole * BLOCK_BYTES;
    } else {
      const bytes = Math.min(BLOCK_BYTES - skip, end - from);
      if (!readWhole(ino, at, index, 1, edge.address)) return -EIO;
      copyBytes(to + from, edge.address + skip, bytes);
      from += bytes;
    }
  }
  return Math.min(from, end);
}

/** Reads whole blocks of an extent and proves them. */
function readWhole(ino: Ino, at: number, index: number, count: number, to: number): boolean {
  readBlocks(extentBlock(at) + index, count, to);
  for (let i = 0; i < count; i++) {
    if (crc32(0, to + i * BLOCK_BYTES, BLOCK_BYTES) !== extentSum(at, index + i)) {
      return reportCorruption(ino, extentStart + index + i, extentBlock(at) + index + i);
    }
  }
  return true;
}

/**
 * Writes `size` bytes of `io` from its byte `at` on at `offset`, which may lie behind the end. Returns how many were
 * written: fewer when space or quota ran out, or the largest file size is reached; -ENOSPC, -EDQUOT or -EFBIG if none
 * were; -ESTALE, -EISDIR, -EINVAL, -EROFS or -EIO.
 */
export function write(layer: LayerIndex, ino: Ino, offset: number, size: number, io: IoBuffer, at: number, flags: number): number {
  if (size === 0) return 0;
  if (offset < 0) return -EINVAL;
  if (offset >= FILE_BYTES_MAX) return -EFBIG;
  const wanted = Math.min(size, FILE_BYTES_MAX - offset);
  let pieceMax = PIECE_BYTES;
  let done = 0;
  while (done < wanted) {
    const piece = Math.min(wanted - done, pieceMax - ((offset + done) % BLOCK_BYTES));
    withhold(done + piece < wanted);
    const written = writePiece(layer, ino, offset + done, piece, io.address + at + done, flags);
    // Close to the limit a smaller piece may still be admitted.
    if (written === -ENOSPC && pieceMax > BLOCK_BYTES && piece > BLOCK_BYTES) {
      pieceMax = smallerPiece(piece);
      continue;
    }
    if (written < 0) return done > 0 ? done : written;
    done += written;
    if (written < piece) break;
  }
  return done;
}

/** A quarter, in whole blocks. */
function smallerPiece(bytes: number): number {
  return Math.max(1, Math.floor(bytes / BLOCK_BYTES / 4)) * BLOCK_BYTES;
}

function writePiece(layer: LayerIndex, ino: Ino, offset: number, size: number, from: number, flags: number): number {
  const blocks = Math.ceil(((offset % BLOCK_BYTES) + size) / BLOCK_BYTES);
  const refused = beginWrite(layer, blocks, storeChanges(blocks));
  if (refused < 0) return refused;
  try {
    return end(writeBytes(ino, offset, size, from, flags));
  } catch (error) {
    return abandonStore(error);
  }
}

function writeBytes(ino: Ino, offset: number, size: number, from: number, flags: number): number {
  const old = findRegular(ino);
  if (old < 0) return old;
  const features = inodeFlags(old);
  foreseeCapability(ino, features);
  countFromZero();
  const written = storeBytes(ino, offset, size, from);
  if (written < 0) return written;
  // How far it came is not known afterwards: it is done again.
  if (written < size) withhold(true);
  readClock();
  dropCapability(ino, features);
  const at = changeInode(ino);
  if (offset + written > inodeSize(at)) setInodeSize(at, offset + written);
  addInodeBlocks(at, storedBlocks());
  if ((flags & WRITE_KILL_SET_IDS) !== 0) setInodeMode(at, withoutSetIds(inodeMode(at)));
  stampContents(at);
  keepFound(ino, at);
  return written;
}
