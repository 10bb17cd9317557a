/**
 * A device that fails while a volume is at work: reads, writes and flushes that end with an error, calls that do less than
 * asked, a device that is gone. Requests end with EIO or, once the volume is read-only, with EROFS; files show their own
 * contents or EIO; no checkpoint is acknowledged after the failure; and what a machine finds that starts anew is the last one
 * that was. The process goes on throughout: a test process that ends has failed.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, copyFileSync, mkdirSync, openSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { INODE } from '../../src/layout/constants.js';
import { W } from '../../src/layout/memory.js';
import { EIO, EROFS } from '../../src/linux/errno.js';
import { DEVICE_FAILED } from '../../src/engine/arena.js';
import { checkVolume } from '../../src/engine/check.js';
import { checkpoint } from '../../src/engine/checkpoint.js';
import { BlockError, LcfsError } from '../../src/engine/errors.js';
import { createLayer } from '../../src/engine/layers.js';
import { dropCleanPages } from '../../src/engine/pager.js';
import { abandon, beginWrite } from '../../src/engine/operation.js';
import { readOnlyReason } from '../../src/engine/read-only.js';
import { insert } from '../../src/engine/tree.js';
import { abandonVolume, closeVolume, formatVolume, openVolume, volumeInfo } from '../../src/engine/volume.js';
import { ENODEV, ENXIO, FailingDevice, type Fault } from '../support/failing-device.js';
import { ROOT, find, get, make, move, put, remove, stat } from '../support/files.js';
import { MIB, Random, assertSound, withFolder } from '../support/volume.js';

const CACHE = { cacheBytes: 4 * MIB };
const NAMES = 60;

function nameOf(i: number): string {
  return `file${i}`;
}

/** Contents that say whose they are. */
function contentsOf(i: number, version: number): Buffer {
  return Buffer.alloc(500 + i * 173, `${nameOf(i)} version ${version};`);
}

/** What the layer holds: the version of each file, and those of before that a write that failed may have left. */
class Life {
  readonly #random: Random;
  readonly #layer: number;
  readonly versions = new Map<number, number>();
  /** Files whose last change failed: their contents may be gone, or partly the new ones – and then are EIO. */
  readonly doubtful = new Set<number>();
  /** Files of which any change ever failed. */
  readonly failed = new Set<number>();
  #next = 1;

  constructor(layer: number, random: Random) {
    this.#layer = layer;
    this.#random = random;
  }

  /** One change. Returns its result. */
  step(): number {
    const i = this.#random.below(NAMES);
    const result = this.#random.below(5) === 0 ? this.#remove(i) : this.#write(i);
    if (result < 0) this.doubtful.add(i);
    if (result < 0) this.failed.add(i);
    return result;
  }

  #write(i: number): number {
    const found = find(this.#layer, ROOT, nameOf(i));
    if (found < 0 && this.versions.has(i)) return found;
    const ino = found > 0 ? found : make(this.#layer, ROOT, nameOf(i));
    if (ino < 0) return ino;
    const contents = contentsOf(i, this.#next);
    const written = put(this.#layer, ino, 0, contents);
    if (written < 0) return written;
    assert.equal(written, contents.length);
    this.versions.set(i, this.#next++);
    this.doubtful.delete(i);
    return 0;
  }

  #remove(i: number): number {
    if (!this.versions.has(i)) return 0;
    const result = remove(this.#layer, ROOT, nameOf(i));
    if (result >= 0) this.versions.delete(i);
    return result;
  }

  /** Reads everything: a file has the contents that it should have, or EIO. Returns how many have. */
  verify(versions = this.versions, doubtful = this.doubtful): number {
    let good = 0;
    for (const [i, version] of versions) {
      const ino = find(this.#layer, ROOT, nameOf(i));
      const contents = ino < 0 ? ino : get(this.#layer, ino, 0, 1 << 16);
      if (typeof contents === 'number') assert.equal(contents, -EIO, `answer ${contents} for ${nameOf(i)}`);
      else if (!doubtful.has(i)) assert.ok(contents.equals(contentsOf(i, version)), `${nameOf(i)} has foreign contents`);
      if (typeof contents !== 'number') good++;
    }
    return good;
  }
}

function acknowledges(): boolean {
  try {
    checkpoint();
    return true;
  } catch (error) {
    assert.ok(error instanceof LcfsError && error.code === 'io', String(error));
    return false;
  }
}

interface Acknowledged {
  generation: number;
  versions: Map<number, number>;
}

/** Lives until a while after the fault. Returns what was acknowledged last. */
function live(life: Life, random: Random, device: FailingDevice, fault: Fault, steps: number): Acknowledged {
  const acknowledged = { generation: volumeInfo().openedGeneration, versions: new Map<number, number>() };
  let failed = false;
  for (let i = 0; i < steps; i++) {
    if (i === Math.floor(steps / 3)) device.arm(fault);
    const result = life.step();
    assert.ok(result >= 0 || result === -EIO || result === -EROFS, `a change ended with ${result}`);
    if (W[DEVICE_FAILED] !== 0) assert.ok(result <= 0, 'changes are refused');
    if (random.below(8) === 0) dropCleanPages();
    if (random.below(10) > 0) continue;
    const done = acknowledges();
    assert.ok(!(failed && done), 'a checkpoint was acknowledged after one that failed');
    failed ||= !done;
    if (done) Object.assign(acknowledged, { generation: volumeInfo().generation - 1, versions: new Map(life.versions) });
    assert.equal(readOnlyReason() !== null, failed);
  }
  return acknowledged;
}

/** Opens what is on the medium and holds it against what was acknowledged. */
function examine(path: string, acknowledged: Acknowledged, doubtful: Set<number>, layer: number, random: Random): void {
  openVolume(path, CACHE);
  try {
    assert.ok(volumeInfo().openedGeneration >= acknowledged.generation, 'an acknowledged checkpoint is lost');
    // A write that fails while it overwrites a block leaves it torn: the writer was told, and the reader will be.
    const wrong = checkVolume({ data: true }).errors.filter((error) => doubtful.size === 0 || !error.includes('wrong checksum'));
    assert.deepEqual(wrong, []);
    if (volumeInfo().openedGeneration !== acknowledged.generation) return;
    const good = new Life(layer, random).verify(acknowledged.versions, doubtful);
    assert.ok(good >= acknowledged.versions.size - doubtful.size, `${good} of ${acknowledged.versions.size} files`);
  } finally {
    closeVolume();
  }
}

const ROUNDS = Number(process.env['LCFS_DEVICE_ROUNDS'] ?? 40);

function randomFault(random: Random): Fault {
  const call = random.pick(['read', 'write', 'flush'] as const);
  const after = random.below(call === 'flush' ? 6 : 60);
  const errno = random.pick([EIO, ENODEV, ENXIO]);
  return random.below(3) === 0
    ? { call, after, errno, times: Infinity, vanishes: true }
    : { call, after, errno, times: 1 + random.below(3) };
}

test('whatever call of the device fails, nothing is wrong, and nothing acknowledged is lost', async () => {
  const random = new Random();
  console.log(`# seed ${random.seed}`);
  let failures = 0;
  let readOnly = 0;
  await withFolder((folder) => {
    const empty = join(folder, 'empty');
    formatVolume(empty, { bytes: 16 * MIB });
    for (let round = 0; round < ROUNDS; round++) {
      const path = join(folder, 'volume');
      copyFileSync(empty, path);
      const fd = openSync(path, 'r+');
      const device = new FailingDevice(fd, random);
      device.isShort = random.below(2) === 0;
      openVolume(path, { ...CACHE, device });
      const layer = createLayer('layer');
      const life = new Life(layer, random);
      const acknowledged = live(life, random, device, randomFault(random), 150);
      failures += device.failures;
      if (readOnlyReason() !== null) readOnly++;
      life.verify();
      abandonVolume();
      closeSync(fd);
      examine(path, acknowledged, life.failed, layer, random);
    }
  });
  assert.ok(failures > ROUNDS / 2 && readOnly > 0, `${failures} failures, ${readOnly} volumes became read-only`);
});

test('a volume that became read-only refuses changes, serves what it has, and closes with an error', async () => {
  await withFolder((folder) => {
    const path = join(folder, 'volume');
    formatVolume(path, { bytes: 16 * MIB });
    const fd = openSync(path, 'r+');
    const device = new FailingDevice(fd, new Random());
    openVolume(path, { ...CACHE, device });
    const layer = createLayer('layer');
    const ino = make(layer, ROOT, 'file');
    put(layer, ino, 0, Buffer.from('contents'));
    device.arm({ call: 'flush', after: 0, errno: EIO, times: 1 });
    assert.equal(acknowledges(), false);
    assert.equal(acknowledges(), false, 'the next flush would succeed');
    assert.equal(readOnlyReason(), 'a checkpoint could not be written');
    assert.equal(put(layer, ino, 0, Buffer.from('other')), -EROFS);
    assert.equal(make(layer, ROOT, 'new'), -EROFS);
    assert.equal(move(layer, ROOT, 'file', ROOT, 'moved'), -EROFS);
    assert.throws(() => createLayer('another'), { code: 'io' });
    assert.equal(stat(layer, ino).size, 8);
    assert.throws(() => closeVolume(), { code: 'io' });
    closeSync(fd);
  });
});

/** What an operation does that meets an unreadable page after its first change. */
function cutOff(layer: number): void {
  assert.equal(beginWrite(layer, 0, 2), 0);
  insert(77, INODE, 0, 0, 8);
  assert.equal(abandon(new BlockError(1234, 'reading block 1234 failed (errno 5)')), -EIO);
}

test('a change that is cut off half-way closes its layer, not the volume', async () => {
  await withFolder((folder) => {
    const path = join(folder, 'volume');
    formatVolume(path, { bytes: 16 * MIB });
    openVolume(path, CACHE);
    const other = createLayer('other');
    put(other, make(other, ROOT, 'file'), 0, Buffer.from('contents'));
    const layer = createLayer('layer');
    put(layer, make(layer, ROOT, 'file'), 0, Buffer.from('contents'));
    checkpoint();
    cutOff(layer);
    assert.equal(find(layer, ROOT, 'file'), -EIO);
    assert.equal(make(layer, ROOT, 'new'), -EROFS);
    assert.deepEqual(get(other, find(other, ROOT, 'file'), 0, 100), Buffer.from('contents'));
    assert.equal(acknowledges(), false);
    abandonVolume();
    openVolume(path, CACHE);
    assertSound();
    assert.deepEqual(get(layer, find(layer, ROOT, 'file'), 0, 100), Buffer.from('contents'));
    closeVolume();
  });
});

/** Runs with a small file system in memory mounted on a folder. */
async function withSmallFileSystem(bytes: number, work: (folder: string) => void): Promise<void> {
  await withFolder((folder) => {
    const mounted = join(folder, 'small');
    mkdirSync(mounted);
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', mounted]);
    try {
      work(mounted);
    } finally {
      execFileSync('umount', [mounted]);
    }
  });
}

/** Writes until the first error; returns it and the files that were written. */
function writeUntilError(layer: number, from: number): { error: number; files: number } {
  for (let i = from; i < 4000; i++) {
    const ino = make(layer, ROOT, `big${i}`);
    const written = ino < 0 ? ino : put(layer, ino, 0, Buffer.alloc(65_536, `${i};`));
    if (written < 0) return { error: written, files: i };
  }
  return { error: 0, files: 4000 };
}

test('a volume file on a file system that is full gives errors, and keeps what it has', async () => {
  await withSmallFileSystem(8 * MIB, (folder) => {
    const path = join(folder, 'volume');
    formatVolume(path, { bytes: 64 * MIB });
    openVolume(path, CACHE);
    const layer = createLayer('layer');
    const { error, files } = writeUntilError(layer, 0);
    assert.ok(error === -EIO || error === -EROFS, String(error));
    assert.ok(files > 20, `${files} files were written`);
    for (let i = 0; i < files; i++)
      assert.deepEqual(get(layer, find(layer, ROOT, `big${i}`), 0, 65_536), Buffer.alloc(65_536, `${i};`), `file ${i}`);
    acknowledges();
    abandonVolume();
    openVolume(path, { ...CACHE, readOnly: true });
    assertSound();
    abandonVolume();
  });
});

function attachLoop(path: string): string {
  return execFileSync('losetup', ['--find', '--show', path], { encoding: 'utf8' }).trim();
}

test('what the kernel cannot write out is reported by the checkpoint, and by each one after it', async () => {
  await withSmallFileSystem(8 * MIB, (folder) => {
    const file = join(folder, 'volume');
    formatVolume(file, { bytes: 64 * MIB });
    const loop = attachLoop(file);
    try {
      openVolume(loop, CACHE);
      const layer = createLayer('layer');
      put(layer, make(layer, ROOT, 'early'), 0, Buffer.from('early contents'));
      assert.ok(acknowledges());
      writeUntilError(layer, 3600); // 25 MB, which the kernel takes and has no place for
      assert.equal(acknowledges(), false);
      assert.equal(acknowledges(), false);
      assert.equal(make(layer, ROOT, 'late'), -EROFS);
      assert.deepEqual(get(layer, find(layer, ROOT, 'early'), 0, 100), Buffer.from('early contents'));
      abandonVolume();
      openVolume(loop, { ...CACHE, readOnly: true });
      assertSound();
      assert.deepEqual(get(layer, find(layer, ROOT, 'early'), 0, 100), Buffer.from('early contents'));
      assert.ok(find(layer, ROOT, 'big3600') < 0);
      abandonVolume();
    } finally {
      execFileSync('losetup', ['--detach', loop]);
    }
  });
});

test('a device that shrinks under a volume gives EIO for what is gone and serves the rest', async () => {
  await withFolder((folder) => {
    const file = join(folder, 'volume');
    formatVolume(file, { bytes: 32 * MIB });
    openVolume(file, CACHE);
    const layer = createLayer('layer');
    for (let i = 0; i < 100; i++) put(layer, make(layer, ROOT, `big${i}`), 0, Buffer.alloc(65_536, `${i};`));
    assert.ok(acknowledges());
    truncateSync(file, 19 * MIB);
    dropCleanPages();
    let lost = 0;
    for (let i = 0; i < 100; i++) {
      const ino = find(layer, ROOT, `big${i}`);
      const contents = ino < 0 ? ino : get(layer, ino, 0, 65_536);
      if (typeof contents === 'number') assert.equal(contents, -EIO);
      else assert.deepEqual(contents, Buffer.alloc(65_536, `${i};`));
      if (typeof contents === 'number') lost++;
    }
    assert.ok(lost > 0 && lost < 100, `${lost} files are lost`);
    abandonVolume();
    assert.throws(() => openVolume(file, CACHE), { code: 'corrupt' });
  });
});
