/** Threads that work on the same volume for real, with a small cache, so that pages come and go under them. */
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { createLayer, listLayers } from '../../src/engine/layers.js';
import { reclaimAll, setSyncInterval, stopMaintenance } from '../../src/engine/maintenance.js';
import { reapAllOrphans } from '../../src/engine/namespace.js';
import type { VolumeHandle } from '../../src/engine/volume.js';
import { MIB, Random, withVolume } from '../support/volume.js';

const THREADS = 4;
const STEPS = Number(process.env['LCFS_THREAD_STEPS'] ?? 4000);

function start(handle: VolumeHandle, role: 'work' | 'maintain', number: number, seed: number): Promise<unknown> {
  const worker = new Worker(new URL('./worker.js', import.meta.url), { workerData: { handle, role, number, seed, steps: STEPS } });
  return Promise.race([
    once(worker, 'exit').then(([code]) => {
      if (code !== 0) throw new Error(`thread ${number} ended with ${code}`);
    }),
    once(worker, 'error').then(([error]) => {
      throw error;
    }),
  ]);
}

test('four threads, maintenance and clones at the same time', { timeout: 300_000 }, async () => {
  const random = new Random();
  console.log(`# seed ${random.seed}`);
  await withVolume(
    256 * MIB,
    async (handle) => {
      createLayer('base');
      createLayer('shared');
      setSyncInterval(0.1);
      const maintenance = start(handle, 'maintain', THREADS, 1);
      try {
        await Promise.all(Array.from({ length: THREADS }, (_, i) => start(handle, 'work', i, random.next())));
      } finally {
        stopMaintenance();
        await maintenance;
      }
      for (const layer of listLayers()) if (layer.state === 'writable') reapAllOrphans(layer.index);
      reclaimAll();
    },
    4 * MIB,
  );
});
