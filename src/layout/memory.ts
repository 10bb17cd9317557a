/**
 * The views through which this thread sees the arena, the shared memory that holds all state of one volume.
 *
 * One process serves one volume, and every thread of it maps the same SharedArrayBuffer, so the views are bindings of
 * this module rather than fields of an object: an access costs one load, and records need no object of their own.
 * Addresses are word indices into `W` unless a name says otherwise.
 */

/** Unsigned words: records, pages, locks read without ordering. */
export let W: Uint32Array = new Uint32Array(0);
/** The same words signed: what Atomics.wait needs, and counters that may go below zero. */
export let I: Int32Array = new Int32Array(0);
/** The same memory as half-words: slot arrays of tree pages. */
export let H: Uint16Array = new Uint16Array(0);
/** The same memory as bytes: names, extended attributes. */
export let B: Uint8Array = new Uint8Array(0);

/** Makes `memory` the arena that this thread's views show. */
export function mapMemory(memory: SharedArrayBuffer): void {
  W = new Uint32Array(memory);
  I = new Int32Array(memory);
  H = new Uint16Array(memory);
  B = new Uint8Array(memory);
}
