/**
 * Taking things away from a layer: whole trees, and what an opaque directory hides.
 *
 * Both work in batches of names, as the engine's lock is not held between reading a directory and changing it, and keep
 * at most one batch for each level of the tree (removal) or one in all (hiding).
 */
import { foundAt } from '../engine/inode.js';
import { lastUnlinkedIno, lookup, readDirectory, reapOrphan, removeDirectory, unlink, type DirectorySink } from '../engine/namespace.js';
import type { Ino, LayerIndex } from '../layout/constants.js';
import { inodeMode } from '../layout/records.js';
import { ENOENT } from '../linux/errno.js';
import { kindOf, S_IFDIR } from '../linux/mode.js';
import { latin1, nameBytes, putName } from './names.js';
import { check } from './refusal.js';

const BATCH = 128;
const DIRECTORY_KIND = kindOf(S_IFDIR);

export interface NamedEntry {
  readonly name: string;
  readonly ino: Ino;
  /** File type, mode >> 12. */
  readonly kind: number;
}

export function isDirectory(entry: NamedEntry): boolean {
  return entry.kind === DIRECTORY_KIND;
}

/** Some entries of a directory, and where to go on. */
class Batch implements DirectorySink {
  readonly entries: NamedEntry[] = [];
  cookieHi: number;
  cookieLo: number;

  constructor(cookieHi = 0, cookieLo = 0) {
    this.cookieHi = cookieHi;
    this.cookieLo = cookieLo;
  }

  entry(ino: Ino, kind: number, cookieHi: number, cookieLo: number, bytes: Uint8Array, at: number, length: number): boolean {
    if (this.entries.length === BATCH) return false;
    this.cookieHi = cookieHi;
    this.cookieLo = cookieLo;
    // "." and ".." have no high word.
    if (cookieHi !== 0) this.entries.push({ name: latin1(bytes, at, length), ino, kind });
    return true;
  }
}

/** The entries of a directory in batches. Entries may be removed while it runs. */
export function* batchesOf(layer: LayerIndex, dir: Ino): Generator<readonly NamedEntry[]> {
  let batch = new Batch();
  for (;;) {
    check(readDirectory(layer, dir, batch.cookieHi, batch.cookieLo, batch));
    if (batch.entries.length === 0) return;
    yield batch.entries;
    batch = new Batch(batch.cookieHi, batch.cookieLo);
  }
}

/** Removes a name that is not a directory's. The kernel is never told the inode's number anew, so it can go at once. */
export function removeFile(layer: LayerIndex, dir: Ino, name: string): void {
  check(unlink(layer, dir, nameBytes, 0, putName(name)));
  check(reapOrphan(layer, lastUnlinkedIno));
}

function removeEmpty(layer: LayerIndex, dir: Ino, name: string): void {
  check(removeDirectory(layer, dir, nameBytes, 0, putName(name)));
  check(reapOrphan(layer, lastUnlinkedIno));
}

/** A directory that is being emptied. */
interface Level {
  readonly ino: Ino;
  readonly holder: Ino;
  readonly name: string;
  readonly batches: Generator<readonly NamedEntry[]>;
  pending: NamedEntry[];
}

function level(layer: LayerIndex, holder: Ino, entry: NamedEntry): Level {
  return { ino: entry.ino, holder, name: entry.name, batches: batchesOf(layer, entry.ino), pending: [] };
}

/** Removes a directory with everything below it. Does not recurse: trees may be two thousand levels deep. */
export function removeTree(layer: LayerIndex, holder: Ino, entry: NamedEntry): void {
  const levels = [level(layer, holder, entry)];
  while (levels.length > 0) {
    const current = levels.at(-1)!;
    const child = nextChild(current);
    if (child === undefined) {
      removeEmpty(layer, current.holder, current.name);
      levels.pop();
    } else if (isDirectory(child)) levels.push(level(layer, current.ino, child));
    else removeFile(layer, current.ino, child.name);
  }
}

function nextChild(current: Level): NamedEntry | undefined {
  if (current.pending.length === 0) current.pending = [...(current.batches.next().value ?? [])].toReversed();
  return current.pending.pop();
}

/** Removes a name, whatever it stands for. */
export function removeEntry(layer: LayerIndex, dir: Ino, entry: NamedEntry): void {
  if (isDirectory(entry)) removeTree(layer, dir, entry);
  else removeFile(layer, dir, entry.name);
}

/** What an import knows about the entries that it has made or mentioned. */
export interface Mentions {
  /** Whether the archive has said something about this name or, for a directory, about something below it. */
  isMentioned(dir: Ino, entry: NamedEntry): boolean;
  /** Whether the inode was made by this import: everything below it was, too. */
  isOwn(ino: Ino): boolean;
  willChange(dir: Ino): void;
}

/**
 * Removes everything below a directory that the archive has not mentioned. Mentioned directories of lower layers stay,
 * but their lower contents go, too.
 */
export function hideLower(layer: LayerIndex, dir: Ino, mentions: Mentions): void {
  const open = [dir];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    if (mentions.isOwn(at)) continue;
    for (const batch of batchesOf(layer, at)) for (const entry of batch) hideEntry(layer, at, entry, mentions, open);
  }
}

function hideEntry(layer: LayerIndex, dir: Ino, entry: NamedEntry, mentions: Mentions, open: Ino[]): void {
  if (!mentions.isMentioned(dir, entry)) {
    mentions.willChange(dir);
    removeEntry(layer, dir, entry);
  } else if (isDirectory(entry)) open.push(entry.ino);
}

/** The entry of that name, or null. */
export function findNamed(layer: LayerIndex, dir: Ino, name: string): NamedEntry | null {
  const ino = lookup(layer, dir, nameBytes, 0, putName(name));
  if (ino === -ENOENT) return null;
  check(ino);
  return { name, ino, kind: kindOf(inodeMode(foundAt)) };
}
