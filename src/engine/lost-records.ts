/**
 * Layer records that the catalog has lost, looked for where it lay before. A change copies a page of the catalog to another
 * block, and what the old block holds stays there until the block is used again. Such a record counts only if the root it
 * names is the root that the layer has now:
 *  - that of a sealed layer never changes;
 *  - that of a writable layer is its own and still in use at the last checkpoint, since a change frees the root before it.
 */
import {
  BLOCK_BYTES,
  CATALOG_OWNER,
  GROUP_BLOCKS,
  LAYER,
  LAYER_SEALED,
  LAYER_WRITABLE,
  PAGE_MAGIC,
  type BlockNumber,
  type LayerIndex,
} from '../layout/constants.js';
import { W } from '../layout/memory.js';
import { LAYER_WORDS, layerRootBlock, layerRootBlockAt, layerRootOwner, layerState, pageGeneration } from '../layout/records.js';
import { crc32, ioBuffer } from '../linux/libc.js';
import { TOTAL_BLOCKS, scratchAt } from './arena.js';
import { readBlocks } from './device.js';
import { BlockError } from './errors.js';
import { pinPage, unpinPage } from './pager.js';
import { bitmapBlock } from './space.js';
import { pageCount, pinPointer, recordAt, recordType, valueOf } from './tree.js';

const RUN_BLOCKS = 64;
/** The thread's scratch from this word on holds a record that is tried. */
const RECORD = 64;
const buffer = ioBuffer(RUN_BLOCKS * BLOCK_BYTES);
const words = new Uint32Array(buffer.bytes.buffer, buffer.bytes.byteOffset, buffer.bytes.length / 4);

/** What the catalog says of a block group. */
export interface GroupLeft {
  live: number;
  checksum: number;
}

interface Candidate {
  generation: number;
  words: Uint32Array;
}

/** Finds records of `wanted` layers by reading the whole device; `groups` as far as the catalog has them. */
export function findLostRecords(wanted: ReadonlySet<LayerIndex>, groups: ReadonlyMap<number, GroupLeft>): Map<LayerIndex, Uint32Array> {
  const candidates = new Map<LayerIndex, Candidate>();
  for (const { block, level } of catalogPages()) if (level === 0) addCandidates(block, wanted, groups, candidates);
  return new Map(Array.from(candidates, ([index, candidate]) => [index, candidate.words]));
}

export interface CatalogPage {
  block: BlockNumber;
  level: number;
  generation: number;
}

/** Pages of earlier catalogs that may have been their roots, the likeliest first: the highest, and of those the newest. */
export function formerRoots(): CatalogPage[] {
  return Array.from(catalogPages()).sort((a, b) => b.level - a.level || b.generation - a.generation);
}

/** Blocks that look like pages of a catalog, present or past. */
function* catalogPages(): Generator<CatalogPage> {
  for (let first = 4; first < W[TOTAL_BLOCKS]!; first += RUN_BLOCKS) {
    const count = Math.min(RUN_BLOCKS, W[TOTAL_BLOCKS]! - first);
    const found = tryRead(first, count) ? pagesIn(first, count) : [];
    yield* found;
  }
}

function tryRead(block: BlockNumber, count: number): boolean {
  try {
    readBlocks(block, count, buffer.address);
    return true;
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    return false;
  }
}

function pagesIn(first: BlockNumber, count: number): CatalogPage[] {
  const found: CatalogPage[] = [];
  for (let i = 0; i < count; i++) {
    const at = (i * BLOCK_BYTES) / 4;
    if (words[at] === PAGE_MAGIC && words[at + 2] === first + i && words[at + 3] === CATALOG_OWNER)
      found.push({ block: first + i, level: words[at + 5]! >>> 16, generation: words[at + 4]! });
  }
  return found;
}

function addCandidates(
  block: BlockNumber,
  wanted: ReadonlySet<LayerIndex>,
  groups: ReadonlyMap<number, GroupLeft>,
  candidates: Map<LayerIndex, Candidate>,
): void {
  const page = tryPin(() => pinPage(block));
  if (page === 0) return;
  const generation = pageGeneration(page);
  for (let i = 0; i < pageCount(page); i++) {
    const record = recordAt(page, i);
    const index = W[record]!;
    if (recordType(record) !== LAYER || !wanted.has(index) || (candidates.get(index)?.generation ?? 0) > generation) continue;
    const copy = W.slice(valueOf(record), valueOf(record) + LAYER_WORDS);
    if (isPresent(index, copy, groups)) candidates.set(index, { generation, words: copy });
  }
  unpinPage(page);
}

function tryPin(pin: () => number): number {
  try {
    return pin();
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    return 0;
  }
}

/** Whether the root that the record names is there, and is the one that the layer has now. */
function isPresent(index: LayerIndex, copy: Uint32Array, groups: ReadonlyMap<number, GroupLeft>): boolean {
  const at = scratchAt + RECORD;
  W.set(copy, at);
  const isOwn = layerState(at) === LAYER_WRITABLE && layerRootOwner(at) === index && isInUse(layerRootBlock(at), groups);
  if (layerState(at) !== LAYER_SEALED && !isOwn) return false;
  const root = tryPin(() => pinPointer(layerRootBlockAt(at), -1));
  if (root !== 0) unpinPage(root);
  return root !== 0;
}

function isInUse(block: BlockNumber, groups: ReadonlyMap<number, GroupLeft>): boolean {
  const group = Math.floor(block / GROUP_BLOCKS);
  const left = groups.get(group);
  if (left === undefined || !tryRead(bitmapBlock(group, left.live), 1) || crc32(0, buffer.address, BLOCK_BYTES) !== left.checksum)
    return false;
  const bit = block % GROUP_BLOCKS;
  return (words[bit >>> 5]! & (1 << (bit & 31))) !== 0;
}
