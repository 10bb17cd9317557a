/**
 * Requests about the contents of files.
 *
 * What there is to know of a file is in the nodeid. OPEN is answered nevertheless (ENOSYS would spare it) because only it
 * can refuse to open a file of a sealed layer for writing, and says who may write through mappings (open-files.ts). Reading does not change the access time, as on a file system mounted noatime; it changes when it is set.
 */
import { checkpoint } from '../engine/checkpoint.js';
import { SEEK_DATA, SEEK_HOLE, allocate, copyRange, read, seekData, write } from '../engine/file.js';
import { DEVICE_FAILED, FSYNC_STRICT } from '../engine/arena.js';
import { foundAt, getInode, inodeSize } from '../engine/inode.js';
import { beginRead, end, opRecord } from '../engine/operation.js';
import { LAYER_WRITABLE } from '../layout/constants.js';
import { W } from '../layout/memory.js';
import { layerState } from '../layout/records.js';
import { EINVAL, EIO, ENXIO, EPERM, EROFS } from '../linux/errno.js';
import { succeeds } from './failure.js';
import { truncate } from './inodes.js';
import { isSynthetic, nodeIno } from './node.js';
import { mayBeMapped, noteOpen } from './open-files.js';
import * as P from './protocol.js';
import { writeOpen } from './reply.js';
import { argument, argument64, inoOf, layerOf, replyNumber, type Request } from './request.js';

/** COPY_FILE_RANGE answers with 32 bits: a whole number of blocks below that. */
const COPY_BYTES_MAX = 0xffff_f000;

export function openFile(r: Request): number {
  const flags = argument(r, P.OPEN_FLAGS);
  if ((flags & (P.O_ACCMODE | P.O_TRUNC)) !== 0) {
    const result = openForWriting(r, flags);
    if (result < 0) return result;
  }
  writeOpen(r.words, r.replyWord, noteOpen(layerOf(r), inoOf(r), flags));
  return P.OPEN_OUT_BYTES;
}

function openForWriting(r: Request, flags: number): number {
  if ((flags & P.O_TRUNC) === 0) return requireWritable(layerOf(r));
  return truncate(layerOf(r), inoOf(r), (argument(r, P.OPEN_EXTRA) & P.OPEN_KILL_SUIDGID) !== 0);
}

/** 0, or the error of opening a file of this layer for writing. */
function requireWritable(layer: number): number {
  const slot = beginRead(layer);
  if (slot < 0) return slot;
  return end(layerState(opRecord()) === LAYER_WRITABLE ? 0 : -EROFS);
}

export function readFile(r: Request): number {
  const size = argument(r, P.IO_SIZE);
  if (size > r.replyBytes) return -EINVAL;
  return read(layerOf(r), inoOf(r), argument64(r, P.IO_OFFSET), size, r.io, r.reply);
}

export function writeFile(r: Request): number {
  const size = argument(r, P.IO_SIZE);
  if (size > r.payloadBytes) return -EINVAL;
  const flags = (argument(r, P.WRITE_FLAGS) & P.WRITE_KILL_SUIDGID) !== 0 ? 1 : 0;
  const written = write(layerOf(r), inoOf(r), argument64(r, P.IO_OFFSET), size, r.io, r.payload, flags);
  return written < 0 ? written : replyNumber(r, written);
}

/** Without the strict mode what was written becomes durable with the next checkpoint, soon and in order. */
export function syncFile(_r: Request): number {
  if (W[DEVICE_FAILED] !== 0) return -EIO;
  return W[FSYNC_STRICT] === 0 || succeeds(checkpoint) ? 0 : -EIO;
}

export function allocateRange(r: Request): number {
  const offset = argument64(r, P.FALLOCATE_OFFSET);
  return allocate(layerOf(r), inoOf(r), argument(r, P.FALLOCATE_MODE), offset, argument64(r, P.FALLOCATE_BYTES));
}

export function seekFile(r: Request): number {
  const offset = argument64(r, P.LSEEK_OFFSET);
  const whence = argument(r, P.LSEEK_WHENCE);
  const found = mayBeMapped(r) ? seekWhole(r, offset, whence) : seekData(layerOf(r), inoOf(r), offset, whence);
  return found < 0 ? found : replyNumber(r, found);
}

/** SEEK_DATA and SEEK_HOLE in a file whose holes are not known for certain: it is data up to its end. */
function seekWhole(r: Request, offset: number, whence: number): number {
  if (whence !== SEEK_DATA && whence !== SEEK_HOLE) return -EINVAL;
  const failed = getInode(layerOf(r), inoOf(r));
  if (failed < 0) return failed;
  const size = inodeSize(foundAt);
  if (offset < 0 || offset >= size) return -ENXIO;
  return whence === SEEK_DATA ? offset : size;
}

/** Both forms of copy_file_range; the older one may copy less than asked, and the caller goes on. */
export function copyFileRange(r: Request): number {
  const toLow = argument(r, P.COPY_TO_NODE);
  const toLayer = argument(r, P.COPY_TO_NODE + 1);
  if (isSynthetic(toLayer, toLow)) return -EPERM;
  if (argument(r, P.COPY_FLAGS) !== 0 || argument(r, P.COPY_FLAGS + 1) !== 0) return -EINVAL;
  const bytes = Math.min(argument64(r, P.COPY_BYTES), COPY_BYTES_MAX);
  const from = argument64(r, P.COPY_OFFSET);
  const to = argument64(r, P.COPY_TO_OFFSET);
  const copied = copyRange(layerOf(r), inoOf(r), from, toLayer, nodeIno(toLow), to, bytes);
  return copied < 0 ? copied : replyNumber(r, copied);
}
