/**
 * Orphans: inodes without a name that somebody may still have open. Each has a record (0, ORPHAN, its number) at the start
 * of the tree, so that they are found again when nobody can have them open any more: after the volume is opened.
 *
 * An inode becomes an orphan when its last name goes and when it is made without one (O_TMPFILE); the latter may get a
 * name. It is freed when the kernel has forgotten it. A large file is freed in steps, each an operation of its own; what
 * is left in between is a smaller orphan.
 *
 * The kernel forgets inodes by the thousand, hardly any of them orphans, and a search in the tree for each would cost more
 * than all the requests that it was used for. So orphans are counted by a hash of layer and inode in the arena.
 *
 * O1: an orphan that the kernel may know has been counted. The counts of a layer that is removed with orphans stay; they
 *     cost a search now and then.
 */
import { I } from '../layout/memory.js';
import { ORPHAN, SYMLINK, XATTR, type Ino, type LayerIndex } from '../layout/constants.js';
import { inodeLinks, inodeMode, recordHi, recordKey0, recordLo } from '../layout/records.js';
import { ENOSPC } from '../linux/errno.js';
import { isRegular } from '../linux/mode.js';
import { ORPHANS_AT, ORPHAN_COUNTERS } from './arena.js';
import { fail, inconsistent } from './errors.js';
import { countFromZero, storedBlocks } from './extents.js';
import { addInodeBlocks, changeInode, findInode, inodeSize, ownContents, removeInode, setInodeSize } from './inode.js';
import { abandon, beginRead, beginWrite, end, opLayer, settleForLess } from './operation.js';
import { find, insert, recordType, remove, seek } from './tree.js';
import { cutTo, fewerExtents, unmapChanges } from './truncate.js';

/** Extents freed in one operation: 128 × 256 KiB = 32 MiB. */
const EXTENTS_PER_STEP = 128;
/** Records of attributes and link targets are up to four times as long as those of extents. */
const EXTENTS_PER_RECORD = 4;
const MORE = 1;
const UNREADABLE = -1;

function counterOf(layer: LayerIndex, ino: Ino): number {
  return ORPHANS_AT + (((Math.imul(ino, 0x9e37_79b1) ^ Math.imul(layer, 0x85eb_ca6b)) >>> 8) & (ORPHAN_COUNTERS - 1));
}

/** False if the inode is certainly no orphan. Takes no lock. */
export function mayBeOrphan(layer: LayerIndex, ino: Ino): boolean {
  return Atomics.load(I, counterOf(layer, ino)) !== 0;
}

/** False if there are certainly no orphans. */
export function anyOrphans(): boolean {
  return I.subarray(ORPHANS_AT, ORPHANS_AT + ORPHAN_COUNTERS).some((count) => count !== 0);
}

/** The inode lost its last name, or never had one. */
export function addOrphan(ino: Ino): void {
  insert(0, ORPHAN, 0, ino, 0);
  Atomics.add(I, counterOf(opLayer(), ino), 1);
}

/** Reads the page in which `addOrphan` or, if it is listed, `removeOrphan` will change something. */
export function foreseeOrphan(ino: Ino, isListed: boolean): void {
  if ((find(0, ORPHAN, 0, ino) !== 0) !== isListed) throw inconsistent('an inode and the list of orphans disagree', ino);
}

/** The inode got a name. */
export function removeOrphan(ino: Ino): void {
  if (!remove(0, ORPHAN, 0, ino)) fail('N3: an inode without a name is an orphan', ino);
  Atomics.sub(I, counterOf(opLayer(), ino), 1);
}

/** Frees an inode if it has no name. Nobody may have it open. Returns 0, also if it has one or is gone; -EROFS, -ENOSPC, -ESTALE or -EIO. */
export function reapOrphan(layer: LayerIndex, ino: Ino): number {
  const orphaned = isOrphan(layer, ino);
  return orphaned <= 0 ? orphaned : freeOrphan(layer, ino);
}

/** `reapOrphan` for an inode that is an orphan, or was one a moment ago. */
export function freeOrphan(layer: LayerIndex, ino: Ino): number {
  let most = EXTENTS_PER_STEP;
  for (;;) {
    const result = reapStep(layer, ino, most);
    if (result === -ENOSPC) {
      most = fewerExtents(most);
      if (most === 0) return result;
    } else if (result !== MORE) return result;
  }
}

/** 1 or 0, or a negative error number. Most of what the kernel forgets has a name, so this looks without a lock for writing. */
function isOrphan(layer: LayerIndex, ino: Ino): number {
  const refused = beginRead(layer);
  if (refused < 0) return refused;
  try {
    const at = findInode(ino);
    return end(at !== 0 && inodeLinks(at) === 0 ? 1 : 0);
  } catch (error) {
    return abandon(error);
  }
}

function reapStep(layer: LayerIndex, ino: Ino, most: number): number {
  const refused = beginWrite(layer, 0, unmapChanges(most) + 2, true);
  if (refused < 0) return refused;
  try {
    return end(freeSome(ino, most));
  } catch (error) {
    return abandon(error);
  }
}

function freeSome(ino: Ino, most: number): number {
  let at = findInode(ino);
  if (at === 0 || inodeLinks(at) > 0) return 0;
  foreseeOrphan(ino, true);
  at = findInode(ino);
  if (isRegular(inodeMode(at)) && !freeContents(ino, inodeSize(at), most)) return MORE;
  if (!removeRecords(ino, Math.max(1, Math.floor(most / EXTENTS_PER_RECORD)))) return MORE;
  removeOrphan(ino);
  removeInode(ino);
  return 0;
}

/** Frees extents from the file's end. True when there are none left. */
function freeContents(ino: Ino, size: number, most: number): boolean {
  countFromZero();
  const reached = cutTo(ino, 0, size, most);
  if (reached === 0) return true;
  const at = changeInode(ino);
  setInodeSize(at, reached);
  ownContents(at);
  addInodeBlocks(at, storedBlocks());
  return false;
}

/** The first record behind those that say what the inode is and how it is named; UNREADABLE if the operation ends here. */
function seekOwned(ino: Ino): number {
  try {
    return seek(ino, XATTR, 0, 0);
  } catch (error) {
    settleForLess(error);
    return UNREADABLE;
  }
}

/** Removes records of attributes and of a link's target, at most so many. True when there are none left. */
function removeRecords(ino: Ino, most: number): boolean {
  for (let i = 0; i < most; i++) {
    const record = seekOwned(ino);
    if (record === UNREADABLE) return false;
    if (record === 0 || recordKey0(record) !== ino || recordType(record) > SYMLINK) return true;
    remove(ino, recordType(record), recordHi(record), recordLo(record));
  }
  return false;
}

/**
 * Frees all orphans of a writable layer. Nobody may have any of its files open: for layers of a volume that was just
 * opened, and for clones, which inherit the orphans of their parent. Returns how many, or a negative error number.
 */
export function reapAllOrphans(layer: LayerIndex): number {
  // Each is tried once: a record that stays, as a damaged volume may have, must not keep the volume from being served.
  for (let count = 0, after = 0; ; count++) {
    const ino = nextOrphan(layer, after);
    if (ino <= 0) return ino < 0 ? ino : count;
    after = ino;
    // Made by an earlier mount, or inherited: it was not counted, and will be when it goes.
    Atomics.add(I, counterOf(layer, ino), 1);
    const failed = reapOrphan(layer, ino);
    if (failed < 0) return failed;
  }
}

/** Counts the orphans of a layer that the kernel may know, after a takeover (O1). Returns how many, or a negative error number. */
export function countOrphans(layer: LayerIndex): number {
  for (let count = 0, ino = 0; ; count++) {
    ino = nextOrphan(layer, ino);
    if (ino <= 0) return ino < 0 ? ino : count;
    Atomics.add(I, counterOf(layer, ino), 1);
  }
}

/** All orphans of a layer; none if it is gone or cannot be read. */
export function orphansOf(layer: LayerIndex): Ino[] {
  const found: Ino[] = [];
  for (let ino = nextOrphan(layer, 0); ino > 0; ino = nextOrphan(layer, ino)) found.push(ino);
  return found;
}

/** The next orphan of the layer behind inode `after`; 0 if there is none. */
function nextOrphan(layer: LayerIndex, after: Ino): Ino {
  const refused = beginRead(layer);
  if (refused < 0) return refused;
  try {
    const record = seek(0, ORPHAN, 0, after + 1);
    return end(record !== 0 && recordKey0(record) === 0 && recordType(record) === ORPHAN ? recordLo(record) : 0);
  } catch (error) {
    return abandon(error);
  }
}
