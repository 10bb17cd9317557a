/**
 * The intent log on the device: the entries of the log's memory, written in *batches* to a ring of blocks that was set aside when
 * the volume was formatted. After a power cut they lead from the last checkpoint to the last batch that is whole.
 *
 * Writing a batch:
 *  1. With the checkpoint lock held exclusively, so between operations: what was appended since the last batch is the batch,
 *     and data blocks that it refers to are not overwritten in place any more.
 *  2. It is written behind the batch before, a header in front, and the device is flushed: that covers the data, too.
 *
 * Whoever needs what was done until now on the device waits for the batch that is being written, and then writes one with
 * everything that has come up meanwhile (`flushLog`): so those who wait share batches.
 *
 * Invariants
 *  LD1  A batch is written after the one before was flushed. So all batches but the last one that is found are whole, with
 *       their data; whether the last one has its data the checksums of its blocks tell.
 *  LD2  Batches and checkpoints take turns (CHECKPOINT_MUTEX), so the batches behind a checkpoint hold all that was done
 *       since, and a checkpoint that is being written needs none of them.
 *  LD3  A batch counts only if it has the number that is due and a generation beyond that of the checkpoint. What an earlier
 *       opening of the volume left has a lower one (V1).
 *  LD4  A batch says which checkpoint it is behind. Where the superblock of the last one is lost and the volume is as of the one
 *       before, the batches of that one count and no others: what happened between them and the next is nowhere but in the
 *       checkpoint that is lost.
 */
import {
  BATCH_MAGIC,
  BLOCK_BYTES,
  BLOCK_WORDS,
  CATALOG_OWNER,
  EXTENT,
  LOG_START_BLOCK,
  type BlockNumber,
  type LayerIndex,
} from '../layout/constants.js';
import { I, W } from '../layout/memory.js';
import {
  BATCH_WORDS,
  EXTENT_WORDS,
  batchChecksum,
  batchGeneration,
  batchLogGeneration,
  batchMagic,
  batchSequence,
  batchUuid0At,
  batchWords,
  extentBlock,
  extentLength,
  extentOwner,
  loadLogHead,
  logRingWords,
  setBatchChecksum,
  setBatchGeneration,
  setBatchLogGeneration,
  setBatchMagic,
  setBatchSequence,
  setBatchWords,
  storeLogHead,
} from '../layout/records.js';
import { complain } from '../linux/complain.js';
import { crc32 } from '../linux/libc.js';
import {
  CHECKPOINT_LOCK,
  CHECKPOINT_MUTEX,
  GENERATION,
  LOGGING,
  LOG_AT,
  LOG_BLOCKS,
  LOG_START,
  LOG_START_GENERATION,
  LOG_START_SEQUENCE,
  REPLAY_PENDING,
  RUN_AT,
  RUN_BLOCKS,
  UUID,
  addressOfWord,
} from './arena.js';
import { flushDevice, readBlocks, writeBlocks } from './device.js';
import { BlockError, LcfsError } from './errors.js';
import { lockExclusive, unlockExclusive } from './locks.js';
import { flushedTo, nextBatchBlock, nextBatchSequence, ringAt, setBatches } from './log-memory.js';
import { ALLOC, ENTRY, FREE, PUT, TREE, itemWords } from './log-items.js';
import { CHECKPOINT_FAILED, refuseIfReadOnly, stopChanges } from './read-only.js';
import { forgetFresh } from './space.js';
import { recordType, valueOf } from './tree.js';

/** 1/64 of the volume, 64 KiB at least and 32 MiB at most: as much as the log's memory holds. */
const LOG_BLOCKS_MIN = 16;
const LOG_BLOCKS_MAX = 8192;

/** Blocks to set aside for the log of a volume of so many blocks. */
export function logBlocksFor(blocks: number): number {
  return 2 ** Math.floor(Math.log2(Math.min(LOG_BLOCKS_MAX, Math.max(LOG_BLOCKS_MIN, blocks >>> 6))));
}

/** Whether the log of a volume of so many blocks, which may have grown since it was formatted, may have that size. */
export function isLogSize(logBlocks: number, blocks: number): boolean {
  return logBlocks >= LOG_BLOCKS_MIN && logBlocks <= logBlocksFor(blocks) && (logBlocks & (logBlocks - 1)) === 0;
}

// Writing

/** Notes where the log of the generation that begins will lie, for the superblock of the one that is closed. */
export function noteLogStart(): void {
  if (I[REPLAY_PENDING] !== 0) return;
  W[LOG_START_GENERATION] = W[GENERATION]!;
  if (I[LOGGING] === 0) return;
  W[LOG_START] = nextBatchBlock();
  W[LOG_START_SEQUENCE] = nextBatchSequence();
}

/** Whether all that was logged up to a position is on the device. */
function isFlushed(position: number): boolean {
  return ((flushedTo() - position) | 0) >= 0;
}

/** Whether there is something that a power cut would undo. */
export function hasUnflushed(): boolean {
  return I[LOGGING] !== 0 && !isFlushed(loadLogHead(LOG_AT));
}

/**
 * Returns true when everything that was logged before the call is on the device; false if it takes a checkpoint to get it
 * there, as the log has no room for it. Throws LcfsError('io') if the device failed, now or before; no change is begun after that.
 */
export function flushLog(): boolean {
  const target = loadLogHead(LOG_AT);
  if (isFlushed(target)) return true;
  lockExclusive(CHECKPOINT_MUTEX);
  try {
    if (isFlushed(target)) return true;
    // Whoever wrote before may have failed: the next flush of a device that lost something succeeds.
    refuseIfReadOnly();
    return writeBatch();
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    stopChanges(CHECKPOINT_FAILED, error.message);
    throw new LcfsError('io', `the intent log cannot be written: ${error.message}`);
  } finally {
    unlockExclusive(CHECKPOINT_MUTEX);
  }
}

function blocksFor(words: number): number {
  return Math.ceil((BATCH_WORDS + words) / BLOCK_WORDS);
}

function writeBatch(): boolean {
  const from = flushedTo();
  const block = nextBatchBlock();
  const used = (block - W[LOG_START]!) >>> 0;
  const end = closeBatch(from, W[LOG_BLOCKS]! - used);
  if (end < 0) return false;
  const words = (end - from) >>> 0;
  drawHeader(from, words);
  putBatch(block, from, words);
  flushDevice();
  setBatches(end, block + blocksFor(words), nextBatchSequence() + 1);
  return true;
}

/** Returns the position where the batch ends, modulo 2^32, or -1 if it has more than `blocksMax` blocks. */
function closeBatch(from: number, blocksMax: number): number {
  lockExclusive(CHECKPOINT_LOCK);
  const end = loadLogHead(LOG_AT) >>> 0;
  const fits = blocksFor((end - from) >>> 0) <= blocksMax;
  if (fits) forgetFresh();
  unlockExclusive(CHECKPOINT_LOCK);
  return fits ? end : -1;
}

/** Makes the header at RUN_AT. */
function drawHeader(from: number, words: number): void {
  const at = RUN_AT;
  W.fill(0, at, at + BATCH_WORDS);
  setBatchMagic(at, BATCH_MAGIC);
  setBatchWords(at, words);
  setBatchSequence(at, nextBatchSequence());
  setBatchGeneration(at, W[GENERATION]!);
  setBatchLogGeneration(at, W[LOG_START_GENERATION]!);
  W.copyWithin(batchUuid0At(at), UUID, UUID + 4);
  const sum = crc32(0, addressOfWord(at) + 8, BATCH_WORDS * 4 - 8);
  setBatchChecksum(at, crc32(sum, addressOfWord(ringAt(from)), words * 4));
}

/** Writes header and entries by way of the run buffer. */
function putBatch(block: number, from: number, words: number): void {
  let filled = BATCH_WORDS;
  for (let done = 0, at = block; done < words;) {
    const part = Math.min(words - done, RUN_BLOCKS * BLOCK_WORDS - filled);
    W.copyWithin(RUN_AT + filled, ringAt(from + done), ringAt(from + done) + part);
    filled += part;
    done += part;
    const blocks = Math.ceil(filled / BLOCK_WORDS);
    W.fill(0, RUN_AT + filled, RUN_AT + blocks * BLOCK_WORDS);
    putRun(at, blocks);
    at += blocks;
    filled = 0;
  }
}

/** Writes blocks of the run buffer to a position of the ring, in two parts where that ends. */
function putRun(position: number, blocks: number): void {
  const first = position & (W[LOG_BLOCKS]! - 1);
  const before = Math.min(blocks, W[LOG_BLOCKS]! - first);
  writeBlocks(LOG_START_BLOCK + first, before, addressOfWord(RUN_AT));
  if (before < blocks) writeBlocks(LOG_START_BLOCK, blocks - before, addressOfWord(RUN_AT + before * BLOCK_WORDS));
}

// Reading after a crash

/** The batch that was read last: where its entries lie in the memory, and it itself in the ring. */
let lastFrom = 0;
let lastPosition = 0;
let lastGeneration = 0;
let sequence = 0;
let position = 0;

/** What there is of a log. */
export interface LogFound {
  /** Batches that count. */
  batches: number;
  /** Highest generation of a batch, whether it counts or not; 0: there are none. */
  generation: number;
  /** What does not count although it was written, in words; empty: nothing. */
  leftOut: string;
  /** Whether that may have been acknowledged as durable. */
  isDamaged: boolean;
}

export const NO_LOG: LogFound = { batches: 0, generation: 0, leftOut: '', isDamaged: false };

/** Brings the batches behind the checkpoint into the log's memory, which is empty. */
export function readBatches(): LogFound {
  const found = { ...NO_LOG };
  position = W[LOG_START]!;
  sequence = W[LOG_START_SEQUENCE]!;
  try {
    while (readBatch()) found.batches++;
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    found.leftOut = `it ends where it cannot be read: ${error.message}`;
    found.isDamaged = true;
  }
  if (found.batches > 0) found.generation = lastGeneration;
  // With a later batch, the data of the last one that counts had been flushed.
  const isFlushed = findLater(found);
  if (found.batches > 0 && !isFlushed && !hasItsData(lastFrom)) leaveOutLast(found);
  // If there is nothing to replay, the log goes on to begin where it began, and that is where the next batch goes.
  setBatches(loadLogHead(LOG_AT), position, sequence);
  if (found.isDamaged) complain(`a part of the last seconds is lost, as the intent log is damaged: ${found.leftOut}`);
  return found;
}

function leaveOutLast(found: LogFound): void {
  storeLogHead(LOG_AT, lastFrom);
  position = lastPosition;
  sequence--;
  found.batches--;
  if (found.leftOut === '') found.leftOut = 'it ends where data of what was done last is not on the device';
}

/** A batch with a later number was written after the one that is due was flushed (LD1), so that one is damaged. */
function findLater(found: LogFound): boolean {
  const due = position;
  const generation = laterGeneration();
  if (generation === 0) return false;
  found.generation = Math.max(found.generation, generation);
  found.leftOut ||= `what lies in it from block ${blockAt(due)} on is not what was written, and what follows means nothing without that`;
  found.isDamaged = true;
  return true;
}

/** Generation of the first batch in the ring behind the one that is due; 0: there is none. */
function laterGeneration(): number {
  const due = { position, sequence };
  const end = (W[LOG_START]! + W[LOG_BLOCKS]!) >>> 0;
  let generation = 0;
  for (let at = due.position; at !== end && generation === 0; at = (at + 1) >>> 0) generation = generationIfLater(at, due.sequence);
  ({ position, sequence } = due);
  return generation;
}

/** Sets `position` and `sequence` to what is tried. */
function generationIfLater(at: number, due: number): number {
  try {
    readBlocks(blockAt(at), 1, addressOfWord(RUN_AT));
    position = at;
    sequence = batchSequence(RUN_AT);
    const ahead = (sequence - due) >>> 0;
    if ((ahead === 0 && isDue(RUN_AT)) || ahead >= W[LOG_BLOCKS]! || !isOfLog(RUN_AT)) return 0;
    const generation = batchGeneration(RUN_AT);
    const words = batchWords(RUN_AT);
    return isRoomFor(words) && takeBatch(words, loadLogHead(LOG_AT)) ? generation : 0;
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    return 0;
  }
}

function isRoomFor(words: number): boolean {
  return loadLogHead(LOG_AT) + words <= logRingWords(LOG_AT);
}

function blockAt(at: number): BlockNumber {
  return LOG_START_BLOCK + (at & (W[LOG_BLOCKS]! - 1));
}

/** Reads the batch at `position`; false if none is there that counts. */
function readBatch(): boolean {
  readBlocks(blockAt(position), 1, addressOfWord(RUN_AT));
  if (!isDue(RUN_AT)) return false;
  const words = batchWords(RUN_AT);
  const head = loadLogHead(LOG_AT);
  if (!isRoomFor(words))
    throw new LcfsError('state', 'the memory of the intent log is smaller than the log on the device; open the volume with a larger one');
  const generation = batchGeneration(RUN_AT);
  if (!takeBatch(words, head)) return false;
  lastGeneration = generation;
  lastFrom = head;
  lastPosition = position;
  forgetOrigins(head, head + words);
  storeLogHead(LOG_AT, head + words);
  position = (position + blocksFor(words)) >>> 0;
  sequence = (sequence + 1) >>> 0;
  return true;
}

/** LD3, LD4, and that the log has room for it. */
function isDue(at: number): boolean {
  return isOfLog(at) && (batchLogGeneration(at) === 0 || batchLogGeneration(at) === W[LOG_START_GENERATION]);
}

function isOfLog(at: number): boolean {
  for (let word = 0; word < 4; word++) if (W[batchUuid0At(at) + word] !== W[UUID + word]) return false;
  const room = W[LOG_BLOCKS]! - ((position - W[LOG_START]!) >>> 0);
  return (
    batchMagic(at) === BATCH_MAGIC &&
    batchSequence(at) === sequence &&
    batchGeneration(at) > W[LOG_START_GENERATION]! &&
    batchWords(at) > 0 &&
    blocksFor(batchWords(at)) <= room
  );
}

/** Copies the entries of a batch to the memory, from `head` on; its first block is in the run buffer. False if its checksum is wrong. */
function takeBatch(words: number, head: number): boolean {
  const expected = batchChecksum(RUN_AT);
  const sum = crc32(0, addressOfWord(RUN_AT) + 8, BATCH_WORDS * 4 - 8);
  const first = Math.min(words, BLOCK_WORDS - BATCH_WORDS);
  W.copyWithin(ringAt(head), RUN_AT + BATCH_WORDS, RUN_AT + BATCH_WORDS + first);
  for (let done = first, at = position + 1; done < words; at++) {
    const part = Math.min(words - done, BLOCK_WORDS);
    readBlocks(blockAt(at), 1, addressOfWord(RUN_AT));
    W.copyWithin(ringAt(head + done), RUN_AT, RUN_AT + part);
    done += part;
  }
  return crc32(sum, addressOfWord(ringAt(head)), words * 4) === expected;
}

/**
 * The requests that entries belong to are those of a connection which ended with its process. The next one counts from the
 * beginning again, so one of its requests would pass for done.
 */
function forgetOrigins(from: number, end: number): void {
  for (let entry = from; entry !== end; entry += W[ringAt(entry) + ENTRY.length]!)
    W.fill(0, ringAt(entry) + ENTRY.originLo, ringAt(entry) + ENTRY.originHi + 1);
}

/** Whether the data blocks that a batch allocates hold what its extents say (LD1). */
function hasItsData(from: number): boolean {
  const sums = new Map<BlockNumber, number>();
  const head = loadLogHead(LOG_AT) >>> 0;
  for (let entry = from; entry !== head; entry += W[ringAt(entry) + ENTRY.length]!) noteSums(ringAt(entry), sums);
  for (const [block, sum] of sums) {
    if (sum >= 0 && !holds(block, sum)) return false;
  }
  return true;
}

function holds(block: BlockNumber, sum: number): boolean {
  try {
    readBlocks(block, 1, addressOfWord(RUN_AT));
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    return false;
  }
  return crc32(0, addressOfWord(RUN_AT), BLOCK_BYTES) === sum;
}

/** Not known yet, for a block that was allocated. */
const UNKNOWN = -1;

function noteSums(entry: number, sums: Map<BlockNumber, number>): void {
  const end = entry + W[entry + ENTRY.length]!;
  // An entry names the blocks that it allocates behind the extents that they belong to.
  for (let at = entry + ENTRY.items; at < end; at += itemWords(at))
    if (W[at] === ALLOC) for (let i = 0; i < W[at + 2]!; i++) sums.set(W[at + 1]! + i, UNKNOWN);
  let owner: LayerIndex = CATALOG_OWNER;
  for (let at = entry + ENTRY.items; at < end; at += itemWords(at)) {
    if (W[at] === TREE) owner = W[at + 1]!;
    else if (W[at] === PUT && owner !== CATALOG_OWNER && recordType(at + 1) === EXTENT) noteExtent(valueOf(at + 1), owner, sums);
    else if (W[at] === FREE) for (let i = 0; i < W[at + 2]!; i++) sums.delete(W[at + 1]! + i);
  }
}

function noteExtent(at: number, owner: LayerIndex, sums: Map<BlockNumber, number>): void {
  if (extentOwner(at) !== owner) return;
  for (let i = 0; i < extentLength(at); i++) {
    if (sums.has(extentBlock(at) + i)) sums.set(extentBlock(at) + i, W[at + EXTENT_WORDS + i]!);
  }
}
