/** Volumes for tests: a temporary file, formatted, opened, proved by check and removed at the end. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkVolume } from '../../src/engine/check.js';
import { strangeFrees } from '../../src/engine/space.js';
import { closeVolume, formatVolume, openVolume, type VolumeHandle } from '../../src/engine/volume.js';

export const MIB = 1 << 20;

/** Makes a folder for a test and removes it afterwards, whatever happens. */
export async function withFolder<T>(work: (folder: string) => T | Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'lcfs-test-'));
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Runs on a new volume of `bytes` bytes, checks it, closes it, opens it again and checks it once more. */
export function withVolume<T>(bytes: number, work: (handle: VolumeHandle) => T | Promise<T>, cacheBytes = 16 * MIB): Promise<T> {
  return withFolder(async (folder) => {
    const path = join(folder, 'volume');
    formatVolume(path, { bytes });
    const result = await run(path, work, cacheBytes);
    await run(path, () => undefined, cacheBytes);
    return result;
  });
}

async function run<T>(path: string, work: (handle: VolumeHandle) => T | Promise<T>, cacheBytes: number): Promise<T> {
  const handle = openVolume(path, { cacheBytes });
  try {
    const result = await work(handle);
    assertSound();
    return result;
  } finally {
    closeVolume();
  }
}

/** Fails with everything that check finds wrong, and if something was freed that was not in use (S2). */
export function assertSound(): void {
  assert.equal(strangeFrees, 0, 'blocks freed that were not in use');
  assert.deepEqual(checkVolume({ data: true }).errors, []);
}

/** A small reproducible generator of random numbers (xorshift32); prints its seed when asked for one of its own. */
export class Random {
  #state: number;
  readonly seed: number;
  constructor(seed = Number(process.env['LCFS_SEED'] ?? Math.floor(Math.random() * 0x7fff_ffff) + 1)) {
    this.seed = seed;
    this.#state = seed || 1;
  }
  next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x >>> 0;
    return this.#state;
  }
  /** A whole number from 0 to `count` - 1. */
  below(count: number): number {
    return this.next() % count;
  }
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
}
