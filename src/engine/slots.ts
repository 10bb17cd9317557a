/**
 * Layer slots: the arena's working copies of layer records, for the layers that somebody works on. A slot also holds the
 * lock of the layer tree. Slots are found by hash and evicted by second chance; a dirty one is written to the catalog
 * when it is evicted and when a generation is closed.
 *
 * Invariants
 *  SL1  A pinned slot keeps its layer. A slot's record is newer than or equal to the catalog's.
 *  SL2  For each dirty slot SLOT_BLOCKS blocks are promised, so that there is room to save it.
 */
import { LAYER, type LayerIndex } from '../layout/constants.js';
import { I, W } from '../layout/memory.js';
import {
  LAYER_WORDS,
  SLOT_WORDS,
  addSlotPins,
  loadSlotPins,
  setSlotDirty,
  setSlotLayer,
  setSlotNext,
  setSlotUsed,
  slotDirty,
  slotLayer,
  slotLockAt,
  slotNext,
  slotUsed,
  storeSlotLock,
  storeSlotMounts,
} from '../layout/records.js';
import { CATALOG_LOCK, CHECKPOINT_LOCK, SLOTS_AT, SLOTS_LOCK, SLOT_BUCKETS, SLOT_BUCKETS_AT, SLOT_COUNT, SLOT_HAND } from './arena.js';
import { useCatalog } from './catalog.js';
import { fail } from './errors.js';
import { lockExclusive, lockShared, unlockExclusive, unlockShared } from './locks.js';
import { dismiss, keepPromised } from './space.js';
import { find, findForUpdate, releasePath, valueOf } from './tree.js';

/** The record follows the slot's own words. */
const SLOT_RECORD = 8;
/** Pages of the catalog that saving a slot copies: its leaf, and its share of the pages above, of which each leads to many. */
const SLOT_BLOCKS = 2;

export function slotRecord(slot: number): number {
  return slot + SLOT_RECORD;
}

export function slotLockWord(slot: number): number {
  return slotLockAt(slot);
}

function bucketOf(layer: LayerIndex): number {
  return SLOT_BUCKETS_AT + ((Math.imul(layer, 0x9e3779b1) >>> 8) & (SLOT_BUCKETS - 1));
}

function addressOf(index: number): number {
  return SLOTS_AT + index * SLOT_WORDS;
}

/** The slot of a layer, or 0. The slots lock is held. */
function findSlot(layer: LayerIndex): number {
  for (let next = W[bucketOf(layer)]!; next !== 0; next = slotNext(addressOf(next - 1))) {
    if (slotLayer(addressOf(next - 1)) === layer + 1) return addressOf(next - 1);
  }
  return 0;
}

/** Pins the slot of a layer, loading it if need be. Returns its address; 0 if there is no such layer. Throws BlockError. */
export function acquireSlot(layer: LayerIndex): number {
  lockExclusive(SLOTS_LOCK);
  const slot = findSlot(layer);
  if (slot !== 0) {
    addSlotPins(slot, 1);
    setSlotUsed(slot, 1);
  }
  unlockExclusive(SLOTS_LOCK);
  return slot !== 0 ? slot : acquireCold(layer);
}

export function releaseSlot(slot: number): void {
  if (addSlotPins(slot, -1) <= 0) fail('SL1', slot);
}

/** The shared checkpoint lock is needed because evicting a dirty slot changes the catalog. */
function acquireCold(layer: LayerIndex): number {
  lockShared(CHECKPOINT_LOCK);
  try {
    return acquireInGeneration(layer);
  } finally {
    unlockShared(CHECKPOINT_LOCK);
  }
}

/** `acquireSlot` for callers that hold the checkpoint lock (shared). */
export function acquireInGeneration(layer: LayerIndex): number {
  lockExclusive(SLOTS_LOCK);
  try {
    let slot = findSlot(layer);
    if (slot === 0) slot = loadSlot(layer);
    if (slot !== 0) addSlotPins(slot, 1);
    return slot;
  } finally {
    unlockExclusive(SLOTS_LOCK);
  }
}

function loadSlot(layer: LayerIndex): number {
  lockExclusive(CATALOG_LOCK);
  try {
    const slot = emptySlot();
    useCatalog();
    const record = find(layer, LAYER, 0, 0);
    if (record === 0) return 0;
    W.copyWithin(slotRecord(slot), valueOf(record), valueOf(record) + LAYER_WORDS);
    enterSlot(slot, layer);
    return slot;
  } finally {
    releasePath();
    unlockExclusive(CATALOG_LOCK);
  }
}

function enterSlot(slot: number, layer: LayerIndex): void {
  const bucket = bucketOf(layer);
  setSlotLayer(slot, layer + 1);
  setSlotDirty(slot, 0);
  setSlotUsed(slot, 1);
  storeSlotLock(slot, 0);
  storeSlotMounts(slot, 0);
  setSlotNext(slot, W[bucket]!);
  W[bucket] = (slot - SLOTS_AT) / SLOT_WORDS + 1;
}

/** A slot that holds no layer. Slots and catalog lock are held. */
function emptySlot(): number {
  for (let tries = 0; tries < SLOT_COUNT * 4; tries++) {
    const slot = addressOf((Atomics.add(I, SLOT_HAND, 1) >>> 0) % SLOT_COUNT);
    if (slotLayer(slot) === 0) return slot;
    if (loadSlotPins(slot) !== 0) continue;
    if (slotUsed(slot) !== 0) setSlotUsed(slot, 0);
    else {
      if (slotDirty(slot) !== 0) saveSlot(slot);
      leaveSlot(slot);
      return slot;
    }
  }
  return fail('slots: some slot is not pinned', SLOT_COUNT);
}

function leaveSlot(slot: number): void {
  let at = bucketOf(slotLayer(slot) - 1);
  const link = (slot - SLOTS_AT) / SLOT_WORDS + 1;
  while (W[at] !== link) at = addressOf(W[at]! - 1) + 5;
  W[at] = slotNext(slot);
  setSlotLayer(slot, 0);
}

/** The record of a pinned slot changes. Its layer's lock is held, or the catalog's. */
export function markSlotDirty(slot: number): void {
  if (slotDirty(slot) !== 0) return;
  setSlotDirty(slot, 1);
  keepPromised(SLOT_BLOCKS);
}

function markSlotClean(slot: number): void {
  if (slotDirty(slot) === 0) return;
  setSlotDirty(slot, 0);
  dismiss(SLOT_BLOCKS);
}

/** Writes a slot's record to the catalog. Catalog lock held; changes the catalog. */
export function saveSlot(slot: number): void {
  useCatalog();
  const record = findForUpdate(slotLayer(slot) - 1, LAYER, 0, 0);
  if (record === 0) fail('SL1', slotLayer(slot));
  W.copyWithin(valueOf(record), slotRecord(slot), slotRecord(slot) + LAYER_WORDS);
  markSlotClean(slot);
}

/** Writes all dirty slots to the catalog. The checkpoint lock is held exclusively. */
export function saveAllSlots(): void {
  for (let i = 0; i < SLOT_COUNT; i++) {
    const slot = addressOf(i);
    if (slotLayer(slot) !== 0 && slotDirty(slot) !== 0) saveSlot(slot);
  }
}

/** For a repair, which writes the catalog anew: saves all slots and forgets them. None is pinned. */
export function emptySlots(): void {
  saveAllSlots();
  for (let i = 0; i < SLOT_COUNT; i++) if (slotLayer(addressOf(i)) !== 0) leaveSlot(addressOf(i));
}

/** Forgets a pinned slot whose layer is gone from the catalog. The caller holds its only pin. */
export function discardSlot(slot: number): void {
  lockExclusive(SLOTS_LOCK);
  markSlotClean(slot);
  if (loadSlotPins(slot) === 1) {
    leaveSlot(slot);
    addSlotPins(slot, -1);
    unlockExclusive(SLOTS_LOCK);
    return;
  }
  // Somebody else found the layer a moment ago and will see that it is being removed; the slot goes with the next eviction.
  addSlotPins(slot, -1);
  unlockExclusive(SLOTS_LOCK);
}
