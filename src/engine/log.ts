/**
 * The intent log: what every operation has changed since the last checkpoint, in the order in which it happened.
 *
 * It is a redo log of records, not of requests: an entry says what the records that an operation touched are like after it,
 * so replaying needs neither the code of the operation nor its circumstances, and may be repeated. An entry is appended when
 * the operation has ended, before any of its locks is given back. So the order of entries is an order in which the operations
 * could have happened one by one, and an operation that ends the process is not replayed.
 *
 * What is not in the log is done again from the checkpoint: copies of tree pages, counting of pages, block groups, and the
 * reclaiming of removed layers.
 *
 * Invariants
 *  LG1  An operation appends no more words than it was admitted for, so appending never fails.
 *  LG2  Entries lie between tail and head; those of generations up to that of a complete checkpoint mean nothing, and go when
 *       the checkpoint ends. An entry is whole before head passes it.
 *  LG3  A block is allocated at most once in the entries that are replayed, and freed at most once, after that: what was freed
 *       may be allocated again only after a checkpoint.
 */
import type { LayerIndex } from '../layout/constants.js';
import { I, W } from '../layout/memory.js';
import {
  layerChildren,
  layerFlags,
  layerInodes,
  layerNextIno,
  layerOwnBlocks,
  layerQuotaBlocks,
  layerState,
  loadLogHead,
  loadLogTail,
  logRingWords,
  setLogGeneration,
  slotLayer,
  storeLogHead,
  storeLogTail,
} from '../layout/records.js';
import { GENERATION, LOG_AT, LOG_CLOSED, LOG_LOCK, LOG_RESERVED, LOGGING } from './arena.js';
import { useCatalog } from './catalog.js';
import { nowHi, nowLo, nowNsec } from './clock.js';
import { fail } from './errors.js';
import { lockExclusive, unlockExclusive } from './locks.js';
import { ALLOC, DELETE, ENTRY, FREE, GROW, LAYER_STATE_WORDS, NEW, PUT, STATE, TREE } from './log-items.js';
import { flushedTo, nextBatchBlock, nextBatchSequence, ringAt, setBatches } from './log-memory.js';
import {
  ALLOCATED,
  KEY_WORDS,
  RUN_WORDS,
  beginNotes,
  endNotes,
  hasNotes,
  isNotedLater,
  keys,
  keysEnd,
  newFlags,
  newLayer,
  newParent,
  newQuotaBlocks,
  runs,
  runsEnd,
  slots,
} from './notes.js';
import { carriesOrigin, markApplied, originHi, originLo, originPlace } from './origins.js';
import { slotRecord } from './slots.js';
import { find, recordWords } from './tree.js';

/** What lies in the pages that an operation changes is what it logs; keys that go count less than what held them. */
const WORDS_PER_BLOCK = 512;
/** Words that are left for entries that nobody is admitted for. */
const SPARE_WORDS = 64;
/** Records of up to so many words are copied word by word: a call costs as much. */
const WORDS_COPIED_SINGLY = 40;

// Admission

/** Words that the entry of an operation may have that changes up to `blocks` tree pages. */
export function entryWords(blocks: number): number {
  return blocks * WORDS_PER_BLOCK;
}

/** Words between the first entry that is needed and the end of the log. */
function usedWords(): number {
  return (loadLogHead(LOG_AT) - loadLogTail(LOG_AT)) >>> 0;
}

/** Promises room for an entry; false if a checkpoint has to make some first. */
export function admitEntry(words: number): boolean {
  if (I[LOGGING] === 0) return true;
  const reserved = Atomics.add(I, LOG_RESERVED, words) + words;
  if (usedWords() + reserved <= logRingWords(LOG_AT) - SPARE_WORDS) return true;
  Atomics.sub(I, LOG_RESERVED, words);
  return false;
}

/** Whether an entry of that size fits into an empty log. */
export function couldAdmit(words: number): boolean {
  return I[LOGGING] === 0 || words <= logRingWords(LOG_AT) - SPARE_WORDS;
}

export function dismissEntry(words: number): void {
  if (I[LOGGING] !== 0) Atomics.sub(I, LOG_RESERVED, words);
}

/** Whether it is time for a checkpoint, so that nobody has to wait for one. */
export function isLogFilling(): boolean {
  return I[LOGGING] !== 0 && usedWords() > logRingWords(LOG_AT) >>> 1;
}

// Appending

/** Begins to note what the operation that begins changes. */
export function beginEntry(): void {
  beginNotes(I[LOGGING] !== 0);
}

/** Where the next word of the entry goes. */
let to = 0;
let start = 0;

function open(): void {
  lockExclusive(LOG_LOCK);
  start = ringAt(loadLogHead(LOG_AT));
  to = start + ENTRY.items;
}

/** Completes the entry and lets everybody see it. */
function publish(admitted: number): void {
  const length = to - start;
  if (length > admitted) fail('LG1', length, admitted);
  const carries = carriesOrigin();
  W[start + ENTRY.length] = length;
  W[start + ENTRY.generation] = W[GENERATION]!;
  W[start + ENTRY.originLo] = carries ? originLo : 0;
  W[start + ENTRY.originHi] = carries ? originHi : 0;
  W[start + ENTRY.place] = originPlace;
  storeLogHead(LOG_AT, loadLogHead(LOG_AT) + length);
  unlockExclusive(LOG_LOCK);
  if (carries) markApplied(originLo, originHi, originPlace);
  endNotes();
}

/** Leaves the entry out, as a page that was changed a moment ago cannot be read any more. Returns its argument. */
function giveUp(error: unknown): unknown {
  unlockExclusive(LOG_LOCK);
  endNotes();
  return error;
}

/** Logs the operation of a layer that ends. Its tree is in use; the layer's lock is held. */
export function logOperation(layer: LayerIndex, record: number, admitted: number): void {
  if (I[LOGGING] === 0) return;
  open();
  try {
    putKeys(layer);
  } catch (error) {
    throw giveUp(error);
  }
  putRuns();
  putState(layer, record);
  publish(admitted);
}

/** Logs a change of the catalog. Its lock is held. Leaves the catalog in use. */
export function logCatalogChange(catalog: LayerIndex, admitted: number): void {
  if (I[LOGGING] === 0 || !hasNotes()) return;
  open();
  if (newLayer !== 0) putNewLayer();
  useCatalog();
  try {
    putKeys(catalog);
  } catch (error) {
    throw giveUp(error);
  }
  for (const slot of slots) putState(slotLayer(slot) - 1, slotRecord(slot));
  publish(admitted);
}

/** Logs that the volume has grown. The checkpoint lock is held exclusively. */
export function logGrowth(blocks: number): void {
  if (I[LOGGING] === 0) return;
  beginNotes(false);
  open();
  W[to] = GROW;
  W[to + 1] = blocks;
  to += 2;
  publish(SPARE_WORDS);
}

/** What was noted of the tree in use, from the last key on, as the tree's path leads there. A new layer's tree is made again. */
function putKeys(owner: LayerIndex): void {
  W[to] = TREE;
  W[to + 1] = owner;
  to += 2;
  for (let at = keysEnd - KEY_WORDS; at >= 0; at -= KEY_WORDS) {
    if (keys[at] !== owner || isNotedLater(at)) continue;
    if (keys[at + 5] === 0) putDelete(at);
    else putRecord(find(keys[at + 1]!, keys[at + 2]!, keys[at + 3]!, keys[at + 4]!));
  }
}

function putDelete(at: number): void {
  W[to] = DELETE;
  for (let word = 1; word <= 4; word++) W[to + word] = keys[at + word]!;
  to += 5;
}

function putRecord(record: number): void {
  if (record === 0) fail('notes: what was changed and not removed is there');
  const words = recordWords(record);
  W[to++] = PUT;
  if (words > WORDS_COPIED_SINGLY) W.copyWithin(to, record, record + words);
  else for (let word = 0; word < words; word++) W[to + word] = W[record + word]!;
  to += words;
}

function putRuns(): void {
  for (let at = 0; at < runsEnd; at += RUN_WORDS) {
    W[to] = runs[at] === ALLOCATED ? ALLOC : FREE;
    W[to + 1] = runs[at + 1]!;
    W[to + 2] = runs[at + 2]!;
    to += 3;
  }
}

function putState(layer: LayerIndex, record: number): void {
  W[to] = STATE;
  W[to + 1] = layer;
  W[to + 2] = layerState(record);
  W[to + 3] = layerNextIno(record);
  W[to + 4] = layerInodes(record);
  W[to + 5] = layerOwnBlocks(record);
  W[to + 6] = layerQuotaBlocks(record);
  W[to + 7] = layerChildren(record);
  W[to + 8] = layerFlags(record);
  to += 2 + LAYER_STATE_WORDS;
}

function putNewLayer(): void {
  W[to] = NEW;
  W[to + 1] = newLayer;
  W[to + 2] = newParent;
  W[to + 3] = newQuotaBlocks;
  W[to + 4] = nowLo;
  I[to + 5] = nowHi;
  W[to + 6] = nowNsec;
  W[to + 7] = newFlags;
  to += 8;
}

// Generations

/** From now on changes are logged, as of the open generation. */
export function beginLogging(): void {
  setLogGeneration(LOG_AT, W[GENERATION]!);
  Atomics.store(I, LOGGING, 1);
}

/** A generation was closed and the next one begins. The checkpoint lock is held exclusively. */
export function closeLog(): void {
  if (I[LOGGING] === 0) return;
  I[LOG_CLOSED] = loadLogHead(LOG_AT);
  setLogGeneration(LOG_AT, W[GENERATION]!);
}

/** The checkpoint of the generation that was closed last is complete: its entries are not needed any more. */
export function dropClosed(): void {
  if (I[LOGGING] === 0) return;
  storeLogTail(LOG_AT, I[LOG_CLOSED]!);
  if (((I[LOG_CLOSED]! - flushedTo()) | 0) > 0) setBatches(I[LOG_CLOSED]!, nextBatchBlock(), nextBatchSequence());
}
