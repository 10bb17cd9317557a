/**
 * Requests that a process had when it died, served by the next one. Each is answered exactly once, and has its effect exactly
 * once: what the engine says is done (engine/origins.ts) is not done again, but answered from what is there now.
 *
 * That this is the answer which the dead process would have given follows from who may change what in between: names in a
 * directory are changed by one request at a time, as the kernel keeps the directory locked until it is answered; and what an
 * inode shows may be of any moment before the answer.
 *
 * A file without a name (TMPFILE) cannot be found again; another one is made, and the first, which nobody knows, is freed
 * as an orphan.
 */
import { appliedOrigin } from '../engine/origins.js';
import { foundAt, getInode, inodeSize } from '../engine/inode.js';
import { lookup } from '../engine/namespace.js';
import type { Ino, LayerIndex } from '../layout/constants.js';
import { EEXIST, ESTALE } from '../linux/errno.js';
import { getAttributes } from './inodes.js';
import { isPrivate, nodeIno } from './node.js';
import { forgetOpening, shownLayer } from './open-files.js';
import * as P from './protocol.js';
import { replyCreated, replyEntry } from './reply.js';
import { argument, argument64, inoOf, layerOf, nameLength, replyNumber, requestHigh, uniqueLow, type Request } from './request.js';
import { attributesChanged, contentsChanged, isShared } from './sharing.js';

/** What `answerAgain` returns for a request that is to be served from its start. Beyond any error number. */
export const FROM_THE_START = -0x1_0003;

/** Answers a request that may have been served before; or says that it was not. */
export function answerAgain(r: Request, opcode: number): number {
  if (opcode === P.OPEN || opcode === P.CREATE || opcode === P.TMPFILE) forgetOpening(r);
  return appliedOrigin(uniqueLow(r), requestHigh(r)) ? answerApplied(r, opcode) : FROM_THE_START;
}

function answerApplied(r: Request, opcode: number): number {
  switch (opcode) {
    case P.CREATE:
    case P.MKNOD:
    case P.MKDIR:
    case P.SYMLINK:
      return answerMade(r, opcode);
    case P.LINK:
      return answerLinked(r);
    case P.UNLINK:
    case P.RMDIR:
    case P.RENAME:
    case P.RENAME2:
      return 0;
    case P.SETATTR:
      return answerChanged(r);
    case P.SETXATTR:
    case P.REMOVEXATTR:
      attributesChanged(r);
      return 0;
    case P.FALLOCATE:
      if (isShared(r)) contentsChanged(layerOf(r), inoOf(r));
      return 0;
    case P.WRITE:
      if (isShared(r)) contentsChanged(layerOf(r), inoOf(r));
      return replyNumber(r, argument(r, P.IO_SIZE));
    case P.COPY_FILE_RANGE:
    case P.COPY_FILE_RANGE_64:
      return answerCopied(r);
    default:
      return FROM_THE_START;
  }
}

/** The name that the request made. */
function answerMade(r: Request, opcode: number): number {
  const length = nameLength(r, r.payload);
  if (length < 0) return length;
  const layer = layerOf(r);
  const ino = lookup(layer, inoOf(r), r.bytes, r.payload, length);
  // Nobody but the engine itself can have taken the name away.
  if (ino < 0) return opcode === P.CREATE ? -ESTALE : -EEXIST;
  return opcode === P.CREATE ? replyCreated(r, layer, ino) : replyEntry(r, layer, ino);
}

function answerLinked(r: Request): number {
  const layer = layerOf(r);
  const low = argument(r, P.LINK_OLD_NODE);
  const failed = getInode(layer, nodeIno(low));
  if (failed < 0) return failed;
  const replied = replyEntry(r, layer, nodeIno(low));
  if (!isPrivate(low)) contentsChanged(layer, nodeIno(low));
  return replied;
}

function answerChanged(r: Request): number {
  const resizes = (argument(r, P.SETATTR_VALID) & P.VALID_SIZE) !== 0;
  if (isShared(r) && resizes) contentsChanged(layerOf(r), inoOf(r));
  else attributesChanged(r);
  return getAttributes(r);
}

/** As much as there was to copy: up to the end of the file that was copied from. */
function answerCopied(r: Request): number {
  const toLow = argument(r, P.COPY_TO_NODE);
  if (!isPrivate(toLow)) contentsChanged(argument(r, P.COPY_TO_NODE + 1), nodeIno(toLow));
  const size = sizeShown(shownLayer(r), inoOf(r));
  if (size < 0) return size;
  const left = Math.max(0, size - argument64(r, P.COPY_OFFSET));
  return replyNumber(r, Math.min(argument64(r, P.COPY_BYTES), left, P.COPY_BYTES_MAX));
}

function sizeShown(layer: LayerIndex, ino: Ino): number {
  const failed = getInode(layer, ino);
  return failed < 0 ? failed : inodeSize(foundAt);
}
