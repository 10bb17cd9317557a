import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import type { LayerIndex } from '../layout/constants.js';
import { EEXIST, EISDIR, ENODATA, ENOENT, ENOSPC } from '../linux/errno.js';
import { checkpoint } from './checkpoint.js';
import { KEEP_SIZE, PUNCH_HOLE, allocate, truncate } from './file.js';
import { FilesFuzz } from '../../test/support/files-model.js';
import { createLayer, findLayer } from './layers.js';
import { RENAME_EXCHANGE, lastUnlinkedIno, reapAllOrphans, reapOrphan } from './namespace.js';
import {
  DIRECTORY,
  ROOT,
  bytesOf,
  closeTestVolume,
  make,
  move,
  oneIn,
  openTestVolume,
  put,
  randomBytes,
  remove,
  testVolumePath,
} from '../../test/support/files.js';
import { Random, assertSound } from '../../test/support/volume.js';
import { closeVolume, currentVolume, openVolume } from './volume.js';
import { removeXattr, setXattr } from './xattr.js';

afterEach(() => closeTestVolume());

test('random operations on one thread, with checkpoints, clones and reopening', (t) => {
  const chance = new Random();
  t.diagnostic(`LCFS_SEED=${chance.seed}`);
  let layer: LayerIndex = openTestVolume(256 << 20);
  let name = 'test';
  const fuzz = new FilesFuzz(() => layer, ROOT, chance);
  for (let i = 0; i < 6000; i++) {
    fuzz.act();
    if (oneIn(chance, 50)) checkpoint();
    if (oneIn(chance, 400)) {
      const next = `clone${i}`;
      layer = createLayer(next, { parent: name });
      name = next;
    }
    if (oneIn(chance, 600)) {
      fuzz.verifyAll();
      assertSound();
    }
    if (oneIn(chance, 1000)) {
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

/** Something that takes or gives space; the result of the engine. */
function disturb(layer: LayerIndex, chance: Random, inos: number[]): number {
  const name = `name${chance.below(40)}`;
  const ino = inos.length === 0 ? ROOT : chance.pick(inos);
  const bytes = bytesOf(`user.${name}`);
  switch (chance.below(9)) {
    case 0: {
      const made = make(layer, ROOT, name);
      if (made > 0) inos.push(made);
      return made;
    }
    case 1: {
      const removed = remove(layer, ROOT, name);
      if (removed < 0) return removed;
      inos.splice(inos.indexOf(lastUnlinkedIno), 1);
      return reapOrphan(layer, lastUnlinkedIno);
    }
    case 2:
      return move(layer, ROOT, name, ROOT, `name${chance.below(40)}`, RENAME_EXCHANGE);
    case 3:
      return truncate(layer, ino, chance.below(1_000_000), false);
    case 4:
      return allocate(layer, ino, PUNCH_HOLE | KEEP_SIZE, chance.below(500_000), 1 + chance.below(500_000));
    case 5:
      return setXattr(layer, ino, bytes, 0, bytes.length, Buffer.alloc(60_000, 1), 0, chance.below(60_000), 0, false);
    case 6:
      return removeXattr(layer, ino, bytes, 0, bytes.length);
    default:
      return put(layer, ino, chance.below(1_000_000), randomBytes(chance, 1 + chance.below(300_000)));
  }
}

test('a volume that is full most of the time refuses, keeps what it has, and gives space back', (t) => {
  const chance = new Random();
  t.diagnostic(`LCFS_SEED=${chance.seed}`);
  let layer = openTestVolume(8 << 20);
  const inos: number[] = [];
  const seen = new Map<number, number>();
  for (let i = 0; i < 4000; i++) {
    const result = disturb(layer, chance, inos);
    if (result < 0) seen.set(result, (seen.get(result) ?? 0) + 1);
    if (i === 2000) layer = createLayer('clone', { parent: 'test' });
    if (i % 500 === 0) assertSound();
  }
  for (const error of seen.keys()) assert.ok([-ENOSPC, -ENOENT, -EEXIST, -EISDIR, -ENODATA].includes(error), `unexpected error ${error}`);
  assert.ok((seen.get(-ENOSPC) ?? 0) > 100, 'the volume was full');
  // Even then everything can be removed.
  for (let i = 0; i < 40; i++) assert.ok([0, -ENOENT].includes(remove(layer, ROOT, `name${i}`)));
  assert.ok(reapAllOrphans(layer) >= 0);
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
    const worker = new Worker(new URL('../../test/support/files-worker.js', import.meta.url), { workerData: task });
    worker.on('error', reject);
    worker.on('exit', (code) => (code === 0 ? resolve() : reject(new Error(`worker ended with code ${code}`))));
  });
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
  const workers = places.map(([layer, root], i) => work({ handle, layer, root, seed: seed + i, steps: 1500 }));
  const timer = setInterval(checkpoint, 20);
  await Promise.all(workers).finally(() => clearInterval(timer));
});
