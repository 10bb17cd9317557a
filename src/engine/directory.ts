/**
 * Directory entries and their back references, inside an operation.
 *
 * An entry is a record (directory, DIRENT, hash of the name). The low four bits of the hash are a collision number, so up
 * to 16 names may share a hash; a name is looked for by walking those 16 keys. The key is the entry's cookie: it
 * stays the same for as long as the name exists, whatever else happens in the directory.
 *
 * For every entry the inode has a record (inode, LINK, same hash) that holds the directory. It says who an inode's
 * parents are, `..` of a directory among them, and lets check and diff find the names of an inode.
 *
 * Invariants
 *  D1  Entry (dir, DIRENT, h) naming inode i exists exactly if back reference (i, LINK, h) holding dir exists.
 *  D2  `entries` of a directory is the number of its entries.
 */
import { DIRENT, LINK, NAME_BYTES_MAX, type Ino } from '../layout/constants.js';
import { B } from '../layout/memory.js';
import {
  DIRENT_WORDS,
  LINK_WORDS,
  direntIno,
  direntKind,
  inodeEntries,
  inodeLinks,
  inodeMode,
  linkParent,
  recordHi,
  recordKey0,
  recordLo,
  setDirentIno,
  setDirentKind,
  setInodeEntries,
  setInodeLinks,
  setLinkParent,
} from '../layout/records.js';
import { EINVAL, ENAMETOOLONG, ENOENT, ENOTDIR, ESTALE } from '../linux/errno.js';
import { isDirectory } from '../linux/mode.js';
import { fail, inconsistent } from './errors.js';
import { hashHi, hashLo, hashName } from './hash.js';
import { changeInode, findInode, setInodeSize, stampEntries } from './inode.js';
import { find, findForUpdate, insert, next, recordBytes, recordType, remove, seek, valueOf } from './tree.js';

/** For `chooseSlot`: an inode that does not exist yet. */
export const NEW: Ino = 0;

const COLLISIONS = 16;
const ENTRY_BYTES = 32;
const SLASH = 0x2f;
const DOT = 0x2e;

/** What `findEntry` found. */
export let entryIno: Ino = 0;
export let entryKind = 0;
export let entryHi = 0;
export let entryLo = 0;
/** What `chooseSlot` chose. */
export let slotHi = 0;
export let slotLo = 0;

/** 0 if the bytes can be the name of a new entry; else -ENOENT (empty), -ENAMETOOLONG or -EINVAL. */
export function checkName(bytes: Uint8Array, at: number, length: number): number {
  if (length === 0) return -ENOENT;
  if (length > NAME_BYTES_MAX) return -ENAMETOOLONG;
  if (bytes[at] === DOT && (length === 1 || (length === 2 && bytes[at + 1] === DOT))) return -EINVAL;
  for (let i = at; i < at + length; i++) if (bytes[i] === 0 || bytes[i] === SLASH) return -EINVAL;
  return 0;
}

/** Address of a directory's inode for reading; -ESTALE or -ENOTDIR if there is none. */
export function findDirectory(dir: Ino): number {
  const at = findInode(dir);
  if (at === 0) return -ESTALE;
  return isDirectory(inodeMode(at)) ? at : -ENOTDIR;
}

/** Finds a name. Returns its inode and fills `entryIno`, `entryKind`, `entryHi`, `entryLo`; 0 if there is no such name. */
export function findEntry(dir: Ino, bytes: Uint8Array, at: number, length: number): Ino {
  entryIno = 0;
  if (length > NAME_BYTES_MAX) return 0;
  hashName(dir, bytes, at, length);
  let record = seek(dir, DIRENT, hashHi, hashLo);
  while (record !== 0 && sharesHash(record, dir)) {
    if (isNamed(record, bytes, at, length)) return keepEntry(record);
    record = next();
  }
  return 0;
}

/** Whether a record is an entry of `dir` with the hash of the last `hashName`, whatever its collision number. */
function sharesHash(record: number, dir: Ino): boolean {
  return (
    recordKey0(record) === dir && recordType(record) === DIRENT && recordHi(record) === hashHi && (recordLo(record) ^ hashLo) >>> 4 === 0
  );
}

function isNamed(record: number, bytes: Uint8Array, at: number, length: number): boolean {
  if (recordBytes(record) !== DIRENT_WORDS * 4 + length) return false;
  const name = (valueOf(record) + DIRENT_WORDS) * 4;
  for (let i = 0; i < length; i++) if (B[name + i] !== bytes[at + i]) return false;
  return true;
}

function keepEntry(record: number): Ino {
  entryIno = direntIno(valueOf(record));
  entryKind = direntKind(valueOf(record));
  entryHi = recordHi(record);
  entryLo = recordLo(record);
  return entryIno;
}

/**
 * Chooses the key under which `name` of `dir` will name `ino`: `slotHi`, `slotLo`. It must be free among the entries of
 * the directory and among the back references of the inode, of which a new one (0) has none. False if all 16 are taken.
 */
export function chooseSlot(dir: Ino, bytes: Uint8Array, at: number, length: number, ino: Ino): boolean {
  hashName(dir, bytes, at, length);
  slotHi = hashHi;
  for (let collision = 0; collision < COLLISIONS; collision++) {
    slotLo = (hashLo | collision) >>> 0;
    if (find(dir, DIRENT, slotHi, slotLo) === 0 && (ino === NEW || find(ino, LINK, slotHi, slotLo) === 0)) return true;
  }
  return false;
}

/** Chooses the key of the entry that was found last, for an inode to take its place. False if none was found or the inode can't take the key. */
export function takeEntrySlot(ino: Ino): boolean {
  slotHi = entryHi;
  slotLo = entryLo;
  return entryIno !== 0 && find(ino, LINK, entryHi, entryLo) === 0;
}

/** Whether an inode can have a back reference of key (hi, lo) once it has lost the one of key (oldHi, oldLo). */
export function canTakeKey(ino: Ino, hi: number, lo: number, oldHi: number, oldLo: number): boolean {
  return (hi === oldHi && lo === oldLo) || find(ino, LINK, hi, lo) === 0;
}

/** Adds an entry under the key of the last choice. Its back reference and the directory's inode are for the caller. */
export function addEntry(dir: Ino, bytes: Uint8Array, at: number, length: number, ino: Ino, kind: number): void {
  const entry = valueOf(insert(dir, DIRENT, slotHi, slotLo, DIRENT_WORDS * 4 + length));
  setDirentIno(entry, ino);
  setDirentKind(entry, kind);
  const name = (entry + DIRENT_WORDS) * 4;
  for (let i = 0; i < length; i++) B[name + i] = bytes[at + i]!;
}

/** Lets an inode know of the entry (dir, hi, lo) that names it. */
export function addBackReference(ino: Ino, hi: number, lo: number, dir: Ino): void {
  setLinkParent(valueOf(insert(ino, LINK, hi, lo, LINK_WORDS * 4)), dir);
}

/** Lets an entry stand for inode `to` instead of `from`, whose back reference goes; that of `to` is for the caller to add. */
export function retargetEntry(dir: Ino, hi: number, lo: number, from: Ino, to: Ino, kind: number): void {
  const record = findForUpdate(dir, DIRENT, hi, lo);
  if (record === 0) fail('D1: the entry exists', dir, from);
  setDirentIno(valueOf(record), to);
  setDirentKind(valueOf(record), kind);
  if (!remove(from, LINK, hi, lo)) fail('D1: the back reference exists', dir, from);
}

/** Reads the back reference of an inode that will be removed with its entry, which must be there (D1). */
export function foreseeBackReference(ino: Ino, hi: number, lo: number): void {
  if (find(ino, LINK, hi, lo) === 0) throw inconsistent('an inode does not refer back to its name', ino);
}

/** Removes the entry with that key and the back reference of `ino`. The directory is not touched. */
export function removeEntry(dir: Ino, hi: number, lo: number, ino: Ino): void {
  if (!remove(dir, DIRENT, hi, lo)) fail('D1: the entry exists', dir, ino);
  if (!remove(ino, LINK, hi, lo)) fail('D1: the back reference exists', dir, ino);
}

/** The contents of a directory changed: counts entries and subdirectories, and stamps it. */
export function changeDirectory(dir: Ino, entries: number, subdirectories: number): void {
  const at = changeInode(dir);
  const count = inodeEntries(at) + entries;
  setInodeEntries(at, count);
  setInodeSize(at, count * ENTRY_BYTES);
  setInodeLinks(at, inodeLinks(at) + subdirectories);
  stampEntries(at);
}

/** A directory that holds `ino`: for a directory its parent. `ino` itself if it has no name (the root, an orphan). */
export function parentOf(ino: Ino): Ino {
  const record = seek(ino, LINK, 0, 0);
  const isLink = record !== 0 && recordKey0(record) === ino && recordType(record) === LINK;
  return isLink ? linkParent(valueOf(record)) : ino;
}

/** Whether directory `dir` is `ancestor` or lies below it. Throws BlockError if directories lead in a circle. */
export function liesWithin(dir: Ino, ancestor: Ino): boolean {
  // Brent's way: a place that is passed, and set anew after twice as many steps, is met again in a circle.
  let passed = dir;
  for (let steps = 1, limit = 2; ; steps++) {
    if (dir === ancestor) return true;
    const parent = parentOf(dir);
    if (parent === dir) return false;
    if (parent === passed) throw inconsistent('directories lead in a circle', dir, parent);
    dir = parent;
    if (steps < limit) continue;
    passed = dir;
    steps = 0;
    limit *= 2;
  }
}
