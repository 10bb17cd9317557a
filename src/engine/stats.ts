/**
 * Counts and times of operations, per layer and kind, in the arena, so that every thread counts into the same numbers.
 *
 * Layout of the region that starts at STATS_AT: entries of ENTRY_WORDS words each. Entry 0 is the shared entry; the others
 * form sets of WAYS entries, and a layer may lie in any entry of set `layer % sets`.
 *
 *   entry: word 0                  layer index + 1, 0 when the entry is free (the shared entry: always 0)
 *          words 1..7              reserved
 *          then for each kind      KIND_WORDS words: errors, total microseconds low and high, longest microseconds,
 *                                  then HISTOGRAM_BUCKETS counters
 *
 * Bucket 0 counts operations below 1 microsecond, bucket b those from 2^(b-1) up to 2^b - 1, the last all that are longer.
 * The number of operations is the sum of the buckets, which saves the hot path one counter.
 *
 * S1: an entry is claimed by compare-exchange of its word 0 and then belongs to that layer until it is dropped.
 * S2: when all entries of a layer's set are taken, the layer is counted in the shared entry, reported as "other layers".
 *     Entries of layers that are gone are given back by `dropStats`.
 * S3: counters are added to without a lock. A clear or drop while an operation is being counted may lose or keep that one
 *     operation; nothing but these reports is derived from the numbers.
 */
import { I, W } from '../layout/memory.js';
import { STATS_AT, STATS_WORDS } from './arena.js';

/** Names of the kinds, in the order of their numbers. */
export const STAT_KINDS = [
  'lookup',
  'getattr',
  'setattr',
  'readlink',
  'create',
  'mkdir',
  'mknod',
  'symlink',
  'link',
  'tmpfile',
  'unlink',
  'rmdir',
  'rename',
  'open',
  'read',
  'write',
  'release',
  'flush',
  'fsync',
  'opendir',
  'readdir',
  'fallocate',
  'lseek',
  'copy',
  'getxattr',
  'setxattr',
  'listxattr',
  'removexattr',
  'statfs',
  'forget',
  'ioctl',
  'lock',
  'other',
  'clone',
  'commit',
  'diff',
  'import',
  'export',
] as const;

export type StatKind = (typeof STAT_KINDS)[number];

/** Number of a kind, for `recordOperation`: look it up once, at load. */
export function statKind(kind: StatKind): number {
  return STAT_KINDS.indexOf(kind);
}

const ERRORS = 0;
const TOTAL_LO = 1;
const TOTAL_HI = 2;
const LONGEST = 3;
const HISTOGRAM = 4;
/** 2^18 µs is a quarter of a second: what takes longer needs no finer answer. */
export const HISTOGRAM_BUCKETS = 20;
const KIND_WORDS = HISTOGRAM + HISTOGRAM_BUCKETS;
const HEADER_WORDS = 8;
export const ENTRY_WORDS = HEADER_WORDS + STAT_KINDS.length * KIND_WORDS;
const WAYS = 8;
/** Sets that fit behind the shared entry. */
const SETS = Math.floor((STATS_WORDS / ENTRY_WORDS - 1) / WAYS);
/** Layers that can be counted one by one. */
export const STAT_LAYERS_MAX = SETS * WAYS;

/** The layer that this thread counted last, and its entry: most requests come in runs on one layer. */
let lastLayer = -1;
let lastEntry = 0;

/**
 * Counts one operation. `kind` comes from `statKind`, `microseconds` is its duration (fractions are dropped), `result`
 * what it returned: negative results also count as errors.
 */
export function recordOperation(layer: number, kind: number, microseconds: number, result = 0): void {
  const entry = layer === lastLayer && W[lastEntry] === layer + 1 ? lastEntry : entryFor(layer);
  const at = entry + HEADER_WORDS + kind * KIND_WORDS;
  const time = microseconds < 0x7fff_ffff ? microseconds | 0 : 0x7fff_ffff;
  const bucket = 32 - Math.clz32(time);
  Atomics.add(I, at + HISTOGRAM + (bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1), 1);
  const before = Atomics.add(I, at + TOTAL_LO, time) >>> 0;
  if (before + time > 0xffff_ffff) Atomics.add(I, at + TOTAL_HI, 1);
  if (time > W[at + LONGEST]!) raiseLongest(at + LONGEST, time);
  if (result < 0) Atomics.add(I, at + ERRORS, 1);
}

function raiseLongest(at: number, time: number): void {
  let seen = Atomics.load(I, at);
  while (time > seen) {
    const found = Atomics.compareExchange(I, at, seen, time);
    if (found === seen) return;
    seen = found;
  }
}

function entryFor(layer: number): number {
  const entry = findEntry(layer) || claimEntry(layer);
  if (entry === 0) return STATS_AT;
  lastLayer = layer;
  lastEntry = entry;
  return entry;
}

function setOf(layer: number): number {
  return STATS_AT + (1 + (layer % SETS) * WAYS) * ENTRY_WORDS;
}

function findEntry(layer: number): number {
  const first = setOf(layer);
  for (let at = first; at < first + WAYS * ENTRY_WORDS; at += ENTRY_WORDS) if (Atomics.load(I, at) === layer + 1) return at;
  return 0;
}

/** Two threads that count a new layer at once may each claim an entry; readers add both up. */
function claimEntry(layer: number): number {
  const first = setOf(layer);
  for (let at = first; at < first + WAYS * ENTRY_WORDS; at += ENTRY_WORDS) {
    const found = Atomics.compareExchange(I, at, 0, layer + 1);
    if (found === 0 || found === layer + 1) return at;
  }
  return 0;
}

export interface OperationStats {
  kind: StatKind;
  count: number;
  /** How many of them returned an error number; a name that is not there is one. */
  errors: number;
  totalMicroseconds: number;
  longestMicroseconds: number;
  /** Operations below 1 µs, from 1, from 2, from 4 µs …; trailing zeros left out. */
  histogram: number[];
}

export interface LayerStats {
  /** Layer index, or null for the layers that found no entry of their own. */
  layer: number | null;
  operations: OperationStats[];
}

/** The numbers of `layer`, or of every layer that has any, the shared entry last. */
export function readStats(layer?: number): LayerStats[] {
  const byLayer = new Map<number | null, LayerStats>();
  for (const at of entries()) {
    const owner = at === STATS_AT ? null : W[at]! - 1;
    if (owner === -1 || (layer !== undefined && owner !== layer)) continue;
    mergeEntry(byLayer, owner, at);
  }
  return [...byLayer.values()].filter((stats) => stats.operations.length > 0);
}

function mergeEntry(byLayer: Map<number | null, LayerStats>, owner: number | null, at: number): void {
  const stats = byLayer.get(owner) ?? { layer: owner, operations: [] };
  byLayer.set(owner, stats);
  STAT_KINDS.forEach((kind, index) => {
    const read = readKind(kind, at + HEADER_WORDS + index * KIND_WORDS);
    const present = stats.operations.find((operation) => operation.kind === kind);
    if (present !== undefined) addOperations(present, read);
    else if (read.count > 0) stats.operations.push(read);
  });
}

function readKind(kind: StatKind, at: number): OperationStats {
  const histogram = [...W.subarray(at + HISTOGRAM, at + KIND_WORDS)];
  const count = histogram.reduce((sum, value) => sum + value, 0);
  while (histogram.at(-1) === 0) histogram.pop();
  return {
    kind,
    count,
    errors: W[at + ERRORS]!,
    totalMicroseconds: W[at + TOTAL_HI]! * 2 ** 32 + W[at + TOTAL_LO]!,
    longestMicroseconds: W[at + LONGEST]!,
    histogram,
  };
}

function addOperations(to: OperationStats, from: OperationStats): void {
  to.count += from.count;
  to.errors += from.errors;
  to.totalMicroseconds += from.totalMicroseconds;
  to.longestMicroseconds = Math.max(to.longestMicroseconds, from.longestMicroseconds);
  const longer = Math.max(to.histogram.length, from.histogram.length);
  to.histogram = Array.from({ length: longer }, (_, bucket) => (to.histogram[bucket] ?? 0) + (from.histogram[bucket] ?? 0));
}

/** Word addresses of all entries, the shared one last. */
function* entries(): Generator<number> {
  for (let entry = 0; entry < STAT_LAYERS_MAX; entry++) yield STATS_AT + (1 + entry) * ENTRY_WORDS;
  yield STATS_AT;
}

/** Sets the numbers of `layer`, or all of them, back to zero. */
export function clearStats(layer?: number): void {
  for (const at of entries()) {
    if (layer === undefined || (at !== STATS_AT && W[at] === layer + 1)) clearEntry(at);
  }
}

function clearEntry(at: number): void {
  W.fill(0, at + HEADER_WORDS, at + ENTRY_WORDS);
}

/** Gives back the entries of layers for which `exists` says no. */
export function dropStats(exists: (layer: number) => boolean): void {
  for (const at of entries()) {
    if (at === STATS_AT || W[at] === 0 || exists(W[at]! - 1)) continue;
    clearEntry(at);
    Atomics.store(I, at, 0);
  }
}
