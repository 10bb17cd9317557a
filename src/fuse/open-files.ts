/**
 * How often each file is open for both reading and writing, which is what a shared mapping that can be written needs.
 *
 * What is written through a mapping stays with the kernel until it writes it back, and SEEK_DATA does not make it do so.
 * Holes that the engine knows of may have been filled that way, and `cp` and `tar` would leave out what is in them. So as
 * long as somebody else has a file open like that, all of it counts as data, as lseek(2) allows. The opening lasts as long
 * as its mappings; the last part of a mapping to go writes back what is left.
 *
 * An opening is named by a handle: its low word says what was counted for it, its high word the layer whose contents a
 * passthrough opening shows (sharing.ts).
 *
 * The counters are one table for all threads of a connection, by a hash of layer and inode. Files that share a counter may
 * take each other for open, which costs only the knowledge of their holes.
 */
import type { Ino, LayerIndex } from '../layout/constants.js';
import * as P from './protocol.js';
import { argument, inoOf, layerOf, type Request } from './request.js';
import { endDoor, endPassthrough, isSharing } from './sharing.js';

/** 16 KiB: a thousand files in use as databases rarely share a counter. */
const COUNTERS = 4096;

/** Bits of a handle: open for reading and writing; passes through to contents; reads and writes through us all the same. */
export const PLAIN = 0;
const COUNTED = 1;
export const PASSING = 2;
export const DIRECT = 4;

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
  const handle = argument(r, P.HANDLE);
  if ((handle & COUNTED) !== 0) Atomics.sub(counters, counterOf(layerOf(r), inoOf(r)), 1);
  if (isSharing()) releaseShared(r, handle);
  return 0;
}

function releaseShared(r: Request, handle: number): void {
  if ((handle & PASSING) !== 0) endPassthrough(layerOf(r), inoOf(r), argument(r, P.HANDLE + 1));
  else if ((handle & DIRECT) !== 0) endDoor(layerOf(r), inoOf(r));
}

/** The layer whose contents the opening of the request shows: as a rule that of its inode. */
export function shownLayer(r: Request): LayerIndex {
  const passes = (argument(r, P.HANDLE) & (PASSING | DIRECT)) === PASSING;
  return passes ? argument(r, P.HANDLE + 1) : layerOf(r);
}

/** Whether anybody but the sender of the request may have written to the file through a mapping. */
export function mayBeMapped(r: Request): boolean {
  const own = (argument(r, P.HANDLE) & COUNTED) !== 0 ? 1 : 0;
  return Atomics.load(counters, counterOf(layerOf(r), inoOf(r))) > own;
}
