/**
 * Shared files: one page cache for all layers that have the same contents.
 *
 * A regular file with data that its layer has not changed is shown under its *shared* nodeid and opened with passthrough:
 * the kernel reads from and maps the content file (content.ts) that all layers share which inherit it, and asks us no more.
 * Who opens it for writing, truncates it or gives it another name makes it *private* to its layer first:
 *
 *   1. the engine notes that its contents are the layer's own (makePrivate); nothing is copied
 *   2. the request is answered with ESTALE, so the kernel looks the name up again and finds the private nodeid
 *   3. the request comes back with that, and is served as any
 *
 * Openings from before go on reading the old contents, as on overlayfs.
 *
 * Rules of the kernel (INIT with PASSTHROUGH)
 *  K1  All passthrough openings of an inode have the same backing id. So there is one for each content file, held at least
 *      while any opening uses it.
 *  K2  While an inode has passthrough openings, the others must be passthrough, too. An opening with both DIRECT_IO and
 *      PASSTHROUGH reads and writes through us, but maps the content file.
 *
 * Invariants
 *  S1  What is mapped or cached of a content file can't be written: the content mount is read-only. So an inode with
 *      passthrough openings is never opened for writing (K2 would have the content file opened so).
 *  S2  An opening is counted before it is seen whether its file is still shared, and a file made private before the
 *      openings are looked at. So whoever finds no openings of a private file knows that there will be none.
 *  S3  No lock, neither of the engine nor of a table, is held while a thread calls into the content mount: it would wait
 *      for another thread of this process.
 *  S4  The mode of an inode never goes back from private to shared within a layer.
 *
 *  S5  An inode without names is freed when the kernel has forgotten its private nodeid and, unless its contents are still
 *      shared, nobody has it open under the shared one. The kernel may keep that one cached for ever: there is no name left
 *      whose going would make it forget. So openings by the back door are counted, too.
 *
 * The back door: a task that comes back with the shared nodeid although it was refused (tickets.ts) has no way to the
 * private one. It is served there, past the page cache (DIRECT_IO), with the layer's own contents. What it changes is
 * announced to the kernel for the private inode (the session does that, as no request may be under way in that thread).
 */
import { makePrivate } from '../engine/attributes.js';
import { forbidDeferral } from '../engine/deferral.js';
import { foundAt, getInode, isFoundFixed, isFoundShared } from '../engine/inode.js';
import { beginRead, end, opRecord } from '../engine/operation.js';
import { withhold } from '../engine/origins.js';
import { mayBeOrphan } from '../engine/orphans.js';
import type { Ino, LayerIndex } from '../layout/constants.js';
import {
  inodeBlocks,
  inodeContentLayer,
  inodeLinks,
  inodeSizeHi,
  inodeSizeLo,
  layerParent,
  setInodeBlocks,
  setInodeSizeHi,
  setInodeSizeLo,
} from '../layout/records.js';
import { ESTALE } from '../linux/errno.js';
import { acquireBacking, releaseBacking, useBackings } from './backing.js';
import { BehindTable, type Behind } from './behind.js';
import { CountTable } from './count-table.js';
import { IdleIds } from './idle-ids.js';
import { isPrivate, nodeIno, nodeLow, sharedLow } from './node.js';
import * as P from './protocol.js';
import { DIRECT, PASSING, type Opening } from './openings.js';
import { layerOf, nodeLowOf, uniqueLow, type Request } from './request.js';
import { BACKINGS_AT, BEHIND_AT, DOORS_AT, IDLE_AT, PASSINGS_AT, TICKETS_AT, type Tables } from './tables.js';
import { Tickets } from './tickets.js';

/** What a thread needs to open shared files. */
export interface SharingTask {
  /** Descriptor of the content mount. */
  readonly contents: number;
}

/** Tells whether somebody has an inode open under its shared nodeid. */
export function sharedHolders(tables: Tables): (layer: LayerIndex, ino: Ino) => boolean {
  const counts = [new CountTable(tables.memory, tables.at + PASSINGS_AT), new CountTable(tables.memory, tables.at + DOORS_AT)];
  return (layer, ino) => counts.some((table) => table.numberOf(layer, ino) !== 0);
}

/** The backing ids that are kept for the next opening. */
export function idleTable(tables: Tables): IdleIds {
  return new IdleIds(tables.memory, tables.at + IDLE_AT);
}

/** The backing ids of a connection, by content file. */
export function backingTable(tables: Tables): CountTable {
  return new CountTable(tables.memory, tables.at + BACKINGS_AT);
}

/**
 * After a death, before anybody uses the tables: counts anew who has shared files open. Returns the backing ids that nobody
 * needs any more.
 */
export function recountShared(tables: Tables, all: readonly Opening[]): number[] {
  const backings = backingTable(tables);
  const passing = new CountTable(tables.memory, tables.at + PASSINGS_AT);
  const doors = new CountTable(tables.memory, tables.at + DOORS_AT);
  for (const table of [backings, passing, doors]) table.clear();
  for (const { flags, layer, ino, contents, backing } of all) {
    if ((flags & PASSING) === 0) {
      if ((flags & DIRECT) !== 0) doors.put(layer, ino, 1);
      continue;
    }
    passing.put(layer, ino, contents + 1);
    backings.put(contents, ino, backing);
  }
  return idleTable(tables).recover(new Set(all.map(({ backing }) => backing)));
}

let sharing = false;
/** Passthrough openings of each shared inode; the number is 1 + the layer of the contents. */
let openings: CountTable;
/** Openings of each shared inode by the back door. */
let doors: CountTable;
let isHeldShared = (_layer: LayerIndex, _ino: Ino): boolean => false;
let tickets: Tickets;
let behind: BehindTable;
let tellBehind = (_behind: Behind, _number: number): void => undefined;

/** Lets this thread give out shared nodeids. `tell` takes what the session must announce, and its number in the table of such. */
export function useSharing(task: SharingTask, tables: Tables, device: number, tell: (behind: Behind, number: number) => void): void {
  openings = new CountTable(tables.memory, tables.at + PASSINGS_AT);
  doors = new CountTable(tables.memory, tables.at + DOORS_AT);
  isHeldShared = sharedHolders(tables);
  tickets = new Tickets(tables.memory, tables.at + TICKETS_AT);
  useBackings(backingTable(tables), idleTable(tables), task.contents, device);
  behind = new BehindTable(tables.memory, tables.at + BEHIND_AT);
  tellBehind = tell;
  sharing = true;
}

function fallBehind(what: Behind['what'], layer: LayerIndex, ino: Ino): void {
  if (!sharing) return;
  const message = { what, layer, ino };
  tellBehind(message, behind.note(message));
}

/** Whether there are shared nodeids on this connection. */
export function isSharing(): boolean {
  return sharing;
}

/** Low word of the nodeid under which the inode found is shown. */
export function lowOfFound(ino: Ino): number {
  return sharing && isFoundShared() ? sharedLow(ino) : nodeLow(ino);
}

/** Whether the request comes under a shared nodeid. */
export function isShared(r: Request): boolean {
  return !isPrivate(nodeLowOf(r));
}

// Opening

/**
 * Begins a passthrough opening of a shared inode. Returns the backing id; or 0 if it can't be opened so, because the file
 * is private by now or there are no more ids. `openedContents` is then the layer of the contents.
 */
export function beginPassthrough(layer: LayerIndex, ino: Ino): number {
  const guess = guessOf(layer, ino);
  const contents = guess >= 0 ? guess : contentsOf(layer, ino);
  if (contents < 0) return 0;
  openedContents = contents;
  if (openings.put(layer, ino, contents + 1) === 0) return 0;
  // S2: the file may have become private while it was not counted.
  const found = contentsOf(layer, ino);
  const backing = found === contents ? acquireBacking(contents, ino) : 0;
  if (backing !== 0) return backing;
  openings.drop(layer, ino);
  // A guess from before the file was made private and the layer sealed.
  return found >= 0 && found !== contents ? beginPassthrough(layer, ino) : 0;
}

/** The layer of the contents that a shared inode shows; below 0 if it is private. */
function contentsOf(layer: LayerIndex, ino: Ino): number {
  if (getInode(layer, ino) < 0 || !isFoundFixed()) return -1;
  const contents = inodeContentLayer(foundAt);
  remember(layer, ino, contents);
  return contents;
}

// Programs open the same files over and over. What this thread opened lately it counts before it looks, and so looks once.

const GUESS_BITS = 10;
/** Places by hash: layer + 1 (0: free), inode number, layer of the contents. */
const guesses = new Uint32Array(3 << GUESS_BITS);

function guessPlace(layer: LayerIndex, ino: Ino): number {
  return 3 * ((Math.imul(ino, 0x9e37_79b1) ^ Math.imul(layer, 0x85eb_ca6b)) >>> (32 - GUESS_BITS));
}

function remember(layer: LayerIndex, ino: Ino, contents: LayerIndex): void {
  const at = guessPlace(layer, ino);
  guesses[at] = layer + 1;
  guesses[at + 1] = ino;
  guesses[at + 2] = contents;
}

function guessOf(layer: LayerIndex, ino: Ino): number {
  const at = guessPlace(layer, ino);
  return guesses[at] === layer + 1 && guesses[at + 1] === ino ? guesses[at + 2]! : -1;
}

/** Layer of the contents that the last call of `beginPassthrough` or `joinPassthrough` opened. */
export let openedContents: LayerIndex = 0;

/** One more opening of an inode that has some, whatever became of the file. Returns the backing id, or 0 if it has none. */
export function joinPassthrough(layer: LayerIndex, ino: Ino): number {
  const number = openings.take(layer, ino);
  if (number === 0) return 0;
  openedContents = number - 1;
  const backing = acquireBacking(openedContents, ino);
  if (backing === 0) openings.drop(layer, ino);
  return backing;
}

export function endPassthrough(layer: LayerIndex, ino: Ino, contents: LayerIndex): void {
  releaseBacking(contents, ino);
  if (openings.drop(layer, ino) !== 0) releaseNameless(layer, ino);
}

/** Counts an opening by the back door; false if there is no room. */
export function beginDoor(layer: LayerIndex, ino: Ino): boolean {
  return doors.put(layer, ino, 1) !== 0;
}

export function endDoor(layer: LayerIndex, ino: Ino): void {
  if (doors.drop(layer, ino) !== 0) releaseNameless(layer, ino);
}

/** S5: who was waited for may have been the last. */
function releaseNameless(layer: LayerIndex, ino: Ino): void {
  if (mayBeOrphan(layer, ino) && getInode(layer, ino) === 0 && inodeLinks(foundAt) === 0) fallBehind('released', layer, ino);
}

/** Whether somebody has an inode open under its shared nodeid. */
export function isHeld(layer: LayerIndex, ino: Ino): boolean {
  return isHeldShared(layer, ino);
}

/** Whether a shared inode has passthrough openings. */
export function isOpenShared(layer: LayerIndex, ino: Ino): boolean {
  return openings.numberOf(layer, ino) !== 0;
}

// The switch

/**
 * For a request under the shared nodeid (layer, ino) that is to change contents or names: makes the file private. Returns
 * -ESTALE to send the caller to the private nodeid, 0 if he has been there and must be served here, or why it can't be.
 */
export function leaveShared(r: Request, layer: LayerIndex, ino: Ino): number {
  if (!sharing) return -ESTALE;
  // Not yet what the request is about.
  withhold(true);
  const failed = makePrivate(layer, ino);
  withhold(false);
  if (failed < 0) return failed;
  forbidDeferral(); // a ticket is good once
  return tickets.show(layer, sharedLow(ino), r.words[r.head + P.IN_PID]!, uniqueLow(r)) ? 0 : -ESTALE;
}

// The other inode that the kernel may have of a file

/** Contents or names changed through the shared inode. */
export function contentsChanged(layer: LayerIndex, ino: Ino): void {
  fallBehind('contents', layer, ino);
}

/** Permissions, owner or extended attributes changed through one inode: the other must not show the old ones. `foundAt` is lost. */
export function attributesChanged(r: Request): void {
  if (!sharing) return;
  const layer = layerOf(r);
  const ino = nodeIno(nodeLowOf(r));
  if (isShared(r) ? isPrivateNow(layer, ino) : mayBeOpenShared(layer, ino)) fallBehind('attributes', layer, ino);
}

function isPrivateNow(layer: LayerIndex, ino: Ino): boolean {
  return getInode(layer, ino) === 0 && !isFoundFixed();
}

/** Whether the kernel may know a private file as a shared one, from the time before it became private. */
function mayBeOpenShared(layer: LayerIndex, ino: Ino): boolean {
  const parent = parentOf(layer);
  return parent > 0 && getInode(parent, ino) === 0 && isFoundFixed();
}

/** The parent of a layer; 0 if it has none, a negative error number if it is gone. */
function parentOf(layer: LayerIndex): LayerIndex {
  const refused = beginRead(layer);
  return refused < 0 ? refused : end(layerParent(opRecord()));
}

/**
 * Fills `foundAt` with what a shared inode shows: that of the layer. If its contents are the layer's own by now, size and
 * blocks are those that the openings from before see, as long as there are any. Returns 0 or a negative error number.
 */
export function getShared(layer: LayerIndex, ino: Ino): number {
  const failed = getInode(layer, ino);
  if (failed < 0 || isFoundFixed()) return failed;
  const number = openings.numberOf(layer, ino);
  if (number === 0 || getInode(number - 1, ino) < 0) return getInode(layer, ino);
  const sizeLo = inodeSizeLo(foundAt);
  const sizeHi = inodeSizeHi(foundAt);
  const blocks = inodeBlocks(foundAt);
  const gone = getInode(layer, ino);
  if (gone < 0) return gone;
  setInodeSizeLo(foundAt, sizeLo);
  setInodeSizeHi(foundAt, sizeHi);
  setInodeBlocks(foundAt, blocks);
  return 0;
}
