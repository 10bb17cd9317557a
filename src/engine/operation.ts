/**
 * An operation: what one request does to one layer, from taking its locks to giving them back.
 *
 *   const slot = beginWrite(layer, dataBlocks, changes);
 *   if (slot < 0) return slot;
 *   try { return end(doTheWork()); } catch (error) { return abandon(error); }
 *
 * `beginWrite` holds the checkpoint lock (shared), so an operation lies in one generation as a whole, and promises the
 * blocks that the operation can need at worst, so it never runs out of space half-way. A thread has one operation at a
 * time. Everything that can be refused is refused before the first change; a failure after it means that the state in
 * memory is half-changed. If a block is to blame, nobody looks at the layer any more, and the volume takes no more changes
 * (read-only.ts); if it is a bug, the process ends (`panic`).
 */
import { LAYER_BROKEN, LAYER_REMOVING, LAYER_WRITABLE, type LayerIndex } from '../layout/constants.js';
import { I } from '../layout/memory.js';
import { addSlotPins, layerOwnBlocksAt, layerOwnPagesAt, layerRootBlockAt, layerState, setLayerState } from '../layout/records.js';
import { complain } from '../linux/complain.js';
import { EAGAIN, EIO, ENOSPC, EROFS, ESTALE } from '../linux/errno.js';
import { exitNow } from '../linux/libc.js';
import { CHANGED, CHECKPOINT_LOCK, DIRTY_PAGES, FRAME_LIMIT, MAINTENANCE_BELL } from './arena.js';
import { checkpoint } from './checkpoint.js';
import { deferral, isDeferred } from './deferral.js';
import { BlockError, LcfsError } from './errors.js';
import { lockExclusive, lockShared, unlockExclusive, unlockShared } from './locks.js';
import { CHANGE_CUT_OFF, stopChanges, takesChanges } from './read-only.js';
import { admitEntry, beginEntry, dismissEntry, entryWords, isLogFilling, logOperation } from './log.js';
import { endNotes } from './notes.js';
import { forgetOverwrite } from './overwrites.js';
import { acquireSlot, markSlotDirty, releaseSlot, slotLockWord, slotRecord } from './slots.js';
import { admit, chargeTo, checkpointGivesSpace, dismiss } from './space.js';
import { releasePath, treeChanges, useTree } from './tree.js';

/** Pages that one change of a tree can make: a path of five levels copied, and one split. */
const BLOCKS_PER_CHANGE = 6;
/** A full volume is given this many checkpoints to make freed blocks allocatable: frees of this and the last generation. */
const CHECKPOINTS_FOR_SPACE = 2;

const NONE = 0;
const READING = 1;
const WRITING = 2;

let mode = NONE;
let slot = 0;
let layer: LayerIndex = 0;
let admitted = 0;
let admittedWords = 0;
let changesBefore = 0;

/** Word index of the working copy of the layer record of the current operation. */
export function opRecord(): number {
  return slotRecord(slot);
}

export function opLayer(): LayerIndex {
  return layer;
}

/** Begins to read a layer. Returns 0, -ESTALE if there is no such layer (any more), -EIO, or -EAGAIN (DF2). */
export function beginRead(of: LayerIndex): number {
  if (isDeferred()) return -EAGAIN;
  const found = tryAcquire(of);
  if (found <= 0) return found;
  lockShared(slotLockWord(found));
  slot = found;
  layer = of;
  mode = READING;
  if (layerState(slotRecord(found)) >= LAYER_REMOVING) return end(refusal(slotRecord(found)));
  useTree(layerRootBlockAt(slotRecord(found)), of, 0);
  return 0;
}

/** What a layer answers that nobody may look at. */
function refusal(record: number): number {
  return layerState(record) === LAYER_BROKEN ? -EIO : -ESTALE;
}

function tryAcquire(of: LayerIndex): number {
  try {
    const found = acquireSlot(of);
    return found === 0 ? -ESTALE : found;
  } catch (error) {
    return reportBlock(error);
  }
}

/**
 * Begins to change a layer with at most `dataBlocks` new data blocks and `changes` changes of its tree. `frees` says that
 * the operation removes something, so that it may use what is kept for that on a full volume.
 * Returns 0, -ESTALE, -EROFS for a sealed layer or after the device failed, -ENOSPC, -EIO, or -EAGAIN (DF2).
 */
export function beginWrite(of: LayerIndex, dataBlocks: number, changes: number, frees = false): number {
  if (isDeferred()) return -EAGAIN;
  if (!takesChanges()) return -EROFS;
  const found = tryAcquire(of);
  if (found <= 0) return found;
  // One change more than the operation makes is that of the layer's record in the catalog.
  const pages = (changes + 1) * BLOCKS_PER_CHANGE;
  const blocks = dataBlocks + pages;
  const words = entryWords(pages);
  const refused = admitInGeneration(blocks, words, frees);
  if (refused < 0) {
    releaseSlot(found);
    return refused;
  }
  lockExclusive(slotLockWord(found));
  slot = found;
  layer = of;
  mode = WRITING;
  admitted = blocks;
  admittedWords = words;
  changesBefore = treeChanges;
  beginEntry();
  const record = slotRecord(found);
  if (layerState(record) !== LAYER_WRITABLE) return end(layerState(record) >= LAYER_REMOVING ? refusal(record) : -EROFS);
  useTree(layerRootBlockAt(record), of, layerOwnPagesAt(record));
  chargeTo(of, layerOwnBlocksAt(record));
  return 0;
}

/**
 * Takes the checkpoint lock with `blocks` blocks and `words` words of the log promised, after a checkpoint if that is what it
 * takes. Returns 0, -ENOSPC, or -EIO if the device failed.
 */
function admitInGeneration(blocks: number, words: number, frees: boolean): number {
  for (let tries = 0; ;) {
    lockShared(CHECKPOINT_LOCK);
    const hasRoom = admitEntry(words);
    if (hasRoom && admit(blocks, frees)) return 0;
    if (hasRoom) dismissEntry(words);
    unlockShared(CHECKPOINT_LOCK);
    if (hasRoom && (tries++ === CHECKPOINTS_FOR_SPACE || !checkpointGivesSpace())) return -ENOSPC;
    if (!tryCheckpoint()) return -EIO;
  }
}

function tryCheckpoint(): boolean {
  try {
    checkpoint();
    return true;
  } catch (error) {
    if (error instanceof LcfsError) return false;
    return panic(error);
  }
}

/** Ends the current operation. Returns its argument. */
export function end(result: number): number {
  if (mode === WRITING) endWrite();
  else {
    releasePath();
    unlockShared(slotLockWord(slot));
  }
  releaseSlot(slot);
  mode = NONE;
  return result;
}

function endWrite(): void {
  if (treeChanges !== changesBefore) {
    if (layerState(slotRecord(slot)) !== LAYER_BROKEN) logOperation(layer, slotRecord(slot), admittedWords);
    markSlotDirty(slot);
    if (I[CHANGED] === 0) Atomics.store(I, CHANGED, 1);
  }
  endNotes();
  forgetOverwrite();
  releasePath();
  unlockExclusive(slotLockWord(slot));
  dismiss(admitted);
  dismissEntry(admittedWords);
  unlockShared(CHECKPOINT_LOCK);
  // A quarter of the cache waits to be written: a checkpoint writes it in long runs, evictions page by page.
  if (I[DIRTY_PAGES]! > I[FRAME_LIMIT]! >>> 2 || isLogFilling()) ringMaintenance();
}

/** Wakes the maintenance thread. */
export function ringMaintenance(): void {
  if (Atomics.compareExchange(I, MAINTENANCE_BELL, 0, 1) === 0) Atomics.notify(I, MAINTENANCE_BELL);
}

/**
 * For the `catch` around the search for the next of many changes, each of which leaves the tree whole: a block that cannot
 * be read ends the operation there, and what was done stands. Throws on if nothing was done yet, or at any other error.
 */
export function settleForLess(error: unknown): void {
  if (!(error instanceof BlockError) || treeChanges === changesBefore) throw error;
  releasePath();
}

/**
 * Ends an operation that threw: -EIO for a block that could not be read or written, -EAGAIN for one that is waited for.
 * Anything else ends the process.
 */
export function abandon(error: unknown): number {
  if (mode === NONE) return panic(error);
  const halfChanged = mode === WRITING && treeChanges !== changesBefore;
  if (halfChanged && error instanceof BlockError) breakLayer(error);
  else if (halfChanged) return panic(error);
  return end(reportBlock(error));
}

/** Nobody looks at the layer any more. Its slot stays pinned, as only the slot knows. */
function breakLayer(error: BlockError): void {
  stopChanges(CHANGE_CUT_OFF, `layer ${layer}: ${error.message}`);
  addSlotPins(slot, 1);
  setLayerState(slotRecord(slot), LAYER_BROKEN);
}

/** Reports a block that is gone or wrong; anything else but a deferral ends the process. */
function reportBlock(error: unknown): number {
  if (error === deferral) return -EAGAIN;
  if (!(error instanceof BlockError)) return panic(error);
  complain(error.message);
  return -EIO;
}

/** Ends the process: the state in memory cannot be trusted. The volume opens again at its last checkpoint. */
export function panic(error: unknown): never {
  const text = error instanceof Error ? error.stack : String(error);
  complain(`ends because of an internal error; the volume is as of its last checkpoint\n${text}`);
  exitNow(70);
  throw error;
}
