/**
 * One of several threads that work on a volume at the same time, as told by workerData: in a layer of its own, whose
 * contents it knows exactly, in a layer that all share, and with clones that come and go.
 */
import assert from 'node:assert/strict';
import { parentPort, workerData } from 'node:worker_threads';
import { checkpoint } from '../../src/engine/checkpoint.js';
import { diffLayers } from '../../src/engine/diff.js';
import { LcfsError } from '../../src/engine/errors.js';
import { read, write } from '../../src/engine/file.js';
import { createLayer, findLayer, layerInfo, removeLayer } from '../../src/engine/layers.js';
import { runMaintenance } from '../../src/engine/maintenance.js';
import { create, link, lookup, reapOrphan, rename, unlink } from '../../src/engine/namespace.js';
import { attachVolume, type VolumeHandle } from '../../src/engine/volume.js';
import { ROOT_INO } from '../../src/layout/constants.js';
import { ioBuffer } from '../../src/linux/libc.js';
import { Random } from '../support/volume.js';

interface Job {
  handle: VolumeHandle;
  role: 'work' | 'maintain';
  number: number;
  seed: number;
  steps: number;
}

const job = workerData as Job;
const random = new Random(job.seed);
const io = ioBuffer(1 << 17);
const back = ioBuffer(1 << 17);

function nameOf(i: number): Buffer {
  return Buffer.from(`name${i}`);
}

/** A file of the thread's own layer: what it must hold. */
const model = new Map<number, Buffer>();

function inOwnLayer(layer: number): void {
  const i = random.below(200);
  const file = nameOf(i);
  const expected = model.get(i);
  if (expected === undefined) {
    const ino = create(layer, ROOT_INO, file, 0, file.length, 0o100644, 0, 0, 0, 0);
    assert.ok(ino > 0, `create: ${ino}`);
    const data = Buffer.alloc(1 + random.below(20_000), random.below(255) + 1);
    io.bytes.set(data);
    assert.equal(write(layer, ino, 0, data.length, io, 0, 0), data.length);
    model.set(i, data);
    return;
  }
  const ino = lookup(layer, ROOT_INO, file, 0, file.length);
  assert.ok(ino > 0, `lookup: ${ino}`);
  if (random.below(3) > 0) {
    assert.equal(read(layer, ino, 0, 1 << 17, back, 0), expected.length);
    assert.ok(expected.equals(back.bytes.subarray(0, expected.length)), `contents of ${file.toString()}`);
  } else {
    assert.equal(unlink(layer, ROOT_INO, file, 0, file.length), 0);
    reapOrphan(layer, ino);
    model.delete(i);
  }
}

/** In the shared layer anything may happen in between; only sound answers are expected. */
function inSharedLayer(layer: number): void {
  const [a, b] = [nameOf(random.below(30)), nameOf(random.below(30))];
  const ino = lookup(layer, ROOT_INO, a, 0, a.length);
  switch (random.below(5)) {
    case 0:
      create(layer, ROOT_INO, a, 0, a.length, 0o100644, 0, 0, 0, 0);
      break;
    case 1:
      if (ino > 0) write(layer, ino, random.below(50_000), 1 + random.below(10_000), io, 0, 0);
      break;
    case 2:
      rename(layer, ROOT_INO, a, 0, a.length, ROOT_INO, b, 0, b.length, 0);
      break;
    case 3:
      if (ino > 0) link(layer, ino, ROOT_INO, b, 0, b.length);
      break;
    case 4:
      unlink(layer, ROOT_INO, a, 0, a.length);
  }
}

/** Clones and removals may meet what another thread just did; they must say so in a proper way. */
function withClones(): void {
  const mine = `clone${job.number}-${random.below(5)}`;
  try {
    if (findLayer(mine) >= 0) {
      if (random.below(2) === 0) removeLayer(mine);
      else assert.ok(Array.from(diffLayers(mine, layerInfo(mine).parent!)).length >= 0);
    } else {
      const layer = createLayer(mine, { parent: random.below(2) === 0 ? 'base' : `clone${random.below(4)}-${random.below(5)}` });
      for (let i = 0; i < 5; i++) inSharedLayer(layer);
    }
  } catch (error) {
    if (!(error instanceof LcfsError) || !['not-found', 'exists', 'busy'].includes(error.code)) throw error;
  }
}

function work(): void {
  const own = createLayer(`own${job.number}`);
  const shared = findLayer('shared');
  for (let i = 0; i < job.steps; i++) {
    const dice = random.below(20);
    if (dice < 12) inOwnLayer(own);
    else if (dice < 18) inSharedLayer(shared);
    else if (dice < 19) withClones();
    else if (random.below(10) === 0) checkpoint();
  }
}

attachVolume(job.handle);
if (job.role === 'maintain') runMaintenance();
else work();
parentPort!.postMessage('done');
