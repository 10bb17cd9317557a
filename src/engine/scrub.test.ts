import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { test } from 'node:test';
import { ROOT, closeTestVolume, find, get, make, openTestVolume, put, remove, testVolumePath } from '../../test/support/files.js';
import { PAGE_MAGIC } from '../layout/constants.js';
import { dropPages } from '../linux/page-cache.js';
import { checkpoint } from './checkpoint.js';
import { createLayer, removeLayer } from './layers.js';
import { reclaimAll } from './maintenance.js';
import { dropCleanPages } from './pager.js';
import { cancelScrub, scrubInfo, scrubOnce, setScrubRate, startScrub } from './scrub.js';
import { currentVolume } from './volume.js';

const FAST = 2 ** 40;

/** Damages a block on the device, behind the back of whatever is cached. */
function damage(path: string, block: number): Buffer {
  const original = readFileSync(path).subarray(block * 4096, (block + 1) * 4096);
  const fd = openSync(path, 'r+');
  writeSync(fd, Buffer.from('damage'), 0, 6, block * 4096 + 3000);
  closeSync(fd);
  return Buffer.from(original);
}

function restore(path: string, block: number, bytes: Buffer): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, bytes, 0, 4096, block * 4096);
  closeSync(fd);
}

function fill(layer: number, files: number): void {
  for (let i = 0; i < files; i++) put(layer, make(layer, ROOT, `file${i}`), 0, Buffer.alloc(20_000, `contents of ${i};`));
}

test('a pass reads all that is in use, of all layers, and finds nothing on a sound volume', () => {
  const layer = openTestVolume();
  fill(layer, 300);
  const clone = createLayer('clone', { parent: 'test' });
  fill(createLayer('other'), 50);
  put(clone, find(clone, ROOT, 'file7'), 100, Buffer.from('changed'));
  checkpoint();
  setScrubRate(FAST);
  assert.equal(scrubOnce(), true);
  const { doneBytes, totalBytes, damagedBlocks, passes, running } = scrubInfo();
  assert.equal(damagedBlocks, 0);
  assert.equal(passes, 1);
  assert.equal(running, false);
  // Of the two copies of a bitmap one is read.
  assert.ok(doneBytes >= totalBytes - 2 * 4096 && doneBytes <= totalBytes, `${doneBytes} of ${totalBytes}`);
  closeTestVolume();
});

test('damage is found and counted, in data and in pages that are not cached', () => {
  const layer = openTestVolume();
  fill(layer, 300);
  checkpoint();
  const path = testVolumePath();
  const image = readFileSync(path);
  const data = Math.floor(image.indexOf('contents of 123;') / 4096);
  const leaf = lastLeaf(image, layer);
  const saved = [data, leaf].map((block) => [block, damage(path, block)] as const);
  dropCleanPages();
  dropPages(currentVolume().fd, 0, image.length);
  setScrubRate(FAST);
  scrubOnce();
  assert.equal(scrubInfo().damagedBlocks, 2);
  assert.equal(scrubInfo().lastDamagedBlocks, 2);
  for (const [block, bytes] of saved) restore(path, block, bytes);
  scrubOnce();
  assert.equal(scrubInfo().damagedBlocks, 0);
  assert.equal((get(layer, find(layer, ROOT, 'file123'), 0, 100) as Buffer).length, 100);
  closeTestVolume();
});

/** A leaf of the layer that its last checkpoint refers to: of the newest generation that there is. */
function lastLeaf(image: Buffer, layer: number): number {
  let found = 0;
  for (let block = 4; block < image.length / 4096; block++) {
    const word = (i: number): number => image.readUInt32LE(block * 4096 + i * 4);
    if (
      word(0) === PAGE_MAGIC &&
      word(3) === layer &&
      word(5) >>> 16 === 0 &&
      (found === 0 || word(4) >= image.readUInt32LE(found * 4096 + 16))
    )
      found = block;
  }
  return found;
}

test('a page that is good in memory is written again', () => {
  const layer = openTestVolume();
  fill(layer, 300);
  checkpoint();
  const path = testVolumePath();
  const leaf = lastLeaf(readFileSync(path), layer);
  const before = damage(path, leaf);
  setScrubRate(FAST);
  scrubOnce();
  assert.equal(scrubInfo().mendedBlocks, 1);
  assert.equal(scrubInfo().damagedBlocks, 0);
  assert.deepEqual(readFileSync(path).subarray(leaf * 4096, (leaf + 1) * 4096), before);
  closeTestVolume();
});

test('what changes or goes while it is scrubbed is no damage', () => {
  const layer = openTestVolume();
  fill(layer, 200);
  createLayer('going');
  checkpoint();
  setScrubRate(FAST);
  const originalWait = Atomics.wait;
  let rests = 0;
  // The rests of the pace are where others get on.
  Atomics.wait = (() => {
    const i = rests++;
    if (i < 100) remove(layer, ROOT, `file${i * 2}`);
    if (i < 100) put(layer, find(layer, ROOT, `file${i * 2 + 1}`), 0, Buffer.alloc(20_000, `new contents of ${i};`));
    if (i === 2) {
      removeLayer('going');
      reclaimAll();
    }
    if (i % 5 === 0) checkpoint();
    return 'timed-out';
  }) as unknown as typeof originalWait;
  try {
    setScrubRate(1 << 30);
    scrubOnce();
  } finally {
    Atomics.wait = originalWait;
  }
  assert.ok(rests > 3, `${rests} rests`);
  assert.equal(scrubInfo().damagedBlocks, 0);
  closeTestVolume();
});

test('a pass can be cancelled, and needs a rate to begin', () => {
  openTestVolume();
  setScrubRate(0);
  assert.throws(() => startScrub(), { code: 'state' });
  setScrubRate(FAST);
  cancelScrub();
  assert.equal(scrubOnce(), false);
  assert.equal(scrubInfo().lastEnded, null);
  closeTestVolume();
});
