/**
 * Backing ids: what the kernel calls the content files that openings pass through to. Each content file has one while any
 * opening of the connection uses it, counted in a table that all threads share. After the last one it is kept for the next
 * for a while (idle-ids.ts).
 *
 * Making one looks the content file up on the content mount (content-scout.ts), which other threads of this process serve: no lock
 * of any kind may be held. Two threads may so make an id for the same file at once; the second takes that of the first and closes its
 * own.
 */
import koffi from 'koffi';
import { getInode } from '../engine/inode.js';
import type { Ino, LayerIndex } from '../layout/constants.js';
import { O_CLOEXEC, O_PATH } from '../linux/descriptors.js';
import { close, ioBuffer, ioctl } from '../linux/libc.js';
import { writeHex } from './content-names.js';
import { scout } from './content-scout.js';
import type { CountTable } from './count-table.js';
import type { IdleIds } from './idle-ids.js';
import * as P from './protocol.js';

const openat = koffi.load('libc.so.6').func('openat', 'int', ['int', 'uint64_t', 'int']) as (
  directory: number,
  path: number,
  flags: number,
) => number;

const O_NOFOLLOW = process.arch === 'arm64' ? 0o100000 : 0o400000;

/** The path of a content file, then the argument of the ioctls. */
const memory = ioBuffer(4096);
const MAP = 1024;
const map = new Uint32Array(memory.bytes.buffer, memory.bytes.byteOffset + MAP, P.BACKING_MAP_BYTES / 4);

const SLASH = 0x2f;
const LINE_END = 0x0a;

let table: CountTable;
let idle: IdleIds;
let contentMount = -1;
let device = -1;

export function useBackings(backings: CountTable, idleIds: IdleIds, contents: number, fuse: number): void {
  table = backings;
  idle = idleIds;
  contentMount = contents;
  device = fuse;
}

/** One more opening of the contents of a layer's file. Returns their backing id; 0 if there is no way to get one. */
export function acquireBacking(layer: LayerIndex, ino: Ino): number {
  return table.take(layer, ino) || makeBacking(layer, ino);
}

/** The end of an opening. */
export function releaseBacking(layer: LayerIndex, ino: Ino): void {
  const backing = table.drop(layer, ino);
  if (backing === 0) return;
  const before = idle.keep(layer, ino, backing);
  if (before !== 0) closeBacking(device, before);
}

/** Closes the ids that are kept of a layer that was removed. For a thread that serves no requests. */
export function closeIdle(idleIds: IdleIds, fuse: number, layer: LayerIndex): void {
  for (const backing of idleIds.takeLayer(layer)) closeBacking(fuse, backing);
}

function makeBacking(layer: LayerIndex, ino: Ino): number {
  const made = idle.take(layer, ino) || openBacking(device, contentMount, layer, ino);
  if (made === 0) return 0;
  const backing = table.put(layer, ino, made);
  if (backing !== made) closeBacking(device, made);
  return backing;
}

/** A new id for a content file; 0 if it can't be opened or the kernel refuses. `foundAt` is lost. */
function openBacking(fuse: number, contents: number, layer: LayerIndex, ino: Ino): number {
  // The look-up on the content mount will want this inode. This thread waits for it, so the device should not have to.
  if (getInode(layer, ino) < 0) return 0;
  const bytes = writePath(layer, ino);
  memory.bytes[bytes] = LINE_END;
  scout(contents, memory.address, bytes + 1);
  memory.bytes[bytes] = 0;
  const file = openat(contents, memory.address, O_PATH | O_CLOEXEC | O_NOFOLLOW);
  if (file < 0) return 0;
  const backing = registerBacking(fuse, file);
  close(file);
  return Math.max(backing, 0);
}

/** The id that the kernel gives an open file; below 0 if it refuses. */
function registerBacking(fuse: number, file: number): number {
  map.fill(0);
  map[0] = file;
  return ioctl(fuse, P.IOCTL_BACKING_OPEN, memory.address + MAP);
}

/** Takes an id back from the kernel; in vain if it has none such. */
export function closeBacking(fuse: number, backing: number): void {
  map[0] = backing;
  ioctl(fuse, P.IOCTL_BACKING_CLOSE, memory.address + MAP);
}

/** Writes `<layer>/<ino>`, both hexadecimal. Returns its length. */
function writePath(layer: LayerIndex, ino: Ino): number {
  const bytes = memory.bytes;
  let at = writeHex(bytes, 0, layer);
  bytes[at++] = SLASH;
  return writeHex(bytes, at, ino);
}
