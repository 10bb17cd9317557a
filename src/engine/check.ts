/**
 * Check: proves a volume.
 *
 *  - every page reachable has the right checksum, level, owner and generation, and keys in order;
 *  - every block is free, or in use by exactly one thing, its owner; nothing is in use twice, nothing is lost, and the
 *    counts of free blocks are right;
 *  - the catalog is consistent: names, parents, children, counters;
 *  - in every layer: every name leads to an inode and back, link counts, sizes of directories, block counts and numbers of
 *    inodes are right, orphans are listed, no extent overlaps another, and what is inherited belongs to an ancestor that
 *    still has it;
 *  - on demand, every data block has the checksum that its extent says.
 *
 * A layer's records are examined one by one, those it inherits included, unless it has no page of its own: then it is its
 * parent, which is examined. Blocks are marked in one bitmap of the volume's size; nothing else grows with the volume.
 *
 * The volume must be at rest: check holds the checkpoint lock, so that changing operations wait.
 */
import {
  BLOCK_BYTES,
  BLOCK_WORDS,
  CATALOG_OWNER,
  CHILD,
  DIRENT,
  EXTENT,
  EXTENT_BLOCKS_MAX,
  GLOBAL_LAYER,
  GROUP,
  GROUP_BLOCKS,
  INODE,
  LAYER,
  LAYER_NAME,
  LAYER_REMOVING,
  LAYER_SEALED,
  LINK,
  LOG_START_BLOCK,
  LOST_FOUND_INO,
  LOST_OWNER,
  NAME,
  ORPHAN,
  RECIPE,
  PROPERTY,
  REMOVING,
  ROOT_INO,
  SYMLINK,
  XATTR,
  type BlockNumber,
  type Ino,
  type LayerIndex,
} from '../layout/constants.js';
import { B, W } from '../layout/memory.js';
import {
  INODE_WORDS,
  RECORD_WORDS,
  childBlock,
  childOwner,
  direntIno,
  direntKind,
  extentBlock,
  extentGeneration,
  extentLength,
  extentOwner,
  inodeBlocks,
  inodeEntries,
  inodeContentLayer,
  inodeLinks,
  inodeMode,
  inodeSizeHi,
  inodeSizeLo,
  layerChildren,
  layerDepth,
  layerInodes,
  layerNextIno,
  layerOwnBlocks,
  layerOwnPages,
  layerParent,
  layerRootBlockAt,
  layerRootOwner,
  layerState,
  linkParent,
  pageBlock,
  pageGeneration,
} from '../layout/records.js';
import { crc32, ioBuffer, type IoBuffer } from '../linux/libc.js';
import {
  CATALOG_LOCK,
  CATALOG_ROOT,
  CHECKPOINT_LOCK,
  CHECKPOINT_MUTEX,
  GENERATION,
  LAYER_COUNT,
  LOG_BLOCKS,
  NEXT_LAYER,
  RUN_AT,
  TOTAL_BLOCKS,
} from './arena.js';
import { findName, layerName, useCatalog } from './catalog.js';
import { readBlocks } from './device.js';
import { damageOf } from './damage.js';
import { BlockError } from './errors.js';
import type { Damage } from './mend.js';
import { hashHi, hashLo, hashName } from './hash.js';
import { lockExclusive, unlockExclusive } from './locks.js';
import { unpinPage } from './pager.js';
import { saveAllSlots } from './slots.js';
import { bitmapBlock, groupCount, groupImage, recountSpace } from './space.js';
import { find, pageCount, pageLevel, pinPointer, recordAt, recordBytes, recordType, releasePath, useTree, valueOf } from './tree.js';
import { compareKeys } from './walk.js';

export interface CheckResult {
  /** What is wrong, in words; at most ERRORS_MAX. */
  errors: string[];
  errorCount: number;
  layers: number;
  inodes: number;
  pages: number;
  dataBlocks: number;
  /** Blocks of removed layers that are still to be reclaimed. */
  removingBlocks: number;
  /** Blocks of files that an earlier repair found lost, counted in each layer that has the file; they are no errors. */
  lostBlocks: number;
  /** How many of the errors are blocks of data that cannot be read, which no repair can mend. */
  dataErrors: number;
  /** What is hit by what was found, in each layer that has it. */
  damage: Damage[];
}

export interface CheckOptions {
  /** Read every data block and compare its checksum. */
  data?: boolean;
  /** Called now and then with the layer under examination. */
  progress?: (layer: LayerIndex, done: number) => void;
}

const ERRORS_MAX = 1000;
const DIRECTORY_KIND = 4;
const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;

let result: CheckResult;
let seen: Uint32Array;
let withData = false;
let buffer: IoBuffer | null = null;
/** Blocks of data that cannot be read, or are not what was written. */
const badBlocks = new Set<BlockNumber>();

function report(text: string): void {
  result.errorCount++;
  if (result.errors.length < ERRORS_MAX) result.errors.push(text);
}

/** Checks the volume that is open in this process. */
export function checkVolume(options: CheckOptions = {}): CheckResult {
  result = {
    errors: [],
    errorCount: 0,
    layers: 0,
    inodes: 0,
    pages: 0,
    dataBlocks: 0,
    removingBlocks: 0,
    lostBlocks: 0,
    dataErrors: 0,
    damage: [],
  };
  badBlocks.clear();
  withData = options.data === true;
  lockExclusive(CHECKPOINT_MUTEX);
  lockExclusive(CHECKPOINT_LOCK);
  lockExclusive(CATALOG_LOCK);
  try {
    checkAll(options);
    releasePath();
    if (result.errorCount + result.lostBlocks > 0) result.damage = damageOf(badBlocks);
  } finally {
    releasePath();
    unlockExclusive(CATALOG_LOCK);
    unlockExclusive(CHECKPOINT_LOCK);
    unlockExclusive(CHECKPOINT_MUTEX);
  }
  return result;
}

function checkAll(options: CheckOptions): void {
  try {
    seen = new Uint32Array(Math.ceil(W[TOTAL_BLOCKS]! / 32) + 1);
    saveAllSlots();
    releasePath();
    markFixed();
    checkTree('the catalog', CATALOG_ROOT, CATALOG_OWNER);
    checkCatalog(options);
    compareBitmaps();
    for (const error of recountSpace()) report(error);
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    report(error.message);
  }
}

// Blocks

function mark(block: BlockNumber, count: number, what: string): void {
  for (let at = block; at < block + count; at++) {
    if (at >= W[TOTAL_BLOCKS]!) return report(`${what}: block ${at} lies beyond the end of the volume`);
    const bit = 1 << (at & 31);
    if ((seen[at >>> 5]! & bit) !== 0) report(`${what}: block ${at} is in use twice`);
    seen[at >>> 5]! |= bit;
  }
}

function isMarked(block: BlockNumber, count: number): boolean {
  for (let at = block; at < block + count; at++) if ((seen[at >>> 5]! & (1 << (at & 31))) === 0) return false;
  return true;
}

/** Superblocks and both copies of each group's bitmap. */
function markFixed(): void {
  mark(0, 2, 'superblocks');
  mark(LOG_START_BLOCK, W[LOG_BLOCKS]!, 'intent log');
  for (let group = 0; group < groupCount(); group++) mark(bitmapBlock(group, 0), 2, `bitmap of group ${group}`);
}

/** Holds what is in use against the bitmaps, windows and pending frees left out. */
function compareBitmaps(): void {
  for (let group = 0; group < groupCount(); group++) {
    groupImage(group, RUN_AT);
    const first = group * GROUP_BLOCKS;
    const end = Math.min(first + GROUP_BLOCKS, W[TOTAL_BLOCKS]!);
    for (let block = first; block < end; block += 32) compareWord(block, end, W[RUN_AT + ((block - first) >>> 5)]!);
  }
}

function compareWord(block: BlockNumber, end: BlockNumber, taken: number): void {
  const beyond = end - block < 32 ? (0xffff_ffff << (end - block)) >>> 0 : 0;
  const different = (taken ^ (seen[block >>> 5]! | beyond)) >>> 0;
  if (different === 0) return;
  for (let bit = 0; bit < 32; bit++) {
    if ((different & (1 << bit)) === 0) continue;
    report(
      `block ${block + bit} ${(taken & (1 << bit)) === 0 ? 'is in use but free in the bitmap' : 'is lost: not in use but taken in the bitmap'}`,
    );
  }
}

// Trees

let ownPages = 0;
let ownBlocks = 0;

/** Marks the pages and extents that `owner` has in a tree and checks the pages. Subtrees of others are left to them. */
function checkTree(what: string, root: number, owner: LayerIndex): void {
  ownPages = 0;
  ownBlocks = 0;
  if (childOwner(root) === owner) checkPage(what, root, -1, owner);
}

/** Runs with the page that a pointer leads to; reports one that cannot be read. */
function withPage(what: string, pointer: number, level: number, work: (page: number) => void): void {
  let page: number;
  try {
    page = pinPointer(pointer, level);
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    return report(`${what}: ${error.message}`);
  }
  try {
    work(page);
  } finally {
    unpinPage(page);
  }
}

function checkPage(what: string, pointer: number, level: number, owner: LayerIndex): void {
  withPage(what, pointer, level, (page) => {
    mark(pageBlock(page), 1, what);
    result.pages++;
    ownPages++;
    checkRecords(what, page, owner);
  });
}

function checkRecords(what: string, page: number, owner: LayerIndex): void {
  const where = `${what}, page ${pageBlock(page)}`;
  if (pageGeneration(page) > W[GENERATION]!) report(`${where}: generation ${pageGeneration(page)} is in the future`);
  for (let i = 0; i < pageCount(page); i++) {
    const record = recordAt(page, i);
    if (record - page >= BLOCK_WORDS) return report(`${where}: record ${i} lies outside the page`);
    if (i > 0 && compareKeys(recordAt(page, i - 1), record) >= 0) report(`${where}: keys ${i - 1} and ${i} are out of order`);
    if (pageLevel(page) > 0) checkChild(what, where, page, i, owner);
    else if (owner !== CATALOG_OWNER && recordType(record) === EXTENT) markExtent(where, record, owner);
  }
}

function checkChild(what: string, where: string, page: number, index: number, owner: LayerIndex): void {
  const pointer = valueOf(recordAt(page, index));
  if (childOwner(pointer) === owner) checkPage(what, pointer, pageLevel(page) - 1, owner);
  else if (owner === CATALOG_OWNER) report(`${where}: a page of the catalog belongs to layer ${childOwner(pointer)}`);
}

function markExtent(where: string, record: number, owner: LayerIndex): void {
  const extent = valueOf(record);
  if (extentOwner(extent) !== owner) return;
  if (extentLength(extent) < 1 || extentLength(extent) > EXTENT_BLOCKS_MAX)
    return report(`${where}: extent of inode ${W[record]} has ${extentLength(extent)} blocks`);
  mark(extentBlock(extent), extentLength(extent), `${where}, inode ${W[record]}`);
  ownBlocks += extentLength(extent);
  result.dataBlocks += extentLength(extent);
  if (withData) checkData(where, record);
}

function checkData(where: string, record: number): void {
  const extent = valueOf(record);
  buffer ??= ioBuffer(EXTENT_BLOCKS_MAX * BLOCK_BYTES);
  try {
    readBlocks(extentBlock(extent), extentLength(extent), buffer.address);
  } catch (error) {
    badRun(extent);
    return reportData(`${where}, inode ${W[record]}: ${(error as Error).message}`);
  }
  for (let i = 0; i < extentLength(extent); i++) {
    if (crc32(0, buffer.address + i * BLOCK_BYTES, BLOCK_BYTES) === W[extent + 4 + i]) continue;
    badBlocks.add(extentBlock(extent) + i);
    reportData(`${where}, inode ${W[record]}: block ${extentBlock(extent) + i} (file block ${W[record + 3]! + i}) has a wrong checksum`);
  }
}

function reportData(text: string): void {
  result.dataErrors++;
  report(text);
}

/** An extent that cannot be read as a whole: which of its blocks? */
function badRun(extent: number): void {
  for (let block = extentBlock(extent); block < extentBlock(extent) + extentLength(extent); block++) {
    try {
      readBlocks(block, 1, buffer!.address);
      if (crc32(0, buffer!.address, BLOCK_BYTES) !== W[extent + 4 + block - extentBlock(extent)]) badBlocks.add(block);
    } catch {
      badBlocks.add(block);
    }
  }
}

/** Where the key is kept that a walk passed last, of a record or of a pointer. */
const passedKey = (): number => RUN_AT + 3 * BLOCK_WORDS;
let passedPointer = true;

/** Visits the records of a whole tree in key order, inherited ones included. */
function eachRecord(what: string, root: number, visit: (record: number) => void): void {
  W.fill(0, passedKey(), passedKey() + RECORD_WORDS);
  passedPointer = true;
  recordsBelow(what, root, -1, visit);
}

function recordsBelow(what: string, pointer: number, level: number, visit: (record: number) => void): void {
  if (!isMarked(childBlock(pointer), 1))
    report(`${what}: page in block ${childBlock(pointer)} is none that layer ${childOwner(pointer)} has`);
  withPage(what, pointer, level, (page) => {
    for (let i = 0; i < pageCount(page); i++) {
      const record = recordAt(page, i);
      const isLeaf = pageLevel(page) === 0;
      // The first pointer also stands for lower keys than its own.
      if (isLeaf || i > 0) passKey(what, record, !isLeaf);
      if (isLeaf) visit(record);
      else recordsBelow(what, valueOf(record), pageLevel(page) - 1, visit);
    }
  });
}

/** Keys ascend over the whole tree; only a record and the pointer in front of it may have the same. */
function passKey(what: string, record: number, isPointer: boolean): void {
  const order = compareKeys(passedKey(), record);
  if (order > 0 || (order === 0 && !passedPointer)) report(`${what}: key of inode or layer ${W[record]} is in the wrong page`);
  W.copyWithin(passedKey(), record, record + RECORD_WORDS);
  passedPointer = isPointer;
}

// The catalog

interface LayerSeen {
  parent: LayerIndex;
  children: number;
  childRecords: number;
  depth: number;
}

function checkCatalog(options: CheckOptions): void {
  const layers = new Map<LayerIndex, LayerSeen>();
  const order: number[] = [];
  eachRecord('the catalog', CATALOG_ROOT, (record) => noteCatalogRecord(record, layers, order));
  let named = 0;
  for (const index of order) {
    const state = tryLayer(index, layers);
    if (state !== LAYER_REMOVING) named++;
    result.layers++;
    options.progress?.(index, result.layers);
  }
  checkFamilies(layers);
  if (named !== W[LAYER_COUNT]) report(`there are ${named} layers, but the superblock counts ${W[LAYER_COUNT]}`);
}

function noteCatalogRecord(record: number, layers: Map<LayerIndex, LayerSeen>, order: number[]): void {
  const value = valueOf(record);
  const index = W[record]!;
  switch (recordType(record)) {
    case LAYER:
      order.push(index);
      layers.set(index, { parent: layerParent(value), children: layerChildren(value), childRecords: 0, depth: layerDepth(value) });
      if (index >= W[NEXT_LAYER]!) report(`layer ${index} has an index that was not given out yet`);
      break;
    case CHILD: {
      const parent = layers.get(index);
      if (parent === undefined) report(`layer ${index} has children but no record`);
      else parent.childRecords++;
      break;
    }
    case LAYER_NAME:
    case PROPERTY:
      if (!layers.has(index)) report(`layer ${index} has a name or property but no record`);
      break;
    case NAME:
    case GROUP:
    case REMOVING:
      break;
    default:
      report(`the catalog has a record of unknown type ${recordType(record)}`);
  }
}

function checkFamilies(layers: Map<LayerIndex, LayerSeen>): void {
  for (const [index, layer] of layers) {
    if (layer.children !== layer.childRecords) report(`layer ${index} counts ${layer.children} children but has ${layer.childRecords}`);
    if (layer.parent === 0) continue;
    const parent = layers.get(layer.parent);
    // The record of a removed parent goes when its space is reclaimed, perhaps before that of a removed child.
    if (parent !== undefined && layer.depth !== parent.depth + 1)
      report(`layer ${index} has depth ${layer.depth}, its parent ${parent.depth}`);
  }
}

/** Checks one layer and returns its state. A page that cannot be read ends its check, not that of the others. */
function tryLayer(index: LayerIndex, layers: Map<LayerIndex, LayerSeen>): number {
  const state = layerState(catalogRecord(index));
  try {
    checkLayer(index, layers);
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    report(`layer ${index}: ${error.message}`);
  }
  return state;
}

function checkLayer(index: LayerIndex, layers: Map<LayerIndex, LayerSeen>): void {
  const copy = catalogRecord(index);
  const state = layerState(copy);
  const what = `layer ${index}`;
  if (state === LAYER_REMOVING) return markRemoving(what, copy, index);
  checkName(index);
  if (layerChildren(copy) > 0 && state !== LAYER_SEALED) report(`${what} has children but is not sealed`);
  if (layerParent(copy) !== 0 && !layers.has(layerParent(copy))) report(`${what} has a parent ${layerParent(copy)} that does not exist`);
  checkTree(what, layerRootBlockAt(copy), index);
  if (ownPages !== layerOwnPages(copy)) report(`${what} owns ${ownPages} pages but counts ${layerOwnPages(copy)}`);
  if (ownBlocks !== layerOwnBlocks(copy)) report(`${what} owns ${ownBlocks} data blocks but counts ${layerOwnBlocks(copy)}`);
  if (layerRootOwner(copy) === index) checkFiles(what, copy, lineageOf(index, layers));
}

/** A layer and its ancestors: whose pages and data it may refer to. */
function lineageOf(index: LayerIndex, layers: Map<LayerIndex, LayerSeen>): Set<LayerIndex> {
  const lineage = new Set([index]);
  for (let at = layers.get(index)?.parent ?? 0; at !== 0 && !lineage.has(at); at = layers.get(at)?.parent ?? 0) lineage.add(at);
  return lineage;
}

/** A copy of a layer's record, in the run buffer, as the catalog's page may leave the cache. */
function catalogRecord(index: LayerIndex): number {
  useCatalog();
  const record = find(index, LAYER, 0, 0);
  const copy = RUN_AT + BLOCK_WORDS;
  W.copyWithin(copy, valueOf(record), valueOf(record) + 32);
  releasePath();
  return copy;
}

function checkName(index: LayerIndex): void {
  if (index === GLOBAL_LAYER) return;
  const name = layerName(index);
  if (name.length === 0 || findName(name, 0, name.length) !== index)
    report(`layer ${index} cannot be found by its name "${name.toString()}"`);
  releasePath();
}

/** What is left of a removed layer: the pages from its cursor on. */
function markRemoving(what: string, record: number, owner: LayerIndex): void {
  const before = result.pages + result.dataBlocks;
  const cursor = [W[record + 14]!, W[record + 15]!, W[record + 16]!, W[record + 17]!];
  if (layerRootOwner(record) === owner) markFrom(what, layerRootBlockAt(record), -1, owner, cursor);
  result.removingBlocks += result.pages + result.dataBlocks - before;
}

function markFrom(what: string, pointer: number, level: number, owner: LayerIndex, cursor: number[] | null): void {
  withPage(what, pointer, level, (page) => markPageFrom(what, page, owner, cursor));
}

function markPageFrom(what: string, page: number, owner: LayerIndex, cursor: number[] | null): void {
  mark(pageBlock(page), 1, what);
  result.pages++;
  const last = pageCount(page);
  let from = 0;
  if (cursor !== null && pageLevel(page) > 0) while (from + 1 < last && !below(cursor, recordAt(page, from + 1))) from++;
  for (let i = from; i < last; i++) {
    const record = recordAt(page, i);
    if (pageLevel(page) === 0) {
      if (recordType(record) === EXTENT) markExtent(what, record, owner);
    } else if (childOwner(valueOf(record)) === owner)
      markFrom(what, valueOf(record), pageLevel(page) - 1, owner, i === from ? cursor : null);
  }
}

function below(cursor: number[], record: number): boolean {
  const key = [W[record]!, recordType(record), W[record + 2]!, W[record + 3]!];
  for (let i = 0; i < 4; i++) if (cursor[i] !== key[i]) return cursor[i]! < key[i]!;
  return false;
}

// Files

/** The inode whose records are being visited, with what was counted of them. */
interface InodeSeen {
  ino: Ino;
  record: Uint32Array | null;
  links: number;
  blocks: number;
  entries: number;
  directories: number;
  nextFileBlock: number;
  /** Highest owner of its extents. */
  newestOwner: LayerIndex;
}

function checkFiles(what: string, layer: number, lineage: Set<LayerIndex>): void {
  const nextIno = layerNextIno(layer);
  const root = layerRootBlockAt(layer);
  const expectedInodes = layerInodes(layer);
  let inodes = 0;
  let inode: InodeSeen = newInode(0);
  // Two looks at the tree at once: records by a walk of its own, what they refer to by searching.
  useTree(root, layerRootOwner(layer), 0);
  eachRecord(what, root, (record) => {
    if (W[record] !== inode.ino) {
      finishInode(what, inode, lineage);
      inode = newInode(W[record]!);
      if (inode.ino !== 0) inodes++;
      if (inode.ino >= nextIno && inode.ino !== LOST_FOUND_INO)
        report(`${what}: inode ${inode.ino} has a number that was not given out yet`);
    }
    visitRecord(what, record, inode, lineage);
  });
  finishInode(what, inode, lineage);
  result.inodes += inodes;
  if (inodes !== expectedInodes) report(`${what} has ${inodes} inodes but counts ${expectedInodes}`);
  if (find(ROOT_INO, INODE, 0, 0) === 0) report(`${what} has no root directory`);
  releasePath();
}

function newInode(ino: Ino): InodeSeen {
  return { ino, record: null, links: 0, blocks: 0, entries: 0, directories: 0, nextFileBlock: 0, newestOwner: 0 };
}

function visitRecord(what: string, record: number, inode: InodeSeen, lineage: Set<LayerIndex>): void {
  const where = `${what}, inode ${inode.ino}`;
  const type = recordType(record);
  if (inode.ino === 0) {
    if (type === ORPHAN) checkOrphan(where, W[record + 3]!);
    else if (type !== RECIPE) report(`${where}: record of type ${type} among the orphans`);
    else if (!lineage.has(W[record + 2]!)) report(`${what}: has the recipe of layer ${W[record + 2]}, which is no ancestor`);
    return;
  }
  if (type !== INODE && inode.record === null) report(`${where}: has records of type ${type} but no inode`);
  switch (type) {
    case INODE:
      inode.record = W.slice(valueOf(record), valueOf(record) + INODE_WORDS);
      break;
    case LINK:
      inode.links++;
      checkLink(where, inode.ino, record);
      break;
    case DIRENT:
      visitEntry(where, record, inode);
      break;
    case EXTENT:
      visitExtent(where, record, inode, lineage);
      break;
    case XATTR:
    case SYMLINK:
      break;
    default:
      report(`${where}: has a record of unknown type ${type}`);
  }
}

function checkOrphan(where: string, ino: Ino): void {
  const inode = find(ino, INODE, 0, 0);
  if (inode === 0) report(`${where}: orphan ${ino} does not exist`);
  else if (inodeLinks(valueOf(inode)) !== 0) report(`${where}: orphan ${ino} has ${inodeLinks(valueOf(inode))} links`);
}

function checkLink(where: string, ino: Ino, record: number): void {
  const hi = W[record + 2]!;
  const lo = W[record + 3]!;
  const parent = linkParent(valueOf(record));
  const entry = find(parent, DIRENT, hi, lo);
  if (entry === 0 || direntIno(valueOf(entry)) !== ino)
    report(`${where}: its directory ${parent} does not have the name that it refers back to`);
}

function visitEntry(where: string, record: number, inode: InodeSeen): void {
  const value = valueOf(record);
  const hi = W[record + 2]!;
  const lo = W[record + 3]!;
  const child = direntIno(value);
  const kind = direntKind(value);
  inode.entries++;
  if (kind === DIRECTORY_KIND) inode.directories++;
  const at = (value + 2) * 4;
  hashName(inode.ino, B, at, recordBytes(record) - 8);
  if (hashHi !== hi || hashLo !== (lo & ~15) >>> 0) report(`${where}: a name is filed under the wrong hash`);
  const link = find(child, LINK, hi, lo);
  if (link === 0 || linkParent(valueOf(link)) !== inode.ino) report(`${where}: inode ${child} does not refer back to its name`);
  const target = find(child, INODE, 0, 0);
  if (target === 0) report(`${where}: a name leads to inode ${child}, which does not exist`);
  else if (inodeMode(valueOf(target)) >>> 12 !== kind)
    report(`${where}: a name says type ${kind} for inode ${child} of mode ${inodeMode(valueOf(target)).toString(8)}`);
}

function visitExtent(where: string, record: number, inode: InodeSeen, lineage: Set<LayerIndex>): void {
  const extent = valueOf(record);
  const fileBlock = W[record + 3]!;
  const length = extentLength(extent);
  if (W[record + 2] !== 0 || fileBlock < inode.nextFileBlock) report(`${where}: extent at file block ${fileBlock} overlaps the one before`);
  if (recordBytes(record) < 16 + length * 4) report(`${where}: extent at file block ${fileBlock} has no checksums for all its blocks`);
  if (extentGeneration(extent) > W[GENERATION]!) report(`${where}: extent at file block ${fileBlock} belongs to a generation to come`);
  inode.nextFileBlock = fileBlock + length;
  inode.blocks += length;
  if (extentOwner(extent) === LOST_OWNER) return void (result.lostBlocks += length);
  // Owners come before their descendants, so what they have is marked by now.
  if (!lineage.has(extentOwner(extent)) || !isMarked(extentBlock(extent), length))
    report(`${where}: extent at file block ${fileBlock} is none that layer ${extentOwner(extent)} has`);
  inode.newestOwner = Math.max(inode.newestOwner, extentOwner(extent));
}

function finishInode(what: string, inode: InodeSeen, lineage: Set<LayerIndex>): void {
  if (inode.ino === 0 || inode.record === null) return;
  const where = `${what}, inode ${inode.ino}`;
  const at = RUN_AT + 2 * BLOCK_WORDS;
  W.set(inode.record, at);
  const isDirectory = (inodeMode(at) & S_IFMT) === S_IFDIR;
  const named = inode.ino === ROOT_INO ? inode.links + 1 : inode.links;
  const links = isDirectory && named > 0 ? 2 + inode.directories : inode.links;
  if (isDirectory && inode.links > 1) report(`${where}: directory has ${inode.links} names`);
  if (inodeLinks(at) !== links) report(`${where}: has ${links} links but counts ${inodeLinks(at)}`);
  if (inodeBlocks(at) !== inode.blocks) report(`${where}: has ${inode.blocks} blocks but counts ${inodeBlocks(at)}`);
  if (isDirectory && inodeEntries(at) !== inode.entries) report(`${where}: has ${inode.entries} entries but counts ${inodeEntries(at)}`);
  const size = inodeSizeLo(at) + inodeSizeHi(at) * 2 ** 32;
  if (isDirectory && size !== inode.entries * 32) report(`${where}: directory of ${inode.entries} entries has size ${size}`);
  if (links === 0 && find(0, ORPHAN, 0, inode.ino) === 0) report(`${where}: has no name and is not listed as an orphan`);
  checkContentLayer(where, at, inode, lineage);
}

/** N5, as far as it can be seen: whose contents they are must be a layer that the file can have them from. */
function checkContentLayer(where: string, at: number, inode: InodeSeen, lineage: Set<LayerIndex>): void {
  const contentLayer = inodeContentLayer(at);
  if ((inodeMode(at) & S_IFMT) !== S_IFREG) {
    if (contentLayer !== 0) report(`${where}: is no regular file but has contents of layer ${contentLayer}`);
  } else if (!lineage.has(contentLayer))
    report(`${where}: has contents of layer ${contentLayer}, which is neither its own nor an ancestor`);
  else if (inode.newestOwner > contentLayer)
    report(`${where}: layer ${inode.newestOwner} owns data of it, but ${contentLayer} is said to have changed it last`);
}
