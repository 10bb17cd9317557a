/**
 * POSIX access control lists, inside an operation.
 *
 * They are stored as the attributes system.posix_acl_access and system.posix_acl_default in the form in which the kernel
 * passes them (linux/posix_acl_xattr.h): a u32 version, 2, then for each entry u16 tag, u16 permissions, u32 id, in the
 * order of the tags.
 *
 * Invariants
 *  A1  The permission bits of an inode with an access ACL are those of its owner, mask and other entries.
 *  A2  An access ACL that says no more than permission bits can is not stored.
 *  A3  Only directories have a default ACL.
 */
import { INODE_HAS_ACL, INODE_HAS_DEFAULT_ACL, XATTR_BYTES_MAX, type Ino } from '../layout/constants.js';
import { inodeFlags, inodeMode, setInodeMode } from '../layout/records.js';
import { EACCES, EINVAL, ENOSPC, EOPNOTSUPP, ESTALE } from '../linux/errno.js';
import { S_IRWXUGO, S_ISGID, isDirectory, isSymlink } from '../linux/mode.js';
import { changeInode, findInode, stampChange } from './inode.js';
import {
  ACCESS_ACL_NAME,
  DEFAULT_ACL_NAME,
  dropXattr,
  findXattr,
  foundValueBytes,
  loadXattr,
  putXattr,
  xattrChanges,
} from './xattr-records.js';

const VERSION = 2;
const HEADER_BYTES = 4;
const ENTRY_BYTES = 8;
const USER_OBJ = 0x01;
const USER = 0x02;
const GROUP_OBJ = 0x04;
const GROUP = 0x08;
const MASK = 0x10;
const OTHER = 0x20;

/** Changes of the tree to admit for replacing one ACL, and for giving a new inode the two it may inherit. */
export const ACL_CHANGES = xattrChanges(DEFAULT_ACL_NAME.length, XATTR_BYTES_MAX);

/** The ACL at hand. */
const acl = new Uint8Array(XATTR_BYTES_MAX);
let aclBytes = 0;
/** The default ACL of the directory in which an inode is being made. */
const inherited = new Uint8Array(XATTR_BYTES_MAX);
let inheritedBytes = 0;

// Entries

function halfWord(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8);
}

function isVersion(bytes: Uint8Array, at: number): boolean {
  return halfWord(bytes, at) === VERSION && halfWord(bytes, at + 2) === 0;
}

function permissions(entry: number): number {
  return acl[entry + 2]! & 7;
}

function setPermissions(entry: number, value: number): void {
  acl[entry + 2] = value;
}

/** Offset of the entry of `acl` with a tag that occurs only once; 0 if there is none. */
function entryOf(tag: number): number {
  for (let at = HEADER_BYTES; at < aclBytes; at += ENTRY_BYTES) if (halfWord(acl, at) === tag) return at;
  return 0;
}

/** The entry that the group bits of the mode stand for. */
function groupEntry(): number {
  return entryOf(MASK) || entryOf(GROUP_OBJ);
}

/** Whether `acl` says no more than permission bits can. */
function isPlain(): boolean {
  return aclBytes === HEADER_BYTES + 3 * ENTRY_BYTES;
}

/** Permission bits that `acl` stands for. */
function modeOfAcl(): number {
  return (permissions(entryOf(USER_OBJ)) << 6) | (permissions(groupEntry()) << 3) | permissions(entryOf(OTHER));
}

/** Whether the tag `next` may follow `tag`: owner, named users, owning group, named groups, mask, others. */
function mayFollow(tag: number, next: number): boolean {
  return next > tag || (next === tag && (tag === USER || tag === GROUP));
}

/** As posix_acl_valid() of the kernel: every tag known and in order, the three plain ones present, named ones only with a mask. */
function isValid(bytes: Uint8Array, at: number, length: number): boolean {
  if (length < HEADER_BYTES || (length - HEADER_BYTES) % ENTRY_BYTES !== 0 || !isVersion(bytes, at)) return false;
  let tag = 0;
  let seen = 0;
  for (let entry = at + HEADER_BYTES; entry < at + length; entry += ENTRY_BYTES) {
    const next = halfWord(bytes, entry);
    if (!isTag(next) || !mayFollow(tag, next) || halfWord(bytes, entry + 2) > 7) return false;
    tag = next;
    seen |= next;
  }
  const needed = USER_OBJ | GROUP_OBJ | OTHER | ((seen & (USER | GROUP)) === 0 ? 0 : MASK);
  return (seen & needed) === needed;
}

function isTag(tag: number): boolean {
  return tag === USER_OBJ || tag === USER || tag === GROUP_OBJ || tag === GROUP || tag === MASK || tag === OTHER;
}

// Setting

/** Whether a value stands for "no ACL": nothing at all, or a header without entries. */
function isEmpty(bytes: Uint8Array, at: number, length: number): boolean {
  return length === 0 || (length === HEADER_BYTES && isVersion(bytes, at));
}

/**
 * Sets the access ACL of an inode, and its permission bits with it; `clearSgid` says that the caller may not keep the
 * set-group-id bit. Returns 0, -ESTALE, -EINVAL for a bad ACL, -EOPNOTSUPP for a symbolic link or -ENOSPC.
 */
export function setAccessAcl(ino: Ino, bytes: Uint8Array, at: number, length: number, clearSgid: boolean): number {
  const inode = findInode(ino);
  if (inode === 0) return -ESTALE;
  if (isSymlink(inodeMode(inode))) return -EOPNOTSUPP;
  let mode = inodeMode(inode);
  if (isEmpty(bytes, at, length)) dropXattr(ino, ACCESS_ACL_NAME, 0, ACCESS_ACL_NAME.length);
  else {
    if (!isValid(bytes, at, length)) return -EINVAL;
    takeAcl(bytes, at, length);
    mode = (mode & ~S_IRWXUGO) | modeOfAcl();
    if (!storeAccessAcl(ino)) return -ENOSPC;
  }
  const changed = changeInode(ino);
  setInodeMode(changed, clearSgid ? mode & ~S_ISGID : mode);
  stampChange(changed);
  return 0;
}

/** Sets the default ACL of a directory. Returns 0, -ESTALE, -EINVAL for a bad ACL, -EACCES if it is no directory, or -ENOSPC. */
export function setDefaultAcl(ino: Ino, bytes: Uint8Array, at: number, length: number): number {
  const inode = findInode(ino);
  if (inode === 0) return -ESTALE;
  if (isSymlink(inodeMode(inode))) return -EOPNOTSUPP;
  const empty = isEmpty(bytes, at, length);
  if (!empty && !isValid(bytes, at, length)) return -EINVAL;
  if (!isDirectory(inodeMode(inode))) return empty ? 0 : -EACCES;
  if (empty) dropXattr(ino, DEFAULT_ACL_NAME, 0, DEFAULT_ACL_NAME.length);
  else if (!putXattr(ino, DEFAULT_ACL_NAME, 0, DEFAULT_ACL_NAME.length, bytes, at, length)) return -ENOSPC;
  stampChange(changeInode(ino));
  return 0;
}

function takeAcl(bytes: Uint8Array, at: number, length: number): void {
  for (let i = 0; i < length; i++) acl[i] = bytes[at + i]!;
  aclBytes = length;
}

/** Stores `acl` as access ACL, or takes an old one away if it says nothing special (A2). False if there is no key left for it. */
function storeAccessAcl(ino: Ino): boolean {
  if (!isPlain()) return putXattr(ino, ACCESS_ACL_NAME, 0, ACCESS_ACL_NAME.length, acl, 0, aclBytes);
  dropXattr(ino, ACCESS_ACL_NAME, 0, ACCESS_ACL_NAME.length);
  return true;
}

/** The permission bits become those of `mode`: the access ACL follows (A1). For inodes with INODE_HAS_ACL. */
export function followMode(ino: Ino, mode: number): void {
  if (!findXattr(ino, ACCESS_ACL_NAME, 0, ACCESS_ACL_NAME.length)) return;
  aclBytes = foundValueBytes;
  loadXattr(ino, acl, 0);
  setPermissions(entryOf(USER_OBJ), (mode >>> 6) & 7);
  setPermissions(groupEntry(), (mode >>> 3) & 7);
  setPermissions(entryOf(OTHER), mode & 7);
  putXattr(ino, ACCESS_ACL_NAME, 0, ACCESS_ACL_NAME.length, acl, 0, aclBytes);
}

export function hasAcl(at: number): boolean {
  return (inodeFlags(at) & INODE_HAS_ACL) !== 0;
}

export function hasDefaultAcl(at: number): boolean {
  return (inodeFlags(at) & INODE_HAS_DEFAULT_ACL) !== 0;
}

// Inheriting

/** Takes the default ACL of `dir`, which has one, and returns the mode of a new inode in it: `mode`, less what the ACL denies. */
export function inheritMode(dir: Ino, mode: number): number {
  findXattr(dir, DEFAULT_ACL_NAME, 0, DEFAULT_ACL_NAME.length);
  inheritedBytes = foundValueBytes;
  loadXattr(dir, inherited, 0);
  takeAcl(inherited, 0, inheritedBytes);
  narrow(entryOf(USER_OBJ), mode >>> 6);
  narrow(groupEntry(), mode >>> 3);
  narrow(entryOf(OTHER), mode);
  return (mode & ~S_IRWXUGO) | modeOfAcl();
}

function narrow(entry: number, bits: number): void {
  setPermissions(entry, permissions(entry) & bits);
}

/** Gives the inode that was just made what `inheritMode` prepared. False if there is no key left for it. */
export function storeInherited(ino: Ino, forDirectory: boolean): boolean {
  if (!isPlain() && !putXattr(ino, ACCESS_ACL_NAME, 0, ACCESS_ACL_NAME.length, acl, 0, aclBytes)) return false;
  return !forDirectory || putXattr(ino, DEFAULT_ACL_NAME, 0, DEFAULT_ACL_NAME.length, inherited, 0, inheritedBytes);
}
