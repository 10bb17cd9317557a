/**
 * Names: looking up, making, linking, renaming and removing files of all types.
 *
 * Each function is one operation: it either happens as a whole or returns a negative error number and has changed nothing.
 * What the kernel sees to before it asks – permissions, the sticky bit, names on the way – is not looked at again; that a
 * tree remains a tree is.
 *
 * Names are bytes [at, at + length) of `bytes`. `foundAt` (inode.ts) is filled by everything that finds or makes an inode.
 */
import { SYMLINK_BYTES_MAX, type Ino, type LayerIndex } from '../layout/constants.js';
import { inodeEntries, inodeGid, inodeLinks, inodeMode, setInodeLinks, setInodeSizeLo } from '../layout/records.js';
import { EEXIST, EINVAL, EISDIR, ENAMETOOLONG, ENOENT, ENOSPC, ENOTDIR, ENOTEMPTY, EPERM, ESTALE } from '../linux/errno.js';
import { S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, S_ISGID, isDevice, isDirectory, isRegular, isSymlink, kindOf } from '../linux/mode.js';
import { ACL_CHANGES, hasDefaultAcl, inheritMode, storeInherited } from './acl.js';
import { readClock } from './clock.js';
import {
  NEW,
  addBackReference,
  addEntry,
  canTakeKey,
  changeDirectory,
  checkName,
  chooseSlot,
  entryHi,
  entryIno,
  entryKind,
  entryLo,
  findDirectory,
  findEntry,
  foreseeBackReference,
  liesWithin,
  parentOf,
  removeEntry,
  retargetEntry,
  slotHi,
  slotLo,
  takeEntrySlot,
} from './directory.js';
import {
  addInode,
  changeInode,
  findInode,
  findNamed,
  keepFound,
  nextIno,
  ownContents,
  readInodeInOperation,
  stampChange,
} from './inode.js';
import { abandon, beginRead, beginWrite, end } from './operation.js';
import { addOrphan, foreseeOrphan, removeOrphan } from './orphans.js';
import { SYMLINK_CHUNKS_MAX, storeTarget } from './symlink.js';

export { reapAllOrphans, reapOrphan } from './orphans.js';
export { readDirectory, type DirectorySink } from './readdir.js';
export { readLink } from './symlink.js';

/** Flags of `rename`. */
export const RENAME_NOREPLACE = 1;
export const RENAME_EXCHANGE = 2;
export const RENAME_WHITEOUT = 4;

// Changes of the tree to admit. Inode, entry, back reference, directory:
const CREATE_CHANGES = 4;
/** Inode, entry, back reference, directory, orphan record. */
const LINK_CHANGES = 5;
/** Two entries and back references go, two come, two inodes and two directories change, an orphan; a whiteout. */
const RENAME_CHANGES = 16;

const DIRECTORY_KIND = kindOf(S_IFDIR);

/** The directory has a default ACL, and to inherit it takes more changes than were admitted. */
const NEEDS_ROOM = -4096;

/** The inode that the thread's last `unlink`, `removeDirectory` or `rename` took a name from; 0 if none. For `reapOrphan`. */
export let lastUnlinkedIno: Ino = 0;

// Looking up

/** Returns the inode that a name of `dir` stands for; -ENOENT, -ENOTDIR, -ENAMETOOLONG, -ESTALE or -EIO. */
export function lookup(layer: LayerIndex, dir: Ino, bytes: Uint8Array, at: number, length: number): Ino {
  const refused = beginRead(layer);
  if (refused < 0) return refused;
  try {
    return end(lookUp(dir, bytes, at, length));
  } catch (error) {
    return abandon(error);
  }
}

function lookUp(dir: Ino, bytes: Uint8Array, at: number, length: number): Ino {
  const ino = findEntry(dir, bytes, at, length);
  if (ino !== 0) return readInodeInOperation(ino) < 0 ? -ESTALE : ino;
  const directory = findDirectory(dir);
  if (directory < 0) return directory;
  return checkName(bytes, at, length) === -ENAMETOOLONG ? -ENAMETOOLONG : -ENOENT;
}

/** Returns the directory that holds directory `dir`, the root itself for the root; -ENOTDIR, -ESTALE or -EIO. */
export function parentDirectory(layer: LayerIndex, dir: Ino): Ino {
  const refused = beginRead(layer);
  if (refused < 0) return refused;
  try {
    const at = findDirectory(dir);
    return end(at < 0 ? at : keepParent(parentOf(dir)));
  } catch (error) {
    return abandon(error);
  }
}

function keepParent(parent: Ino): Ino {
  const failed = readInodeInOperation(parent);
  return failed < 0 ? failed : parent;
}

// Making

/**
 * Makes a file of the type in `mode` (regular if there is none). It inherits the group of a set-group-id directory, and
 * from a default ACL, which takes the place of `umask`. `rdev` counts for devices. Returns the new inode; -EEXIST,
 * -ENOENT (removed directory), -ENOTDIR, -ENAMETOOLONG, -EINVAL, -ENOSPC, -EROFS, -ESTALE or -EIO.
 */
export function create(
  layer: LayerIndex,
  dir: Ino,
  bytes: Uint8Array,
  at: number,
  length: number,
  mode: number,
  umask: number,
  uid: number,
  gid: number,
  rdev: number,
): Ino {
  if (isSymlink(mode)) return -EINVAL;
  const bad = checkName(bytes, at, length);
  if (bad < 0) return bad;
  const result = createWithin(CREATE_CHANGES, layer, dir, bytes, at, length, mode, umask, uid, gid, rdev);
  if (result !== NEEDS_ROOM) return result;
  return createWithin(CREATE_CHANGES + 2 * ACL_CHANGES, layer, dir, bytes, at, length, mode, umask, uid, gid, rdev);
}

function createWithin(
  changes: number,
  layer: LayerIndex,
  dir: Ino,
  bytes: Uint8Array,
  at: number,
  length: number,
  mode: number,
  umask: number,
  uid: number,
  gid: number,
  rdev: number,
): Ino {
  const refused = beginWrite(layer, 0, changes);
  if (refused < 0) return refused;
  try {
    return end(createNode(dir, bytes, at, length, mode, umask, uid, gid, rdev, changes > CREATE_CHANGES));
  } catch (error) {
    return abandon(error);
  }
}

function createNode(
  dir: Ino,
  bytes: Uint8Array,
  at: number,
  length: number,
  mode: number,
  umask: number,
  uid: number,
  gid: number,
  rdev: number,
  isRoomy: boolean,
): Ino {
  const parent = prepareName(dir, bytes, at, length);
  if (parent < 0) return parent;
  const inherits = hasDefaultAcl(parent);
  if (inherits && !isRoomy) return NEEDS_ROOM;
  const fullMode = newMode(mode, inodeMode(parent));
  const group = newGroup(gid, parent);
  const ino = nextIno();
  if (ino < 0) return ino;
  const isDir = isDirectory(fullMode);
  const allowed = inherits ? inheritMode(dir, fullMode) : fullMode & ~(umask & 0o777);
  if (!chooseSlot(dir, bytes, at, length, NEW)) return -ENOSPC;
  readClock();
  // What lies together in the tree is changed together: first the directory, then the inode.
  addEntry(dir, bytes, at, length, ino, kindOf(allowed));
  changeDirectory(dir, 1, isDir ? 1 : 0);
  keepFound(ino, addInode(allowed, uid, group, isDir ? 2 : 1, isDevice(allowed) ? rdev : 0));
  addBackReference(ino, slotHi, slotLo, dir);
  if (inherits) keepInherited(ino, isDir);
  return ino;
}

/** Gives a new inode the ACLs it inherits. */
function keepInherited(ino: Ino, isDir: boolean): void {
  storeInherited(ino, isDir);
  readInodeInOperation(ino);
}

/** Address of the inode of a directory in which the name can be made; -EEXIST, -ENOENT, -ENOTDIR or -ESTALE. */
function prepareName(dir: Ino, bytes: Uint8Array, at: number, length: number): number {
  if (findEntry(dir, bytes, at, length) !== 0) return -EEXIST;
  return findLiveDirectory(dir);
}

/** Address of the inode of a directory that still has a name: nothing is made in one that was removed. */
function findLiveDirectory(dir: Ino): number {
  const at = findDirectory(dir);
  if (at < 0) return at;
  return inodeLinks(at) === 0 ? -ENOENT : at;
}

/** Mode of a new inode: set-group-id is passed on from directory to directory. */
function newMode(mode: number, parentMode: number): number {
  const typed = (mode & S_IFMT) === 0 ? mode | S_IFREG : mode;
  return isDirectory(typed) ? typed | (parentMode & S_ISGID) : typed;
}

function newGroup(gid: number, parent: number): number {
  return (inodeMode(parent) & S_ISGID) === 0 ? gid : inodeGid(parent);
}

/** Makes a symbolic link. Returns the new inode; as `create`, and -ENOENT for an empty target, -ENAMETOOLONG for one beyond 4,095 bytes. */
export function createSymlink(
  layer: LayerIndex,
  dir: Ino,
  bytes: Uint8Array,
  at: number,
  length: number,
  target: Uint8Array,
  targetAt: number,
  targetLength: number,
  uid: number,
  gid: number,
): Ino {
  const bad = checkName(bytes, at, length);
  if (bad < 0) return bad;
  if (targetLength === 0) return -ENOENT;
  if (targetLength > SYMLINK_BYTES_MAX) return -ENAMETOOLONG;
  const refused = beginWrite(layer, 0, CREATE_CHANGES + SYMLINK_CHUNKS_MAX);
  if (refused < 0) return refused;
  try {
    return end(makeSymlink(dir, bytes, at, length, target, targetAt, targetLength, uid, gid));
  } catch (error) {
    return abandon(error);
  }
}

function makeSymlink(
  dir: Ino,
  bytes: Uint8Array,
  at: number,
  length: number,
  target: Uint8Array,
  targetAt: number,
  targetLength: number,
  uid: number,
  gid: number,
): Ino {
  const parent = prepareName(dir, bytes, at, length);
  if (parent < 0) return parent;
  const group = newGroup(gid, parent);
  const ino = nextIno();
  if (ino < 0) return ino;
  if (!chooseSlot(dir, bytes, at, length, NEW)) return -ENOSPC;
  readClock();
  addEntry(dir, bytes, at, length, ino, kindOf(S_IFLNK));
  changeDirectory(dir, 1, 0);
  const inode = addInode(S_IFLNK | 0o777, uid, group, 1, 0);
  setInodeSizeLo(inode, targetLength);
  keepFound(ino, inode);
  addBackReference(ino, slotHi, slotLo, dir);
  storeTarget(ino, target, targetAt, targetLength);
  return ino;
}

/** Makes a regular file without a name (O_TMPFILE) that `link` may give one. Returns the new inode; errors as `create`. */
export function createTemporary(layer: LayerIndex, dir: Ino, mode: number, umask: number, uid: number, gid: number): Ino {
  const result = createTemporaryWithin(CREATE_CHANGES, layer, dir, mode, umask, uid, gid);
  if (result !== NEEDS_ROOM) return result;
  return createTemporaryWithin(CREATE_CHANGES + ACL_CHANGES, layer, dir, mode, umask, uid, gid);
}

function createTemporaryWithin(changes: number, layer: LayerIndex, dir: Ino, mode: number, umask: number, uid: number, gid: number): Ino {
  const refused = beginWrite(layer, 0, changes);
  if (refused < 0) return refused;
  try {
    return end(createUnnamed(dir, mode, umask, uid, gid, changes > CREATE_CHANGES));
  } catch (error) {
    return abandon(error);
  }
}

function createUnnamed(dir: Ino, mode: number, umask: number, uid: number, gid: number, isRoomy: boolean): Ino {
  const parent = findLiveDirectory(dir);
  if (parent < 0) return parent;
  const inherits = hasDefaultAcl(parent);
  if (inherits && !isRoomy) return NEEDS_ROOM;
  const group = newGroup(gid, parent);
  const ino = nextIno();
  if (ino < 0) return ino;
  foreseeOrphan(ino, false);
  const fullMode = (mode & ~S_IFMT) | S_IFREG;
  const allowed = inherits ? inheritMode(dir, fullMode) : fullMode & ~(umask & 0o777);
  readClock();
  keepFound(ino, addInode(allowed, uid, group, 0, 0));
  addOrphan(ino);
  if (inherits) keepInherited(ino, false);
  return ino;
}

/** Gives an inode one more name. Returns the inode; -EPERM for a directory; otherwise as `create`. */
export function link(layer: LayerIndex, ino: Ino, dir: Ino, bytes: Uint8Array, at: number, length: number): Ino {
  const bad = checkName(bytes, at, length);
  if (bad < 0) return bad;
  const refused = beginWrite(layer, 0, LINK_CHANGES);
  if (refused < 0) return refused;
  try {
    return end(addName(ino, dir, bytes, at, length));
  } catch (error) {
    return abandon(error);
  }
}

function addName(ino: Ino, dir: Ino, bytes: Uint8Array, at: number, length: number): Ino {
  const parent = prepareName(dir, bytes, at, length);
  if (parent < 0) return parent;
  const inode = findInode(ino);
  if (inode === 0) return -ESTALE;
  const mode = inodeMode(inode);
  if (isDirectory(mode)) return -EPERM;
  const isOrphan = inodeLinks(inode) === 0;
  if (!chooseSlot(dir, bytes, at, length, ino)) return -ENOSPC;
  if (isOrphan) foreseeOrphan(ino, true);
  readClock();
  const changed = changeInode(ino);
  const links = inodeLinks(changed);
  setInodeLinks(changed, links + 1);
  if (isRegular(mode)) ownContents(changed);
  stampChange(changed);
  keepFound(ino, changed);
  addBackReference(ino, slotHi, slotLo, dir);
  if (links === 0) removeOrphan(ino);
  addEntry(dir, bytes, at, length, ino, kindOf(mode));
  changeDirectory(dir, 1, 0);
  return ino;
}

// Removing

/** Removes a name that is not a directory's. Returns 0; -ENOENT, -EISDIR, -ENOTDIR, -ENOSPC, -EROFS, -ESTALE or -EIO. */
export function unlink(layer: LayerIndex, dir: Ino, bytes: Uint8Array, at: number, length: number): number {
  return removeName(layer, dir, bytes, at, length, false);
}

/** Removes an empty directory. Returns 0; -ENOENT, -ENOTEMPTY, -ENOTDIR, -ENOSPC, -EROFS, -ESTALE or -EIO. */
export function removeDirectory(layer: LayerIndex, dir: Ino, bytes: Uint8Array, at: number, length: number): number {
  return removeName(layer, dir, bytes, at, length, true);
}

function removeName(layer: LayerIndex, dir: Ino, bytes: Uint8Array, at: number, length: number, isDir: boolean): number {
  lastUnlinkedIno = 0;
  const refused = beginWrite(layer, 0, LINK_CHANGES, true);
  if (refused < 0) return refused;
  try {
    return end(dropName(dir, bytes, at, length, isDir));
  } catch (error) {
    return abandon(error);
  }
}

function dropName(dir: Ino, bytes: Uint8Array, at: number, length: number, isDir: boolean): number {
  const ino = lookUp(dir, bytes, at, length);
  if (ino < 0) return ino;
  const hi = entryHi;
  const lo = entryLo;
  const inode = findNamed(ino);
  if (isDirectory(inodeMode(inode)) !== isDir) return isDir ? -ENOTDIR : -EISDIR;
  if (isDir && inodeEntries(inode) > 0) return -ENOTEMPTY;
  foreseeLoss(ino, hi, lo);
  findInode(dir);
  readClock();
  removeEntry(dir, hi, lo, ino);
  loseName(ino);
  changeDirectory(dir, -1, isDir ? -1 : 0);
  return 0;
}

/** Reads what changes when an inode loses the name with that key. */
function foreseeLoss(ino: Ino, hi: number, lo: number): void {
  foreseeBackReference(ino, hi, lo);
  const inode = findNamed(ino);
  if (isDirectory(inodeMode(inode)) || inodeLinks(inode) === 1) foreseeOrphan(ino, false);
}

/** An inode lost a name: an empty directory its only one. Without any left it becomes an orphan. */
function loseName(ino: Ino): void {
  lastUnlinkedIno = ino;
  const at = changeInode(ino);
  const links = isDirectory(inodeMode(at)) ? 0 : inodeLinks(at) - 1;
  setInodeLinks(at, links);
  if (links > 0 && isRegular(inodeMode(at))) ownContents(at);
  stampChange(at);
  keepFound(ino, at);
  if (links === 0) addOrphan(ino);
}

// Renaming

/**
 * Renames as renameat2(2): replaces the new name unless RENAME_NOREPLACE, swaps both with RENAME_EXCHANGE, leaves a
 * character device 0:0 behind with RENAME_WHITEOUT. Returns 0; -ENOENT, -EEXIST, -ENOTDIR, -EISDIR, -ENOTEMPTY, -EINVAL
 * (flags; a directory below itself), -ENAMETOOLONG, -ENOSPC, -EROFS, -ESTALE or -EIO.
 */
export function rename(
  layer: LayerIndex,
  dir: Ino,
  bytes: Uint8Array,
  at: number,
  length: number,
  newDir: Ino,
  newBytes: Uint8Array,
  newAt: number,
  newLength: number,
  flags: number,
): number {
  lastUnlinkedIno = 0;
  const isKnown = (flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)) === 0;
  if (!isKnown || ((flags & RENAME_EXCHANGE) !== 0 && flags !== RENAME_EXCHANGE)) return -EINVAL;
  const bad = checkName(newBytes, newAt, newLength);
  if (bad < 0) return bad;
  const refused = beginWrite(layer, 0, RENAME_CHANGES);
  if (refused < 0) return refused;
  try {
    return end(renameEntry(dir, bytes, at, length, newDir, newBytes, newAt, newLength, flags));
  } catch (error) {
    return abandon(error);
  }
}

function renameEntry(
  dir: Ino,
  bytes: Uint8Array,
  at: number,
  length: number,
  newDir: Ino,
  newBytes: Uint8Array,
  newAt: number,
  newLength: number,
  flags: number,
): number {
  const ino = lookUp(dir, bytes, at, length);
  if (ino < 0) return ino;
  const kind = entryKind;
  const hi = entryHi;
  const lo = entryLo;
  const parent = findLiveDirectory(newDir);
  if (parent < 0) return parent;
  const target = findEntry(newDir, newBytes, newAt, newLength);
  const refused = checkRename(ino, dir, target, newDir, flags);
  if (refused !== 0 || ino === target) return refused;
  readClock();
  if ((flags & RENAME_EXCHANGE) !== 0) return exchange(ino, kind, dir, hi, lo, newDir);
  if (!takeEntrySlot(ino) && !chooseSlot(newDir, newBytes, newAt, newLength, ino)) return -ENOSPC;
  const whiteout = (flags & RENAME_WHITEOUT) === 0 ? 0 : nextIno();
  if (whiteout < 0) return whiteout;
  foreseeBackReference(ino, hi, lo);
  findInode(ino);
  findInode(dir);
  if (entryIno !== 0) foreseeLoss(entryIno, entryHi, entryLo);
  move(ino, kind, dir, hi, lo, newDir, newBytes, newAt, newLength);
  if (whiteout > 0) leaveWhiteout(dir, bytes, at, length, whiteout);
  readInodeInOperation(ino);
  return 0;
}

/** 0, or why inode `ino` of `dir` can't take the place of `target` (0: there is none) in `newDir`. */
function checkRename(ino: Ino, dir: Ino, target: Ino, newDir: Ino, flags: number): number {
  const isExchange = (flags & RENAME_EXCHANGE) !== 0;
  if (target === 0 && isExchange) return -ENOENT;
  if (target !== 0 && (flags & RENAME_NOREPLACE) !== 0) return -EEXIST;
  if (ino === target) return 0;
  const isDir = isDirectoryInode(ino);
  if (dir !== newDir && isDir && liesWithin(newDir, ino)) return -EINVAL;
  if (target === 0) return 0;
  const targetIsDir = isDirectoryInode(target);
  if (dir !== newDir && targetIsDir && liesWithin(dir, target)) return isExchange ? -EINVAL : -ENOTEMPTY;
  if (isExchange) return 0;
  if (isDir !== targetIsDir) return isDir ? -ENOTDIR : -EISDIR;
  return targetIsDir && inodeEntries(findNamed(target)) > 0 ? -ENOTEMPTY : 0;
}

function isDirectoryInode(ino: Ino): boolean {
  return isDirectory(inodeMode(findNamed(ino)));
}

/** Moves a name to the key that was chosen last, in the place of the entry that was found last, if there is one. */
function move(
  ino: Ino,
  kind: number,
  dir: Ino,
  hi: number,
  lo: number,
  newDir: Ino,
  newBytes: Uint8Array,
  newAt: number,
  newLength: number,
): void {
  const isDir = kind === DIRECTORY_KIND ? 1 : 0;
  const replaced = entryIno !== 0 ? 1 : 0;
  const replacedDir = replaced === 1 && entryKind === DIRECTORY_KIND ? 1 : 0;
  removeEntry(dir, hi, lo, ino);
  if (replaced === 1) {
    removeEntry(newDir, entryHi, entryLo, entryIno);
    loseName(entryIno);
  }
  addEntry(newDir, newBytes, newAt, newLength, ino, kind);
  addBackReference(ino, slotHi, slotLo, newDir);
  stampChange(changeInode(ino));
  if (dir === newDir) changeDirectory(dir, -replaced, -replacedDir);
  else {
    changeDirectory(dir, -1, -isDir);
    changeDirectory(newDir, 1 - replaced, isDir - replacedDir);
  }
}

/** Leaves a whiteout under the name that was just moved away: overlayfs takes a character device 0:0 for "nothing here". */
function leaveWhiteout(dir: Ino, bytes: Uint8Array, at: number, length: number, ino: Ino): void {
  // The key of the old name is free again, so there is one.
  chooseSlot(dir, bytes, at, length, NEW);
  addEntry(dir, bytes, at, length, ino, kindOf(S_IFCHR));
  changeDirectory(dir, 1, 0);
  addInode(S_IFCHR, 0, 0, 1, 0);
  addBackReference(ino, slotHi, slotLo, dir);
}

/** Swaps what the entry (dir, hi, lo) and the one that was found last, in `newDir`, stand for. */
function exchange(ino: Ino, kind: number, dir: Ino, hi: number, lo: number, newDir: Ino): number {
  const target = entryIno;
  const targetKind = entryKind;
  foreseeBackReference(ino, hi, lo);
  foreseeBackReference(target, entryHi, entryLo);
  if (!canTakeKey(target, hi, lo, entryHi, entryLo) || !canTakeKey(ino, entryHi, entryLo, hi, lo)) return -ENOSPC;
  retargetEntry(dir, hi, lo, ino, target, targetKind);
  retargetEntry(newDir, entryHi, entryLo, target, ino, kind);
  addBackReference(target, hi, lo, dir);
  addBackReference(ino, entryHi, entryLo, newDir);
  stampChange(changeInode(target));
  stampChange(changeInode(ino));
  const subdirectories = (kind === DIRECTORY_KIND ? 1 : 0) - (targetKind === DIRECTORY_KIND ? 1 : 0);
  changeDirectory(dir, 0, dir === newDir ? 0 : -subdirectories);
  if (dir !== newDir) changeDirectory(newDir, 0, subdirectories);
  readInodeInOperation(ino);
  return 0;
}
