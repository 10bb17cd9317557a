/**
 * Repair: makes a volume whole again as far as it can be read, in one checkpoint.
 *
 *   1. What is in use is found by walking all trees, and the bitmaps are made from it and from the intent log. So nothing that
 *      can be read is overwritten, and what nothing refers to is free.
 *   2. Every layer, parents first: pointers to pages that cannot be read are taken out, and what descendants have of them is put
 *      in their place. The catalog is written anew from the records that are left. Layers whose record is lost are gone; one that
 *      others are built on is put back, as far as those have it.
 *   3. The intent log is applied: what lies in it replaces what was lost, too (replay.ts).
 *   4. Every layer, parents first: the records are made to agree again (mend.ts). The catalog is written anew once more.
 *   5. A checkpoint. Until it is complete the volume is what it was, log included, so repair may be cut off at any time and begun
 *      again. All changes copy pages, as ever.
 *
 * A layer that others are built on is sealed, so what it wrote is found unchanged in those: whatever is lost of it is first looked
 * for in its descendants, where pages and extents that it or an ancestor owns are just what it had. When one of its pages is
 * replaced, or is out of its reach, descendants that refer to it copy it, so that nobody refers to what its owner does not
 * have; the same holds for data.
 *
 * Of a catalog of which the root is lost, the one of the checkpoint before is taken, if that can be read, with as much of the
 * log as the lost one had in it. A layer that lost
 * something bears the property DAMAGED_PROPERTY, as a sealed one is no longer what its digest says.
 *
 * No other thread has the volume. Where there is no room for the pages that change nothing is done.
 */
import {
  BLOCK_BYTES,
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
  LOST_OWNER,
  NAME,
  PROPERTY,
  VALUE_BYTES_MAX,
  type BlockNumber,
  type LayerIndex,
} from '../layout/constants.js';
import { B, I, W } from '../layout/memory.js';
import {
  LAYER_WORDS,
  childBlock,
  childOwner,
  extentBlock,
  extentLength,
  extentOwner,
  groupChecksum,
  groupLive,
  inodeContentLayer,
  layerInodes,
  layerNextIno,
  layerOwnPagesAt,
  layerParent,
  layerRootBlockAt,
  layerRootOwner,
  layerState,
  pageBlock,
  pageOwner,
  propertyKeyBytes,
  propertyValueBytes,
  recordHi,
  recordKey0,
  recordLo,
  setInodeContentLayer,
  setLayerChildren,
  setLayerDepth,
  setLayerInodes,
  setLayerNextIno,
  setLayerOwnBlocks,
  setLayerOwnPages,
  setLayerParent,
  setLayerState,
} from '../layout/records.js';
import { crc32, ioBuffer } from '../linux/libc.js';
import {
  CATALOG_ROOT,
  CHANGED,
  GENERATION,
  GROUP_DIRTY,
  LAYER_COUNT,
  LOG_BLOCKS,
  LOG_START,
  LOG_START_GENERATION,
  LOG_START_SEQUENCE,
  NEXT_LAYER,
  OPENED_CLEAN,
  OPENED_GENERATION,
  REMOVING_LAYERS,
  RESERVE_BLOCKS,
  RUN_AT,
  TOTAL_BLOCKS,
  scratchAt,
} from './arena.js';
import { addChild, addName, findName, insertInCatalog, useCatalog } from './catalog.js';
import { checkpoint } from './checkpoint.js';
import { forbidDeferral } from './deferral.js';
import { readBlocks, writeBlocks } from './device.js';
import { BlockError, LcfsError } from './errors.js';
import { createGlobalLayer } from './layers.js';
import { findLostRecords, formerRoots, type GroupLeft } from './lost-records.js';
import { lostLayer, nameOf, withName } from './damage.js';
import { extentStart, extentSum, seekExtent } from './extents.js';
import { readBatches } from './log-device.js';
import { nextBatchBlock, nextBatchSequence } from './log-memory.js';
import { planLayer, type Damage, type Plan } from './mend.js';
import { DAMAGED_PROPERTY, storeProperty } from './properties.js';
import {
  WINDOW_SHARED,
  allocateBlocks,
  allocatedLength,
  bitmapBlock,
  blockIsTaken,
  closeWindows,
  freeBlocks,
  groupCount,
  groupDataStart,
  isPending,
  loadGroup,
  reserveFor,
} from './space.js';
import { applyLog, blocksAfterLog, takeLogSpace } from './replay.js';
import { emptySlots } from './slots.js';
import { compareKey, eachPage, keyOf, surveyLayer, type Key, type Lost } from './survey.js';
import {
  createTree,
  find,
  findForUpdate,
  insert,
  prune,
  recordBytes,
  recordType,
  releasePath,
  remove,
  rewriteDownTo,
  useTree,
  valueOf,
} from './tree.js';
import { currentVolume, passOver, useOlderSuperblock, volumeBlocksMax } from './volume.js';

const DAMAGE_SHOWN = 20;
const MAX_WORD = 0xffff_ffff;

export interface RepairReport {
  /** What is lost, in each layer that had it. */
  damage: Damage[];
  /** What else was done, in words. */
  notes: string[];
  /** What became of the intent log. */
  log: LogApplied;
  /** Whether anything but bitmaps and counters had to change. */
  changed: boolean;
}

export interface LogApplied {
  /** Operations behind the checkpoint that were applied. */
  operations: number;
  /** Records of theirs that were not, as what they belong to is lost. */
  lostRecords: number;
  /** What was not applied, and why, in words. */
  leftOut: string[];
}

interface LayerLeft {
  readonly index: LayerIndex;
  /** Words of the record. */
  readonly words: Uint32Array;
  /** Its root when it was found. */
  readonly oldRoot: readonly number[];
  name: Buffer;
  damage: Damage[];
}

interface CatalogLeft {
  readonly layers: Map<LayerIndex, LayerLeft>;
  /** Records of properties, whole ones only. */
  readonly properties: { layer: LayerIndex; hi: number; lo: number; value: Uint8Array }[];
  /** Layers that have a name, with a record or without. */
  readonly named: Map<LayerIndex, Buffer>;
  readonly groups: Map<number, GroupLeft>;
  readonly lost: Lost[];
  readonly pages: BlockNumber[];
}

let report: RepairReport;
/** Entries of the log count that have a generation beyond the first, and up to the second. */
let logFrom = 0;
let logTo = 0;
/** What was lost of each layer before the log was applied. */
const lostBefore = new Map<LayerIndex, Lost[]>();
/** One bit for each block that something refers to when repair begins, or that cannot be read. */
let inUse: Uint32Array;
/** One bit for each block that its owner refers to when that is repaired. */
let owned: Uint32Array;
/** Blocks of data that cannot be read, or are not what was written; looked for if `withData`. */
const bad = new Set<BlockNumber>();
let withData = false;
const buffer = ioBuffer(BLOCK_BYTES);

function begin(data: boolean): CatalogLeft {
  report = { damage: [], notes: [], log: { operations: 0, lostRecords: 0, leftOut: [] }, changed: false };
  withData = data;
  bad.clear();
  lostBefore.clear();
  logTo = MAX_WORD;
  forbidDeferral();
  const catalog = readCatalog();
  bringBackParents(catalog);
  readLog();
  beginSpace();
  findUsed(catalog);
  return catalog;
}

function inOrder(catalog: CatalogLeft): LayerLeft[] {
  return [...catalog.layers.values()].sort((a, b) => a.index - b.index);
}

/**
 * Repairs the volume, which was opened with `forRepair`. With `data` all data is read, so that what is damaged can be named; it
 * stays where it is in either case. One that was opened read-only is repaired in memory: to see what would be done. Throws
 * LcfsError.
 */
export function repairVolume(data: boolean): RepairReport {
  const left = begin(data);
  loadBitmaps();
  takeSpaceOfLog();
  for (const layer of inOrder(left)) settleLayer(layer, left);
  writeCatalog(left, inOrder(left));
  const catalog = afterLog(left);
  const order = inOrder(catalog);
  for (const layer of order) repairLayer(layer, catalog);
  writeCatalog(catalog, order);
  for (const layer of order) if (layer.damage.length > 0) markDamaged(layer);
  releasePath();
  freeRest();
  for (let group = 0; group < groupCount(); group++) W[GROUP_DIRTY + group] = 1;
  Atomics.store(I, CHANGED, 1);
  if (!currentVolume().readOnly) checkpoint();
  report.damage.push(...order.flatMap((layer) => withName(layer.damage, nameOf(layer.index, layer.name))));
  return report;
}

function note(text: string): void {
  report.notes.push(text);
  report.changed = true;
}

// 0. The catalog

function readCatalog(): CatalogLeft {
  let catalog = surveyCatalog();
  const newest = W[OPENED_GENERATION]!;
  if (catalog.lost[0]?.level === -1 && useOlderSuperblock()) {
    logTo = newest;
    note('the catalog of the last checkpoint cannot be read; the volume goes back to the checkpoint before');
    catalog = surveyCatalog();
  }
  if (catalog.lost[0]?.level === -1) {
    logTo = 0;
    catalog = earlierCatalog() ?? catalog;
  }
  for (const lost of catalog.lost) note(`the catalog: ${lost.message}`);
  bringBackRecordsOfLayers(catalog);
  if (!catalog.layers.has(GLOBAL_LAYER)) note('the global layer is lost');
  for (const [layer, name] of catalog.named) if (!catalog.layers.has(layer)) report.damage.push(lostLayer(layer, name));
  return catalog;
}

/** A whole catalog of an earlier checkpoint, where nothing leads to one any more. What it refers to may be gone since. */
function earlierCatalog(): CatalogLeft | null {
  const root = W.slice(CATALOG_ROOT, CATALOG_ROOT + 3);
  for (const { block, generation } of formerRoots()) {
    W[CATALOG_ROOT] = block;
    W[CATALOG_ROOT + 2] = generation;
    const noted = report.notes.length;
    const catalog = surveyCatalog();
    if (catalog.lost.length > 0 || !catalog.layers.has(GLOBAL_LAYER)) {
      report.notes.length = noted;
      continue;
    }
    note(`no checkpoint's catalog can be read; the one that was written for checkpoint ${generation} is taken`);
    return catalog;
  }
  W.set(root, CATALOG_ROOT);
  return null;
}

function surveyCatalog(): CatalogLeft {
  const catalog: CatalogLeft = { layers: new Map(), properties: [], named: new Map(), groups: new Map(), lost: [], pages: [] };
  const names = new Map<LayerIndex, Buffer>();
  const chunks: CatalogLeft['properties'] = [];
  eachPage(CATALOG_ROOT, {
    lost: (lost) => void catalog.lost.push(lost),
    page: (page) => void catalog.pages.push(pageBlock(page)),
    record: (record) => {
      const layer = recordKey0(record);
      const type = recordType(record);
      if (type === LAYER) takeLayer(catalog, layer, valueOf(record));
      else if (type === LAYER_NAME) names.set(layer, Buffer.from(bytesOf(record)));
      else if (type === NAME) catalog.named.set(W[valueOf(record)]!, Buffer.from(bytesOf(record).subarray(4)));
      else if (type === GROUP) catalog.groups.set(layer, { live: groupLive(valueOf(record)), checksum: groupChecksum(valueOf(record)) });
      else if (type === PROPERTY) chunks.push({ layer, hi: recordHi(record), lo: recordLo(record), value: bytesOf(record) });
    },
  });
  for (const layer of catalog.layers.values())
    layer.name = names.get(layer.index) ?? catalog.named.get(layer.index) ?? Buffer.from(`lost-${layer.index}`);
  keepWholeProperties(catalog, chunks);
  return catalog;
}

/** Records that are lost are looked for in what is left of earlier catalogs. */
function bringBackRecordsOfLayers(catalog: CatalogLeft): void {
  const parents = [...catalog.layers.values()].map(layerParentOf).filter((parent) => parent !== 0);
  const missing = [GLOBAL_LAYER, ...catalog.named.keys(), ...parents].filter((index) => !catalog.layers.has(index));
  if (catalog.lost.length === 0 || missing.length === 0) return;
  for (const [index, words] of findLostRecords(new Set(missing), catalog.groups)) {
    const name = catalog.named.get(index) ?? Buffer.from(`lost-${index}`);
    W.set(words, recordWord());
    const at = layerRootBlockAt(recordWord());
    catalog.layers.set(index, { index, words, oldRoot: [...W.subarray(at, at + 3)], name, damage: [] });
    note(`the record of layer ${index} "${name.toString()}" was lost, and found where the catalog lay before`);
  }
}

function bytesOf(record: number): Uint8Array {
  return B.slice(valueOf(record) * 4, valueOf(record) * 4 + recordBytes(record));
}

/** A layer that was being removed goes at once: nothing else refers to what it has. */
function takeLayer(catalog: CatalogLeft, index: LayerIndex, at: number): void {
  const words = W.slice(at, at + LAYER_WORDS);
  const root = layerRootBlockAt(at) - at;
  const layer = { index, words, oldRoot: [...words.subarray(root, root + 3)], name: Buffer.alloc(0), damage: [] };
  if (layerState(at) !== LAYER_REMOVING) catalog.layers.set(index, layer);
}

function keepWholeProperties(catalog: CatalogLeft, chunks: CatalogLeft['properties']): void {
  for (let first = 0, end = 0; first < chunks.length; first = end) {
    const head = chunks[first]!;
    for (end = first + 1; end < chunks.length && isSameProperty(head, chunks[end]!);) end++;
    const group = chunks.slice(first, end);
    if (catalog.layers.has(head.layer) && isWholeProperty(group)) catalog.properties.push(...group);
    else note(`a property of layer ${head.layer} is lost`);
  }
}

function isSameProperty(a: CatalogLeft['properties'][number], b: CatalogLeft['properties'][number]): boolean {
  return a.layer === b.layer && a.hi === b.hi && a.lo >>> 8 === b.lo >>> 8;
}

function isWholeProperty(chunks: CatalogLeft['properties']): boolean {
  const head = chunks[0]!;
  if ((head.lo & 0xff) !== 0) return false;
  W.set(new Uint32Array(head.value.slice(0, 8).buffer), RUN_AT);
  const bytes = 8 + propertyKeyBytes(RUN_AT) + propertyValueBytes(RUN_AT);
  const stored = chunks.reduce((sum, { value }) => sum + value.length, 0);
  return stored === bytes && chunks.length === Math.ceil(bytes / VALUE_BYTES_MAX);
}

/** The layer record that is worked on. */
const recordWord = (): number => scratchAt + 64;

function load(layer: LayerLeft): number {
  W.set(layer.words, recordWord());
  return recordWord();
}

function store(layer: LayerLeft): void {
  layer.words.set(W.subarray(recordWord(), recordWord() + LAYER_WORDS));
}

/** A layer that is lost, but that others are built on: what the first of those has of it stands for it. */
function bringBackParents(catalog: CatalogLeft): void {
  for (const child of [...catalog.layers.values()].sort((a, b) => b.index - a.index)) {
    const parent = layerParent(load(child));
    if (parent === 0 || catalog.layers.has(parent)) continue;
    note(`layer ${parent} is lost; it is put back as far as layer ${child.index} has it`);
    const { owners } = surveyLayer(layerRootBlockAt(load(child)));
    const at = load(child);
    setLayerState(at, LAYER_SEALED);
    setLayerParent(at, Math.max(0, ...[...owners].filter((owner) => owner < parent)));
    const name = catalog.named.get(parent) ?? Buffer.from(`lost-${parent}`);
    const text = `the record of the layer is lost; it is put back as far as layer ${child.index} has it`;
    const damage: Damage[] = [{ layer: parent, layerName: '', ino: 0, path: null, kind: 'tree', text }];
    const lost = { index: parent, words: new Uint32Array(LAYER_WORDS), oldRoot: child.oldRoot, name, damage };
    store(lost);
    catalog.layers.set(parent, lost);
    return bringBackParents(catalog);
  }
}

// 1. Space

function isSet(bits: Uint32Array, block: BlockNumber): boolean {
  return (bits[block >>> 5]! & (1 << (block & 31))) !== 0;
}

function setBits(bits: Uint32Array, block: BlockNumber, count: number): void {
  for (let at = block; at < Math.min(block + count, W[TOTAL_BLOCKS]!); at++) bits[at >>> 5]! |= 1 << (at & 31);
}

/** Whether nothing referred to the block before. */
function claim(block: BlockNumber, count: number): boolean {
  const isNew = !isSet(inUse, block);
  setBits(inUse, block, count);
  return isNew;
}

function beginSpace(): void {
  inUse = new Uint32Array(Math.ceil(W[TOTAL_BLOCKS]! / 32) + 1);
  owned = new Uint32Array(inUse.length);
  for (let group = 0; group < groupCount(); group++) claim(bitmapBlock(group, 0), 2);
  claim(0, groupDataStart(0));
  setBits(owned, 0, groupDataStart(0));
  for (let group = 0; group < groupCount(); group++) setBits(owned, bitmapBlock(group, 0), 2);
}

/** May be called again when there is more. */
function findUsed(catalog: CatalogLeft): void {
  for (const block of catalog.pages) claim(block, 1);
  const lost = [...catalog.lost];
  for (const layer of catalog.layers.values()) claimTree(layerRootBlockAt(load(layer)), lost);
  // They stay until the checkpoint is complete: what cannot be read now may be readable another time.
  for (const { block } of lost) claim(block, 1);
}

function loadBitmaps(): void {
  const words = GROUP_BLOCKS / 32;
  for (let group = 0; group < groupCount(); group++) {
    W.fill(0, RUN_AT, RUN_AT + words);
    W.set(inUse.subarray(group * words, Math.min((group + 1) * words, inUse.length)), RUN_AT);
    loadGroup(group, RUN_AT);
  }
}

/** Subtrees that another layer led to before are known. */
function claimTree(root: number, lost: Lost[]): void {
  eachPage(root, {
    lost: (each) => void lost.push(each),
    enter: (pointer) => !isSet(inUse, childBlock(pointer)),
    page: (page) => void claim(pageBlock(page), 1),
    record: (record) => {
      if (recordType(record) === EXTENT) claimExtent(valueOf(record));
    },
  });
}

function claimExtent(extent: number): void {
  if (extentOwner(extent) === LOST_OWNER) return;
  for (let i = 0; i < extentLength(extent); i++) {
    const block = extentBlock(extent) + i;
    if (claim(block, 1) && withData && !isSound(block, extentSum(extent, i))) bad.add(block);
  }
}

function isSound(block: BlockNumber, sum: number): boolean {
  try {
    readBlocks(block, 1, buffer.address);
    return crc32(0, buffer.address, BLOCK_BYTES) === sum;
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    return false;
  }
}

// 2. Pages that cannot be read

function settleLayer(layer: LayerLeft, catalog: CatalogLeft): void {
  const at = load(layer);
  const parent = parentFollowed(layer, at, catalog);
  if (parent !== undefined) {
    lostBefore.set(layer.index, lostOf(parent.index, catalog));
    return takeRoot(layer, parent);
  }
  useTree(layerRootBlockAt(at), layer.index, layerOwnPagesAt(at));
  const lost = pruneLost(layer.index, layerRootBlockAt(at));
  lostBefore.set(layer.index, lost);
  if (lost.length > 0) bringBackRecords(layer.index, lost, catalog);
  releasePath();
  store(layer);
}

/** The parent of a clone that nothing was changed in: the clone stays what that is. */
function parentFollowed(layer: LayerLeft, at: number, catalog: CatalogLeft): LayerLeft | undefined {
  const parent = catalog.layers.get(layerParent(at));
  const follows = parent !== undefined && layerRootOwner(at) !== layer.index && sameRoot(layer.oldRoot, parent.oldRoot);
  return follows ? parent : undefined;
}

/** What was lost of a layer before the log was applied. One that the log made has lost what its parent had. */
function lostOf(index: LayerIndex, catalog: CatalogLeft): Lost[] {
  const lost = lostBefore.get(index);
  const layer = catalog.layers.get(index);
  return lost ?? (layer === undefined || layerParentOf(layer) === 0 ? [] : lostOf(layerParentOf(layer), catalog));
}

function takeRoot(layer: LayerLeft, parent: LayerLeft): void {
  const from = load(parent);
  const root = W.slice(layerRootBlockAt(from), layerRootBlockAt(from) + 3);
  const inodes = layerInodes(from);
  const at = load(layer);
  W.set(root, layerRootBlockAt(at));
  setLayerInodes(at, inodes);
  store(layer);
}

/** Takes pages that cannot be read out of the tree in use. Returns what is lost with them. */
function pruneLost(index: LayerIndex, root: number): Lost[] {
  const lost: Lost[] = [];
  eachPage(root, { lost: (each) => void lost.push(each) });
  for (const { block, level, from, owner } of lost) {
    if (level < 0) createTree();
    else prune(block, level, ...from);
    if (owner === index) report.changed = true;
  }
  return lost;
}

// 3. The intent log

function readLog(): void {
  logFrom = W[LOG_START_GENERATION]!;
  if (logTo === 0) leaveOut('operations behind the last checkpoint', 'no checkpoint that it belongs to can be read');
  if (logTo === 0 || (W[OPENED_CLEAN] === 1 && logTo === MAX_WORD)) return;
  const found = readBatches();
  passOver(found.generation);
  if (found.leftOut !== '') leaveOut('what follows in the log', found.leftOut);
  W[LOG_START] = nextBatchBlock();
  // Whatever is left in the ring is never due again.
  W[LOG_START_SEQUENCE] = (nextBatchSequence() + W[LOG_BLOCKS]!) >>> 0;
  trust(() => (W[TOTAL_BLOCKS] = Math.min(blocksAfterLog(logFrom), volumeBlocksMax())));
  W[RESERVE_BLOCKS] = reserveFor(W[TOTAL_BLOCKS]!);
}

function leaveOut(what: string, why: string): void {
  report.log.leftOut.push(`${what}: ${why}`);
}

/** A log that is not what this software writes is left out as a whole. */
function trust(work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof LcfsError)) throw error;
    leaveOut('the log', error.message);
    logTo = 0;
  }
}

function takeSpaceOfLog(): void {
  if (logTo === 0) return;
  trust(() => {
    const cut = takeLogSpace(logFrom, logTo);
    const why =
      logTo === MAX_WORD ? 'they are given blocks that are in use' : 'they were done after a checkpoint whose catalog cannot be read';
    if (cut > 0) leaveOut(`${cut} operations`, why);
  });
}

/** Applies the log to the volume, of which all pages can be read now. Returns what there is then. */
function afterLog(before: CatalogLeft): CatalogLeft {
  const { entries, lost, reasons } = logTo === 0 ? { entries: 0, lost: 0, reasons: [] } : applyLog(logFrom);
  emptySlots();
  // A layer that the log made shares pages with its parent, which may be mended. From now on pages are copied again before they change.
  passOver(W[GENERATION]!);
  W[REMOVING_LAYERS] = 0;
  report.log.operations = entries;
  report.log.lostRecords = lost;
  if (lost > 0) leaveOut(`${lost} records`, reasons.join(', '));
  if (entries > 0) report.changed = true;
  const catalog = surveyCatalog();
  findUsed(catalog);
  for (const [index, { damage }] of before.layers) catalog.layers.get(index)?.damage.push(...damage);
  return catalog;
}

// 4. Records

function repairLayer(layer: LayerLeft, catalog: CatalogLeft): void {
  const at = load(layer);
  const parent = parentFollowed(layer, at, catalog);
  if (parent !== undefined) return follow(layer, parent);
  useTree(layerRootBlockAt(at), layer.index, layerOwnPagesAt(at));
  const lost = settleStructure(layer.index, layerRootBlockAt(at));
  if (lost.length > 0) bringBackRecords(layer.index, lost, catalog);
  copyStrayData(layer.index, layerRootBlockAt(at));
  releasePath();
  const survey = surveyLayer(layerRootBlockAt(at));
  survey.lost.push(...[...lostOf(layer.index, catalog), ...lost].sort((a, b) => compareKey(a.from, b.from)));
  const plan = planLayer(layer.index, survey, layerNextIno(at), (block) => bad.has(block));
  carryOut(plan);
  setLayerInodes(at, plan.inodes);
  setLayerNextIno(at, plan.nextIno);
  takeStock(layer.index, at);
  store(layer);
  layer.damage = [...layer.damage, ...plan.damage];
}

function sameRoot(a: readonly number[], b: readonly number[]): boolean {
  return a.every((word, i) => word === b[i]);
}

function follow(layer: LayerLeft, parent: LayerLeft): void {
  takeRoot(layer, parent);
  layer.damage = parent.damage.map((each) => ({ ...each, layer: layer.index }));
}

interface Fault {
  block: BlockNumber;
  level: number;
  key: Key;
  lost: Lost | null;
}

/** Takes out what cannot be read, and copies what an ancestor no longer has. Returns what is lost. */
function settleStructure(index: LayerIndex, root: number): Lost[] {
  const faults = faultsBelow(index, root);
  const lost = faults.flatMap((fault) => fault.lost ?? []);
  for (const fault of faults) {
    const [k0, type, hi, lo] = fault.key;
    if (fault.lost === null) rewriteDownTo(fault.level, k0, type, hi, lo);
    else if (fault.level < 0) createTree();
    else prune(fault.block, fault.level, k0, type, hi, lo);
    if (fault.lost !== null && fault.lost.owner === index) report.changed = true;
  }
  return lost;
}

function faultsBelow(index: LayerIndex, root: number): Fault[] {
  const faults: Fault[] = [];
  eachPage(root, {
    enter: (pointer, level, key) => {
      const block = childBlock(pointer);
      if (childOwner(pointer) !== index && !isSet(owned, block)) faults.push({ block, level: Math.max(level, 0), key, lost: null });
      return true;
    },
    lost: (lost) => {
      const replaced = faults.findLastIndex((fault) => fault.block === lost.block && fault.lost === null);
      if (replaced >= 0) faults.splice(replaced, 1);
      faults.push({ block: lost.block, level: lost.level, key: lost.from, lost });
    },
  });
  return faults;
}

function carryOut(plan: Plan): void {
  for (const [k0, type, hi, lo] of plan.remove) remove(k0, type, hi, lo);
  for (const { key, value } of [...plan.put].sort((a, b) => compareKey(a.key, b.key))) putRecord(key, value);
  releasePath();
  if (plan.remove.length + plan.put.length > 0) report.changed = true;
}

function putRecord([k0, type, hi, lo]: Key, value: Uint8Array): void {
  const present = find(k0, type, hi, lo);
  if (present !== 0 && recordBytes(present) !== value.length) remove(k0, type, hi, lo);
  const record =
    present !== 0 && recordBytes(present) === value.length ? findForUpdate(k0, type, hi, lo) : insert(k0, type, hi, lo, value.length);
  B.set(value, valueOf(record) * 4);
}

/** Counts and notes what the layer owns. */
function takeStock(index: LayerIndex, at: number): void {
  let pages = 0;
  let blocks = 0;
  eachPage(layerRootBlockAt(at), {
    enter: (pointer) => childOwner(pointer) === index,
    page: (page) => {
      pages++;
      setBits(owned, pageBlock(page), 1);
    },
    record: (record) => {
      const extent = valueOf(record);
      if (recordType(record) !== EXTENT || extentOwner(extent) !== index) return;
      blocks += extentLength(extent);
      setBits(owned, extentBlock(extent), extentLength(extent));
    },
  });
  setLayerOwnPages(at, pages);
  setLayerOwnBlocks(at, blocks);
}

/** What nobody refers to any more. */
function freeRest(): void {
  eachPage(CATALOG_ROOT, { page: (page) => setBits(owned, pageBlock(page), 1) });
  closeWindows();
  for (let block = 0; block < W[TOTAL_BLOCKS]!; block++)
    if (blockIsTaken(block) && !isSet(owned, block) && !isPending(block)) freeBlocks(block, 1);
}

// Help from descendants

interface Found {
  key: Key;
  value: Uint8Array;
}

/** Puts back what was lost of a layer, as far as a descendant still has it. */
function bringBackRecords(index: LayerIndex, lost: readonly Lost[], catalog: CatalogLeft): void {
  const lineage = lineageOf(index, catalog);
  const at = W.slice(recordWord(), recordWord() + LAYER_WORDS);
  const found = inOrder(catalog)
    .filter((each) => lineageOf(each.index, catalog).has(index) && each.index !== index)
    .flatMap((each) => foundIn(load(each), lost, lineage));
  W.set(at, recordWord());
  let count = 0;
  for (const { key, value } of found) if (putBack(key, value)) count++;
  releasePath();
  if (count > 0) note(`layer ${index}: ${count} records that were lost were found in layers that are built on it`);
}

function lineageOf(index: LayerIndex, catalog: CatalogLeft): Set<LayerIndex> {
  const lineage = new Set<LayerIndex>();
  for (
    let at: LayerLeft | undefined = catalog.layers.get(index);
    at !== undefined && !lineage.has(at.index);
    at = catalog.layers.get(layerParentOf(at))
  ) {
    lineage.add(at.index);
    if (layerParentOf(at) === 0) break;
  }
  return lineage;
}

/** Records of the lost ranges that were not written after the layer was sealed. */
function foundIn(record: number, lost: readonly Lost[], lineage: ReadonlySet<LayerIndex>): Found[] {
  const found: Found[] = [];
  let inherited = false;
  eachPage(layerRootBlockAt(record), {
    page: (page) => void (inherited = lineage.has(pageOwner(page))),
    record: (at) => {
      const isOld = inherited || (recordType(at) === EXTENT && lineage.has(extentOwner(valueOf(at))));
      if (isOld && lost.some((range) => isWithin(range, keyOf(at)))) found.push({ key: keyOf(at), value: bytesOf(at) });
    },
  });
  return found;
}

/** What is left of an extent that was cut may begin behind the end of the range in which the whole one began. */
function isWithin({ from, to }: Lost, key: Key): boolean {
  if (compareKey(key, from) < 0) return false;
  return (
    to === null ||
    compareKey(key, to) < 0 ||
    (key[1] === EXTENT && to[0] === key[0] && to[1] === EXTENT && key[3] < to[3] + EXTENT_BLOCKS_MAX)
  );
}

/** False if it is there, whole or in part. */
function putBack(key: Key, value: Uint8Array): boolean {
  const [k0, type, hi, lo] = key;
  if (find(k0, type, hi, lo) !== 0) return false;
  if (type === EXTENT && overlaps(k0, lo, new Uint32Array(value.buffer, value.byteOffset, 2)[1]!)) return false;
  B.set(value, valueOf(insert(k0, type, hi, lo, value.length)) * 4);
  return true;
}

function overlaps(ino: number, start: number, length: number): boolean {
  const at = seekExtent(ino, start);
  return at !== 0 && extentStart < start + length;
}

/** Data that its owner no longer has is copied, so that the layer has it itself. */
function copyStrayData(index: LayerIndex, root: number): void {
  const strays: Found[] = [];
  eachPage(root, {
    record: (record) => {
      if (recordType(record) === EXTENT && isStray(valueOf(record), index)) strays.push({ key: keyOf(record), value: bytesOf(record) });
    },
  });
  for (const stray of strays) copyExtent(index, stray);
  releasePath();
}

function isStray(extent: number, index: LayerIndex): boolean {
  const owner = extentOwner(extent);
  return owner !== index && owner !== LOST_OWNER && !isSet(owned, extentBlock(extent));
}

function copyExtent(index: LayerIndex, { key: [ino, , , start], value }: Found): void {
  const old = new Uint32Array(value.slice().buffer);
  remove(ino, EXTENT, 0, start);
  for (let done = 0; done < old[1]!;) {
    const block = allocateBlocks(index, WINDOW_SHARED, 0, old[1]! - done);
    if (block === 0) throw new LcfsError('full', 'there is no room to repair the volume: let it grow first');
    const length = allocatedLength;
    for (let i = 0; i < length; i++) copyBlock(old[0]! + done + i, block + i);
    const sums = old.slice(4 + done, 4 + done + length);
    const record = Uint32Array.of(block, length, index, W[GENERATION]!, ...sums);
    B.set(new Uint8Array(record.buffer), valueOf(insert(ino, EXTENT, 0, start + done, record.length * 4)) * 4);
    done += length;
  }
  const inode = findForUpdate(ino, INODE, 0, 0);
  if (inode !== 0) setInodeContentLayer(valueOf(inode), Math.max(inodeContentLayer(valueOf(inode)), index));
}

/** What cannot be read is zeros in the copy, and no better: its checksum stays. */
function copyBlock(from: BlockNumber, to: BlockNumber): void {
  if (bad.has(from)) bad.add(to);
  try {
    readBlocks(from, 1, buffer.address);
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    buffer.bytes.fill(0);
  }
  writeBlocks(to, 1, buffer.address);
}

// The catalog anew

function writeCatalog(catalog: CatalogLeft, order: readonly LayerLeft[]): void {
  useCatalog();
  createTree();
  // Every volume has the global layer: if it is lost, an empty one.
  if (!catalog.layers.has(GLOBAL_LAYER)) createGlobalLayer();
  useCatalog();
  for (const layer of order) enter(layer, catalog, order);
  for (const { layer, hi, lo, value } of catalog.properties)
    B.set(value, valueOf(insertInCatalog(layer, PROPERTY, hi, lo, value.length)) * 4);
  releasePath();
  W[LAYER_COUNT] = order.length + (catalog.layers.has(GLOBAL_LAYER) ? 0 : 1);
  W[NEXT_LAYER] = Math.max(W[NEXT_LAYER]!, (order.at(-1)?.index ?? 0) + 1);
}

function enter(layer: LayerLeft, catalog: CatalogLeft, order: readonly LayerLeft[]): void {
  const children = order.filter((each) => layer.index !== GLOBAL_LAYER && layerParentOf(each) === layer.index).map((each) => each.index);
  const at = load(layer);
  setLayerChildren(at, children.length);
  setLayerDepth(at, depthOf(layer, catalog));
  store(layer);
  B.set(
    new Uint8Array(layer.words.buffer, layer.words.byteOffset, LAYER_WORDS * 4),
    valueOf(insertInCatalog(layer.index, LAYER, 0, 0, LAYER_WORDS * 4)) * 4,
  );
  if (layer.index !== GLOBAL_LAYER) addName(freeName(layer), layer.index);
  if (layerParentOf(layer) !== 0) addChild(layerParentOf(layer), layer.index);
}

function layerParentOf(layer: LayerLeft): LayerIndex {
  return layer.words[1]!;
}

function depthOf(layer: LayerLeft, catalog: CatalogLeft): number {
  const parent = catalog.layers.get(layerParentOf(layer));
  return layerParentOf(layer) === 0 || parent === undefined ? 0 : 1 + depthOf(parent, catalog);
}

function freeName(layer: LayerLeft): Buffer {
  let name = layer.name;
  for (let i = 1; findName(name, 0, name.length) >= 0; i++) name = Buffer.from(`lost-${layer.index}-${i}`);
  return name;
}

function markDamaged(layer: LayerLeft): void {
  const shown = layer.damage.slice(0, DAMAGE_SHOWN).map(({ path, text }) => (path === null ? text : `${path}: ${text}`));
  const value = JSON.stringify({ at: new Date().toISOString(), count: layer.damage.length, first: shown });
  storeProperty(layer.index, DAMAGED_PROPERTY, value.length > 60_000 ? JSON.stringify({ count: layer.damage.length }) : value);
}
