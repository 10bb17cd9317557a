import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { FilesFuzz } from '../../test/support/files-model.js';
import { DIRECTORY, ROOT, closeTestVolume, make, oneIn, openTestVolume, testVolumePath } from '../../test/support/files.js';
import { Random, assertSound } from '../../test/support/volume.js';
import type { LayerIndex } from '../layout/constants.js';
import { generation } from './arena.js';
import { checkpoint } from './checkpoint.js';
import { currentDevice, useDevice } from './device.js';
import { LcfsError } from './errors.js';
import { createLayer, listLayers, removeLayer, renameLayer, setQuota, updateLayer } from './layers.js';
import { createLogMemory, type LogMemory } from './log-memory.js';
import { reclaimStep } from './reclaim.js';
import { abandonVolume, currentVolume, openVolume, type VolumeHandle } from './volume.js';

const CACHE = { cacheBytes: 16 << 20 };

async function withLog(work: (log: LogMemory) => void | Promise<void>): Promise<void> {
  const log = createLogMemory();
  try {
    await work(log);
    closeTestVolume();
  } finally {
    closeSync(log.fd);
  }
}

/** What a process that takes over finds: nothing was written, closed or said good-bye to. */
function takeOver(log: LogMemory): VolumeHandle {
  abandonVolume();
  return openVolume(testVolumePath(), { ...CACHE, log, takeover: true });
}

/** Everything that is known of layers, but for what is counted in pages. */
function layersAsText(): string[] {
  return Array.from(listLayers(), (info) => JSON.stringify({ ...info, ownBytes: 0, holders: 0 })).toSorted();
}

/** Layers that come, change and go, beside the one that the model knows. */
function disturbLayers(random: Random): void {
  const name = `other${random.below(6)}`;
  try {
    switch (random.below(9)) {
      case 0:
      case 1:
        createLayer(name, {
          parent: oneIn(random, 2) ? `other${random.below(6)}` : undefined,
          properties: { made: 'x'.repeat(random.below(3000)) },
        });
        break;
      case 2:
        createLayer(name, { quotaBytes: random.below(1 << 30) });
        break;
      case 3:
        removeLayer(name);
        break;
      case 4:
        renameLayer(name, `other${random.below(6)}`);
        break;
      case 5:
        updateLayer(name, { seal: oneIn(random, 3), properties: { made: null, text: 'y'.repeat(random.below(20_000)) } });
        break;
      case 6:
        setQuota(name, random.below(1 << 30));
        break;
      default:
        reclaimStep();
    }
  } catch (error) {
    if (!(error instanceof LcfsError)) throw error;
  }
}

test('a takeover finds everything that was done, whatever was checkpointed before', async (t) => {
  const random = new Random();
  t.diagnostic(`LCFS_SEED=${random.seed}`);
  await withLog((log) => {
    let layer: LayerIndex = openTestVolume(256 << 20, { ...CACHE, log });
    let name = 'test';
    const fuzz = new FilesFuzz(() => layer, ROOT, random);
    for (let i = 0; i < 4000; i++) {
      fuzz.act();
      if (oneIn(random, 5)) disturbLayers(random);
      if (oneIn(random, 60)) checkpoint();
      if (oneIn(random, 400)) {
        const next = `clone${i}`;
        layer = createLayer(next, { parent: name });
        name = next;
      }
      if (!oneIn(random, 100)) continue;
      const layers = layersAsText();
      takeOver(log);
      assert.deepEqual(layersAsText(), layers);
      fuzz.verifyAll();
      assertSound();
    }
    fuzz.verifyAll();
  });
});

class Death extends Error {}

/**
 * Makes a checkpoint that ends before its write or flush number `steps`, after `work` was done in the next generation, if that
 * had begun; false if it had fewer.
 */
function dieInCheckpoint(steps: number, work: () => void): boolean {
  const device = currentDevice();
  const closed = generation();
  let left = steps;
  const step = (): void => {
    if (left-- !== 0) return;
    useDevice(device);
    if (generation() !== closed) work();
    throw new Death();
  };
  useDevice({
    ...device,
    write: (address, bytes, offset) => (step(), device.write(address, bytes, offset)),
    flush: () => (step(), device.flush()),
  });
  try {
    checkpoint();
  } catch (error) {
    if (!(error instanceof Death)) throw error;
    return true;
  } finally {
    useDevice(device);
  }
  return false;
}

test('a takeover from any moment of a checkpoint, with operations of the next generation', async (t) => {
  const random = new Random();
  t.diagnostic(`LCFS_SEED=${random.seed}`);
  await withLog((log) => {
    const layer = openTestVolume(256 << 20, { ...CACHE, log });
    const fuzz = new FilesFuzz(() => layer, ROOT, random);
    let deaths = 0;
    for (let round = 0; round < 60; round++) {
      for (let i = 0; i < 20; i++) fuzz.act();
      disturbLayers(random);
      const steps = random.below(14);
      let layers = layersAsText();
      const died = dieInCheckpoint(steps, () => {
        for (let i = 0; i < 5; i++) fuzz.act();
        layers = layersAsText();
      });
      if (!died) continue;
      deaths++;
      takeOver(log);
      assert.deepEqual(layersAsText(), layers);
      fuzz.verifyAll();
      assertSound();
    }
    assert.ok(deaths > 10, `${deaths} deaths`);
  });
});

/** What a thread gets: where to work, its seed, and how long between takeovers. */
export interface TakeoverTask {
  handle: VolumeHandle;
  layer: LayerIndex;
  root: number;
  seed: number;
  steps: number;
}

/** Resolves with the next message of a worker; rejects when it fails. */
function answer(worker: Worker): Promise<unknown> {
  return new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

test('a takeover from several threads that shared layers and volume', async (t) => {
  const { seed } = new Random();
  t.diagnostic(`LCFS_SEED=${seed}`);
  await withLog(async (log) => {
    const shared = openTestVolume(512 << 20, { ...CACHE, log });
    const own = createLayer('own');
    const handle = currentVolume();
    const places = [
      [shared, make(shared, ROOT, 'one', DIRECTORY)],
      [shared, make(shared, ROOT, 'two', DIRECTORY)],
      [own, ROOT],
    ] as const;
    const workers = places.map(([layer, root], i) => {
      const workerData: TakeoverTask = { handle, layer, root, seed: seed + i, steps: 250 };
      return new Worker(new URL('../../test/support/takeover-worker.js', import.meta.url), { workerData });
    });
    for (let round = 0; round < 5; round++) {
      const timer = setInterval(checkpoint, 15);
      await Promise.all(workers.map(answer));
      clearInterval(timer);
      const next = takeOver(log);
      assertSound();
      for (const worker of workers) worker.postMessage(next);
    }
    await Promise.all(workers.map(answer));
    await Promise.all(workers.map((worker) => worker.terminate()));
  });
});
