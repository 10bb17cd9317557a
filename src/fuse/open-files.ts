/**
 * How often each file is open for both reading and writing, which is what a shared mapping that can be written needs.
 *
 * What is written through a mapping stays with the kernel until it writes it back, and SEEK_DATA does not make it do so.
 * Holes that the engine knows of may have been filled that way, and `cp` and `tar` would leave out what is in them. So as
 * long as somebody else has a file open like that, all of it counts as data, as lseek(2) allows. The opening lasts as long
 * as its mappings; the last part of a mapping to go writes back what is left.
 *
 * An opening is named by a handle: its low word says what was counted for it and where that is recorded (openings.ts), its high
 * word the layer whose contents a passthrough opening shows (sharing.ts). RELEASE may be served twice, by one process after the
 * other: it ends what is recorded as open.
 *
 * The counters are one table for all threads of a connection, by a hash of layer and inode. Files that share a counter may
 * take each other for open, which costs only the knowledge of their holes.
 */
import type { Ino, LayerIndex } from '../layout/constants.js';
import { COUNTED, DIRECT, Openings, PASSING, PLAIN, flagsOf, type Opening } from './openings.js';
import * as P from './protocol.js';
import { argument, inoOf, layerOf, requestHigh, uniqueLow, type Request } from './request.js';
import { endDoor, endPassthrough, isSharing } from './sharing.js';
import { COUNTERS, COUNTERS_AT, OPENINGS_AT, newTables, type Tables } from './tables.js';

let counters: Int32Array;
let openings: Openings;
/** After a death: what has no record may be open. */
let areSomeLost = false;

/** Lets this thread use the tables of the connection. */
export function useOpenFiles(tables: Tables, takeover: boolean): void {
  counters = new Int32Array(tables.memory, tables.at + COUNTERS_AT, COUNTERS);
  openings = new Openings(tables.memory, tables.at + OPENINGS_AT);
  areSomeLost = takeover && openings.mayBeLost();
}

useOpenFiles(newTables(), false);

function counterOf(layer: LayerIndex, ino: Ino): number {
  return (Math.imul(ino, 0x9e37_79b1) ^ Math.imul(layer, 0x85eb_ca6b)) >>> 20;
}

/** After a death: makes the counters anew. */
export function recount(all: readonly Opening[]): void {
  counters.fill(0);
  for (const { flags, layer, ino } of all) if ((flags & COUNTED) !== 0) counters[counterOf(layer, ino)]!++;
}

/**
 * Counts an opening with these flags of open(2), for which `door` (DIRECT or PLAIN) was counted, and returns its handle.
 * Nothing may keep it from being announced then.
 */
export function noteOpen(r: Request, layer: LayerIndex, ino: Ino, flags: number, door = PLAIN): number {
  const counted = (flags & P.O_ACCMODE) === P.O_RDWR ? COUNTED : PLAIN;
  if (counted !== PLAIN) Atomics.add(counters, counterOf(layer, ino), 1);
  const what = counted | door;
  return what === PLAIN ? PLAIN : recordOpening(r, what, layer, ino, 0, 0) || what;
}

/** Records an opening of the inode that was counted as `flags` say. Returns its handle; 0 if there is no room. */
export function recordOpening(r: Request, flags: number, layer: LayerIndex, ino: Ino, contents: LayerIndex, backing: number): number {
  const handle = openings.add(flags, uniqueLow(r), requestHigh(r), layer, ino, contents, backing);
  if (handle === 0 && (flags & COUNTED) !== 0) openings.lose();
  return handle;
}

/** RELEASE: the end of an opening. */
export function releaseFile(r: Request): number {
  endOpening(argument(r, P.HANDLE), layerOf(r), inoOf(r), argument(r, P.HANDLE + 1));
  return 0;
}

function endOpening(handle: number, layer: LayerIndex, ino: Ino, contents: LayerIndex): void {
  const flags = flagsOf(handle);
  if (flags === PLAIN || !openings.isOpen(handle)) return;
  if ((flags & COUNTED) !== 0) Atomics.sub(counters, counterOf(layer, ino), 1);
  if (isSharing()) endShared(flags, layer, ino, contents);
  openings.remove(handle);
}

function endShared(flags: number, layer: LayerIndex, ino: Ino, contents: LayerIndex): void {
  if ((flags & PASSING) !== 0) endPassthrough(layer, ino, contents);
  else if ((flags & DIRECT) !== 0) endDoor(layer, ino);
}

/** A request is served a second time: what it opened the first time was never announced. */
export function forgetOpening(r: Request): void {
  const handle = openings.handleOf(uniqueLow(r), requestHigh(r));
  if (handle === 0) return;
  const { layer, ino, contents } = openings.openingOf(handle);
  endOpening(handle, layer, ino, contents);
}

/** Openings that there are now: handles with what they stand for. */
export function listOpenings(): (readonly [handle: number, opening: Opening])[] {
  return [...openings.all()];
}

/**
 * Ends those of the openings that still last although the kernel does not know their inode any more: who died was just handed
 * their RELEASE, and took it along. Returns those that last. For a thread that serves no requests.
 */
export function endForgotten(listed: ReturnType<typeof listOpenings>, isKnown: (opening: Opening) => boolean): typeof listed {
  const last = listed.filter(([handle]) => openings.isOpen(handle));
  return last.filter(([handle, opening]) => {
    if (isKnown(opening)) return true;
    endOpening(handle, opening.layer, opening.ino, opening.contents);
    return false;
  });
}

/** The layer whose contents the opening of the request shows: as a rule that of its inode. */
export function shownLayer(r: Request): LayerIndex {
  const passes = (argument(r, P.HANDLE) & (PASSING | DIRECT)) === PASSING;
  return passes ? argument(r, P.HANDLE + 1) : layerOf(r);
}

/** Whether anybody but the sender of the request may have written to the file through a mapping. */
export function mayBeMapped(r: Request): boolean {
  const own = (argument(r, P.HANDLE) & COUNTED) !== 0 ? 1 : 0;
  return areSomeLost || Atomics.load(counters, counterOf(layerOf(r), inoOf(r))) > own;
}
