/** What tests of files share: a volume with a layer, calls with names from strings and inodes as objects */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT_INO, type Ino, type LayerIndex } from '../../src/layout/constants.js';
import {
  inodeAtimeHi,
  inodeAtimeLo,
  inodeAtimeNsec,
  inodeBlocks,
  inodeCtimeHi,
  inodeCtimeLo,
  inodeCtimeNsec,
  inodeEntries,
  inodeFlags,
  inodeGid,
  inodeLinks,
  inodeMode,
  inodeMtimeHi,
  inodeMtimeLo,
  inodeMtimeNsec,
  inodeRdev,
  inodeUid,
} from '../../src/layout/records.js';
import { ioBuffer } from '../../src/linux/libc.js';
import { nowHi, nowLo, nowNsec, readClock } from '../../src/engine/clock.js';
import { read, write } from '../../src/engine/file.js';
import { foundAt, getInode, inodeSize } from '../../src/engine/inode.js';
import { createLayer } from '../../src/engine/layers.js';
import { create, createSymlink, link, lookup, readDirectory, removeDirectory, rename, unlink } from '../../src/engine/namespace.js';
import { closeVolume, formatVolume, openVolume, type OpenOptions } from '../../src/engine/volume.js';
import { assertSound, type Random } from './volume.js';

let folder = '';

/** Makes a volume in a temporary file, opens it and makes layer "test". */
export function openTestVolume(bytes = 64 << 20, options: OpenOptions = {}): LayerIndex {
  folder = mkdtempSync(join(tmpdir(), 'lcfs-test-'));
  formatVolume(testVolumePath(), { bytes });
  openVolume(testVolumePath(), { cacheBytes: 16 << 20, ...options });
  return createLayer('test');
}

export function testVolumePath(): string {
  return join(folder, 'volume');
}

/** Proves the volume, closes it and removes it. */
export function closeTestVolume(): void {
  assertSound();
  closeVolume();
  rmSync(folder, { recursive: true });
}

export function bytesOf(name: string): Buffer {
  return Buffer.from(name);
}

// The calls that take names, with strings.

export const REGULAR = 0o100644;
export const DIRECTORY = 0o040755;

export function make(layer: LayerIndex, dir: Ino, name: string, mode = REGULAR, umask = 0, uid = 0, gid = 0, rdev = 0): number {
  const bytes = bytesOf(name);
  return create(layer, dir, bytes, 0, bytes.length, mode, umask, uid, gid, rdev);
}

export function makeSymlink(layer: LayerIndex, dir: Ino, name: string, target: string): number {
  const bytes = bytesOf(name);
  const to = bytesOf(target);
  return createSymlink(layer, dir, bytes, 0, bytes.length, to, 0, to.length, 0, 0);
}

export function find(layer: LayerIndex, dir: Ino, name: string): number {
  const bytes = bytesOf(name);
  return lookup(layer, dir, bytes, 0, bytes.length);
}

export function linkTo(layer: LayerIndex, ino: Ino, dir: Ino, name: string): number {
  const bytes = bytesOf(name);
  return link(layer, ino, dir, bytes, 0, bytes.length);
}

export function remove(layer: LayerIndex, dir: Ino, name: string): number {
  const bytes = bytesOf(name);
  return unlink(layer, dir, bytes, 0, bytes.length);
}

export function removeDir(layer: LayerIndex, dir: Ino, name: string): number {
  const bytes = bytesOf(name);
  return removeDirectory(layer, dir, bytes, 0, bytes.length);
}

export function move(layer: LayerIndex, dir: Ino, name: string, newDir: Ino, newName: string, flags = 0): number {
  const from = bytesOf(name);
  const to = bytesOf(newName);
  return rename(layer, dir, from, 0, from.length, newDir, to, 0, to.length, flags);
}

/** All entries of a directory, `.` and `..` included, by name. */
export function list(layer: LayerIndex, dir: Ino): Map<string, { ino: Ino; kind: number }> {
  const entries = new Map<string, { ino: Ino; kind: number }>();
  const result = readDirectory(layer, dir, 0, 0, {
    entry(ino, kind, _hi, _lo, bytes, at, length) {
      const name = Buffer.from(bytes.subarray(at, at + length)).toString('latin1');
      assert.ok(!entries.has(name), `entry ${name} is shown twice`);
      entries.set(name, { ino, kind });
      return true;
    },
  });
  assert.equal(result, 0);
  return entries;
}

// Inodes and contents

export interface Stat {
  mode: number;
  uid: number;
  gid: number;
  links: number;
  size: number;
  blocks: number;
  rdev: number;
  flags: number;
  entries: number;
  /** Times in microseconds since 1970. */
  atime: number;
  mtime: number;
  ctime: number;
}

export function microseconds(lo: number, hi: number, nsec: number): number {
  return (hi * 2 ** 32 + lo) * 1e6 + Math.floor(nsec / 1000);
}

/** The time that the engine would stamp now. */
export function nowMicroseconds(): number {
  readClock();
  return microseconds(nowLo, nowHi, nowNsec);
}

/** What `foundAt` shows. */
export function foundStat(): Stat {
  const at = foundAt;
  return {
    mode: inodeMode(at),
    uid: inodeUid(at),
    gid: inodeGid(at),
    links: inodeLinks(at),
    size: inodeSize(at),
    blocks: inodeBlocks(at),
    rdev: inodeRdev(at),
    flags: inodeFlags(at),
    entries: inodeEntries(at),
    atime: microseconds(inodeAtimeLo(at), inodeAtimeHi(at), inodeAtimeNsec(at)),
    mtime: microseconds(inodeMtimeLo(at), inodeMtimeHi(at), inodeMtimeNsec(at)),
    ctime: microseconds(inodeCtimeLo(at), inodeCtimeHi(at), inodeCtimeNsec(at)),
  };
}

export function stat(layer: LayerIndex, ino: Ino): Stat {
  assert.equal(getInode(layer, ino), 0, `inode ${ino} exists`);
  return foundStat();
}

const io = ioBuffer(4 << 20);

export function put(layer: LayerIndex, ino: Ino, offset: number, data: Uint8Array, flags = 0): number {
  assert.ok(data.length <= io.bytes.length);
  io.bytes.set(data);
  return write(layer, ino, offset, data.length, io, 0, flags);
}

/** What is read from a file; a negative error number instead of the bytes if that fails. */
export function get(layer: LayerIndex, ino: Ino, offset: number, size: number): Buffer | number {
  io.bytes.fill(0xaa, 0, size);
  const count = read(layer, ino, offset, size, io, 0);
  return count < 0 ? count : Buffer.from(io.bytes.subarray(0, count));
}

export const ROOT = ROOT_INO;

// Chance

/** True once in `count` times. */
export function oneIn(random: Random, count: number): boolean {
  return random.below(count) === 0;
}

export function randomBytes(random: Random, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = random.next() >>> 11;
  return bytes;
}
