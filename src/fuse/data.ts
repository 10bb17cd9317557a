/**
 * Requests about the contents of files.
 *
 * What there is to know of a file is in the nodeid. OPEN is answered nevertheless (ENOSYS would spare it) because only it
 * can refuse to open a file of a sealed layer for writing, and says who may write through mappings (open-files.ts). Reading does not change the access time, as on a file system mounted noatime; it changes when it is set.
 */
import { syncLayer } from '../engine/durability.js';
import { SEEK_DATA, SEEK_HOLE, allocate, copyRange, seekData, write } from '../engine/file.js';
import { foundAt, getInode, inodeSize } from '../engine/inode.js';
import { anyOrphans } from '../engine/orphans.js';
import { beginRead, end, opRecord } from '../engine/operation.js';
import { LAYER_WRITABLE, type Ino, type LayerIndex } from '../layout/constants.js';
import { layerState } from '../layout/records.js';
import { EDQUOT, EINVAL, ENFILE, ENOSPC, ENXIO, EPERM, EROFS, ETXTBSY } from '../linux/errno.js';
import { truncate } from './inodes.js';
import { isPrivate, isSynthetic, nodeIno } from './node.js';
import { mayBeMapped, noteOpen, recordOpening, shownLayer } from './open-files.js';
import { DIRECT, PASSING, PLAIN } from './openings.js';
import * as P from './protocol.js';
import { readContents } from './reading.js';
import { replySharedOpen, writeOpen } from './reply.js';
import { argument, argument64, inoOf, layerOf, replyNumber, type Request } from './request.js';
import {
  beginDoor,
  beginPassthrough,
  contentsChanged,
  endPassthrough,
  isOpenShared,
  isShared,
  joinPassthrough,
  leaveShared,
  openedContents,
} from './sharing.js';

/** How long a write waits for room that is about to come: 30 times 1 ms. */
const ROOM_TRIES = 30;
const ROOM_PAUSE_MS = 1;
/** Others wait meanwhile, so a thread that has waited in vain, for a file that somebody keeps open, fails at once for so long. */
const ROOM_VAIN_MS = 3000;
let vainUntil = 0;
const pause = new Int32Array(new SharedArrayBuffer(4));

export function openFile(r: Request): number {
  if (isShared(r)) return openShared(r);
  const flags = argument(r, P.OPEN_FLAGS);
  if ((flags & (P.O_ACCMODE | P.O_TRUNC)) !== 0) {
    const result = openForWriting(r, flags);
    if (result < 0) return result;
  }
  writeOpen(r.words, r.replyWord, noteOpen(r, layerOf(r), inoOf(r), flags));
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

function openShared(r: Request): number {
  const layer = layerOf(r);
  const ino = inoOf(r);
  const flags = argument(r, P.OPEN_FLAGS);
  if ((flags & (P.O_ACCMODE | P.O_TRUNC)) !== 0) return openSharedForWriting(r, layer, ino, flags);
  const backing = beginPassthrough(layer, ino);
  return backing > 0 ? replyPassing(r, layer, ino, 0, backing) : openUnshared(r, layer, ino);
}

/** Answers with a passthrough opening that has been counted; `direct` is DIRECT or 0. */
function replyPassing(r: Request, layer: LayerIndex, ino: Ino, direct: number, backing: number): number {
  const contents = openedContents;
  const handle = recordOpening(r, PASSING | direct, layer, ino, contents, backing);
  if (handle === 0) {
    endPassthrough(layer, ino, contents);
    return -ENFILE;
  }
  return replySharedOpen(r, handle, contents, P.FOPEN_PASSTHROUGH | (direct === 0 ? 0 : P.FOPEN_DIRECT_IO), backing);
}

/** A file that is to be opened for reading under its shared nodeid, but can't be opened as one. */
function openUnshared(r: Request, layer: LayerIndex, ino: Ino): number {
  const refused = leaveShared(r, layer, ino);
  // There is no private inode of it; it is read under this one, without the page cache.
  if (refused === -EROFS || refused === -ENOSPC) return replySharedOpen(r, PLAIN, 0, P.FOPEN_DIRECT_IO, 0);
  if (refused < 0) return refused;
  const joined = joinPassthrough(layer, ino);
  return joined === 0 ? openDoor(r, layer, ino, 0) : replyPassing(r, layer, ino, DIRECT, joined);
}

function openSharedForWriting(r: Request, layer: LayerIndex, ino: Ino, flags: number): number {
  const refused = leaveShared(r, layer, ino);
  if (refused < 0) return refused;
  if (isOpenShared(layer, ino)) return -ETXTBSY;
  if ((flags & P.O_TRUNC) !== 0) {
    const failed = truncate(layer, ino, (argument(r, P.OPEN_EXTRA) & P.OPEN_KILL_SUIDGID) !== 0);
    if (failed < 0) return failed;
  }
  contentsChanged(layer, ino);
  return openDoor(r, layer, ino, flags);
}

/** Answers OPEN by the back door. */
function openDoor(r: Request, layer: LayerIndex, ino: Ino, flags: number): number {
  const door = beginDoor(layer, ino) ? DIRECT : PLAIN;
  const handle = noteOpen(r, layer, ino, flags, door);
  return replySharedOpen(r, handle, 0, P.FOPEN_DIRECT_IO, 0);
}

export function readFile(r: Request): number {
  return readContents(r, layerOf(r), inoOf(r));
}

export function writeFile(r: Request): number {
  const size = argument(r, P.IO_SIZE);
  if (size > r.payloadBytes) return -EINVAL;
  const flags = (argument(r, P.WRITE_FLAGS) & P.WRITE_KILL_SUIDGID) !== 0 ? 1 : 0;
  if (isShared(r)) return writeShared(r, size, flags);
  const written = writeInQuota(r, size, flags);
  return written < 0 ? written : replyNumber(r, written);
}

/**
 * A file that was just unlinked gives its blocks back with its FORGET, which the kernel has sent before unlink(2) returned,
 * but to another thread. Whoever makes room in that way must not find his quota full still.
 */
function writeInQuota(r: Request, size: number, flags: number): number {
  for (let tries = 0; ; tries++) {
    const written = write(layerOf(r), inoOf(r), argument64(r, P.IO_OFFSET), size, r.io, r.payload, flags);
    if (written !== -EDQUOT || performance.now() < vainUntil || !anyOrphans()) return written;
    if (tries === ROOM_TRIES) vainUntil = performance.now() + ROOM_VAIN_MS;
    else Atomics.wait(pause, 0, 0, ROOM_PAUSE_MS);
  }
}

/** A write by the back door (sharing.ts): neither the size nor the cached data that the kernel has of the file are right. */
function writeShared(r: Request, size: number, flags: number): number {
  const layer = layerOf(r);
  const ino = inoOf(r);
  const appends = (argument(r, P.WRITE_OPEN_FLAGS) & P.O_APPEND) !== 0;
  const offset = appends ? sizeOf(layer, ino) : argument64(r, P.IO_OFFSET);
  if (offset < 0) return offset;
  const written = write(layer, ino, offset, size, r.io, r.payload, flags);
  contentsChanged(layer, ino);
  return written < 0 ? written : replyNumber(r, written);
}

/** Size of a file, or a negative error number. */
function sizeOf(layer: LayerIndex, ino: Ino): number {
  const failed = getInode(layer, ino);
  return failed < 0 ? failed : inodeSize(foundAt);
}

/** fsync, fdatasync and what is written with O_SYNC, for files and directories: what it promises the layer says, or the daemon. */
export function syncFile(r: Request): number {
  return syncLayer(layerOf(r));
}

export function allocateRange(r: Request): number {
  const offset = argument64(r, P.FALLOCATE_OFFSET);
  const result = allocate(layerOf(r), inoOf(r), argument(r, P.FALLOCATE_MODE), offset, argument64(r, P.FALLOCATE_BYTES));
  if (isShared(r)) contentsChanged(layerOf(r), inoOf(r));
  return result;
}

export function seekFile(r: Request): number {
  const offset = argument64(r, P.LSEEK_OFFSET);
  const whence = argument(r, P.LSEEK_WHENCE);
  const found = mayBeMapped(r) ? seekWhole(r, offset, whence) : seekData(shownLayer(r), inoOf(r), offset, whence);
  return found < 0 ? found : replyNumber(r, found);
}

/** SEEK_DATA and SEEK_HOLE in a file whose holes are not known for certain: it is data up to its end. */
function seekWhole(r: Request, offset: number, whence: number): number {
  if (whence !== SEEK_DATA && whence !== SEEK_HOLE) return -EINVAL;
  const size = sizeOf(shownLayer(r), inoOf(r));
  if (size < 0) return size;
  if (offset < 0 || offset >= size) return -ENXIO;
  return whence === SEEK_DATA ? offset : size;
}

/** Both forms of copy_file_range; the older one may copy less than asked, and the caller goes on. */
export function copyFileRange(r: Request): number {
  const toLow = argument(r, P.COPY_TO_NODE);
  const toLayer = argument(r, P.COPY_TO_NODE + 1);
  if (isSynthetic(toLayer, toLow)) return -EPERM;
  if (argument(r, P.COPY_FLAGS) !== 0 || argument(r, P.COPY_FLAGS + 1) !== 0) return -EINVAL;
  const bytes = Math.min(argument64(r, P.COPY_BYTES), P.COPY_BYTES_MAX);
  const from = argument64(r, P.COPY_OFFSET);
  const to = argument64(r, P.COPY_TO_OFFSET);
  const copied = copyRange(shownLayer(r), inoOf(r), from, toLayer, nodeIno(toLow), to, bytes);
  if (!isPrivate(toLow)) contentsChanged(toLayer, nodeIno(toLow));
  return copied < 0 ? copied : replyNumber(r, copied);
}
