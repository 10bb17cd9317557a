/**
 * A volume at work on a device that fails (failing-device.ts), in rounds: requests end with EIO or, once the volume is read-only,
 * with EROFS; files show their own contents or EIO; no checkpoint is acknowledged after the failure; and what a machine finds
 * that starts anew is the last one that was. A process that ends has failed.
 */
import assert from 'node:assert/strict';
import { closeSync, copyFileSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { W } from '../../src/layout/memory.js';
import { EIO, EROFS } from '../../src/linux/errno.js';
import { DEVICE_FAILED } from '../../src/engine/arena.js';
import { checkVolume } from '../../src/engine/check.js';
import { checkpoint } from '../../src/engine/checkpoint.js';
import { LcfsError } from '../../src/engine/errors.js';
import { createLayer } from '../../src/engine/layers.js';
import { dropCleanPages } from '../../src/engine/pager.js';
import { readOnlyReason } from '../../src/engine/read-only.js';
import { abandonVolume, closeVolume, formatVolume, openVolume, volumeInfo } from '../../src/engine/volume.js';
import { ENODEV, ENXIO, FailingDevice, type Fault } from './failing-device.js';
import { ROOT, find, get, make, put, remove } from './files.js';
import { MIB, Random } from './volume.js';

const CACHE = { cacheBytes: 4 * MIB };
const NAMES = 60;
/** Changes of a round; the fault comes after a third of them. */
const STEPS = 150;

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

/** Whether a checkpoint is acknowledged. */
export function acknowledges(): boolean {
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

function randomFault(random: Random): Fault {
  const call = random.pick(['read', 'write', 'flush'] as const);
  const after = random.below(call === 'flush' ? 6 : 60);
  const errno = random.pick([EIO, ENODEV, ENXIO]);
  return random.below(3) === 0
    ? { call, after, errno, times: Infinity, vanishes: true }
    : { call, after, errno, times: 1 + random.below(3) };
}

export interface FaultFigures {
  rounds: number;
  /** Calls of the device that failed. */
  failures: number;
  /** Volumes that became read-only. */
  readOnly: number;
}

/** Runs so many rounds in a folder. Throws what is wrong. */
export function deviceFaultRounds(folder: string, seed: number, rounds: number): FaultFigures {
  const random = new Random(seed);
  const figures = { rounds, failures: 0, readOnly: 0 };
  const empty = join(folder, 'empty');
  formatVolume(empty, { bytes: 16 * MIB, force: true });
  for (let round = 0; round < rounds; round++) {
    const fault = randomFault(random);
    try {
      oneRound(folder, empty, fault, random, figures);
    } catch (error) {
      throw new Error(`seed ${seed}, round ${round}, ${JSON.stringify(fault)}: ${(error as Error).message}`, { cause: error });
    }
  }
  return figures;
}

function oneRound(folder: string, empty: string, fault: Fault, random: Random, figures: FaultFigures): void {
  const path = join(folder, 'volume');
  copyFileSync(empty, path);
  const fd = openSync(path, 'r+');
  const device = new FailingDevice(fd, random);
  device.isShort = random.below(2) === 0;
  openVolume(path, { ...CACHE, device });
  const layer = createLayer('layer');
  const life = new Life(layer, random);
  const acknowledged = live(life, random, device, fault, STEPS);
  figures.failures += device.failures;
  if (readOnlyReason() !== null) figures.readOnly++;
  life.verify();
  abandonVolume();
  closeSync(fd);
  examine(path, acknowledged, life.failed, layer, random);
}
