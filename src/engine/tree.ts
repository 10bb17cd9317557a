/**
 * The copy-on-write B+tree: one for each layer, and the catalog.
 *
 * A page holds records in key order: a slot array of half-words grows up from the header, records grow down from the
 * end; a slot is the record's word index in its page. Leaves (level 0) hold the records proper, inner pages one record for
 * each page below, whose value is a `child` (block, owner, generation). The key of an inner record is a lower bound of the
 * keys below it, except that the first record of a page stands for everything lower, too.
 *
 * A thread works on one tree at a time (`useTree`) and remembers the way to the page it looked at last, the *path*, with
 * every page of it pinned. A look-up whose key lies within the leaf of the path needs no descent; what concerns one inode
 * is adjacent, so most do not. Whoever uses a tree holds its lock: shared for looking, exclusively for changing.
 *
 * Changing a page makes it *writable* first: if another layer owns it, or an earlier generation wrote it, it is copied to
 * a new block, from the root down (copy-on-write). The old block is freed only if this tree's layer owned it.
 *
 * Invariants
 *  T1  Keys ascend strictly over the whole tree.
 *  T2  All leaves are at level 0; a child's level is its parent's less one.
 *  T3  A page that a layer does not own has nothing below it that the layer owns.
 *  T4  Owner and generation in the pointer to a page equal those in the page.
 *  T5  Only the root may be empty, and only as a leaf; only the root may have a single child for more than one operation.
 *  T6  A record's value has at most VALUE_BYTES_MAX bytes, so either half of any split page takes any record.
 */
import { BLOCK_WORDS, PAGE_HEADER_BYTES, VALUE_BYTES_MAX, type LayerIndex } from '../layout/constants.js';
import { H, W } from '../layout/memory.js';
import {
  CHILD_WORDS,
  PAGE_WORDS,
  RECORD_WORDS,
  childBlock,
  childGeneration,
  childOwner,
  pageBlock,
  pageGarbage,
  pageGeneration,
  pageHeap,
  pageLevelCount,
  pageOwner,
  setChildBlock,
  setChildGeneration,
  setChildOwner,
  setPageGarbage,
  setPageHeap,
  setPageLevelCount,
  setRecordHi,
  setRecordKey0,
  setRecordLo,
  setRecordTypeBytes,
} from '../layout/records.js';
import { GENERATION, scratchAt } from './arena.js';
import { forbidDeferral } from './deferral.js';
import { BlockError, fail, inconsistent } from './errors.js';
import { noteKey } from './notes.js';
import { DEPTH_MAX } from './page-shape.js';
import { isFresh, markClean, markDirty, newPage, pinPage, unpinPage } from './pager.js';
import { WINDOW_PAGES, allocateBlocks, freeBlocks } from './space.js';

/** Slots are half-words, counted from the start of the page. */
const SLOTS_FROM = PAGE_HEADER_BYTES / 2;
/** A page with less than this many words in use is merged with a neighbour if both fit. */
const UNDERFULL_WORDS = (BLOCK_WORDS - PAGE_WORDS) >>> 2;
const MERGED_WORDS_MAX = ((BLOCK_WORDS - PAGE_WORDS) * 3) >>> 2;
/** The thread's scratch from this word on holds a copy of a page that is being rebuilt. */
const SCRATCH_PAGE = 1024;

/** Words of the root pointer (block, owner, generation) of the tree in use. */
let rootAt = 0;
let owner: LayerIndex = 0;
/** Word that counts the pages the owner has in the tree; 0 if nobody counts. */
let pagesAt = 0;

const pathPage = new Int32Array(DEPTH_MAX);
const pathIndex = new Int32Array(DEPTH_MAX);
/** Pages on the path; the leaf is the last. */
let depth = 0;
let pathWritable = false;

/** Changes made by this thread: an operation that failed before it changed anything may simply be given up. */
export let treeChanges = 0;

/** Turns to a tree. `counter` is the word that counts the pages its owner has in it, or 0. */
export function useTree(root: number, treeOwner: LayerIndex, counter: number): void {
  releasePath();
  rootAt = root;
  owner = treeOwner;
  pagesAt = counter;
}

/** Unpins what the last call left pinned: record addresses become invalid. */
export function releasePath(): void {
  while (depth > 0) unpinPage(pathPage[--depth]!);
  pathWritable = false;
}

// Pages and records

function pageCount(page: number): number {
  return pageLevelCount(page) & 0xffff;
}

function pageLevel(page: number): number {
  return pageLevelCount(page) >>> 16;
}

function setPageCount(page: number, count: number): void {
  setPageLevelCount(page, (pageLevelCount(page) & 0xffff_0000) | count);
}

function recordAt(page: number, index: number): number {
  return page + H[page * 2 + SLOTS_FROM + index]!;
}

/** Length of a record's value in bytes. */
export function recordBytes(record: number): number {
  return W[record + 1]! & 0xffff;
}

export function recordType(record: number): number {
  return W[record + 1]! >>> 16;
}

/** Address of a record's value. */
export function valueOf(record: number): number {
  return record + RECORD_WORDS;
}

function wordsFor(valueBytes: number): number {
  return RECORD_WORDS + ((valueBytes + 3) >>> 2);
}

/** Length of a record in words, key included. */
export function recordWords(record: number): number {
  return wordsFor(W[record + 1]! & 0xffff);
}

/** Words between the slot array and the lowest record, if there were one slot more. */
function roomBelowHeap(page: number): number {
  return pageHeap(page) - ((SLOTS_FROM + pageCount(page) + 2) >>> 1);
}

/** Words in use by records and slots. */
function usedWords(page: number): number {
  return BLOCK_WORDS - pageHeap(page) - pageGarbage(page) + ((pageCount(page) + 1) >>> 1);
}

function clearPage(page: number, level: number): void {
  setPageLevelCount(page, level << 16);
  setPageHeap(page, BLOCK_WORDS);
  setPageGarbage(page, 0);
}

/** Negative, zero or positive as the record's key is lower than, equal to or higher than the given one. */
function compare(record: number, k0: number, type: number, hi: number, lo: number): number {
  let a = W[record]!;
  if (a !== k0) return a < k0 ? -1 : 1;
  a = W[record + 1]! >>> 16;
  if (a !== type) return a - type;
  a = W[record + 2]!;
  if (a !== hi) return a < hi ? -1 : 1;
  a = W[record + 3]!;
  return a === lo ? 0 : a < lo ? -1 : 1;
}

let exact = false;

/** Index of the first record of the page whose key is not lower; `exact` tells whether it is equal. */
function lowerBound(page: number, k0: number, type: number, hi: number, lo: number): number {
  let low = 0;
  let high = pageCount(page);
  exact = false;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const order = compare(recordAt(page, middle), k0, type, hi, lo);
    if (order < 0) low = middle + 1;
    else {
      high = middle;
      if (order === 0) {
        exact = true;
        return middle;
      }
    }
  }
  return low;
}

/** Index of the record of an inner page that leads to a key. */
function childIndex(page: number, k0: number, type: number, hi: number, lo: number): number {
  const index = lowerBound(page, k0, type, hi, lo);
  return exact || index === 0 ? index : index - 1;
}

// Descending

/** Pins the page that a pointer (block, owner, generation) leads to. Throws BlockError. */
function pinChild(pointer: number, level: number): number {
  const block = childBlock(pointer);
  const page = pinPage(block);
  if (
    pageOwner(page) === childOwner(pointer) &&
    pageGeneration(page) === childGeneration(pointer) &&
    (level < 0 || pageLevel(page) === level)
  ) {
    return page;
  }
  unpinPage(page);
  throw new BlockError(block, `tree page in block ${block} is valid but not the one its parent refers to`);
}

/** Pins the page that the record `index` of a page leads to. Throws BlockError. */
function pinBelow(page: number, index: number): number {
  const below = pinChild(valueOf(recordAt(page, index)), pageLevel(page) - 1);
  if (!isFresh || liesBetween(below, page, index)) return below;
  unpinPage(below);
  throw inconsistent('keys of a page are not those that its parent says', pageBlock(below), pageBlock(page));
}

/** T1 between a page and its parent, as far as two pages show it. The first record of an inner page stands for lower keys. */
function liesBetween(below: number, page: number, index: number): boolean {
  const count = pageCount(below);
  const first = pageLevel(below) === 0 ? 0 : 1;
  if (index > 0 && first < count && compareRecords(recordAt(below, first), recordAt(page, index)) < 0) return false;
  return index + 1 >= pageCount(page) || count === 0 || compareRecords(recordAt(below, count - 1), recordAt(page, index + 1)) < 0;
}

function compareRecords(a: number, b: number): number {
  return compare(a, W[b]!, W[b + 1]! >>> 16, W[b + 2]!, W[b + 3]!);
}

function push(page: number, index: number): void {
  pathPage[depth] = page;
  pathIndex[depth] = index;
  depth++;
}

/** Goes down to the leaf for a key; the leaf's index is left at its lower bound. */
function descend(k0: number, type: number, hi: number, lo: number): void {
  releasePath();
  let page = pinChild(rootAt, -1);
  while (pageLevel(page) > 0) {
    const index = childIndex(page, k0, type, hi, lo);
    push(page, index);
    page = pinBelow(page, index);
  }
  push(page, lowerBound(page, k0, type, hi, lo));
}

/** Whether the key can only be in the leaf of the path. Leaves the leaf's index at the key's lower bound. */
function leafCovers(k0: number, type: number, hi: number, lo: number): boolean {
  if (depth === 0) return false;
  const leaf = pathPage[depth - 1]!;
  const count = pageCount(leaf);
  if (count === 0) return false;
  if (compare(recordAt(leaf, 0), k0, type, hi, lo) > 0 || compare(recordAt(leaf, count - 1), k0, type, hi, lo) < 0) return false;
  pathIndex[depth - 1] = lowerBound(leaf, k0, type, hi, lo);
  return true;
}

function goTo(k0: number, type: number, hi: number, lo: number): void {
  if (!leafCovers(k0, type, hi, lo)) descend(k0, type, hi, lo);
}

// Looking

/** Address of the record with this key, 0 if there is none. Valid until the thread's next tree call. */
export function find(k0: number, type: number, hi: number, lo: number): number {
  goTo(k0, type, hi, lo);
  return exact ? recordAt(pathPage[depth - 1]!, pathIndex[depth - 1]!) : 0;
}

/** Moves to the first record whose key is not lower. Returns its address, 0 at the end of the tree. */
export function seek(k0: number, type: number, hi: number, lo: number): number {
  goTo(k0, type, hi, lo);
  return current();
}

/** The record at the cursor, or the first one of the leaves that follow. */
function current(): number {
  const leaf = pathPage[depth - 1]!;
  if (pathIndex[depth - 1]! < pageCount(leaf)) return recordAt(leaf, pathIndex[depth - 1]!);
  return nextLeaf() ? current() : 0;
}

/** Moves to the record after the cursor. Returns its address, 0 at the end of the tree. */
export function next(): number {
  pathIndex[depth - 1]!++;
  return current();
}

/** Moves to the last record whose key is not higher. Returns its address, 0 if there is none. */
export function seekFloor(k0: number, type: number, hi: number, lo: number): number {
  goTo(k0, type, hi, lo);
  if (exact) return recordAt(pathPage[depth - 1]!, pathIndex[depth - 1]!);
  if (pathIndex[depth - 1] === 0 && !previousLeaf()) return 0;
  pathIndex[depth - 1]!--;
  return recordAt(pathPage[depth - 1]!, pathIndex[depth - 1]!);
}

/** Replaces the path's end by the leaf to the right. At the end of the tree nothing changes and the answer is false. */
function nextLeaf(): boolean {
  let level = depth - 2;
  while (level >= 0 && pathIndex[level]! + 1 >= pageCount(pathPage[level]!)) level--;
  if (level < 0) return false;
  truncatePath(level + 1);
  pathIndex[level]!++;
  pathWritable = false;
  for (;;) {
    const page = pathPage[depth - 1]!;
    if (pageLevel(page) === 0) return true;
    push(pinBelow(page, pathIndex[depth - 1]!), 0);
  }
}

/** The same to the left; the leaf's index is left behind its last record. */
function previousLeaf(): boolean {
  let level = depth - 2;
  while (level >= 0 && pathIndex[level] === 0) level--;
  if (level < 0) return false;
  truncatePath(level + 1);
  pathIndex[level]!--;
  pathWritable = false;
  for (;;) {
    const page = pathPage[depth - 1]!;
    if (pageLevel(page) === 0) return true;
    const below = pinBelow(page, pathIndex[depth - 1]!);
    push(below, pageLevel(below) === 0 ? pageCount(below) : pageCount(below) - 1);
  }
}

function truncatePath(length: number): void {
  while (depth > length) unpinPage(pathPage[--depth]!);
}

// Changing

function isWritable(page: number): boolean {
  return pageOwner(page) === owner && pageGeneration(page) === W[GENERATION];
}

/** A new page of the tree, pinned, with its header made. */
function allocatePage(level: number, goal: number): number {
  const block = allocateBlocks(owner, WINDOW_PAGES, goal, 1);
  if (block === 0) fail('S3', owner);
  const page = newPage(block, owner, W[GENERATION]!);
  clearPage(page, level);
  if (pagesAt !== 0) W[pagesAt]!++;
  return page;
}

/** Frees the block of a pinned page that the tree no longer refers to, and unpins it. */
function freePage(page: number): void {
  const block = pageBlock(page);
  const own = pageOwner(page) === owner;
  // An own page of this generation need never be written; an older dirty one is wanted by a checkpoint under way.
  if (own && pageGeneration(page) === W[GENERATION]) markClean(page);
  unpinPage(page);
  if (!own) return;
  freeBlocks(block, 1);
  if (pagesAt !== 0) W[pagesAt]!--;
}

function pointTo(pointer: number, page: number): void {
  setChildBlock(pointer, pageBlock(page));
  setChildOwner(pointer, pageOwner(page));
  setChildGeneration(pointer, pageGeneration(page));
}

/** The pointer that leads to the page at `level` of the path. */
function pointerTo(level: number): number {
  return level === 0 ? rootAt : valueOf(recordAt(pathPage[level - 1]!, pathIndex[level - 1]!));
}

/** Makes the page at `level` of the path writable; those above it are. */
function makeWritable(level: number): void {
  const page = pathPage[level]!;
  if (isWritable(page)) return;
  const copy = allocatePage(pageLevel(page), 0);
  W.copyWithin(copy + PAGE_WORDS - 3, page + PAGE_WORDS - 3, page + BLOCK_WORDS);
  pointTo(pointerTo(level), copy);
  pathPage[level] = copy;
  freePage(page);
}

/** Makes the whole path writable. Its pages count as dirty from now on, and stay so while they are pinned (P2). */
function makePathWritable(): void {
  treeChanges++;
  forbidDeferral();
  if (pathWritable) return;
  for (let level = 0; level < depth; level++) {
    makeWritable(level);
    markDirty(pathPage[level]!);
  }
  pathWritable = true;
}

/** Like `find`, but the value may be changed in place. */
export function findForUpdate(k0: number, type: number, hi: number, lo: number): number {
  goTo(k0, type, hi, lo);
  if (!exact) return 0;
  makePathWritable();
  noteKey(owner, k0, type, hi, lo, 1);
  return recordAt(pathPage[depth - 1]!, pathIndex[depth - 1]!);
}

/** Makes an empty tree: a single empty leaf. */
export function createTree(): void {
  releasePath();
  treeChanges++;
  forbidDeferral();
  const page = allocatePage(0, 0);
  pointTo(rootAt, page);
  unpinPage(page);
}

/** Inserts a record whose key is new. Returns its address; the value is zeroed and for the caller to fill in. */
export function insert(k0: number, type: number, hi: number, lo: number, valueBytes: number): number {
  if (valueBytes > VALUE_BYTES_MAX) fail('T6', valueBytes);
  goTo(k0, type, hi, lo);
  if (exact) fail('T1', k0, type);
  makePathWritable();
  noteKey(owner, k0, type, hi, lo, 1);
  const words = wordsFor(valueBytes);
  if (!makeRoom(pathPage[depth - 1]!, words)) {
    splitPath(k0, type, hi, lo, words);
    pathIndex[depth - 1] = lowerBound(pathPage[depth - 1]!, k0, type, hi, lo);
  }
  return place(pathPage[depth - 1]!, pathIndex[depth - 1]!, k0, type, hi, lo, valueBytes);
}

/** Whether a record of `words` words fits, after removing garbage if that is what it takes. */
function makeRoom(page: number, words: number): boolean {
  if (roomBelowHeap(page) >= words) return true;
  if (roomBelowHeap(page) + pageGarbage(page) < words) return false;
  compactPage(page);
  return true;
}

function compactPage(page: number): void {
  const scratch = scratchAt + SCRATCH_PAGE;
  W.copyWithin(scratch, page, page + BLOCK_WORDS);
  clearPage(page, pageLevel(page));
  appendRecords(page, scratch, 0, pageCount(scratch));
}

/** Appends records [from, to) of one page to another that has room for them. */
function appendRecords(page: number, source: number, from: number, to: number): void {
  let heap = pageHeap(page);
  let count = pageCount(page);
  for (let i = from; i < to; i++) {
    const record = recordAt(source, i);
    const words = recordWords(record);
    heap -= words;
    W.copyWithin(page + heap, record, record + words);
    H[page * 2 + SLOTS_FROM + count++] = heap;
  }
  setPageHeap(page, heap);
  setPageCount(page, count);
}

/** Puts a record at `index` of a page that has room for it. */
function place(page: number, index: number, k0: number, type: number, hi: number, lo: number, valueBytes: number): number {
  const heap = pageHeap(page) - wordsFor(valueBytes);
  const count = pageCount(page);
  const slots = page * 2 + SLOTS_FROM;
  H.copyWithin(slots + index + 1, slots + index, slots + count);
  H[slots + index] = heap;
  setPageHeap(page, heap);
  setPageCount(page, count + 1);
  const record = page + heap;
  setRecordKey0(record, k0);
  setRecordTypeBytes(record, (type << 16) | valueBytes);
  setRecordHi(record, hi);
  setRecordLo(record, lo);
  W.fill(0, record + RECORD_WORDS, record + wordsFor(valueBytes));
  markDirty(page);
  return record;
}

/** Splits pages on the path, from the top, until the leaf for the key has room for `words` more words. */
function splitPath(k0: number, type: number, hi: number, lo: number, words: number): void {
  const childWords = RECORD_WORDS + CHILD_WORDS;
  if (!makeRoom(pathPage[0]!, depth === 1 ? words : childWords)) growRoot();
  for (let level = 1; level < depth; level++) {
    if (makeRoom(pathPage[level]!, level === depth - 1 ? words : childWords)) continue;
    splitPage(level, k0, type, hi, lo);
    // The page above has room for one more record only as long as nothing else is put there: go on below it.
  }
}

/** Puts a new root above the old one. */
function growRoot(): void {
  const old = pathPage[0]!;
  const root = allocatePage(pageLevel(old) + 1, 0);
  pointTo(valueOf(place(root, 0, 0, 0, 0, 0, CHILD_WORDS * 4)), old);
  pointTo(rootAt, root);
  for (let level = depth; level > 0; level--) {
    pathPage[level] = pathPage[level - 1]!;
    pathIndex[level] = pathIndex[level - 1]!;
  }
  pathPage[0] = root;
  pathIndex[0] = 0;
  depth++;
}

/** Splits the page at `level`; the path continues in the half that is to take the key. */
function splitPage(level: number, k0: number, type: number, hi: number, lo: number): void {
  const page = pathPage[level]!;
  const right = allocatePage(pageLevel(page), pageBlock(page) + 1);
  const middle = splitIndex(page, lowerBound(page, k0, type, hi, lo));
  const scratch = scratchAt + SCRATCH_PAGE;
  W.copyWithin(scratch, page, page + BLOCK_WORDS);
  clearPage(page, pageLevel(page));
  appendRecords(page, scratch, 0, middle);
  appendRecords(right, scratch, middle, pageCount(scratch));
  markDirty(page);
  const appended = middle === pageCount(scratch);
  if (appended) linkRight(level, right, k0, type, hi, lo);
  else {
    const first = recordAt(right, 0);
    linkRight(level, right, W[first]!, recordType(first), W[first + 2]!, W[first + 3]!);
  }
  chooseHalf(level, right, appended || compare(recordAt(right, 0), k0, type, hi, lo) <= 0, k0, type, hi, lo);
}

/** Where to split: in the middle by size, or at the very end when records are being appended, so that pages stay full. */
function splitIndex(page: number, insertAt: number): number {
  const count = pageCount(page);
  if (insertAt === count && pageLevel(page) === 0) return count;
  const half = usedWords(page) >>> 1;
  let words = 0;
  for (let i = 0; i < count - 1; i++) {
    words += recordWords(recordAt(page, i));
    if (words >= half) return i + 1;
  }
  return count - 1;
}

/** Enters the right half into the page above, behind the left one. */
function linkRight(level: number, right: number, k0: number, type: number, hi: number, lo: number): void {
  const above = pathPage[level - 1]!;
  // The first record stands for lower keys, too (its own may be that of a page that was dropped in front of it). With a
  // second record behind it, it has to be as low as what it leads to.
  if (pathIndex[level - 1] === 0 && compare(recordAt(above, 0), k0, type, hi, lo) >= 0)
    copyKey(recordAt(above, 0), recordAt(pathPage[level]!, 0));
  pointTo(valueOf(place(above, pathIndex[level - 1]! + 1, k0, type, hi, lo, CHILD_WORDS * 4)), right);
}

/** Lets the path go on in the left or the right half, and unpins the other and what was below. */
function chooseHalf(level: number, right: number, goRight: boolean, k0: number, type: number, hi: number, lo: number): void {
  if (goRight) {
    unpinPage(pathPage[level]!);
    pathPage[level] = right;
    pathIndex[level - 1]!++;
  } else unpinPage(right);
  const page = pathPage[level]!;
  // What is below stays on the path: the page it goes on in has moved, not its child.
  pathIndex[level] = pageLevel(page) > 0 ? childIndex(page, k0, type, hi, lo) : lowerBound(page, k0, type, hi, lo);
}

/** Removes the record with this key; false if there is none. */
export function remove(k0: number, type: number, hi: number, lo: number): boolean {
  goTo(k0, type, hi, lo);
  if (!exact) return false;
  makePathWritable();
  noteKey(owner, k0, type, hi, lo, 0);
  removeAt(pathPage[depth - 1]!, pathIndex[depth - 1]!);
  repairPath();
  return true;
}

function removeAt(page: number, index: number): void {
  const slots = page * 2 + SLOTS_FROM;
  const count = pageCount(page);
  setPageGarbage(page, pageGarbage(page) + recordWords(recordAt(page, index)));
  H.copyWithin(slots + index, slots + index + 1, slots + count);
  setPageCount(page, count - 1);
  markDirty(page);
}

/** Restores T5 after a removal, from the leaf up, as far as pages have become empty or underfull. */
function repairPath(): void {
  let changed = false;
  for (let level = depth - 1; level > 0; level--) {
    const page = pathPage[level]!;
    if (pageCount(page) === 0) dropEmpty(level);
    else if (usedWords(page) >= UNDERFULL_WORDS || !mergeSibling(level)) break;
    changed = true;
  }
  if (changed) {
    releasePath();
    shrinkRoot();
  }
}

/** Takes an empty page out of the tree. The path ends above it. */
function dropEmpty(level: number): void {
  truncatePath(level + 1);
  depth = level;
  freePage(pathPage[level]!);
  removeAt(pathPage[level - 1]!, pathIndex[level - 1]!);
}

/** Moves the records of a neighbour into the page at `level` if both fit into one. The path then ends above it. */
function mergeSibling(level: number): boolean {
  const above = pathPage[level - 1]!;
  const index = pathIndex[level - 1]!;
  if (index + 1 < pageCount(above) && mergeWith(level, index + 1)) return true;
  return index > 0 && mergeWith(level, index - 1);
}

function mergeWith(level: number, siblingIndex: number): boolean {
  const page = pathPage[level]!;
  const above = pathPage[level - 1]!;
  const index = pathIndex[level - 1]!;
  const sibling = pinSibling(valueOf(recordAt(above, siblingIndex)), pageLevel(page));
  if (sibling === 0) return false;
  if (usedWords(page) + usedWords(sibling) > MERGED_WORDS_MAX) {
    unpinPage(sibling);
    return false;
  }
  const scratch = scratchAt + SCRATCH_PAGE;
  if (siblingIndex > index) {
    compactPage(page);
    const from = pageCount(page);
    appendRecords(page, sibling, 0, pageCount(sibling));
    if (pageLevel(page) > 0) copyKey(recordAt(page, from), recordAt(above, siblingIndex));
  } else {
    W.copyWithin(scratch, page, page + BLOCK_WORDS);
    clearPage(page, pageLevel(page));
    appendRecords(page, sibling, 0, pageCount(sibling));
    const from = pageCount(page);
    appendRecords(page, scratch, 0, pageCount(scratch));
    if (pageLevel(page) > 0) copyKey(recordAt(page, from), recordAt(above, index));
    pointTo(valueOf(recordAt(above, siblingIndex)), page);
  }
  markDirty(page);
  truncatePath(level);
  removeAt(above, Math.max(index, siblingIndex));
  freePage(sibling);
  return true;
}

/** A neighbour that cannot be read is left alone: merging is a matter of space only. */
function pinSibling(pointer: number, level: number): number {
  try {
    return pinChild(pointer, level);
  } catch {
    return 0;
  }
}

/** The first record of an inner page also stands for lower keys, down to the key that leads to the page: make that explicit. */
function copyKey(to: number, from: number): void {
  W[to] = W[from]!;
  W[to + 1] = (W[from + 1]! & 0xffff_0000) | (W[to + 1]! & 0xffff);
  W[to + 2] = W[from + 2]!;
  W[to + 3] = W[from + 3]!;
}

/** Lets the only child of an inner root be the root. One that cannot be read is left as it is: it may have a single child. */
function shrinkRoot(): void {
  for (;;) {
    const root = pinSibling(rootAt, -1);
    if (root === 0) return;
    if (pageLevel(root) === 0 || pageCount(root) > 1) return unpinPage(root);
    if (pageCount(root) === 0) {
      clearPage(root, 0);
      markDirty(root);
      return unpinPage(root);
    }
    W.copyWithin(rootAt, valueOf(recordAt(root, 0)), valueOf(recordAt(root, 0)) + CHILD_WORDS);
    freePage(root);
  }
}

// Repair

/** Goes down to the page at `level` that the key lies in; the path ends there. */
function descendTo(level: number, k0: number, type: number, hi: number, lo: number): void {
  releasePath();
  let page = pinChild(rootAt, -1);
  for (;;) {
    const isInner = pageLevel(page) > 0;
    push(page, isInner ? childIndex(page, k0, type, hi, lo) : lowerBound(page, k0, type, hi, lo));
    if (pageLevel(page) <= level) return;
    page = pinChild(valueOf(recordAt(page, pathIndex[depth - 1]!)), pageLevel(page) - 1);
  }
}

/** Makes the way to the page at `level` that the key lies in, and that page itself, the tree's own. */
export function rewriteDownTo(level: number, k0: number, type: number, hi: number, lo: number): void {
  descendTo(level, k0, type, hi, lo);
  makePathWritable();
  releasePath();
}

/** Takes the pointer to `block`, an unreadable page at `level`, out of the tree. False if it is not there. */
export function prune(block: number, level: number, k0: number, type: number, hi: number, lo: number): boolean {
  descendTo(level + 1, k0, type, hi, lo);
  const end = depth - 1;
  const found = pageLevel(pathPage[end]!) === level + 1 && childBlock(valueOf(recordAt(pathPage[end]!, pathIndex[end]!))) === block;
  if (found) {
    makePathWritable();
    removeAt(pathPage[end]!, pathIndex[end]!);
    if (pageCount(pathPage[end]!) === 0) repairPath();
  }
  releasePath();
  return found;
}

// Walking trees beside the one in use

/** Pins the page a pointer leads to, for a walk of one's own; to be unpinned with `unpinPage`. Throws BlockError. */
export function pinPointer(pointer: number, level: number): number {
  return pinChild(pointer, level);
}

export { pageCount, pageLevel, recordAt, compare as compareRecord, childIndex, usedWords };
