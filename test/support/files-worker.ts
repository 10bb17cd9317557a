/** A thread of files.fuzz.test.ts: attaches to the volume and compares its part of a layer with the model. */
import { workerData } from 'node:worker_threads';
import type { FuzzTask } from '../../src/engine/files.fuzz.test.js';
import { FilesFuzz } from './files-model.js';
import { Random } from './volume.js';
import { attachVolume } from '../../src/engine/volume.js';

const task = workerData as FuzzTask;
attachVolume(task.handle);
const fuzz = new FilesFuzz(() => task.layer, task.root, new Random(task.seed));
for (let i = 0; i < task.steps; i++) {
  fuzz.act();
  if (i % 500 === 0) fuzz.verifyAll();
}
fuzz.verifyAll();
