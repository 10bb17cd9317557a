/**
 * The checkpoint: makes the state of the volume at one moment durable, as a whole.
 *
 *  1. Close the generation, with the checkpoint lock held exclusively, so between operations: bring layer records and
 *     group records into the catalog, write the group bitmaps' images into their idle copies, note the superblock, and
 *     count the generation up. What changes from now on changes copies.
 *  2. Write the dirty pages of the closed generation, while operations go on.
 *  3. Flush. Everything that the new superblock refers to is durable.
 *  4. Write the superblock into the block of its parity – the other one stays – and flush again.
 *  5. Blocks freed in the closed generation become allocatable, and the device is told. As that takes a while after much was
 *     removed, it may be left to the maintenance thread; it is done before the next generation is closed.
 *
 * A crash before 4 is complete leaves the previous checkpoint, of which nothing was overwritten (P3).
 *
 * Invariant C1: closing allocates catalog pages and so changes groups; the loop in `settleGroups` ends because a group's
 * record is copied at most once a generation.
 */
import { BLOCK_BYTES, BLOCK_WORDS, FORMAT_VERSION, GROUP, SUPERBLOCK_MAGIC } from '../layout/constants.js';
import { I, W } from '../layout/memory.js';
import {
  GROUP_WORDS,
  groupLive,
  setGroupChecksum,
  setGroupFree,
  setGroupLive,
  setSuperblockBlocks,
  setSuperblockCatalogBlock,
  setSuperblockCatalogGeneration,
  setSuperblockCheckpointHi,
  setSuperblockCheckpointLo,
  setSuperblockChecksum,
  setSuperblockCleanlyClosed,
  setSuperblockCreatedHi,
  setSuperblockCreatedLo,
  setSuperblockFreeBlocks,
  setSuperblockGeneration,
  setSuperblockHashKey0,
  setSuperblockHashKey1,
  setSuperblockLayers,
  setSuperblockLogBlocks,
  setSuperblockLogGeneration,
  setSuperblockLogPosition,
  setSuperblockLogSequence,
  setSuperblockMagic,
  setSuperblockNextLayer,
  setSuperblockUuid0,
  setSuperblockVersion,
  superblockUuid0At,
} from '../layout/records.js';
import { crc32 } from '../linux/libc.js';
import {
  CATALOG_LOCK,
  CATALOG_ROOT,
  CHANGED,
  CHECKPOINTS,
  CHECKPOINT_LOCK,
  CHECKPOINT_MUTEX,
  CREATED,
  FREE_BLOCKS,
  GENERATION,
  GROUP_DIRTY,
  HASH_KEY,
  LAYER_COUNT,
  LOG_BLOCKS,
  LOG_START,
  LOG_START_GENERATION,
  LOG_START_SEQUENCE,
  NEXT_LAYER,
  RUN_AT,
  TOTAL_BLOCKS,
  UNSETTLED,
  UUID,
  addressOfWord,
} from './arena.js';
import { findInCatalog, insertInCatalog, updateInCatalog, useCatalog } from './catalog.js';
import { nowHi, nowLo, readClock } from './clock.js';
import { forbidDeferral } from './deferral.js';
import { discardBlocks, flushDevice, writeBlocks } from './device.js';
import { BlockError, LcfsError } from './errors.js';
import { lockExclusive, unlockExclusive } from './locks.js';
import { closeLog, dropClosed } from './log.js';
import { noteLogStart } from './log-device.js';
import { writeDirtyPages } from './pager.js';
import { CHECKPOINT_FAILED, refuseIfReadOnly, stopChanges, takesChanges } from './read-only.js';
import { saveAllSlots } from './slots.js';
import { bitmapBlock, closeIdleWindows, forgetFresh, freedBlocks, groupCount, groupImage, pendingBlocks, settlePending } from './space.js';
import { releasePath, valueOf } from './tree.js';

/** The superblock waits here while pages are written; the run buffer has a page to spare for it. */
const IMAGE_WORDS = BLOCK_WORDS;
/** Shorter runs of freed blocks are not worth a discard request. */
const DISCARD_BLOCKS_MIN = 16;

/**
 * Makes everything that was done before the call durable. Returns the generation that was completed, or the last one if
 * nothing had changed. Throws LcfsError('io') if the device failed; the volume then stays at its last checkpoint.
 */
export function checkpoint(cleanlyClosed = false): number {
  return checkpointAnd(settleFreed, cleanlyClosed);
}

/** `checkpoint` that leaves step 5 to somebody else, who calls `settle`. */
export function checkpointUnsettled(): number {
  return checkpointAnd(() => undefined, false);
}

/** Does what the last checkpoint left of step 5. */
export function settle(): void {
  if (Atomics.load(I, UNSETTLED) === 0) return;
  lockExclusive(CHECKPOINT_MUTEX);
  settleFreed();
  unlockExclusive(CHECKPOINT_MUTEX);
}

function checkpointAnd(then: () => void, cleanlyClosed: boolean): number {
  lockExclusive(CHECKPOINT_MUTEX);
  try {
    // First of all: a checkpoint that failed leaves nothing to do, but what it was to make durable is not.
    refuseIfReadOnly();
    const nothing = !cleanlyClosed && Atomics.load(I, CHANGED) === 0 && freedBlocks() === 0;
    const completed = nothing ? W[GENERATION]! - 1 : completeGeneration(cleanlyClosed);
    then();
    return completed;
  } finally {
    unlockExclusive(CHECKPOINT_MUTEX);
  }
}

function completeGeneration(cleanlyClosed: boolean): number {
  forbidDeferral();
  settleFreed();
  const superblock = new Uint32Array(IMAGE_WORDS);
  const closed = W[GENERATION]!;
  try {
    closeGeneration(superblock, cleanlyClosed);
    writeDirtyPages(closed);
    flushDevice();
    writeSuperblock(superblock, closed);
    flushDevice();
    dropClosed();
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    // A device that lost a write cannot be trusted with the next one: nothing is acknowledged any more.
    stopChanges(CHECKPOINT_FAILED, error.message);
    throw new LcfsError('io', `checkpoint ${closed} failed: ${error.message}; the volume stays as of the one before`);
  }
  Atomics.store(I, UNSETTLED, closed);
  Atomics.add(I, CHECKPOINTS, 1);
  return closed;
}

/** Step 5 of the last checkpoint, unless it was done. */
function settleFreed(): void {
  const generation = W[UNSETTLED]!;
  if (generation === 0) return;
  settlePending(generation, (block, count) => {
    if (count >= DISCARD_BLOCKS_MIN) discardBlocks(block, count);
  });
  Atomics.store(I, UNSETTLED, 0);
}

function closeGeneration(superblock: Uint32Array, cleanlyClosed: boolean): void {
  lockExclusive(CHECKPOINT_LOCK);
  lockExclusive(CATALOG_LOCK);
  try {
    // An operation that was under way until now may have been cut off (RO2).
    if (!takesChanges()) throw new BlockError(0, 'a change was cut off');
    closeIdleWindows();
    saveAllSlots();
    settleGroups();
    writeGroupImages();
    releasePath();
    noteLogStart();
    drawSuperblock(cleanlyClosed);
    superblock.set(W.subarray(RUN_AT, RUN_AT + BLOCK_WORDS));
    Atomics.store(I, CHANGED, 0);
    Atomics.store(I, GENERATION, W[GENERATION]! + 1);
    closeLog();
    forgetFresh();
  } finally {
    releasePath();
    unlockExclusive(CATALOG_LOCK);
    unlockExclusive(CHECKPOINT_LOCK);
  }
}

/** Gives every changed group a record that may be written in place, until that changes no more groups (C1). */
function settleGroups(): void {
  useCatalog();
  for (let settled = false; !settled;) {
    settled = true;
    for (let group = 0; group < groupCount(); group++) {
      if (W[GROUP_DIRTY + group] !== 1) continue;
      if (findInCatalog(group, GROUP, 0, 0) === 0) insertInCatalog(group, GROUP, 0, 0, GROUP_WORDS * 4);
      else updateInCatalog(group, GROUP, 0, 0);
      W[GROUP_DIRTY + group] = 2;
      settled = false;
    }
  }
}

/** Writes the image of each changed group into the copy that is not live, and makes that the live one. */
function writeGroupImages(): void {
  for (let group = 0; group < groupCount(); group++) {
    if (W[GROUP_DIRTY + group] === 0) continue;
    const record = valueOf(updateInCatalog(group, GROUP, 0, 0));
    const live = 1 - groupLive(record);
    setGroupLive(record, live);
    setGroupFree(record, groupImage(group, RUN_AT));
    setGroupChecksum(record, crc32(0, addressOfWord(RUN_AT), BLOCK_BYTES));
    writeBlocks(bitmapBlock(group, live), 1, addressOfWord(RUN_AT));
    W[GROUP_DIRTY + group] = 0;
  }
}

/** Makes the superblock in the run buffer. */
function drawSuperblock(cleanlyClosed: boolean): void {
  const at = RUN_AT;
  readClock();
  W.fill(0, at, at + BLOCK_WORDS);
  setSuperblockMagic(at, SUPERBLOCK_MAGIC);
  setSuperblockVersion(at, FORMAT_VERSION);
  setSuperblockGeneration(at, W[GENERATION]!);
  setSuperblockBlocks(at, W[TOTAL_BLOCKS]!);
  setSuperblockCatalogBlock(at, W[CATALOG_ROOT]!);
  setSuperblockCatalogGeneration(at, W[CATALOG_ROOT + 2]!);
  setSuperblockNextLayer(at, W[NEXT_LAYER]!);
  setSuperblockHashKey0(at, W[HASH_KEY]!);
  setSuperblockHashKey1(at, W[HASH_KEY + 1]!);
  setSuperblockUuid0(at, W[UUID]!);
  W.copyWithin(superblockUuid0At(at), UUID, UUID + 4);
  setSuperblockCreatedLo(at, W[CREATED]!);
  setSuperblockCreatedHi(at, W[CREATED + 1]!);
  setSuperblockCheckpointLo(at, nowLo);
  setSuperblockCheckpointHi(at, nowHi);
  setSuperblockFreeBlocks(at, W[FREE_BLOCKS]! + pendingBlocks());
  setSuperblockLayers(at, W[LAYER_COUNT]!);
  setSuperblockCleanlyClosed(at, cleanlyClosed ? 1 : 0);
  setSuperblockLogBlocks(at, W[LOG_BLOCKS]!);
  setSuperblockLogPosition(at, W[LOG_START]!);
  setSuperblockLogSequence(at, W[LOG_START_SEQUENCE]!);
  setSuperblockLogGeneration(at, W[LOG_START_GENERATION]!);
}

function writeSuperblock(superblock: Uint32Array, closed: number): void {
  W.set(superblock, RUN_AT);
  setSuperblockChecksum(RUN_AT, superblockChecksum(RUN_AT));
  writeBlocks(closed & 1, 1, addressOfWord(RUN_AT));
}

/** What the checksum of the superblock at `at` ought to be. */
export function superblockChecksum(at: number): number {
  return crc32(0, addressOfWord(at) + 8, BLOCK_BYTES - 8);
}
