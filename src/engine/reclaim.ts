/**
 * Reclaiming: frees, in the background, what a removed layer owns.
 *
 * The layer's tree is walked in key order; subtrees that another layer owns are skipped unread, as nothing below them is
 * the layer's (T3). So the cost is in proportion to what the layer wrote. A step frees a bounded number of pages within one
 * generation and moves the cursor in the layer record past them; both become durable with the same checkpoint. After a
 * crash the walk goes on from the cursor, and never looks at a page that was freed before it.
 *
 * Invariant R1: all pages and extents of the layer whose keys lie below the cursor are freed, and no others.
 */
import { EXTENT, LAYER, LAYER_REMOVING, type LayerIndex } from '../layout/constants.js';
import { I, W } from '../layout/memory.js';
import {
  childOwner,
  extentBlock,
  extentLength,
  extentOwner,
  layerCursorHi,
  layerCursorKey0,
  layerCursorLo,
  layerCursorType,
  layerOwnBlocks,
  layerOwnPages,
  layerRootBlockAt,
  layerRootOwner,
  layerState,
  pageBlock,
  pageGeneration,
  setLayerCursorHi,
  setLayerCursorKey0,
  setLayerCursorLo,
  setLayerCursorType,
  setLayerOwnBlocks,
  setLayerOwnPages,
} from '../layout/records.js';
import { complain } from '../linux/complain.js';
import { CATALOG_LOCK, CHANGED, CHECKPOINT_LOCK, GENERATION, REMOVING_LAYERS } from './arena.js';
import { findInCatalog, nextRemoving, removeFromCatalog, removeRemoving, useCatalog } from './catalog.js';
import { BlockError, inconsistent } from './errors.js';
import { lockExclusive, lockShared, unlockExclusive, unlockShared } from './locks.js';
import { panic } from './operation.js';
import { markClean, unpinPage } from './pager.js';
import { breakCatalog, takesChanges } from './read-only.js';
import { acquireInGeneration, discardSlot, markSlotDirty, releaseSlot, slotLockWord, slotRecord } from './slots.js';
import { freeBlocks } from './space.js';
import { childIndex, pageCount, pageLevel, pinPointer, recordAt, recordType, releasePath, valueOf } from './tree.js';

/** Pages freed in one step: a millisecond or so, during which no checkpoint can begin. */
const PAGES_PER_STEP = 128;

let layer: LayerIndex = 0;
let record = 0;
let budget = 0;
/** Whether the walk is still on its way to the cursor. */
let seeking = false;
/** Whether the step has got so far that it must be completed. */
let changing = false;
let reported = false;

/** Frees a part of some removed layer. Returns whether there may be more to free. */
export function reclaimStep(): boolean {
  if (Atomics.load(I, REMOVING_LAYERS) === 0 || !takesChanges()) return false;
  lockShared(CHECKPOINT_LOCK);
  changing = false;
  try {
    const found = findRemoving();
    if (found >= 0) reclaimFrom(found);
    return found >= 0;
  } catch (error) {
    return giveUp(error);
  } finally {
    unlockShared(CHECKPOINT_LOCK);
  }
}

/** A catalog that cannot be read leaves removed layers where they are; the rest of the volume goes on. */
function giveUp(error: unknown): false {
  if (!(error instanceof BlockError)) return panic(error);
  if (changing) breakCatalog(`removing layer ${layer}: ${error.message}`);
  if (!reported) complain(`space of removed layers is not given back: ${error.message}`);
  reported = true;
  return false;
}

/** Some layer to reclaim. All of the catalog that `forgetLayer` will change has been read then. */
function findRemoving(): LayerIndex | -1 {
  lockShared(CATALOG_LOCK);
  try {
    const found = nextRemoving(0);
    if (found >= 0) findInCatalog(found, LAYER, 0, 0);
    return found;
  } finally {
    releasePath();
    unlockShared(CATALOG_LOCK);
  }
}

function reclaimFrom(index: LayerIndex): void {
  const slot = acquireRemoved(index);
  layer = index;
  record = slotRecord(slot);
  budget = PAGES_PER_STEP;
  seeking = true;
  lockExclusive(slotLockWord(slot));
  changing = true;
  let done: boolean;
  try {
    done = layerRootOwner(record) !== index || sweep(layerRootBlockAt(record), -1);
    markSlotDirty(slot);
    Atomics.store(I, CHANGED, 1);
  } finally {
    unlockExclusive(slotLockWord(slot));
  }
  if (done) forgetLayer(slot);
  else releaseSlot(slot);
}

/** Pins the slot of a layer that is said to be removed. */
function acquireRemoved(index: LayerIndex): number {
  const slot = acquireInGeneration(index);
  if (slot !== 0 && layerState(slotRecord(slot)) === LAYER_REMOVING) return slot;
  if (slot !== 0) releaseSlot(slot);
  throw inconsistent('a layer to reclaim was not removed', index);
}

/** Frees what is left below a pointer that leads to a page of the layer, the page included. False: out of budget. */
function sweep(pointer: number, level: number): boolean {
  const page = pinOrSkip(pointer, level);
  if (page === 0) return true;
  if (pageLevel(page) > 0 && !sweepChildren(page)) {
    unpinPage(page);
    return false;
  }
  if (pageLevel(page) === 0) freeExtents(page);
  freePage(page);
  return true;
}

/** A page that cannot be read is left behind with all that it refers to; check finds and repair frees it. */
function pinOrSkip(pointer: number, level: number): number {
  try {
    return pinPointer(pointer, level);
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    complain(`space of removed layer ${layer} is lost: ${error.message}`);
    return 0;
  }
}

function sweepChildren(page: number): boolean {
  let index = seeking
    ? childIndex(page, layerCursorKey0(record), layerCursorType(record), layerCursorHi(record), layerCursorLo(record))
    : 0;
  for (; index < pageCount(page); index++) {
    const pointer = valueOf(recordAt(page, index));
    if (childOwner(pointer) === layer && !sweep(pointer, pageLevel(page) - 1)) return false;
    seeking = false;
    if (index + 1 < pageCount(page)) {
      moveCursor(recordAt(page, index + 1));
      if (budget <= 0) return false;
    }
  }
  return true;
}

function moveCursor(to: number): void {
  setLayerCursorKey0(record, W[to]!);
  setLayerCursorType(record, recordType(to));
  setLayerCursorHi(record, W[to + 2]!);
  setLayerCursorLo(record, W[to + 3]!);
}

function freeExtents(page: number): void {
  for (let i = 0; i < pageCount(page); i++) {
    const at = recordAt(page, i);
    if (recordType(at) !== EXTENT || extentOwner(valueOf(at)) !== layer) continue;
    freeBlocks(extentBlock(valueOf(at)), extentLength(valueOf(at)));
    setLayerOwnBlocks(record, layerOwnBlocks(record) - extentLength(valueOf(at)));
  }
}

function freePage(page: number): void {
  if (pageGeneration(page) === W[GENERATION]) markClean(page);
  const block = pageBlock(page);
  unpinPage(page);
  freeBlocks(block, 1);
  setLayerOwnPages(record, layerOwnPages(record) - 1);
  budget--;
}

/** Takes the last trace of a layer out of the catalog. */
function forgetLayer(slot: number): void {
  lockExclusive(CATALOG_LOCK);
  try {
    useCatalog();
    removeFromCatalog(layer, LAYER, 0, 0);
    removeRemoving(layer);
  } finally {
    releasePath();
    unlockExclusive(CATALOG_LOCK);
  }
  discardSlot(slot);
  Atomics.sub(I, REMOVING_LAYERS, 1);
}
