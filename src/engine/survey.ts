/**
 * What can be read of a damaged tree, and what it says of the rest.
 *
 * `eachPage` walks a tree from its root, tells of pages that cannot be read with the range of keys that is lost with them,
 * and goes on behind them. `surveyLayer` takes up all records of a layer that are left, by inode. It keeps them in memory, a few
 * hundred bytes an inode: it is for layers in which something is wrong (mend.ts).
 */
import {
  DIRENT,
  EXTENT,
  INODE,
  LINK,
  ORPHAN,
  RECIPE,
  SYMLINK,
  XATTR,
  type BlockNumber,
  type Ino,
  type LayerIndex,
} from '../layout/constants.js';
import { B, W } from '../layout/memory.js';
import {
  INODE_WORDS,
  childBlock,
  childOwner,
  direntIno,
  direntKind,
  extentBlock,
  extentLength,
  extentOwner,
  linkParent,
  recordHi,
  recordKey0,
  recordLo,
  xattrNameBytes,
  xattrValueBytes,
} from '../layout/records.js';
import { BlockError } from './errors.js';
import { unpinPage } from './pager.js';
import { pageCount, pageLevel, pinPointer, recordAt, recordBytes, recordType, valueOf } from './tree.js';

/** Key0, type, offset high, offset low. */
export type Key = readonly [number, number, number, number];
export const LOWEST: Key = [0, 0, 0, 0];

export function keyOf(record: number): Key {
  return [recordKey0(record), recordType(record), recordHi(record), recordLo(record)];
}

export function compareKey(a: Key, b: Key): number {
  return a[0] - b[0] || a[1] - b[1] || a[2] - b[2] || a[3] - b[3];
}

/** A page that cannot be read, and the keys that are lost with it: [from, to); null: up to the end of the tree. */
export interface Lost {
  block: BlockNumber;
  owner: LayerIndex;
  /** Level of the page; -1: it is the root. */
  level: number;
  from: Key;
  to: Key | null;
  message: string;
}

export interface PageVisitor {
  /** Before the page that a pointer leads to is read; false: it is passed over with all below it. */
  enter?(pointer: number, level: number, from: Key): boolean;
  lost?(lost: Lost): void;
  page?(page: number): void;
  record?(record: number): void;
}

/** Walks the tree that the pointer at `root` (block, owner, generation) leads to. Nothing may change meanwhile. */
export function eachPage(root: number, visitor: PageVisitor): void {
  walk(root, -1, LOWEST, null, visitor);
}

function walk(pointer: number, level: number, from: Key, to: Key | null, visitor: PageVisitor): void {
  if (visitor.enter?.(pointer, level, from) === false) return;
  const page = tryPin(pointer, level, from, to, visitor);
  if (page === 0) return;
  visitor.page?.(page);
  const count = pageCount(page);
  for (let i = 0; i < count; i++) {
    const record = recordAt(page, i);
    if (pageLevel(page) === 0) visitor.record?.(record);
    else
      walk(
        valueOf(record),
        pageLevel(page) - 1,
        i === 0 ? from : keyOf(record),
        i + 1 < count ? keyOf(recordAt(page, i + 1)) : to,
        visitor,
      );
  }
  unpinPage(page);
}

function tryPin(pointer: number, level: number, from: Key, to: Key | null, visitor: PageVisitor): number {
  try {
    return pinPointer(pointer, level);
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    visitor.lost?.({ block: childBlock(pointer), owner: childOwner(pointer), level, from, to, message: error.message });
    return 0;
  }
}

export interface Entry {
  hi: number;
  lo: number;
  ino: Ino;
  kind: number;
  name: Buffer;
}

export interface Link {
  hi: number;
  lo: number;
  dir: Ino;
}

export interface Piece {
  start: number;
  length: number;
  block: BlockNumber;
  owner: LayerIndex;
}

export interface Chunk {
  hi: number;
  lo: number;
  bytes: number;
  /** Of chunk 0 of an attribute: its name, and the length of name and value with their header. */
  name: string;
  total: number;
}

/** What is left of an inode. */
export interface Facts {
  readonly ino: Ino;
  /** The words of its record; null: it is lost. */
  inode: Uint32Array | null;
  readonly links: Link[];
  readonly entries: Entry[];
  readonly pieces: Piece[];
  readonly attributes: Chunk[];
  readonly target: Chunk[];
}

export interface Survey {
  readonly lost: Lost[];
  readonly facts: Map<Ino, Facts>;
  readonly orphans: Set<Ino>;
  /** Records of archive recipes: layer and chunk. */
  readonly recipes: { layer: LayerIndex; chunk: number }[];
  /** Highest owner of a page below each owner, to guess at parents. */
  readonly owners: Set<LayerIndex>;
}

function newFacts(ino: Ino): Facts {
  return { ino, inode: null, links: [], entries: [], pieces: [], attributes: [], target: [] };
}

export function factsOf(survey: Survey, ino: Ino): Facts {
  let facts = survey.facts.get(ino);
  if (facts === undefined) survey.facts.set(ino, (facts = newFacts(ino)));
  return facts;
}

export function surveyLayer(root: number): Survey {
  const survey: Survey = { lost: [], facts: new Map(), orphans: new Set(), recipes: [], owners: new Set() };
  eachPage(root, {
    enter: (pointer) => survey.owners.add(childOwner(pointer)) !== undefined,
    lost: (lost) => void survey.lost.push(lost),
    record: (record) => takeUp(survey, record),
  });
  return survey;
}

function takeUp(survey: Survey, record: number): void {
  const ino = recordKey0(record);
  const type = recordType(record);
  if (ino === 0) {
    if (type === ORPHAN) survey.orphans.add(recordLo(record));
    else if (type === RECIPE) survey.recipes.push({ layer: recordHi(record), chunk: recordLo(record) });
  } else takeUpOf(factsOf(survey, ino), type, record, valueOf(record));
}

function takeUpOf(facts: Facts, type: number, record: number, value: number): void {
  const hi = recordHi(record);
  const lo = recordLo(record);
  if (type === INODE) facts.inode = W.slice(value, value + INODE_WORDS);
  else if (type === LINK) facts.links.push({ hi, lo, dir: linkParent(value) });
  else if (type === DIRENT)
    facts.entries.push({ hi, lo, ino: direntIno(value), kind: direntKind(value), name: textOf(value, 8, recordBytes(record)) });
  else if (type === EXTENT) {
    facts.pieces.push({ start: lo, length: extentLength(value), block: extentBlock(value), owner: extentOwner(value) });
  } else if (type === XATTR) facts.attributes.push(attributeChunk(record, value));
  else if (type === SYMLINK) facts.target.push({ hi, lo, bytes: recordBytes(record), name: '', total: 0 });
}

function attributeChunk(record: number, value: number): Chunk {
  const chunk = { hi: recordHi(record), lo: recordLo(record), bytes: recordBytes(record), name: '', total: 0 };
  if ((chunk.lo & 0xff) !== 0) return chunk;
  chunk.name = textOf(value, 8, 8 + xattrNameBytes(value)).toString('latin1');
  chunk.total = 8 + xattrNameBytes(value) + xattrValueBytes(value);
  return chunk;
}

function textOf(value: number, from: number, to: number): Buffer {
  return Buffer.from(B.slice(value * 4 + from, value * 4 + to));
}
