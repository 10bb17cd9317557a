/**
 * Extended attributes as records, inside an operation.
 *
 * An attribute lies in records (inode, XATTR, hash of its name), whose low twelve bits are a collision number (four bits)
 * and a chunk number (eight). Chunk 0 begins with the lengths of name and value; then come the name and the value, over
 * as many chunks of VALUE_BYTES_MAX bytes as they need: 68 for the longest.
 *
 * Invariants
 *  X1  All chunks of an attribute but the last are full.
 *  X2  INODE_HAS_XATTR is set exactly if the inode has attributes; INODE_HAS_ACL and INODE_HAS_DEFAULT_ACL exactly if it
 *      has those two. So an inode without any, as most are, answers without a search.
 */
import { INODE_HAS_ACL, INODE_HAS_DEFAULT_ACL, INODE_HAS_XATTR, VALUE_BYTES_MAX, XATTR, type Ino } from '../layout/constants.js';
import { B } from '../layout/memory.js';
import {
  XATTR_WORDS,
  inodeFlags,
  recordHi,
  recordKey0,
  recordLo,
  setInodeFlags,
  setXattrNameBytes,
  setXattrValueBytes,
  xattrNameBytes,
  xattrValueBytes,
} from '../layout/records.js';
import { inconsistent } from './errors.js';
import { hashHi, hashLo, hashName } from './hash.js';
import { changeInode, foresee } from './inode.js';
import { find, insert, next, recordBytes, recordType, remove, seek, valueOf } from './tree.js';

const CHUNK_BITS = 8;
const CHUNKS_MASK = (1 << CHUNK_BITS) - 1;
const COLLISIONS = 16;
const HASH_MASK = ~0xfff;
const HEADER_BYTES = XATTR_WORDS * 4;

export const ACCESS_ACL_NAME = new TextEncoder().encode('system.posix_acl_access');
export const DEFAULT_ACL_NAME = new TextEncoder().encode('system.posix_acl_default');
export const CAPABILITY_NAME = new TextEncoder().encode('security.capability');

/** Key of the attribute that `findXattr` found, chunk 0. */
let foundHi = 0;
let foundLo = 0;
let foundNameBytes = 0;
/** Length of the value that `findXattr` found. */
export let foundValueBytes = 0;

export function isName(bytes: Uint8Array, at: number, length: number, name: Uint8Array): boolean {
  return length === name.length && hasPrefix(bytes, at, length, name);
}

export function hasPrefix(bytes: Uint8Array, at: number, length: number, prefix: Uint8Array): boolean {
  if (length < prefix.length) return false;
  for (let i = 0; i < prefix.length; i++) if (bytes[at + i] !== prefix[i]) return false;
  return true;
}

/** Number of records for a name and a value. */
export function chunksFor(nameBytes: number, valueBytes: number): number {
  return Math.ceil((HEADER_BYTES + nameBytes + valueBytes) / VALUE_BYTES_MAX);
}

/** Changes of the tree to admit for putting a value in the place of another: a change admits six pages of at least one chunk each. */
export function xattrChanges(nameBytes: number, valueBytes: number): number {
  return 16 + chunksFor(nameBytes, valueBytes);
}

/** Finds an attribute; what it found is what the functions below act on. */
export function findXattr(ino: Ino, bytes: Uint8Array, at: number, length: number): boolean {
  hashName(ino, bytes, at, length);
  const base = (hashLo & HASH_MASK) >>> 0;
  for (let record = seek(ino, XATTR, hashHi, base); record !== 0 && sharesHash(record, ino, base); record = next()) {
    if ((recordLo(record) & CHUNKS_MASK) !== 0 || !isNamed(valueOf(record), bytes, at, length)) continue;
    foundHi = recordHi(record);
    foundLo = recordLo(record);
    foundNameBytes = length;
    foundValueBytes = xattrValueBytes(valueOf(record));
    return true;
  }
  return false;
}

function sharesHash(record: number, ino: Ino, base: number): boolean {
  return isXattrOf(record, ino) && recordHi(record) === hashHi && (recordLo(record) & HASH_MASK) >>> 0 === base;
}

function isXattrOf(record: number, ino: Ino): boolean {
  return record !== 0 && recordKey0(record) === ino && recordType(record) === XATTR;
}

function isNamed(value: number, bytes: Uint8Array, at: number, length: number): boolean {
  if (xattrNameBytes(value) !== length) return false;
  const name = value * 4 + HEADER_BYTES;
  for (let i = 0; i < length; i++) if (B[name + i] !== bytes[at + i]) return false;
  return true;
}

/** Copies the value of the attribute that was found to `out`. */
export function loadXattr(ino: Ino, out: Uint8Array, outAt: number): void {
  const hi = foundHi;
  let skip = HEADER_BYTES + foundNameBytes;
  for (let done = 0, chunk = 0; done < foundValueBytes; chunk++) {
    const record = find(ino, XATTR, hi, foundLo + chunk);
    const bytes = Math.min(VALUE_BYTES_MAX - skip, foundValueBytes - done);
    if (record === 0 || recordBytes(record) !== skip + bytes) throw inconsistent('a part of an attribute is missing', ino, chunk);
    const from = valueOf(record) * 4 + skip;
    for (let i = 0; i < bytes; i++) out[outAt + done + i] = B[from + i]!;
    done += bytes;
    skip = 0;
  }
}

/** Reads where the attribute that was found lies. */
export function foreseeXattr(ino: Ino): void {
  const chunks = chunksFor(foundNameBytes, foundValueBytes);
  for (let chunk = 0; chunk < chunks; chunk++) foresee(ino, XATTR, foundHi, foundLo + chunk);
}

/** Takes the attribute that was found away. The inode is not touched. */
export function eraseXattr(ino: Ino): void {
  const chunks = chunksFor(foundNameBytes, foundValueBytes);
  foreseeXattr(ino);
  for (let chunk = 0; chunk < chunks; chunk++) remove(ino, XATTR, foundHi, foundLo + chunk);
}

/** Adds an attribute that does not exist. The inode is not touched. False if all 16 collision numbers are taken. */
export function addXattr(
  ino: Ino,
  bytes: Uint8Array,
  at: number,
  length: number,
  value: Uint8Array,
  valueAt: number,
  valueLength: number,
): boolean {
  hashName(ino, bytes, at, length);
  const hi = hashHi;
  const lo = chooseKey(ino);
  if (lo < 0) return false;
  const chunks = chunksFor(length, valueLength);
  let stored = 0;
  for (let chunk = 0; chunk < chunks; chunk++) {
    const first = chunk === 0 ? HEADER_BYTES + length : 0;
    const bytesHere = Math.min(VALUE_BYTES_MAX - first, valueLength - stored);
    const record = valueOf(insert(ino, XATTR, hi, lo + chunk, first + bytesHere));
    if (chunk === 0) putHeader(record, bytes, at, length, valueLength);
    const to = record * 4 + first;
    for (let i = 0; i < bytesHere; i++) B[to + i] = value[valueAt + stored + i]!;
    stored += bytesHere;
  }
  return true;
}

/** Low word of a free key with the hash of the last `hashName`; -1 if there is none. */
function chooseKey(ino: Ino): number {
  for (let collision = 0; collision < COLLISIONS; collision++) {
    const lo = ((hashLo & HASH_MASK) | (collision << CHUNK_BITS)) >>> 0;
    if (find(ino, XATTR, hashHi, lo) === 0) return lo;
  }
  return -1;
}

function putHeader(record: number, bytes: Uint8Array, at: number, length: number, valueLength: number): void {
  setXattrNameBytes(record, length);
  setXattrValueBytes(record, valueLength);
  const name = record * 4 + HEADER_BYTES;
  for (let i = 0; i < length; i++) B[name + i] = bytes[at + i]!;
}

/** Takes an attribute away if the inode has it, and keeps its flags right. */
export function dropXattr(ino: Ino, bytes: Uint8Array, at: number, length: number): boolean {
  if (!findXattr(ino, bytes, at, length)) return false;
  eraseXattr(ino);
  let gone = flagOf(bytes, at, length);
  if (!isXattrOf(seek(ino, XATTR, 0, 0), ino)) gone |= INODE_HAS_XATTR;
  if (gone !== 0) {
    const inode = changeInode(ino);
    setInodeFlags(inode, inodeFlags(inode) & ~gone);
  }
  return true;
}

/** Gives an attribute a value, whether it exists or not, and keeps the inode's flags right. False if there is no key left. */
export function putXattr(
  ino: Ino,
  bytes: Uint8Array,
  at: number,
  length: number,
  value: Uint8Array,
  valueAt: number,
  valueLength: number,
): boolean {
  if (findXattr(ino, bytes, at, length)) eraseXattr(ino);
  if (!addXattr(ino, bytes, at, length, value, valueAt, valueLength)) return false;
  const inode = changeInode(ino);
  setInodeFlags(inode, inodeFlags(inode) | INODE_HAS_XATTR | flagOf(bytes, at, length));
  return true;
}

/** The flag that stands for an attribute of this name. */
function flagOf(bytes: Uint8Array, at: number, length: number): number {
  if (isName(bytes, at, length, ACCESS_ACL_NAME)) return INODE_HAS_ACL;
  return isName(bytes, at, length, DEFAULT_ACL_NAME) ? INODE_HAS_DEFAULT_ACL : 0;
}

/** The first attribute's chunk 0 whose key is not lower; 0 if there is none. */
export function seekXattr(ino: Ino, hi: number, lo: number): number {
  let record = seek(ino, XATTR, hi, lo);
  while (isXattrOf(record, ino) && (recordLo(record) & CHUNKS_MASK) !== 0) record = next();
  return isXattrOf(record, ino) ? record : 0;
}

/** The next attribute's chunk 0. */
export function nextXattr(ino: Ino): number {
  let record = next();
  while (isXattrOf(record, ino) && (recordLo(record) & CHUNKS_MASK) !== 0) record = next();
  return isXattrOf(record, ino) ? record : 0;
}
