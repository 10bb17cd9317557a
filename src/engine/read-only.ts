/**
 * What happens when the device fails, or the daemon dies again and again: the volume becomes read-only until it is opened
 * again.
 *
 * A kernel that could not write a page forgets it after having said so once, and the next flush succeeds. So a flush that
 * failed is the last one that counts: from then on nothing is acknowledged as durable, and no change is begun, since it
 * could never become durable. What can be read goes on being read; checksums tell what the device lost.
 *
 * The same is done after a change that was cut off half-way because a page that it needed could not be read or written any
 * more. What it left must not become durable, and nobody may look at it: a layer in that state answers EIO, a catalog refuses
 * everything that asks for it. Layers that are being worked on go on without the catalog.
 *
 * Invariants
 *  RO1  DEVICE_FAILED never goes back to 0 while the volume is open.
 *  RO2  A generation is closed only while DEVICE_FAILED is 0; it is set before what was half-changed is unlocked.
 */
import { I } from '../layout/memory.js';
import { complain } from '../linux/complain.js';
import { CATALOG_BROKEN, DEVICE_FAILED, GENERATION } from './arena.js';
import { BlockError, LcfsError } from './errors.js';

/** Why a volume takes no more changes; the values of DEVICE_FAILED. */
export const CHECKPOINT_FAILED = 1;
export const CHANGE_CUT_OFF = 2;
export const CRASH_LOOP = 3;

const REASONS: Readonly<Record<number, string>> = {
  [CHECKPOINT_FAILED]: 'a checkpoint could not be written',
  [CHANGE_CUT_OFF]: 'a change was cut off by a block that could not be read or written',
  [CRASH_LOOP]: 'the daemon died again and again',
};

const DEVICE_REMEDY = 'stop it, see to the device, run lcfs check, and mount it again';

const remedy = (reason: number): string =>
  reason === CRASH_LOOP ? 'lcfs status tells more, lcfs resume allows changes again' : DEVICE_REMEDY;

/** Whether changes may be begun. */
export function takesChanges(): boolean {
  return I[DEVICE_FAILED] === 0;
}

/** Why the volume takes no changes; null if it does. */
export function readOnlyReason(): string | null {
  return REASONS[I[DEVICE_FAILED]!] ?? null;
}

/** From now on nothing is changed and nothing acknowledged as durable. Said once in the log. */
export function stopChanges(reason: number, details: string): void {
  if (Atomics.compareExchange(I, DEVICE_FAILED, 0, reason) !== 0) return;
  const text = `${REASONS[reason]} (${details})`;
  const stays = reason === CRASH_LOOP ? '' : `; it stays as of checkpoint ${I[GENERATION]! - 1} or the one before`;
  complain(`the volume is read-only from now on: ${text}${stays}: ${remedy(reason)}`);
}

/** As `stopChanges`, for a change of the catalog that was cut off. */
export function breakCatalog(details: string): void {
  stopChanges(CHANGE_CUT_OFF, details);
  Atomics.store(I, CATALOG_BROKEN, 1);
}

/** Throws BlockError if a change of the catalog was cut off. */
export function refuseBrokenCatalog(): void {
  if (I[CATALOG_BROKEN] !== 0) throw new BlockError(0, 'the catalog cannot be used: a change of it was cut off by a device error');
}

/** For those that get to see sentences. Throws LcfsError('io') if the volume takes no changes. */
export function refuseIfReadOnly(): void {
  const reason = readOnlyReason();
  if (reason !== null) throw new LcfsError('io', `the volume is read-only because ${reason}: ${remedy(I[DEVICE_FAILED]!)}`);
}
