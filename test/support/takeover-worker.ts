/** A thread of takeover.fuzz.test.ts: works on its part of a layer, and goes on with what it knows when the volume was taken over. */
import { parentPort, workerData } from 'node:worker_threads';
import type { TakeoverTask } from '../../src/engine/takeover.fuzz.test.js';
import { attachVolume, type VolumeHandle } from '../../src/engine/volume.js';
import { FilesFuzz } from './files-model.js';
import { Random } from './volume.js';

const { handle, layer, root, seed, steps } = workerData as TakeoverTask;
attachVolume(handle);
const fuzz = new FilesFuzz(() => layer, root, new Random(seed));

function work(): void {
  for (let i = 0; i < steps; i++) fuzz.act();
  parentPort!.postMessage('done');
}

parentPort!.on('message', (next: VolumeHandle) => {
  attachVolume(next);
  fuzz.verifyAll();
  work();
});
work();
