/** Bodies of replies that show an inode. The inode is the one in the engine's scratch record (`foundAt`). */
import { BLOCK_BYTES, ROOT_INO, type LayerIndex } from '../layout/constants.js';
import {
  inodeAtimeHi,
  inodeAtimeLo,
  inodeAtimeNsec,
  inodeBlocks,
  inodeBtimeHi,
  inodeBtimeLo,
  inodeBtimeNsec,
  inodeCtimeHi,
  inodeCtimeLo,
  inodeCtimeNsec,
  inodeGid,
  inodeLinks,
  inodeMode,
  inodeMtimeHi,
  inodeMtimeLo,
  inodeMtimeNsec,
  inodeRdev,
  inodeSizeHi,
  inodeSizeLo,
  inodeUid,
} from '../layout/records.js';
import { foundAt } from '../engine/inode.js';
import { noteOpen } from './open-files.js';
import * as P from './protocol.js';
import { argument, clearReply, type Request } from './request.js';
import { lowOfFound } from './sharing.js';

/**
 * Entries and attributes never expire by themselves: every change comes through the kernel or is announced to it.
 * 2^31 - 1 seconds are 68 years.
 */
export const FOREVER_SECONDS = 0x7fff_ffff;
/**
 * Entries of `layers` change without the kernel's doing. Whoever changes one announces it (notify.ts); should an
 * announcement be forgotten, this bounds how long a name can mislead. One more LOOKUP a second costs nothing.
 */
export const LAYER_ENTRY_SECONDS = 1;

/** 512-byte sectors in a block, as a power of two. */
const SECTOR_SHIFT = 3;

/** Writes struct fuse_attr at word `to`. */
export function writeAttributes(words: Uint32Array, to: number, layer: number, ino: number): void {
  const from = foundAt;
  const blocks = inodeBlocks(from);
  words[to + P.ATTR_INO] = ino;
  words[to + P.ATTR_INO + 1] = layer;
  words[to + P.ATTR_SIZE] = inodeSizeLo(from);
  words[to + P.ATTR_SIZE + 1] = inodeSizeHi(from);
  words[to + P.ATTR_BLOCKS] = blocks << SECTOR_SHIFT;
  words[to + P.ATTR_BLOCKS + 1] = blocks >>> (32 - SECTOR_SHIFT);
  words[to + P.ATTR_MODE] = inodeMode(from);
  words[to + P.ATTR_LINKS] = inodeLinks(from);
  words[to + P.ATTR_UID] = inodeUid(from);
  words[to + P.ATTR_GID] = inodeGid(from);
  words[to + P.ATTR_RDEV] = inodeRdev(from);
  words[to + P.ATTR_BLOCK_BYTES] = BLOCK_BYTES;
  words[to + P.ATTR_FLAGS] = 0;
  writeTimes(words, to);
}

function writeTimes(words: Uint32Array, to: number): void {
  const from = foundAt;
  words[to + P.ATTR_ATIME] = inodeAtimeLo(from);
  words[to + P.ATTR_ATIME + 1] = inodeAtimeHi(from);
  words[to + P.ATTR_MTIME] = inodeMtimeLo(from);
  words[to + P.ATTR_MTIME + 1] = inodeMtimeHi(from);
  words[to + P.ATTR_CTIME] = inodeCtimeLo(from);
  words[to + P.ATTR_CTIME + 1] = inodeCtimeHi(from);
  words[to + P.ATTR_ATIME_NSEC] = inodeAtimeNsec(from);
  words[to + P.ATTR_MTIME_NSEC] = inodeMtimeNsec(from);
  words[to + P.ATTR_CTIME_NSEC] = inodeCtimeNsec(from);
}

/** Writes everything of struct fuse_entry_out at word `to` but the attributes. */
export function writeEntryHead(words: Uint32Array, to: number, high: number, low: number, entrySeconds: number): void {
  words[to + P.ENTRY_NODE] = low;
  words[to + P.ENTRY_NODE + 1] = high;
  words[to + P.ENTRY_GENERATION] = 0;
  words[to + P.ENTRY_GENERATION + 1] = 0;
  words[to + P.ENTRY_VALID] = entrySeconds;
  words[to + P.ENTRY_VALID + 1] = 0;
  words[to + P.ENTRY_ATTR_VALID] = FOREVER_SECONDS;
  words[to + P.ENTRY_ATTR_VALID + 1] = 0;
  words[to + P.ENTRY_VALID_NSEC] = 0;
  words[to + P.ENTRY_ATTR_VALID_NSEC] = 0;
}

/** Writes struct fuse_entry_out at word `to`. */
export function writeEntry(words: Uint32Array, to: number, layer: number, ino: number, entrySeconds: number): void {
  writeEntryHead(words, to, layer, lowOfFound(ino), entrySeconds);
  writeAttributes(words, to + P.ENTRY_ATTR, layer, ino);
}

/** Answers with the inode found. */
export function replyEntry(r: Request, layer: number, ino: number): number {
  writeEntry(r.words, r.replyWord, layer, ino, FOREVER_SECONDS);
  return P.ENTRY_BYTES;
}

/** Answers with the root directory of a layer, seen from the directory `layers` or the root of the mount. */
export function replyLayerRoot(r: Request, layer: number): number {
  writeEntry(r.words, r.replyWord, layer, ROOT_INO, LAYER_ENTRY_SECONDS);
  return P.ENTRY_BYTES;
}

/** Answers "no such name", for the kernel to remember. */
export function replyNegative(r: Request): number {
  clearReply(r, P.ENTRY_BYTES);
  r.words[r.replyWord + P.ENTRY_VALID] = FOREVER_SECONDS;
  return P.ENTRY_BYTES;
}

/** Writes struct fuse_open_out at word `to`: an opening that reads and writes through the page cache of its inode. */
export function writeOpen(words: Uint32Array, to: number, handle: number): void {
  words.fill(0, to, to + P.OPEN_OUT_BYTES / 4);
  words[to + P.OPEN_OUT_HANDLE] = handle;
  words[to + P.OPEN_OUT_FLAGS] = P.FOPEN_KEEP_CACHE | P.FOPEN_NOFLUSH;
}

/** Answers OPEN of a shared inode: `flags` are FOPEN_DIRECT_IO and FOPEN_PASSTHROUGH, the latter with a backing id. */
export function replySharedOpen(r: Request, handle: number, contents: LayerIndex, flags: number, backing: number): number {
  const to = r.replyWord;
  r.words[to + P.OPEN_OUT_HANDLE] = handle;
  r.words[to + P.OPEN_OUT_HANDLE + 1] = contents;
  r.words[to + P.OPEN_OUT_FLAGS] = flags | P.FOPEN_NOFLUSH;
  r.words[to + P.OPEN_OUT_BACKING] = backing;
  return P.OPEN_OUT_BYTES;
}

/** Answers CREATE and TMPFILE: the inode found, opened. */
export function replyCreated(r: Request, layer: number, ino: number): number {
  const handle = noteOpen(r, layer, ino, argument(r, P.CREATE_FLAGS));
  replyEntry(r, layer, ino);
  writeOpen(r.words, r.replyWord + P.ENTRY_BYTES / 4, handle);
  return P.ENTRY_BYTES + P.OPEN_OUT_BYTES;
}

/** Answers GETATTR and SETATTR. */
export function replyAttributes(r: Request, layer: number, ino: number): number {
  const to = r.replyWord;
  r.words[to + P.ATTR_OUT_VALID] = FOREVER_SECONDS;
  r.words[to + P.ATTR_OUT_VALID + 1] = 0;
  r.words[to + P.ATTR_OUT_VALID + 2] = 0;
  r.words[to + P.ATTR_OUT_VALID + 3] = 0;
  writeAttributes(r.words, to + P.ATTR_OUT_ATTR, layer, ino);
  return P.ATTR_OUT_BYTES;
}

/** Answers STATX, which the kernel sends only when somebody asks for the time of birth. */
export function replyStatx(r: Request, layer: number, ino: number): number {
  clearReply(r, P.STATX_BYTES);
  const { words, replyWord: to } = r;
  const from = foundAt;
  words[to + P.STATX_VALID] = FOREVER_SECONDS;
  words[to + P.STATX_MASK] = P.STATX_MASK_ALL;
  words[to + P.STATX_BLOCK_BYTES] = BLOCK_BYTES;
  words[to + P.STATX_LINKS] = inodeLinks(from);
  words[to + P.STATX_UID] = inodeUid(from);
  words[to + P.STATX_GID] = inodeGid(from);
  words[to + P.STATX_MODE] = inodeMode(from);
  words[to + P.STATX_INO] = ino;
  words[to + P.STATX_INO + 1] = layer;
  words[to + P.STATX_SIZE] = inodeSizeLo(from);
  words[to + P.STATX_SIZE + 1] = inodeSizeHi(from);
  words[to + P.STATX_BLOCKS] = inodeBlocks(from) << SECTOR_SHIFT;
  words[to + P.STATX_BLOCKS + 1] = inodeBlocks(from) >>> (32 - SECTOR_SHIFT);
  words[to + P.STATX_RDEV_MAJOR] = deviceMajor(inodeRdev(from));
  words[to + P.STATX_RDEV_MINOR] = deviceMinor(inodeRdev(from));
  writeStatxTimes(words, to);
  return P.STATX_BYTES;
}

function writeStatxTimes(words: Uint32Array, to: number): void {
  const from = foundAt;
  writeStatxTime(words, to + P.STATX_ATIME, inodeAtimeLo(from), inodeAtimeHi(from), inodeAtimeNsec(from));
  writeStatxTime(words, to + P.STATX_BTIME, inodeBtimeLo(from), inodeBtimeHi(from), inodeBtimeNsec(from));
  writeStatxTime(words, to + P.STATX_CTIME, inodeCtimeLo(from), inodeCtimeHi(from), inodeCtimeNsec(from));
  writeStatxTime(words, to + P.STATX_MTIME, inodeMtimeLo(from), inodeMtimeHi(from), inodeMtimeNsec(from));
}

function writeStatxTime(words: Uint32Array, to: number, low: number, high: number, nsec: number): void {
  words[to] = low;
  words[to + 1] = high;
  words[to + 2] = nsec;
}

/** Parts of a device number in the kernel's 32-bit form: minor bits 0-7, major 12 bits, minor bits 8-19. */
export const deviceMajor = (rdev: number): number => (rdev >>> 8) & 0xfff;
export const deviceMinor = (rdev: number): number => (rdev & 0xff) | ((rdev >>> 12) & 0xfff00);
