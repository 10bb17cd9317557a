/**
 * Random operations of several threads on a mount whose caches are emptied all the time: whatever a request needs has to come
 * from the device, while others change what it will find. Each thread compares its folder with a model.
 */
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Worker } from 'node:worker_threads';
import { Random } from '../support/volume.js';
import type { ColdTask } from './cold-worker.js';
import { Mounted, TRANSPORTS, cannotMount } from './mounted.js';

const THREADS = 4;
const STEPS = 1500;

function work(task: ColdTask): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./cold-worker.js', import.meta.url), { workerData: task });
    worker.on('error', reject);
    worker.on('exit', (code) => (code === 0 ? resolve() : reject(new Error(`worker ended with code ${code}`))));
  });
}

for (const transport of TRANSPORTS)
  describe(`random operations on cold caches over ${transport}`, { skip: cannotMount }, () => {
    let mounted: Mounted;
    before(async () => {
      mounted = await new Mounted(transport, { cacheBytes: 4 << 20 }).ready();
    });
    after(() => mounted.end());

    it('end as they should', async (t) => {
      const { seed } = new Random();
      t.diagnostic(`LCFS_SEED=${seed}`);
      const state = { isDone: false };
      const cooling = (async () => {
        while (!state.isDone) await mounted.must({ order: 'cool' });
      })();
      const tasks = Array.from({ length: THREADS }, (_, i) => ({
        folder: join(mounted.global, `thread${i}`),
        seed: seed + i,
        steps: STEPS,
      }));
      const results = await Promise.allSettled(tasks.map(work));
      state.isDone = true;
      await cooling;
      for (const result of results) if (result.status === 'rejected') throw result.reason;
      await mounted.prove();
    });
  });
