/**
 * Volumes that no sane program wrote, though every checksum is right: fields of superblocks, pages, records and bitmaps are
 * changed and their checksums repaired. Such a volume is refused, or answers EIO, or shows something; it is checked, read and
 * written to, and nothing crashes, hangs, or leaves the memory that it has.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32, addressOf, ioBuffer } from '../../src/linux/libc.js';
import { copyBytes } from '../../src/linux/bytes.js';
import { exportLayer, exportOriginal, hasOriginal } from '../../src/archive/export.js';
import { changes } from '../../src/archive/changes.js';
import { checkVolume } from '../../src/engine/check.js';
import { checkpoint } from '../../src/engine/checkpoint.js';
import type { Device } from '../../src/engine/device.js';
import { LcfsError } from '../../src/engine/errors.js';
import { KEEP_SIZE, PUNCH_HOLE, allocate, read, truncate, write } from '../../src/engine/file.js';
import { getInode } from '../../src/engine/inode.js';
import { commitLayer, createLayer, findLayer, listLayers, removeLayer, renameLayer, setProperty } from '../../src/engine/layers.js';
import { namesOf } from '../../src/engine/link-names.js';
import { reapLeftOrphans, reclaimAll } from '../../src/engine/maintenance.js';
import { readDirectory, readLink } from '../../src/engine/namespace.js';
import { repairVolume } from '../../src/engine/repair.js';
import { blockIsTaken } from '../../src/engine/space.js';
import { abandonVolume, closeVolume, formatVolume, openVolume } from '../../src/engine/volume.js';
import { getXattr, listXattr, removeXattr, setXattr } from '../../src/engine/xattr.js';
import { BLOCK_BYTES, PAGE_MAGIC, type Ino, type LayerIndex } from '../../src/layout/constants.js';
import * as Tar from '../../src/archive/tar-format.js';
import { apply } from '../support/archive-layers.js';
import { archive } from '../support/archives.js';
import { DIRECTORY, ROOT, linkTo, make, makeSymlink, move, put, remove, removeDir } from '../support/files.js';
import { oddWord, runCases, type FuzzFigures, type FuzzOptions } from '../support/fuzz.js';
import { MIB, withFolder, type Random } from '../support/volume.js';

const BYTES = 8 * MIB;
const CACHE = { cacheBytes: 4 * MIB };
const io = ioBuffer(1 << 20);
const out = new Uint8Array(1 << 17);
/** Files that are looked at in a layer; more are there only if a directory leads in a circle. */
const FILES_MAX = 500;

/** Makes a volume with some of everything. Returns its blocks that mean something. */
function makeVolume(path: string): number[] {
  formatVolume(path, { bytes: BYTES });
  setHashKey(path);
  openVolume(path, CACHE);
  createLayer('image', { properties: { kind: 'image', long: 'x'.repeat(5000) } });
  apply(
    'image',
    archive({ path: 'd/', type: Tar.DIRECTORY }, { path: 'd/a', data: Buffer.alloc(9000, 'a') }, { path: 'd/b', data: 'b' }),
    0,
    {
      recipe: true,
    },
  );
  commitLayer('image');
  const base = createLayer('base');
  fillLayer(base, 40);
  const clone = createLayer('clone', { parent: 'base', quotaBytes: MIB });
  fillLayer(clone, 10);
  createLayer('leaf', { parent: 'clone' });
  fillLayer(createLayer('gone'), 60);
  checkpoint();
  removeLayer('gone');
  closeVolume();
  openVolume(path, CACHE);
  const taken = Array.from({ length: BYTES / BLOCK_BYTES }, (_, block) => block).filter((block) => block < 4 || blockIsTaken(block));
  abandonVolume();
  return taken;
}

/** The key of the name hash is random; here it is always the same, so that a seed means the same volume. */
function setHashKey(path: string): void {
  const image = readFileSync(path);
  for (const block of [0, 1]) {
    const data = image.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
    data.writeUInt32LE(0x1234_5678, 32);
    data.writeUInt32LE(0x9abc_def0, 36);
    data.writeUInt32LE(sumOf(data, 8), 4);
  }
  writeFileSync(path, image);
}

function fillLayer(layer: LayerIndex, files: number): void {
  const dir = make(layer, ROOT, `dir${files}`, DIRECTORY);
  const below = make(layer, dir, 'below', DIRECTORY);
  for (let i = 0; i < files; i++) {
    const ino = make(layer, i % 3 === 0 ? below : dir, `file${i}`);
    put(layer, ino, 0, Buffer.alloc(1 + i * 997, `${i}`));
    if (i % 5 === 0)
      for (let block = 0; block < 12; block++) put(layer, ino, block * 3 * BLOCK_BYTES, Buffer.alloc(BLOCK_BYTES, block + 1));
    if (i % 7 === 0) linkTo(layer, ino, below, `link${i}`);
    setXattr(layer, ino, Buffer.from(`user.x${i % 4}`), 0, 7, Buffer.alloc(4000, 'v'), 0, (i * 97) % 4000, 0, false);
  }
  makeSymlink(layer, dir, 'symlink', 'long/'.repeat(400));
  make(layer, dir, 'open');
  remove(layer, dir, 'open');
}

/** A device in memory: a copy of it for each case costs next to nothing. */
class MemoryDevice implements Device {
  readonly #memory = ioBuffer(BYTES);
  constructor(readonly original: Buffer) {}

  get bytes(): Buffer {
    return Buffer.from(this.#memory.bytes.buffer, this.#memory.bytes.byteOffset, BYTES);
  }
  reset(): void {
    this.#memory.bytes.set(this.original);
  }
  read(address: number, bytes: number, offset: number): number {
    const there = Math.max(0, Math.min(bytes, BYTES - offset));
    copyBytes(address, this.#memory.address + offset, there);
    return there;
  }
  write(address: number, bytes: number, offset: number): number {
    const there = Math.max(0, Math.min(bytes, BYTES - offset));
    copyBytes(this.#memory.address + offset, address, there);
    return there;
  }
  flush(): number {
    return 0;
  }
  discard(): void {
    // What was discarded stays as it was.
  }
}

// Damage

function sumOf(block: Buffer, from: number): number {
  const copy = Buffer.from(block);
  return crc32(0, addressOf(copy) + from, BLOCK_BYTES - from);
}

/** Changes words of a block and repairs its checksum, if it has one. */
function damageBlock(image: Buffer, block: number, random: Random): void {
  const data = image.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
  const isPage = data.readUInt32LE(0) === PAGE_MAGIC;
  for (let changed = 1 + random.below(3); changed > 0; changed--)
    damageWord(data, isPage ? pageWord(data, random) : 2 + random.below(30), random);
  data.writeUInt32LE(sumOf(data, 8), 4);
}

function damageWord(data: Buffer, word: number, random: Random): void {
  const old = data.readUInt32LE(word * 4);
  if (random.below(6) === 0) data.writeUInt32LE(data.readUInt32LE(4 * (2 + random.below(1022))), word * 4);
  else data.writeUInt32LE(oddWord(random, old), word * 4);
}

/** Most of the time a word of a record, sometimes one of the header or the slots. */
function pageWord(data: Buffer, random: Random): number {
  const heap = Math.min(data.readUInt32LE(24), 1020);
  const slots = Math.min(data.readUInt16LE(20), 2000);
  switch (random.below(8)) {
    case 0:
      return 3 + random.below(5);
    case 1:
      return 8 + random.below(Math.max(1, slots >>> 1));
    default:
      return recordWord(data, heap, slots, random);
  }
}

/** A word of a record of the page: of its key, its length or its first fields. */
function recordWord(data: Buffer, heap: number, slots: number, random: Random): number {
  if (slots === 0) return heap;
  const record = data.readUInt16LE(32 + 2 * random.below(slots));
  return Math.min(1023, record + random.below(random.below(3) === 0 ? 36 : 8));
}

// Use

function tolerate(work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof LcfsError)) throw error;
  }
}

interface FoundFile {
  ino: Ino;
  kind: number;
  dir: Ino;
  name: string;
}

function filesOf(layer: LayerIndex): FoundFile[] {
  const found: FoundFile[] = [{ ino: ROOT, kind: 4, dir: 0, name: '' }];
  for (let i = 0; i < found.length && found.length < FILES_MAX; i++) {
    if (found[i]!.kind !== 4) continue;
    readDirectory(layer, found[i]!.ino, 0, 0, {
      entry(ino, kind, _hi, lo, bytes, at, length) {
        if (lo > 2) found.push({ ino, kind, dir: found[i]!.ino, name: Buffer.from(bytes.subarray(at, at + length)).toString() });
        return found.length < FILES_MAX;
      },
    });
  }
  return found;
}

function readFile(layer: LayerIndex, { ino }: FoundFile): void {
  getInode(layer, ino);
  const length = read(layer, ino, 0, 200_000, io, 0);
  assert.ok(length <= 200_000 && length > -512);
  read(layer, ino, 4097, 3, io, 0);
  const target = readLink(layer, ino, out, 0);
  assert.ok(target <= 4095 && target > -512);
  const names = listXattr(layer, ino, out, 0, 65_536);
  assert.ok(names <= 65_536 && names > -512);
  for (let i = 0; i < 4; i++) {
    const name = Buffer.from(`user.x${i}`);
    assert.ok(getXattr(layer, ino, name, 0, name.length, out, 0, 65_536) <= 65_536);
  }
  namesOf(layer, ino);
}

function readAll(): void {
  tolerate(() => {
    for (const { index, name, parent } of listLayers()) {
      for (const file of filesOf(index)) readFile(index, file);
      tolerate(() => void Array.from(changes(name, parent ?? null)));
      tolerate(() => drain(exportLayer(name, null)));
      tolerate(() => hasOriginal(name) && drain(exportOriginal(name)));
    }
  });
}

/** A file that says to have a size of petabytes is as long in an archive. */
const EXPORTED_MAX = 16 << 20;

function drain(archive: Iterable<Uint8Array>): void {
  let bytes = 0;
  for (const part of archive) if ((bytes += part.length) > EXPORTED_MAX) return;
}

function changeFile(layer: LayerIndex, { ino, dir, name, kind }: FoundFile, random: Random): void {
  const attribute = Buffer.from(`user.x${random.below(4)}`);
  switch (random.below(9)) {
    case 0:
      return void (kind === 4 ? removeDir(layer, dir, name) : remove(layer, dir, name));
    case 1:
      return void write(layer, ino, random.below(100_000), 1 + random.below(50_000), io, 0, 0);
    case 2:
      return void truncate(layer, ino, random.below(60_000), false);
    case 3:
      return void allocate(layer, ino, PUNCH_HOLE | KEEP_SIZE, random.below(50_000), 1 + random.below(50_000));
    case 4:
      return void move(layer, dir, name, ROOT, `moved${random.below(5)}`);
    case 5:
      return void setXattr(layer, ino, attribute, 0, attribute.length, out, 0, random.below(5000), 0, false);
    case 6:
      return void removeXattr(layer, ino, attribute, 0, attribute.length);
    case 7:
      return void linkTo(layer, ino, ROOT, `linked${random.below(5)}`);
    default:
      return void put(layer, make(layer, kind === 4 ? ino : ROOT, `new${random.below(20)}`), 0, Buffer.alloc(random.below(20_000), 'n'));
  }
}

function changeAll(random: Random): void {
  tolerate(() => void reapLeftOrphans());
  for (const name of ['clone', 'leaf', 'base']) {
    const layer = findLayer(name);
    if (layer < 0) continue;
    const files = filesOf(layer);
    for (let i = 0; i < 12; i++) changeFile(layer, random.pick(files), random);
  }
  tolerate(() => setProperty('image', 'long', 'y'.repeat(random.below(3000))));
  tolerate(() => void createLayer('more', { parent: random.pick(['leaf', 'image', 'clone']) }));
  tolerate(() => renameLayer('leaf', 'renamed'));
  tolerate(() => void checkpoint());
  for (const name of ['more', 'renamed', 'leaf', 'clone', 'base', 'image']) tolerate(() => removeLayer(name));
  reclaimAll();
  tolerate(() => void checkpoint());
}

function tryVolume(path: string, device: MemoryDevice, random: Random): void {
  try {
    openVolume(path, { ...CACHE, device });
  } catch (error) {
    if (error instanceof LcfsError) return;
    throw error;
  }
  try {
    checkVolume({ data: true });
    readAll();
    changeAll(random);
    readAll();
    checkVolume({ data: true });
  } finally {
    abandonVolume();
  }
}

/** Runs `use` on one damaged volume after the other. */
function withDamage(options: FuzzOptions, use: (path: string, device: MemoryDevice, random: Random) => void): Promise<FuzzFigures> {
  return withFolder((folder) => {
    const path = join(folder, 'volume');
    const blocks = makeVolume(path);
    const device = new MemoryDevice(readFileSync(path));
    const pages = blocks.filter((block) => device.original.readUInt32LE(block * BLOCK_BYTES) === PAGE_MAGIC);
    return runCases(options, (random) => {
      device.reset();
      for (let damaged = 1 + random.below(2); damaged > 0; damaged--)
        damageBlock(device.bytes, random.below(12) === 0 ? random.below(2) : random.pick(pages), random);
      use(path, device, random);
    });
  });
}

export function fuzzFormat(options: FuzzOptions): Promise<FuzzFigures> {
  return withDamage(options, tryVolume);
}

/** A repair comes to its end or refuses, and what it made can be used. It mends what cannot be read, not every lie that can. */
export function fuzzRepair(options: FuzzOptions): Promise<FuzzFigures> {
  return withDamage(options, (path, device, random) => {
    try {
      openVolume(path, { ...CACHE, device, forRepair: true });
    } catch (error) {
      if (error instanceof LcfsError) return;
      throw error;
    }
    try {
      repairVolume(true);
    } catch (error) {
      abandonVolume();
      if (error instanceof LcfsError) return;
      throw error;
    }
    closeVolume();
    openVolume(path, { ...CACHE, device });
    try {
      checkVolume({ data: true });
      readAll();
      changeAll(random);
      checkVolume({ data: true });
    } finally {
      abandonVolume();
    }
  });
}
