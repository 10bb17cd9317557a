/**
 * Notes: what the operation under way has changed, as far as the intent log has to know it. Each thread has its own; they
 * are made where the changes are made, and read when the operation ends (log.ts).
 *
 * Noted are keys of trees, not values: a record may be filled in after it was inserted, so its last value is looked up at the
 * end. A record that is gone is not looked up: where it was may be a page now that nobody has read. A key may be noted again, the
 * last note counts; the last few are compared, as most repeat at once.
 */
import { CATALOG_OWNER, LAYER, type BlockNumber, type LayerIndex } from '../layout/constants.js';

/** Words of a key: owner of its tree, key0, type, hi, lo, and 1 if the record is there, 0 if it was removed. */
export const KEY_WORDS = 6;
/** Words of a run of blocks: ALLOCATED or FREED, first block, length. */
export const RUN_WORDS = 3;
const KEYS_COMPARED = 4;

/** Whether changes are noted: within an operation, while the log is kept. */
let noting = false;

export let keys: Uint32Array = new Uint32Array(1024 * KEY_WORDS);
/** Words of `keys` in use; the same for `runs`. */
export let keysEnd = 0;
export let runs: Uint32Array = new Uint32Array(1024 * RUN_WORDS);
export let runsEnd = 0;
/** Slots whose records changed. */
export const slots: number[] = [];
/** A layer that was made: its index (0: none), parent, quota in blocks and flags. */
export let newLayer: LayerIndex = 0;
export let newParent: LayerIndex = 0;
export let newQuotaBlocks = 0;
export let newFlags = 0;

/** Begins an operation whose changes are noted, or not. */
export function beginNotes(isLogged: boolean): void {
  noting = isLogged;
  keysEnd = 0;
  runsEnd = 0;
  slots.length = 0;
  newLayer = 0;
}

/** Ends the operation: what changes from now on is not noted. */
export function endNotes(): void {
  noting = false;
}

/** Whether anything was noted. */
export function hasNotes(): boolean {
  return keysEnd > 0 || slots.length > 0;
}

function grown(words: Uint32Array): Uint32Array {
  const larger = new Uint32Array(words.length * 2);
  larger.set(words);
  return larger;
}

/** A record of a tree was inserted or changed (`isThere` 1), or removed (0). Records of layers are written by slot, not by key. */
export function noteKey(owner: LayerIndex, k0: number, type: number, hi: number, lo: number, isThere: number): void {
  if (!noting || (owner === CATALOG_OWNER && type === LAYER)) return;
  const noted = findNoted(owner, k0, type, hi, lo);
  if (noted >= 0) {
    keys[noted + 5] = isThere;
    return;
  }
  if (keysEnd === keys.length) keys = grown(keys);
  keys[keysEnd] = owner;
  keys[keysEnd + 1] = k0;
  keys[keysEnd + 2] = type;
  keys[keysEnd + 3] = hi;
  keys[keysEnd + 4] = lo;
  keys[keysEnd + 5] = isThere;
  keysEnd += KEY_WORDS;
}

/** Where a key is among the last few; -1 if it is not. */
function findNoted(owner: LayerIndex, k0: number, type: number, hi: number, lo: number): number {
  const from = Math.max(0, keysEnd - KEYS_COMPARED * KEY_WORDS);
  for (let at = keysEnd - KEY_WORDS; at >= from; at -= KEY_WORDS) {
    const isSame = keys[at + 4] === lo && keys[at + 1] === k0 && keys[at + 2] === type && keys[at + 3] === hi && keys[at] === owner;
    if (isSame) return at;
  }
  return -1;
}

/** Whether the same key was noted again after the note at `at`. */
export function isNotedLater(at: number): boolean {
  const lo = keys[at + 4]!;
  for (let later = at + KEY_WORDS; later < keysEnd; later += KEY_WORDS) if (keys[later + 4] === lo && isSameKey(at, later)) return true;
  return false;
}

function isSameKey(a: number, b: number): boolean {
  for (let word = 0; word < KEY_WORDS - 1; word++) if (keys[a + word] !== keys[b + word]) return false;
  return true;
}

export const ALLOCATED = 1;
export const FREED = 2;

/** Data blocks were ALLOCATED or FREED. */
export function noteRun(kind: number, block: BlockNumber, count: number): void {
  if (!noting) return;
  const last = runsEnd - RUN_WORDS;
  if (last >= 0 && runs[last] === kind && block === runs[last + 1]! + runs[last + 2]!) {
    runs[last + 2]! += count;
    return;
  }
  if (runsEnd === runs.length) runs = grown(runs);
  runs[runsEnd] = kind;
  runs[runsEnd + 1] = block;
  runs[runsEnd + 2] = count;
  runsEnd += RUN_WORDS;
}

/** The record of a layer's slot changed in a change of the catalog. */
export function noteSlot(slot: number): void {
  if (noting && !slots.includes(slot)) slots.push(slot);
}

/** A layer was made. */
export function noteNewLayer(layer: LayerIndex, parent: LayerIndex, quotaBlocks: number, flags: number): void {
  newLayer = layer;
  newParent = parent;
  newQuotaBlocks = quotaBlocks;
  newFlags = flags;
}
