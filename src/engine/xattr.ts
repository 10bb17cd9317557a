/**
 * Extended attributes: getxattr(2), setxattr(2), listxattr(2), removexattr(2). How they are stored: xattr-records.ts. The
 * two that are access control lists mean something and go through acl.ts; who may see and change what is the kernel's.
 */
import { INODE_HAS_XATTR, NAME_BYTES_MAX, XATTR_BYTES_MAX, type Ino, type LayerIndex } from '../layout/constants.js';
import { B } from '../layout/memory.js';
import { XATTR_WORDS, inodeFlags, xattrNameBytes } from '../layout/records.js';
import { E2BIG, EEXIST, EINVAL, ENODATA, ENOSPC, EOPNOTSUPP, ERANGE, ESTALE } from '../linux/errno.js';
import { setAccessAcl, setDefaultAcl } from './acl.js';
import { readClock } from './clock.js';
import { forbidDeferral } from './deferral.js';
import { changeInode, findInode, readInodeInOperation, stampChange } from './inode.js';
import { abandon, beginRead, beginWrite, end } from './operation.js';
import { valueOf } from './tree.js';
import {
  ACCESS_ACL_NAME,
  DEFAULT_ACL_NAME,
  dropXattr,
  findXattr,
  foundValueBytes,
  hasPrefix,
  isName,
  loadXattr,
  nextXattr,
  putXattr,
  seekXattr,
  xattrChanges,
} from './xattr-records.js';

/** Flags of `setXattr`. */
export const XATTR_CREATE = 1;
export const XATTR_REPLACE = 2;

const PREFIXES = ['user.', 'trusted.', 'security.'].map((prefix) => new TextEncoder().encode(prefix));

/** 0 if there can be an attribute of this name; else -ERANGE (empty or too long) or -EOPNOTSUPP (no such namespace). */
function checkName(bytes: Uint8Array, at: number, length: number): number {
  if (length === 0 || length > NAME_BYTES_MAX) return -ERANGE;
  if (isAcl(bytes, at, length)) return 0;
  for (let i = 0; i < PREFIXES.length; i++) {
    if (hasPrefix(bytes, at, length, PREFIXES[i]!)) return length > PREFIXES[i]!.length ? 0 : -EINVAL;
  }
  return -EOPNOTSUPP;
}

function isAcl(bytes: Uint8Array, at: number, length: number): boolean {
  return isName(bytes, at, length, ACCESS_ACL_NAME) || isName(bytes, at, length, DEFAULT_ACL_NAME);
}

/**
 * Copies the value to `out` from `outAt` on, if it has at most `outMax` bytes. Returns its length; with `outMax` 0 only
 * that. -ERANGE if it is longer, -ENODATA if there is none; -EOPNOTSUPP, -ESTALE or -EIO.
 */
export function getXattr(
  layer: LayerIndex,
  ino: Ino,
  bytes: Uint8Array,
  at: number,
  length: number,
  out: Uint8Array,
  outAt: number,
  outMax: number,
): number {
  const bad = checkName(bytes, at, length);
  if (bad < 0) return bad;
  const refused = beginRead(layer);
  if (refused < 0) return refused;
  try {
    return end(load(ino, bytes, at, length, out, outAt, outMax));
  } catch (error) {
    return abandon(error);
  }
}

function load(ino: Ino, bytes: Uint8Array, at: number, length: number, out: Uint8Array, outAt: number, outMax: number): number {
  const inode = findInode(ino);
  if (inode === 0) return -ESTALE;
  if ((inodeFlags(inode) & INODE_HAS_XATTR) === 0 || !findXattr(ino, bytes, at, length)) return -ENODATA;
  if (outMax === 0) return foundValueBytes;
  if (foundValueBytes > outMax) return -ERANGE;
  forbidDeferral(); // the value may take the place of the name
  loadXattr(ino, out, outAt);
  return foundValueBytes;
}

/**
 * Sets an attribute. `clearSgid`: whoever sets this ACL may not keep the set-group-id bit. Returns 0; -E2BIG, -EEXIST
 * (XATTR_CREATE), -ENODATA (XATTR_REPLACE), -EINVAL (flags, ACL), -EACCES (default ACL of no directory), -ERANGE,
 * -EOPNOTSUPP, -ENOSPC, -EROFS, -ESTALE or -EIO.
 */
export function setXattr(
  layer: LayerIndex,
  ino: Ino,
  bytes: Uint8Array,
  at: number,
  length: number,
  value: Uint8Array,
  valueAt: number,
  valueLength: number,
  flags: number,
  clearSgid: boolean,
): number {
  const bad = checkName(bytes, at, length);
  if (bad < 0) return bad;
  if ((flags & ~(XATTR_CREATE | XATTR_REPLACE)) !== 0) return -EINVAL;
  if (valueLength > XATTR_BYTES_MAX) return -E2BIG;
  const refused = beginWrite(layer, 0, xattrChanges(length, valueLength));
  if (refused < 0) return refused;
  try {
    return end(store(ino, bytes, at, length, value, valueAt, valueLength, flags, clearSgid));
  } catch (error) {
    return abandon(error);
  }
}

function store(
  ino: Ino,
  bytes: Uint8Array,
  at: number,
  length: number,
  value: Uint8Array,
  valueAt: number,
  valueLength: number,
  flags: number,
  clearSgid: boolean,
): number {
  readClock();
  let result: number;
  if (isName(bytes, at, length, ACCESS_ACL_NAME)) result = setAccessAcl(ino, value, valueAt, valueLength, clearSgid);
  else if (isName(bytes, at, length, DEFAULT_ACL_NAME)) result = setDefaultAcl(ino, value, valueAt, valueLength);
  else result = storePlain(ino, bytes, at, length, value, valueAt, valueLength, flags);
  return result < 0 ? result : readInodeInOperation(ino);
}

function storePlain(
  ino: Ino,
  bytes: Uint8Array,
  at: number,
  length: number,
  value: Uint8Array,
  valueAt: number,
  valueLength: number,
  flags: number,
): number {
  const inode = findInode(ino);
  if (inode === 0) return -ESTALE;
  const exists = (inodeFlags(inode) & INODE_HAS_XATTR) !== 0 && findXattr(ino, bytes, at, length);
  if (exists && (flags & XATTR_CREATE) !== 0) return -EEXIST;
  if (!exists && (flags & XATTR_REPLACE) !== 0) return -ENODATA;
  if (!putXattr(ino, bytes, at, length, value, valueAt, valueLength)) return -ENOSPC;
  stampChange(changeInode(ino));
  return 0;
}

/**
 * Copies the names, each ended by a zero byte, to `out` from `outAt` on. Returns their length; with `outMax` 0 only that.
 * -ERANGE if there is no room for them; -ESTALE or -EIO.
 */
export function listXattr(layer: LayerIndex, ino: Ino, out: Uint8Array, outAt: number, outMax: number): number {
  const refused = beginRead(layer);
  if (refused < 0) return refused;
  try {
    return end(list(ino, out, outAt, outMax));
  } catch (error) {
    return abandon(error);
  }
}

function list(ino: Ino, out: Uint8Array, outAt: number, outMax: number): number {
  const inode = findInode(ino);
  if (inode === 0) return -ESTALE;
  if ((inodeFlags(inode) & INODE_HAS_XATTR) === 0) return 0;
  let listed = 0;
  for (let record = seekXattr(ino, 0, 0); record !== 0; record = nextXattr(ino)) {
    const length = xattrNameBytes(valueOf(record));
    if (outMax > 0) {
      if (listed + length + 1 > outMax) return -ERANGE;
      const name = (valueOf(record) + XATTR_WORDS) * 4;
      for (let i = 0; i < length; i++) out[outAt + listed + i] = B[name + i]!;
      out[outAt + listed + length] = 0;
    }
    listed += length + 1;
  }
  return listed;
}

/**
 * Removes an attribute. Returns 0; -ENODATA if there is none, unless it is an access control list: to have none is what
 * the permission bits alone say. -ERANGE, -EOPNOTSUPP, -ENOSPC, -EROFS, -ESTALE or -EIO.
 */
export function removeXattr(layer: LayerIndex, ino: Ino, bytes: Uint8Array, at: number, length: number): number {
  const bad = checkName(bytes, at, length);
  if (bad < 0) return bad;
  const refused = beginWrite(layer, 0, xattrChanges(length, 0), true);
  if (refused < 0) return refused;
  try {
    return end(erase(ino, bytes, at, length));
  } catch (error) {
    return abandon(error);
  }
}

function erase(ino: Ino, bytes: Uint8Array, at: number, length: number): number {
  const inode = findInode(ino);
  if (inode === 0) return -ESTALE;
  if ((inodeFlags(inode) & INODE_HAS_XATTR) === 0 || !dropXattr(ino, bytes, at, length)) return isAcl(bytes, at, length) ? 0 : -ENODATA;
  readClock();
  stampChange(changeInode(ino));
  return readInodeInOperation(ino);
}
