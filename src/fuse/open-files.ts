/**
 * How often each file is open for both reading and writing, which is what a shared mapping that can be written needs.
 *
 * What is written through a mapping stays with the kernel until it writes it back, and SEEK_DATA does not make it do so.
 * Holes that the engine knows of may have been filled that way, and `cp` and `tar` would leave out what is in them. So as
 * long as somebody else has a file open like that, all of it counts as data, as lseek(2) allows. The opening lasts as long
 * as its mappings; the last part of a mapping to go writes back what is left.
 *
 * The counters are one table for all threads of a connection, by a hash of layer and inode. Files that share a counter may
 * take each other for open, which costs only the knowledge of their holes.
 */
import type { Ino, LayerIndex } from '../layout/constants.js';
import * as P from './protocol.js';
import { argument, inoOf, layerOf, type Request } from './request.js';

/** 16 KiB: a thousand files in use as databases rarely share a counter. */
const COUNTERS = 4096;

/** What the kernel names an opening by: whether it was counted. Nothing else needs to be known of one. */
const PLAIN = 0;
const COUNTED = 1;

let counters = new Int32Array(newOpenCounters());

/** Memory for the threads of one connection. */
export function newOpenCounters(): SharedArrayBuffer {
  return new SharedArrayBuffer(COUNTERS * 4);
}

/** Lets this thread use the memory that the connection's threads share. */
export function useOpenCounters(memory: SharedArrayBuffer): void {
  counters = new Int32Array(memory);
}

function counterOf(layer: LayerIndex, ino: Ino): number {
  return (Math.imul(ino, 0x9e37_79b1) ^ Math.imul(layer, 0x85eb_ca6b)) >>> 20;
}

/** Counts an opening with these flags of open(2) and returns its handle. Nothing may keep it from being announced then. */
export function noteOpen(layer: LayerIndex, ino: Ino, flags: number): number {
  if ((flags & P.O_ACCMODE) !== P.O_RDWR) return PLAIN;
  Atomics.add(counters, counterOf(layer, ino), 1);
  return COUNTED;
}

/** RELEASE: the end of an opening. */
export function releaseFile(r: Request): number {
  if (argument(r, P.HANDLE) === COUNTED) Atomics.sub(counters, counterOf(layerOf(r), inoOf(r)), 1);
  return 0;
}

/** Whether anybody but the sender of the request may have written to the file through a mapping. */
export function mayBeMapped(r: Request): boolean {
  const own = argument(r, P.HANDLE) === COUNTED ? 1 : 0;
  return Atomics.load(counters, counterOf(layerOf(r), inoOf(r))) > own;
}
