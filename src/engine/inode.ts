/**
 * Inodes: one record of type INODE for each file of a layer, holding all that stat(2) shows.
 *
 * Functions with `InOperation` in their name, and those that take no layer, belong inside an operation (operation.ts).
 * An address they return is that of the record's value, for the generated accessors, and holds until the next call into
 * the tree. What outlives the operation is copied: after each call that finds or makes an inode, `foundAt` is a copy of
 * its record, taken under the lock and private to the thread.
 *
 * Invariants
 *  N1  Inode numbers grow and are never used again, along a whole lineage of layers.
 *  N2  The layer record counts every inode of the tree, orphans included.
 *  N3  An inode has a LINK record for every directory entry that names it, and `links` counts them; for directories
 *      `links` is 2 and one for each subdirectory. It is 0 exactly if the inode has an ORPHAN record.
 *  N4  The size of a directory is 32 for each entry.
 *  N5  `contentLayer` of a regular file is the layer that last changed its data or size, so no extent of the file has a
 *      newer owner. If it is another layer than the inode's own, it is a sealed ancestor, whose inode of this number has
 *      the same data and size for as long as the descendant exists.
 *  N6  A regular file whose number of names changes while it has several, or gets several, counts as changed (N5).
 */
import { INODE, INO_MAX, LAYER_SEALED, type Ino, type LayerIndex } from '../layout/constants.js';
import { W } from '../layout/memory.js';
import {
  INODE_WORDS,
  inodeBlocks,
  inodeContentLayer,
  inodeLinks,
  inodeMode,
  inodeSizeHi,
  inodeSizeLo,
  layerInodes,
  layerNextIno,
  layerState,
  recordKey0,
  setInodeAtimeHi,
  setInodeAtimeLo,
  setInodeAtimeNsec,
  setInodeBlocks,
  setInodeBtimeHi,
  setInodeBtimeLo,
  setInodeBtimeNsec,
  setInodeContentLayer,
  setInodeCtimeHi,
  setInodeCtimeLo,
  setInodeCtimeNsec,
  setInodeGid,
  setInodeLinks,
  setInodeMode,
  setInodeMtimeHi,
  setInodeMtimeLo,
  setInodeMtimeNsec,
  setInodeRdev,
  setInodeSizeHi,
  setInodeSizeLo,
  setInodeUid,
  setLayerInodes,
  setLayerNextIno,
} from '../layout/records.js';
import { EINVAL, EISDIR, ENOSPC, ESTALE } from '../linux/errno.js';
import { isDirectory, isRegular } from '../linux/mode.js';
import { THREAD_WORDS, scratchAt } from './arena.js';
import { nowHi, nowLo, nowNsec } from './clock.js';
import { fail, inconsistent } from './errors.js';
import { abandon, beginRead, end, opLayer, opRecord } from './operation.js';
import { find, findForUpdate, insert, remove, seek, valueOf } from './tree.js';

const WORD_RANGE = 0x1_0000_0000;
const FOUND_OFFSET = THREAD_WORDS - 32;

/** Copy of the inode that this thread's last call found or made: `inodeMode(foundAt)`, … */
export let foundAt = 0;
let found: Ino = 0;
let foundLayer: LayerIndex = 0;
let foundSealed = false;

/** Number of the inode that `foundAt` is a copy of. */
export function foundIno(): Ino {
  return found;
}

/** Whether the layer in which `foundAt` was found is sealed. */
export function isFoundSealed(): boolean {
  return foundSealed;
}

/**
 * Whether what `foundAt` shows is a regular file with data that never changes: inherited, or of a sealed layer. The layer
 * `inodeContentLayer(foundAt)` has the same, and is sealed.
 */
export function isFoundFixed(): boolean {
  if (!isRegular(inodeMode(foundAt)) || inodeSize(foundAt) === 0) return false;
  return foundSealed || inodeContentLayer(foundAt) !== foundLayer;
}

/**
 * Whether the kernel may be shown the file as one that all layers share which inherit it. A file with several names is
 * not: it would change sides when a name is added or taken away. Nor is an empty one, as what it is for may be its locks.
 */
export function isFoundShared(): boolean {
  return isFoundFixed() && inodeLinks(foundAt) === 1;
}

/** Fills `foundAt`. Returns 0, or -ESTALE if there is no such inode. */
export function getInode(layer: LayerIndex, ino: Ino): number {
  const slot = beginRead(layer);
  if (slot < 0) return slot;
  let result: number;
  try {
    result = readInodeInOperation(ino);
  } catch (error) {
    return abandon(error);
  }
  return end(result);
}

/** Fills `foundAt` within an operation. Returns 0, or -ESTALE if there is no such inode. */
export function readInodeInOperation(ino: Ino): number {
  const at = findInode(ino);
  if (at === 0) return -ESTALE;
  keepFound(ino, at);
  return 0;
}

/** Makes `foundAt` a copy of the record at `at`. */
export function keepFound(ino: Ino, at: number): void {
  foundAt = scratchAt + FOUND_OFFSET;
  for (let word = 0; word < INODE_WORDS; word++) W[foundAt + word] = W[at + word]!;
  found = ino;
  foundLayer = opLayer();
  foundSealed = layerState(opRecord()) === LAYER_SEALED;
}

/** Address of an inode for reading; 0 if there is none. */
export function findInode(ino: Ino): number {
  const record = find(ino, INODE, 0, 0);
  return record === 0 ? 0 : valueOf(record);
}

/** Address of the inode that a name leads to. Throws BlockError if there is none, as only a damaged volume has it. */
export function findNamed(ino: Ino): number {
  const at = findInode(ino);
  if (at === 0) throw inconsistent('a name leads to no inode', ino);
  return at;
}

/** Address of a regular file's inode for reading; -ESTALE, -EISDIR or -EINVAL if there is none. */
export function findRegular(ino: Ino): number {
  const at = findInode(ino);
  if (at === 0) return -ESTALE;
  if (isRegular(inodeMode(at))) return at;
  return isDirectory(inodeMode(at)) ? -EISDIR : -EINVAL;
}

/** Address of an inode that is known to exist, for changing. */
export function changeInode(ino: Ino): number {
  const record = findForUpdate(ino, INODE, 0, 0);
  if (record === 0) fail('inode: what is changed exists', ino);
  return valueOf(record);
}

/** The number that the next new inode gets, or -ENOSPC when all are used up. The page that it goes to is read (see `foresee`). */
export function nextIno(): Ino {
  const ino = layerNextIno(opRecord());
  if (ino > INO_MAX) return -ENOSPC;
  const record = seek(ino, INODE, 0, 0);
  if (record !== 0 && recordKey0(record) === ino) throw inconsistent('the next inode is there already', ino);
  return ino;
}

/**
 * Reads the page that holds a key, or would: a page that cannot be read has to be met before the first change, when the
 * operation may still be given up.
 */
export function foresee(k0: number, type: number, hi: number, lo: number): void {
  find(k0, type, hi, lo);
}

/** Adds an inode with the number of `nextIno()` and all times now. Returns its address. */
export function addInode(mode: number, uid: number, gid: number, links: number, rdev: number): number {
  const layer = opRecord();
  const ino = layerNextIno(layer);
  setLayerNextIno(layer, ino + 1);
  setLayerInodes(layer, layerInodes(layer) + 1);
  const at = valueOf(insert(ino, INODE, 0, 0, INODE_WORDS * 4));
  setInodeMode(at, mode);
  setInodeUid(at, uid);
  setInodeGid(at, gid);
  setInodeLinks(at, links);
  setInodeRdev(at, rdev);
  if (isRegular(mode)) ownContents(at);
  setBirthTimes(at);
  return at;
}

/** Takes an inode away that has neither names nor anything else left. */
export function removeInode(ino: Ino): void {
  const layer = opRecord();
  if (!remove(ino, INODE, 0, 0)) fail('inode: what is removed exists', ino);
  setLayerInodes(layer, layerInodes(layer) - 1);
}

/** Size in bytes. */
export function inodeSize(at: number): number {
  return inodeSizeHi(at) * WORD_RANGE + inodeSizeLo(at);
}

export function setInodeSize(at: number, bytes: number): void {
  setInodeSizeHi(at, Math.floor(bytes / WORD_RANGE));
  setInodeSizeLo(at, bytes % WORD_RANGE);
}

/** Counts `blocks` more data blocks, or fewer. */
export function addInodeBlocks(at: number, blocks: number): void {
  if (blocks !== 0) setInodeBlocks(at, inodeBlocks(at) + blocks);
}

// Times: `readClock()` comes first, once in an operation, so that all it touches shows the same time.

/** The inode changed: ctime. */
export function stampChange(at: number): void {
  setInodeCtimeLo(at, nowLo);
  setInodeCtimeHi(at, nowHi);
  setInodeCtimeNsec(at, nowNsec);
}

/** The entries of a directory changed: mtime and ctime. */
export function stampEntries(at: number): void {
  stampModification(at);
  stampChange(at);
}

/** Data or size of a regular file changed: mtime and ctime, and the contents are this layer's own (N5). */
export function stampContents(at: number): void {
  ownContents(at);
  stampEntries(at);
}

/** The contents of a regular file are this layer's own from now on (N5). */
export function ownContents(at: number): void {
  setInodeContentLayer(at, opLayer());
}

export function stampModification(at: number): void {
  setInodeMtimeLo(at, nowLo);
  setInodeMtimeHi(at, nowHi);
  setInodeMtimeNsec(at, nowNsec);
}

export function stampAccess(at: number): void {
  setInodeAtimeLo(at, nowLo);
  setInodeAtimeHi(at, nowHi);
  setInodeAtimeNsec(at, nowNsec);
}

function setBirthTimes(at: number): void {
  stampAccess(at);
  stampEntries(at);
  setInodeBtimeLo(at, nowLo);
  setInodeBtimeHi(at, nowHi);
  setInodeBtimeNsec(at, nowNsec);
}
