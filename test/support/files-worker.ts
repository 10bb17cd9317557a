/** A thread of files.fuzz.test.ts: attaches to the volume and works on its part of a layer, or on everybody's. */
import assert from 'node:assert/strict';
import { workerData } from 'node:worker_threads';
import type { FuzzTask } from '../../src/engine/files.fuzz.test.js';
import { attachVolume } from '../../src/engine/volume.js';
import { DISTURBED, disturb } from './disturb.js';
import { FilesFuzz } from './files-model.js';
import { Random } from './volume.js';

function compare({ layer, root, seed, steps }: FuzzTask): void {
  const fuzz = new FilesFuzz(() => layer, root, new Random(seed));
  for (let i = 0; i < steps; i++) {
    fuzz.act();
    if (i % 500 === 0) fuzz.verifyAll();
  }
  fuzz.verifyAll();
}

function contend({ layer, seed, steps }: FuzzTask): void {
  const random = new Random(seed);
  for (let i = 0; i < steps; i++) {
    const result = disturb(layer, random);
    assert.ok(result >= 0 || DISTURBED.includes(-result), `unexpected error ${result}`);
  }
}

const task = workerData as FuzzTask;
attachVolume(task.handle);
if (task.compares) compare(task);
else contend(task);
