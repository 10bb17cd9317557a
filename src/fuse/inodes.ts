/** Requests about one inode: GETATTR, SETATTR, STATX, READLINK. */
import { newAttributeChange, setAttributes } from '../engine/attributes.js';
import { getInode } from '../engine/inode.js';
import { readLink } from '../engine/symlink.js';
import * as P from './protocol.js';
import { replyAttributes, replyStatx } from './reply.js';
import { argument, argument64, inoOf, layerOf, type Request } from './request.js';
import { attributesChanged, contentsChanged, getShared, isShared, leaveShared } from './sharing.js';

/** What decides who may open a file. */
const PERMISSIONS = P.VALID_MODE | P.VALID_UID | P.VALID_GID;

/** What SETATTR asks for; one for the thread, filled in anew by each request. */
const change = newAttributeChange();

/** Fills `foundAt` with what the inode of the request shows. */
function findShown(r: Request): number {
  return isShared(r) ? getShared(layerOf(r), inoOf(r)) : getInode(layerOf(r), inoOf(r));
}

export function getAttributes(r: Request): number {
  const result = findShown(r);
  return result < 0 ? result : replyAttributes(r, layerOf(r), inoOf(r));
}

export function getStatx(r: Request): number {
  const result = findShown(r);
  return result < 0 ? result : replyStatx(r, layerOf(r), inoOf(r));
}

export function changeAttributes(r: Request): number {
  change.mode = argument(r, P.SETATTR_MODE);
  change.uid = argument(r, P.SETATTR_UID);
  change.gid = argument(r, P.SETATTR_GID);
  change.size = argument64(r, P.SETATTR_SIZE);
  takeTimes(r);
  const valid = argument(r, P.SETATTR_VALID);
  if (isShared(r)) return changeShared(r, valid);
  const result = setAttributes(layerOf(r), inoOf(r), valid, change);
  if (result < 0) return result;
  const length = replyAttributes(r, layerOf(r), inoOf(r));
  if ((valid & PERMISSIONS) !== 0) attributesChanged(r);
  return length;
}

function changeShared(r: Request, valid: number): number {
  const layer = layerOf(r);
  const ino = inoOf(r);
  const resizes = (valid & P.VALID_SIZE) !== 0;
  if (resizes && (valid & P.VALID_HANDLE) === 0) {
    const refused = leaveShared(r, layer, ino);
    if (refused < 0) return refused;
  }
  const result = setAttributes(layer, ino, valid, change);
  if (result < 0) return result;
  if (resizes) contentsChanged(layer, ino);
  else attributesChanged(r);
  const gone = getShared(layer, ino);
  return gone < 0 ? gone : replyAttributes(r, layer, ino);
}

function takeTimes(r: Request): void {
  change.atimeLo = argument(r, P.SETATTR_ATIME);
  change.atimeHi = argument(r, P.SETATTR_ATIME + 1) | 0;
  change.atimeNsec = argument(r, P.SETATTR_ATIME_NSEC);
  change.mtimeLo = argument(r, P.SETATTR_MTIME);
  change.mtimeHi = argument(r, P.SETATTR_MTIME + 1) | 0;
  change.mtimeNsec = argument(r, P.SETATTR_MTIME_NSEC);
  change.ctimeLo = argument(r, P.SETATTR_CTIME);
  change.ctimeHi = argument(r, P.SETATTR_CTIME + 1) | 0;
  change.ctimeNsec = argument(r, P.SETATTR_CTIME_NSEC);
}

/** Empties a file as open(O_TRUNC) asks; `killSuidGid` when its caller may not keep the set-user-ID bits. */
export function truncate(layer: number, ino: number, killSuidGid: boolean): number {
  change.size = 0;
  return setAttributes(layer, ino, P.VALID_SIZE | (killSuidGid ? P.VALID_KILL_SUIDGID : 0), change);
}

export function readTarget(r: Request): number {
  return readLink(layerOf(r), inoOf(r), r.bytes, r.reply);
}
