import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { DISTURBED, clearDisturbed, disturb } from '../../test/support/disturb.js';
import { FilesFuzz } from '../../test/support/files-model.js';
import { DIRECTORY, ROOT, closeTestVolume, make, oneIn, openTestVolume, testVolumePath } from '../../test/support/files.js';
import { Random, assertSound } from '../../test/support/volume.js';
import type { LayerIndex } from '../layout/constants.js';
import { ENOSPC } from '../linux/errno.js';
import { checkpoint } from './checkpoint.js';
import { createLayer, findLayer } from './layers.js';
import { reapAllOrphans } from './namespace.js';
import { closeVolume, currentVolume, openVolume } from './volume.js';

afterEach(() => closeTestVolume());

test('random operations on one thread, with checkpoints, clones and reopening', (t) => {
  const random = new Random();
  t.diagnostic(`LCFS_SEED=${random.seed}`);
  let layer: LayerIndex = openTestVolume(256 << 20);
  let name = 'test';
  const fuzz = new FilesFuzz(() => layer, ROOT, random);
  for (let i = 0; i < 6000; i++) {
    fuzz.act();
    if (oneIn(random, 50)) checkpoint();
    if (oneIn(random, 400)) {
      const next = `clone${i}`;
      layer = createLayer(next, { parent: name });
      name = next;
    }
    if (oneIn(random, 600)) {
      fuzz.verifyAll();
      assertSound();
    }
    if (oneIn(random, 1000)) {
      closeVolume();
      openVolume(testVolumePath(), { cacheBytes: 16 << 20 });
      assert.equal(findLayer(name), layer);
      assert.ok(reapAllOrphans(layer) >= 0);
      fuzz.forgetAll();
      fuzz.verifyAll();
    }
  }
  fuzz.verifyAll();
});

test('a volume that is full most of the time refuses, keeps what it has, and gives space back', (t) => {
  const random = new Random();
  t.diagnostic(`LCFS_SEED=${random.seed}`);
  let layer = openTestVolume(6 << 20);
  let full = 0;
  for (let i = 0; i < 4000; i++) {
    const result = disturb(layer, random);
    assert.ok(result >= 0 || DISTURBED.includes(-result), `unexpected error ${result}`);
    if (result === -ENOSPC) full++;
    if (i === 2000) layer = createLayer('clone', { parent: 'test' });
    if (i % 500 === 0) assertSound();
  }
  assert.ok(full > 40, `the volume was full ${full} times`);
  assert.equal(clearDisturbed(layer), 0, 'even then everything can be removed');
});

/** What a worker gets: where to work, how, and its seed. */
export interface FuzzTask {
  handle: ReturnType<typeof currentVolume>;
  layer: LayerIndex;
  root: number;
  seed: number;
  steps: number;
  /** With the model, in a directory of its own; or without, on names that all threads use. */
  compares: boolean;
}

function work(task: FuzzTask): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('../../test/support/files-worker.js', import.meta.url), { workerData: task });
    worker.on('error', reject);
    worker.on('exit', (code) => (code === 0 ? resolve() : reject(new Error(`worker ended with code ${code}`))));
  });
}

/** Runs all of them to their ends, with checkpoints all the time. */
async function workAll(tasks: readonly FuzzTask[]): Promise<void> {
  const timer = setInterval(checkpoint, 20);
  const results = await Promise.allSettled(tasks.map(work));
  clearInterval(timer);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

test('random operations of several threads, on one layer and on others, during checkpoints', async (t) => {
  const { seed } = new Random();
  t.diagnostic(`LCFS_SEED=${seed}`);
  const shared = openTestVolume(512 << 20);
  const own = createLayer('own');
  const handle = currentVolume();
  const places = [
    [shared, make(shared, ROOT, 'one', DIRECTORY)],
    [shared, make(shared, ROOT, 'two', DIRECTORY)],
    [shared, make(shared, ROOT, 'three', DIRECTORY)],
    [own, ROOT],
  ] as const;
  await workAll(places.map(([layer, root], i) => ({ handle, layer, root, seed: seed + i, steps: 1500, compares: true })));
});

test('several threads on the same names and files, on a volume that is often full', async (t) => {
  const { seed } = new Random();
  t.diagnostic(`LCFS_SEED=${seed}`);
  const layer = openTestVolume(8 << 20);
  const handle = currentVolume();
  await workAll([1, 2, 3, 4].map((i) => ({ handle, layer, root: ROOT, seed: seed + i, steps: 2000, compares: false })));
  assertSound();
  assert.equal(clearDisturbed(layer), 0);
  assert.equal(reapAllOrphans(layer), 0);
});
