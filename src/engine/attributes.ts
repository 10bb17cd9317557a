/**
 * Changing attributes: chmod(2), chown(2), truncate(2), utimensat(2). A request says which by a mask, as FUSE's SETATTR.
 * A new size is applied first, as operations of its own; the other attributes change together.
 */
import type { Ino, LayerIndex } from '../layout/constants.js';
import {
  inodeContentLayer,
  inodeFlags,
  inodeMode,
  setInodeAtimeHi,
  setInodeAtimeLo,
  setInodeAtimeNsec,
  setInodeCtimeHi,
  setInodeCtimeLo,
  setInodeCtimeNsec,
  setInodeGid,
  setInodeMode,
  setInodeMtimeHi,
  setInodeMtimeLo,
  setInodeMtimeNsec,
  setInodeUid,
} from '../layout/records.js';
import { ESTALE } from '../linux/errno.js';
import { S_IALLUGO } from '../linux/mode.js';
import { ACL_CHANGES, followMode, hasAcl } from './acl.js';
import { readClock } from './clock.js';
import { changeInode, findInode, findRegular, keepFound, ownContents, stampAccess, stampChange, stampModification } from './inode.js';
import { abandon, beginWrite, end, opLayer } from './operation.js';
import { dropCapability, foreseeCapability, withoutSetIds } from './privileges.js';
import { withhold } from './origins.js';
import { truncate } from './truncate.js';

/** Which attributes to change (FATTR_… of linux/fuse.h); other bits do not matter here. */
export const SET_MODE = 1 << 0;
export const SET_UID = 1 << 1;
export const SET_GID = 1 << 2;
export const SET_SIZE = 1 << 3;
export const SET_ATIME = 1 << 4;
export const SET_MTIME = 1 << 5;
export const SET_ATIME_NOW = 1 << 7;
export const SET_MTIME_NOW = 1 << 8;
export const SET_CTIME = 1 << 10;
/** The caller may not keep set-id bits. */
export const KILL_SET_IDS = 1 << 11;

const ATTRIBUTES = SET_MODE | SET_UID | SET_GID | SET_ATIME | SET_MTIME | SET_ATIME_NOW | SET_MTIME_NOW | SET_CTIME;

/** New values; only those that the mask names are looked at. Times in seconds since 1970 (low word, signed high word) and nanoseconds. */
export interface AttributeChange {
  mode: number;
  uid: number;
  gid: number;
  size: number;
  atimeLo: number;
  atimeHi: number;
  atimeNsec: number;
  mtimeLo: number;
  mtimeHi: number;
  mtimeNsec: number;
  ctimeLo: number;
  ctimeHi: number;
  ctimeNsec: number;
}

export function newAttributeChange(): AttributeChange {
  const times = { atimeLo: 0, atimeHi: 0, atimeNsec: 0, mtimeLo: 0, mtimeHi: 0, mtimeNsec: 0, ctimeLo: 0, ctimeHi: 0, ctimeNsec: 0 };
  return { mode: 0, uid: 0, gid: 0, size: 0, ...times };
}

/** Inode, a capability that goes, and the flag that goes with it. */
const CHANGES = 4;
/** The mode of an inode with an ACL is to be changed, which takes more changes than were admitted. */
const NEEDS_ROOM = -4096;

/**
 * Changes the attributes that `valid` names and fills `foundAt`. ctime becomes now unless it is given. Returns 0; -EFBIG,
 * -EISDIR, -EINVAL, -EDQUOT or -ENOSPC for a size; -EROFS, -ESTALE or -EIO.
 */
export function setAttributes(layer: LayerIndex, ino: Ino, valid: number, change: AttributeChange): number {
  if ((valid & SET_SIZE) !== 0) {
    const failed = truncate(layer, ino, change.size, (valid & KILL_SET_IDS) !== 0, (valid & ATTRIBUTES) !== 0);
    if (failed < 0 || (valid & ATTRIBUTES) === 0) return failed;
    withhold(false);
    valid &= ~(SET_SIZE | KILL_SET_IDS);
  }
  const result = changeAttributes(layer, ino, valid, change, CHANGES);
  return result === NEEDS_ROOM ? changeAttributes(layer, ino, valid, change, CHANGES + ACL_CHANGES) : result;
}

/**
 * Makes the contents of a regular file the layer's own, without a change to them or to what stat(2) shows: from now on the
 * layer may change them (N5). Fills `foundAt`. Returns 0; -EISDIR, -EINVAL (no regular file), -ENOSPC, -EROFS, -ESTALE or -EIO.
 */
export function makePrivate(layer: LayerIndex, ino: Ino): number {
  const refused = beginWrite(layer, 0, 1);
  if (refused < 0) return refused;
  try {
    return end(takeContents(ino));
  } catch (error) {
    return abandon(error);
  }
}

function takeContents(ino: Ino): number {
  const old = findRegular(ino);
  if (old < 0) return old;
  if (inodeContentLayer(old) === opLayer()) {
    keepFound(ino, old);
    return 0;
  }
  const at = changeInode(ino);
  ownContents(at);
  keepFound(ino, at);
  return 0;
}

function changeAttributes(layer: LayerIndex, ino: Ino, valid: number, change: AttributeChange, changes: number): number {
  const refused = beginWrite(layer, 0, changes);
  if (refused < 0) return refused;
  try {
    return end(apply(ino, valid, change, changes > CHANGES));
  } catch (error) {
    return abandon(error);
  }
}

function apply(ino: Ino, valid: number, change: AttributeChange, isRoomy: boolean): number {
  const old = findInode(ino);
  if (old === 0) return -ESTALE;
  if ((valid & SET_MODE) !== 0 && hasAcl(old) && !isRoomy) return NEEDS_ROOM;
  const losesPrivileges = changesOwner(valid) || (valid & KILL_SET_IDS) !== 0;
  const mode = newMode(inodeMode(old), valid, change, losesPrivileges);
  const features = inodeFlags(old);
  const hasRules = (valid & SET_MODE) !== 0 && hasAcl(old);
  if (losesPrivileges) foreseeCapability(ino, features);
  if (hasRules) followMode(ino, mode);
  if (losesPrivileges) dropCapability(ino, features);
  readClock();
  const at = changeInode(ino);
  setInodeMode(at, mode);
  if ((valid & SET_UID) !== 0) setInodeUid(at, change.uid);
  if ((valid & SET_GID) !== 0) setInodeGid(at, change.gid);
  changeTimes(at, valid, change);
  keepFound(ino, at);
  return 0;
}

/** chown(2) with neither owner nor group comes as a request for nothing, and counts as one on Linux. */
function changesOwner(valid: number): boolean {
  return (valid & (SET_UID | SET_GID)) !== 0 || (valid & ATTRIBUTES) === 0;
}

/** A mode that is given stays as it is given, also when the owner changes with it. */
function newMode(old: number, valid: number, change: AttributeChange, losesPrivileges: boolean): number {
  if ((valid & SET_MODE) !== 0) return (old & ~S_IALLUGO) | (change.mode & S_IALLUGO);
  return losesPrivileges ? withoutSetIds(old) : old;
}

function changeTimes(at: number, valid: number, change: AttributeChange): void {
  if ((valid & SET_ATIME_NOW) !== 0) stampAccess(at);
  else if ((valid & SET_ATIME) !== 0) {
    setInodeAtimeLo(at, change.atimeLo);
    setInodeAtimeHi(at, change.atimeHi);
    setInodeAtimeNsec(at, change.atimeNsec);
  }
  if ((valid & SET_MTIME_NOW) !== 0) stampModification(at);
  else if ((valid & SET_MTIME) !== 0) {
    setInodeMtimeLo(at, change.mtimeLo);
    setInodeMtimeHi(at, change.mtimeHi);
    setInodeMtimeNsec(at, change.mtimeNsec);
  }
  stampChange(at);
  if ((valid & SET_CTIME) === 0) return;
  setInodeCtimeLo(at, change.ctimeLo);
  setInodeCtimeHi(at, change.ctimeHi);
  setInodeCtimeNsec(at, change.ctimeNsec);
}
