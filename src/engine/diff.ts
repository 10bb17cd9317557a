/**
 * What changed from one layer to another.
 *
 *  1. The two trees are walked together in key order. Pages that both refer to are skipped unread, so the cost is in
 *     proportion to the change. What differs is noted for the *old* inodes only, those with numbers below the base's next
 *     one: inode numbers grow along a lineage, so whatever is new hangs below a new name in an old directory.
 *  2. From every old inode that changed, its names (back references) lead up to the root; that marks the directories to
 *     enter.
 *  3. From the root down, marked names are compared: gone, new (with everything below it), or changed.
 *
 * Memory is in proportion to the names and inodes noted in step 1, not to the layers.
 */
import { DIRENT, EXTENT, INODE, LAYER_REMOVING, LINK, ROOT_INO, SYMLINK, XATTR, type Ino, type LayerIndex } from '../layout/constants.js';
import { B, W } from '../layout/memory.js';
import {
  INODE_WORDS,
  direntIno,
  direntKind,
  inodeContentLayerAt,
  layerNextIno,
  layerRootBlockAt,
  layerState,
  linkParent,
} from '../layout/records.js';
import { ESTALE } from '../linux/errno.js';
import { BlockError, LcfsError } from './errors.js';
import { findLayer } from './layers.js';
import { lockShared, unlockShared } from './locks.js';
import { abandon, beginRead, end, opRecord } from './operation.js';
import { acquireSlot, releaseSlot, slotLockWord, slotRecord } from './slots.js';
import { find, next, recordBytes, recordType, seek, valueOf } from './tree.js';
import { Walker } from './walk.js';

export const MODIFIED = 0;
export const ADDED = 1;
export const DELETED = 2;

export interface Change {
  kind: typeof MODIFIED | typeof ADDED | typeof DELETED;
  /** From the layer's root, without a leading slash. */
  path: Buffer;
  /** Inode in the newer layer; for DELETED the one that the base has. */
  ino: Ino;
  /** File type, mode >> 12. */
  type: number;
}

/** A name in a directory, as a listing has it. */
interface Entry {
  name: Buffer;
  ino: Ino;
  type: number;
  hi: number;
  lo: number;
}

const DIRECTORY = 4;
/** Directories with more entries than this are listed in hash order, not by name, and never all at once. */
const SORTED_ENTRIES_MAX = 65_536;

/** The directories on the way to what is being looked at. */
type Trail = Set<Ino>;

/** Old inodes that changed, and the entries (by offset) of old directories that have to be looked at. */
interface Notes {
  trail: Trail;
  changed: Set<Ino>;
  /** Directory -> offsets of its entries, as `hi * 2^32 + lo` cannot be exact: high words with a list of low words. */
  entries: Map<Ino, Map<number, Set<number>>>;
}

/**
 * Yields the changes that make `layer` out of `base` (null: out of nothing), directories before what they hold, names of
 * a directory in byte order. Throws LcfsError: 'not-found', 'io'.
 */
export function* diffLayers(layer: string, base: string | null): Generator<Change> {
  const newer = indexOf(layer);
  if (base === null) return yield* everythingBelow(newer, ROOT_INO, Buffer.alloc(0), new Set([ROOT_INO]));
  const older = indexOf(base);
  const nextOld = nextInoOf(older);
  const notes = compareTrees(newer, older, nextOld);
  markPaths(newer, nextOld, notes);
  yield* changesIn(newer, older, ROOT_INO, Buffer.alloc(0), notes);
}

function indexOf(name: string): LayerIndex {
  const index = findLayer(name);
  if (index < 0) throw new LcfsError('not-found', `there is no layer "${name}"; lcfs layer ls lists the layers`);
  return index;
}

function removedMeanwhile(): LcfsError {
  return new LcfsError('not-found', 'the layer was removed meanwhile');
}

/** Runs a look at one layer; what an operation would answer with an error number is thrown. */
function look<T>(layer: LayerIndex, work: () => T): T {
  const begun = beginRead(layer);
  if (begun < 0) throw begun === -ESTALE ? removedMeanwhile() : new LcfsError('io', 'the layer cannot be read; see the log');
  let result: T;
  try {
    result = work();
  } catch (error) {
    abandon(error);
    throw new LcfsError('io', (error as Error).message);
  }
  end(0);
  return result;
}

function nextInoOf(layer: LayerIndex): Ino {
  return look(layer, () => layerNextIno(opRecord()));
}

// Step 1

function compareTrees(newer: LayerIndex, older: LayerIndex, nextOld: Ino): Notes {
  const notes: Notes = { trail: new Set([ROOT_INO]), changed: new Set(), entries: new Map() };
  withRoots(newer, older, (a, b) => {
    const left = new Walker(a);
    const right = new Walker(b);
    try {
      walkTogether(left, right, (record) => noteChange(record, nextOld, notes));
    } finally {
      left.close();
      right.close();
    }
  });
  return notes;
}

/**
 * Runs with both trees locked, that of the lower index first: so a parent comes before its child, and two diffs of the same
 * layers never wait for each other. Both slots are pinned before, as loading one takes locks that stand above.
 */
function withRoots(newer: LayerIndex, older: LayerIndex, work: (newer: number, older: number) => void): void {
  if (newer === older) return;
  const run = (low: number, high: number): void => (newer > older ? work(high, low) : work(low, high));
  try {
    withSlot(Math.min(newer, older), (low) =>
      withSlot(Math.max(newer, older), (high) => withRoot(low, (lowRoot) => withRoot(high, (highRoot) => run(lowRoot, highRoot)))),
    );
  } catch (error) {
    throw error instanceof BlockError ? new LcfsError('io', error.message) : error;
  }
}

function withSlot(layer: LayerIndex, work: (slot: number) => void): void {
  const slot = acquireSlot(layer);
  if (slot === 0) throw removedMeanwhile();
  try {
    work(slot);
  } finally {
    releaseSlot(slot);
  }
}

/** Runs with the tree of a pinned slot locked. What is left of a removed layer's is no tree any more. */
function withRoot(slot: number, work: (root: number) => void): void {
  lockShared(slotLockWord(slot));
  try {
    if (layerState(slotRecord(slot)) === LAYER_REMOVING) throw removedMeanwhile();
    work(layerRootBlockAt(slotRecord(slot)));
  } finally {
    unlockShared(slotLockWord(slot));
  }
}

/** Calls `differs` for every record that only one tree has or that is not the same in both. */
function walkTogether(a: Walker, b: Walker, differs: (record: number) => void): void {
  while (a.record !== 0 || b.record !== 0) {
    if (a.record === 0) stepAlone(b, differs);
    else if (b.record === 0) stepAlone(a, differs);
    else if (a.sharesPageWith(b)) {
      a.skip();
      b.skip();
    } else stepBoth(a, b, differs);
  }
}

function stepAlone(walker: Walker, differs: (record: number) => void): void {
  if (walker.isPointer) return walker.enter();
  differs(walker.record);
  walker.skip();
}

function stepBoth(a: Walker, b: Walker, differs: (record: number) => void): void {
  const order = a.compare(b);
  if (order < 0) return stepAlone(a, differs);
  if (order > 0) return stepAlone(b, differs);
  if (a.isPointer && (!b.isPointer || a.level >= b.level)) return a.enter();
  if (b.isPointer) return b.enter();
  if (!sameRecord(a.record, b.record)) differs(a.record);
  a.skip();
  b.skip();
}

function sameRecord(a: number, b: number): boolean {
  if (W[a + 1] !== W[b + 1]) return false;
  if (recordType(a) === INODE) return sameInode(valueOf(a), valueOf(b));
  return sameWords(valueOf(a), valueOf(b), (recordBytes(a) + 3) >>> 2);
}

/** A file that was only made ready for changes is not changed: whoever changes its data changes its times as well. */
function sameInode(a: number, b: number): boolean {
  const contentLayer = inodeContentLayerAt(a) - a;
  return sameWords(a, b, contentLayer) && sameWords(a + contentLayer + 1, b + contentLayer + 1, INODE_WORDS - contentLayer - 1);
}

function sameWords(a: number, b: number, words: number): boolean {
  for (let i = 0; i < words; i++) if (W[a + i] !== W[b + i]) return false;
  return true;
}

function noteChange(record: number, nextOld: Ino, notes: Notes): void {
  const ino = W[record]!;
  if (ino === 0 || ino >= nextOld) return;
  switch (recordType(record)) {
    case DIRENT:
      noteEntry(notes, ino, W[record + 2]!, W[record + 3]!);
      break;
    case INODE:
    case XATTR:
    case SYMLINK:
    case EXTENT:
      notes.changed.add(ino);
  }
}

/** Notes an entry; false if it was noted before. */
function noteEntry(notes: Notes, dir: Ino, hi: number, lo: number): boolean {
  let highs = notes.entries.get(dir);
  if (highs === undefined) notes.entries.set(dir, (highs = new Map()));
  let lows = highs.get(hi);
  if (lows === undefined) highs.set(hi, (lows = new Set()));
  if (lows.has(lo)) return false;
  lows.add(lo);
  return true;
}

// Step 2

function markPaths(layer: LayerIndex, nextOld: Ino, notes: Notes): void {
  const pending = [...notes.changed, ...notes.entries.keys()];
  for (let ino = pending.pop(); ino !== undefined; ino = pending.pop()) {
    for (const link of linksOf(layer, ino)) {
      if (link.parent < nextOld && noteEntry(notes, link.parent, link.hi, link.lo)) pending.push(link.parent);
    }
  }
}

function linksOf(layer: LayerIndex, ino: Ino): { parent: Ino; hi: number; lo: number }[] {
  return look(layer, () => {
    const links = [];
    for (let record = seek(ino, LINK, 0, 0); record !== 0 && W[record] === ino && recordType(record) === LINK; record = next()) {
      links.push({ parent: linkParent(valueOf(record)), hi: W[record + 2]!, lo: W[record + 3]! });
    }
    return links;
  });
}

// Step 3

function entryAt(record: number): Entry {
  const value = valueOf(record);
  const name = Buffer.from(B.subarray((value + 2) * 4, value * 4 + recordBytes(record)));
  return { name, ino: direntIno(value), type: direntKind(value), hi: W[record + 2]!, lo: W[record + 3]! };
}

/** The noted entries of a directory that exist in a layer, by name. */
function notedEntries(layer: LayerIndex, dir: Ino, notes: Notes): Map<string, Entry> {
  return look(layer, () => {
    const found = new Map<string, Entry>();
    for (const [hi, lows] of notes.entries.get(dir) ?? []) {
      for (const lo of lows) {
        const record = find(dir, DIRENT, hi, lo);
        if (record === 0) continue;
        const entry = entryAt(record);
        found.set(entry.name.toString('latin1'), entry);
      }
    }
    return found;
  });
}

function joined(path: Buffer, name: Buffer): Buffer {
  return path.length === 0 ? name : Buffer.concat([path, SLASH, name]);
}
const SLASH = Buffer.from('/');

function* changesIn(newer: LayerIndex, older: LayerIndex, dir: Ino, path: Buffer, notes: Notes): Generator<Change> {
  const now = notedEntries(newer, dir, notes);
  const before = notedEntries(older, dir, notes);
  yield* compareEntries(newer, older, path, now, before, notes);
}

function* compareEntries(
  newer: LayerIndex,
  older: LayerIndex,
  path: Buffer,
  now: Map<string, Entry>,
  before: Map<string, Entry>,
  notes: Notes,
): Generator<Change> {
  for (const key of [...new Set([...now.keys(), ...before.keys()])].sort(byBytes)) {
    const entry = now.get(key);
    const old = before.get(key);
    if (entry === undefined) yield change(DELETED, path, old!);
    else if (old === undefined) yield* addition(newer, path, entry, notes.trail);
    else yield* difference(newer, older, path, entry, old, notes);
  }
}

/** Keys are latin1 strings, one character a byte. */
function byBytes(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function change(kind: Change['kind'], path: Buffer, entry: Entry): Change {
  return { kind, path: joined(path, entry.name), ino: entry.ino, type: entry.type };
}

function* addition(layer: LayerIndex, path: Buffer, entry: Entry, trail: Trail): Generator<Change> {
  yield change(ADDED, path, entry);
  if (entry.type === DIRECTORY) yield* onTrail(trail, entry.ino, everythingBelow(layer, entry.ino, joined(path, entry.name), trail));
}

/** Yields what lies below a directory. Throws LcfsError if that is below itself, as on a damaged volume. */
function* onTrail(trail: Trail, dir: Ino, below: Generator<Change>): Generator<Change> {
  if (trail.has(dir)) throw new LcfsError('io', `directory ${dir} lies below itself: the volume is damaged, lcfs check tells more`);
  trail.add(dir);
  yield* below;
  trail.delete(dir);
}

function* difference(newer: LayerIndex, older: LayerIndex, path: Buffer, entry: Entry, old: Entry, notes: Notes): Generator<Change> {
  const below = joined(path, entry.name);
  if (entry.ino === old.ino) {
    if (notes.changed.has(entry.ino)) yield change(MODIFIED, path, entry);
    if (entry.type === DIRECTORY && notes.entries.has(entry.ino))
      yield* onTrail(notes.trail, entry.ino, changesIn(newer, older, entry.ino, below, notes));
    return;
  }
  // Another file took the name. A directory in place of a directory is compared entry by entry.
  yield change(MODIFIED, path, entry);
  if (entry.type !== DIRECTORY) return;
  yield* onTrail(notes.trail, entry.ino, inPlaceOf(newer, older, entry, old, below, notes));
}

function* inPlaceOf(newer: LayerIndex, older: LayerIndex, entry: Entry, old: Entry, path: Buffer, notes: Notes): Generator<Change> {
  if (old.type !== DIRECTORY) yield* everythingBelow(newer, entry.ino, path, notes.trail);
  else yield* compareEntries(newer, older, path, allEntries(newer, entry.ino), allEntries(older, old.ino), notes);
}

function allEntries(layer: LayerIndex, dir: Ino): Map<string, Entry> {
  const found = new Map<string, Entry>();
  for (const batch of entryBatches(layer, dir)) for (const entry of batch) found.set(entry.name.toString('latin1'), entry);
  return found;
}

/** Everything below a directory, as additions. */
function* everythingBelow(layer: LayerIndex, dir: Ino, path: Buffer, trail: Trail): Generator<Change> {
  for (const batch of entryBatches(layer, dir)) {
    batch.sort((a, b) => Buffer.compare(a.name, b.name));
    for (const entry of batch) yield* addition(layer, path, entry, trail);
  }
}

/** Entries of a directory, in batches; a single one unless the directory is huge. Each batch is one look. */
function* entryBatches(layer: LayerIndex, dir: Ino): Generator<Entry[]> {
  for (let hi = 0, lo = 0; ;) {
    const batch = look(layer, () => {
      const entries: Entry[] = [];
      let record = seek(dir, DIRENT, hi, lo);
      for (; record !== 0 && W[record] === dir && recordType(record) === DIRENT && entries.length < SORTED_ENTRIES_MAX; record = next())
        entries.push(entryAt(record));
      return entries;
    });
    yield batch;
    if (batch.length < SORTED_ENTRIES_MAX) return;
    hi = batch.at(-1)!.hi;
    lo = batch.at(-1)!.lo + 1;
  }
}
