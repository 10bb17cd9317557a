/**
 * What fsync promises. *Relaxed*, as it is unless somebody asks for more: it returns at once, and what it was asked for is on the
 * device a moment later, in the order in which it was done (maintenance.ts writes the log out). *Strict*: it returns when that is
 * so. The daemon says which for all layers; a layer may say otherwise for itself.
 */
import { LAYER_FSYNC_RELAXED, LAYER_FSYNC_STRICT, type LayerIndex } from '../layout/constants.js';
import { I } from '../layout/memory.js';
import { layerFlags } from '../layout/records.js';
import { EIO } from '../linux/errno.js';
import { FSYNC_STRICT, LOGGING } from './arena.js';
import { checkpoint } from './checkpoint.js';
import { BlockError, LcfsError } from './errors.js';
import { flushLog } from './log-device.js';
import { takesChanges } from './read-only.js';
import { acquireSlot, releaseSlot, slotRecord } from './slots.js';

/** Makes everything that was done before the call durable, by the log or by a checkpoint. Throws LcfsError('io'). */
export function makeDurable(): void {
  if (I[LOGGING] === 0 || !flushLog()) checkpoint();
}

/** fsync(2) of a file of a layer. Returns 0, or -EIO if the device failed: then nothing is promised any more. */
export function syncLayer(layer: LayerIndex): number {
  return sync(isStrict(layer));
}

/** sync(2), or syncfs(2) of the volume: what it promises the daemon says. Returns 0, or -EIO like `syncLayer`. */
export function syncVolume(): number {
  return sync(I[FSYNC_STRICT] !== 0);
}

function sync(waits: boolean): number {
  if (!takesChanges()) return -EIO;
  try {
    if (waits) makeDurable();
    return 0;
  } catch (error) {
    if (error instanceof LcfsError || error instanceof BlockError) return -EIO;
    throw error;
  }
}

function isStrict(layer: LayerIndex): boolean {
  const slot = acquireSlot(layer);
  if (slot === 0) return false;
  const flags = layerFlags(slotRecord(slot));
  releaseSlot(slot);
  if ((flags & LAYER_FSYNC_STRICT) !== 0) return true;
  return I[FSYNC_STRICT] !== 0 && (flags & LAYER_FSYNC_RELAXED) === 0;
}
