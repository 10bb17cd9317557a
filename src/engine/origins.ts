/**
 * Origins: which requests have had their effect, for the process that takes the volume over when this one dies.
 *
 * Whoever serves a request says before which one it is and at which place it is served (`setOrigin`). The operation that the
 * request is about carries its origin into the log, and into the table of places in the memory of the log before the
 * checkpoint lock is given back: so the knowledge survives a checkpoint that drops the entry before the reply has gone out.
 * A place serves one request at a time, so its last origin is all that has to be known.
 *
 * A request that is made up of several operations carries its origin in the last one only (`withhold`); those before may be
 * done again. Operations that follow what a request is about, such as freeing what was unlinked, carry it again.
 *
 * A takeover puts what it finds aside (`keepApplied`): requests of the dead process are answered by others than those who
 * served them, at places that are in use for new requests meanwhile.
 */
import { W } from '../layout/memory.js';
import { logApplied, setLogApplied } from '../layout/records.js';
import { LOG_AT } from './arena.js';
import { APPLIED_MAX, ORIGIN_PLACES, appliedAt, placeAt } from './log-memory.js';

export { ORIGIN_PLACES };

/** The request that this thread serves; 0, 0: none. */
export let originLo = 0;
export let originHi = 0;
export let originPlace = 0;
let withheld = false;

/**
 * The operations that follow in this thread belong to request (`lo`, `hi`), any two words that tell requests apart, 0, 0 for
 * none; it is served at `place`, 0 to ORIGIN_PLACES - 1, where nothing else is served at the same time.
 */
export function setOrigin(lo: number, hi: number, place: number): void {
  originLo = lo >>> 0;
  originHi = hi >>> 0;
  originPlace = place;
  withheld = false;
}

/** Says whether the operation under way is one that others of the same request follow, without which it is not done. */
export function withhold(isPart: boolean): void {
  withheld = isPart;
}

/** Whether the operation that ends carries an origin. */
export function carriesOrigin(): boolean {
  return !withheld && (originLo | originHi) !== 0;
}

/** Notes that an origin was applied at a place. Its entry is in the log. */
export function markApplied(lo: number, hi: number, place: number): void {
  const at = placeAt(place);
  if (W[at] === lo && W[at + 1] === hi) return;
  // Never half of one and half of another: the low word is 0 meanwhile.
  W[at] = 0;
  W[at + 1] = hi;
  W[at] = lo;
}

/** Puts aside what the table of places says, in front of what earlier takeovers put aside. After replay, before anything is served. */
export function keepApplied(): void {
  const before = Array.from(W.subarray(appliedAt(0), appliedAt(logApplied(LOG_AT))));
  let kept = 0;
  for (let place = 0; place < ORIGIN_PLACES; place++) {
    const at = placeAt(place);
    if ((W[at]! | W[at + 1]!) !== 0) W.copyWithin(appliedAt(kept++), at, at + 2);
  }
  const room = Math.min(before.length / 2, APPLIED_MAX - kept);
  W.set(before.slice(0, room * 2), appliedAt(kept));
  setLogApplied(LOG_AT, kept + room);
}

/** Whether a request that a dead process was serving had its effect: its (last) operation is part of the volume. */
export function appliedOrigin(lo: number, hi: number): boolean {
  const end = appliedAt(logApplied(LOG_AT));
  for (let at = appliedAt(0); at < end; at += 2) if (W[at] === lo >>> 0 && W[at + 1] === hi >>> 0) return true;
  return false;
}
