import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import type { LayerIndex } from '../layout/constants.js';
import { checkpoint } from './checkpoint.js';
import { FilesFuzz } from './files.model.js';
import { createLayer, findLayer } from './layers.js';
import { reapAllOrphans } from './namespace.js';
import { Chance, DIRECTORY, ROOT, closeTestVolume, make, openTestVolume, proveVolume, seedOfRun, testVolumePath } from './testing.js';
import { closeVolume, currentVolume, openVolume } from './volume.js';

afterEach(() => closeTestVolume());

test('random operations on one thread, with checkpoints, clones and reopening', (t) => {
  const seed = seedOfRun();
  t.diagnostic(`LCFS_SEED=${seed}`);
  const chance = new Chance(seed);
  let layer: LayerIndex = openTestVolume(256 << 20);
  let name = 'test';
  const fuzz = new FilesFuzz(() => layer, ROOT, chance);
  for (let i = 0; i < 6000; i++) {
    fuzz.act();
    if (chance.oneIn(50)) checkpoint();
    if (chance.oneIn(400)) {
      const next = `clone${i}`;
      layer = createLayer(next, { parent: name });
      name = next;
    }
    if (chance.oneIn(600)) {
      fuzz.verifyAll();
      proveVolume();
    }
    if (chance.oneIn(1000)) {
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

/** What a worker gets: where to work, and its seed. */
export interface FuzzTask {
  handle: ReturnType<typeof currentVolume>;
  layer: LayerIndex;
  root: number;
  seed: number;
  steps: number;
}

function work(task: FuzzTask): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./files-fuzz-worker.js', import.meta.url), { workerData: task });
    worker.on('error', reject);
    worker.on('exit', (code) => (code === 0 ? resolve() : reject(new Error(`worker ended with code ${code}`))));
  });
}

test('random operations of several threads, on one layer and on others, during checkpoints', async (t) => {
  const seed = seedOfRun();
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
  const workers = places.map(([layer, root], i) => work({ handle, layer, root, seed: seed + i, steps: 1500 }));
  let isDone = false;
  const all = Promise.all(workers).finally(() => (isDone = true));
  while (!isDone) {
    checkpoint();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await all;
});
