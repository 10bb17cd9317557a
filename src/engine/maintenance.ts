/**
 * The maintenance thread: checkpoints when something changed, writes the intent log out in between, and gives back the space of
 * removed layers and freed blocks.
 *
 * It sleeps on MAINTENANCE_BELL, which rings when a layer was removed or a large part of the cache is dirty.
 */
import { GLOBAL_LAYER } from '../layout/constants.js';
import { I } from '../layout/memory.js';
import { complain } from '../linux/complain.js';
import { DIRTY_PAGES, FRAME_LIMIT, MAINTENANCE_BELL, MAINTENANCE_STOP, SYNC_INTERVAL_MS } from './arena.js';
import { checkpoint, checkpointUnsettled, settle } from './checkpoint.js';
import { makeDurable } from './durability.js';
import { LcfsError } from './errors.js';
import { listLayers } from './layers.js';
import { isLogFilling } from './log.js';
import { hasUnflushed } from './log-device.js';
import { panic, ringMaintenance } from './operation.js';
import { takesChanges } from './read-only.js';
import { countOrphans, reapAllOrphans } from './orphans.js';
import { reclaimStep } from './reclaim.js';

/** Steps of reclaiming between looks at the clock. */
const STEPS_PER_LOOK = 16;
/** The log is written out so often, while something happens: with the time that takes, no more than a second's work can be lost. */
const LOG_INTERVAL_MS = 500;

/** Works until `stopMaintenance`. Blocks its thread. */
export function runMaintenance(): void {
  let last = performance.now();
  let logged = last;
  while (Atomics.load(I, MAINTENANCE_STOP) === 0) {
    settle();
    const more = reclaimSome();
    const due = performance.now() - last >= I[SYNC_INTERVAL_MS]!;
    if (due || I[DIRTY_PAGES]! > I[FRAME_LIMIT]! >>> 2 || isLogFilling()) {
      tryChange(checkpoint);
      last = logged = performance.now();
    } else if (performance.now() - logged >= LOG_INTERVAL_MS) {
      logged = performance.now();
      if (hasUnflushed()) tryChange(makeDurable);
    }
    const now = performance.now();
    if (!more) sleepUntilRung(Math.max(1, Math.min(I[SYNC_INTERVAL_MS]! - (now - last), LOG_INTERVAL_MS - (now - logged))));
  }
}

function reclaimSome(): boolean {
  for (let i = 0; i < STEPS_PER_LOOK; i++) if (!reclaimStep()) return false;
  return true;
}

function sleepUntilRung(timeoutMs: number): void {
  Atomics.wait(I, MAINTENANCE_BELL, 0, timeoutMs);
  Atomics.store(I, MAINTENANCE_BELL, 0);
}

/**
 * `checkpoint` for threads that others wait for: giving back what was freed, which takes a while after an image was removed,
 * is left to the maintenance thread.
 */
export function checkpointForCaller(): number {
  const completed = checkpointUnsettled();
  ringMaintenance();
  return completed;
}

/** A device that failed has been reported when the volume became read-only; reads go on. Anything else ends the process. */
function tryChange(work: () => void): void {
  if (!takesChanges()) return;
  try {
    work();
  } catch (error) {
    if (!(error instanceof LcfsError)) panic(error);
  }
}

/** Lets `runMaintenance` return, whichever thread runs it. */
export function stopMaintenance(): void {
  Atomics.store(I, MAINTENANCE_STOP, 1);
  Atomics.store(I, MAINTENANCE_BELL, 1);
  Atomics.notify(I, MAINTENANCE_BELL);
}

/** Sets the seconds between checkpoints (0.1 to 3600). Returns what is in force. */
export function setSyncInterval(seconds: number): number {
  Atomics.store(I, SYNC_INTERVAL_MS, Math.round(Math.min(3600, Math.max(0.1, seconds)) * 1000));
  Atomics.notify(I, MAINTENANCE_BELL);
  return I[SYNC_INTERVAL_MS]! / 1000;
}

/**
 * Frees the inodes without a name that an earlier mount left behind in writable layers. To be called before the volume is
 * served: nobody can have such an inode open. Returns how many there were.
 */
export function reapLeftOrphans(): number {
  let reaped = Math.max(0, reapAllOrphans(GLOBAL_LAYER));
  try {
    for (const { index, state } of listLayers()) if (state === 'writable') reaped += Math.max(0, reapAllOrphans(index));
  } catch (error) {
    // A catalog of which a page cannot be read must not keep the rest of the volume from being served.
    if (!(error instanceof LcfsError)) throw error;
    complain(`not all layers can be listed: ${error.message}`);
  }
  return reaped;
}

/** Counts the inodes without a name in writable layers, which those who have them open go on using (O1). Returns how many there are. */
export function keepLeftOrphans(): number {
  let kept = Math.max(0, countOrphans(GLOBAL_LAYER));
  for (const { index, state } of listLayers()) if (state === 'writable') kept += Math.max(0, countOrphans(index));
  return kept;
}

/** Reclaims everything that can be reclaimed now, in the calling thread. */
export function reclaimAll(): void {
  while (reclaimStep());
}
