/** Requests about one inode: GETATTR, SETATTR, STATX, READLINK. */
import { newAttributeChange, setAttributes } from '../engine/attributes.js';
import { getInode } from '../engine/inode.js';
import { readLink } from '../engine/symlink.js';
import * as P from './protocol.js';
import { replyAttributes, replyStatx } from './reply.js';
import { argument, argument64, inoOf, layerOf, type Request } from './request.js';

/** What SETATTR asks for; one for the thread, filled in anew by each request. */
const change = newAttributeChange();

export function getAttributes(r: Request): number {
  const result = getInode(layerOf(r), inoOf(r));
  return result < 0 ? result : replyAttributes(r, layerOf(r), inoOf(r));
}

export function getStatx(r: Request): number {
  const result = getInode(layerOf(r), inoOf(r));
  return result < 0 ? result : replyStatx(r, layerOf(r), inoOf(r));
}

export function changeAttributes(r: Request): number {
  change.mode = argument(r, P.SETATTR_MODE);
  change.uid = argument(r, P.SETATTR_UID);
  change.gid = argument(r, P.SETATTR_GID);
  change.size = argument64(r, P.SETATTR_SIZE);
  takeTimes(r);
  const result = setAttributes(layerOf(r), inoOf(r), argument(r, P.SETATTR_VALID), change);
  return result < 0 ? result : replyAttributes(r, layerOf(r), inoOf(r));
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
