import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { test } from 'node:test';
import { ROOT, closeTestVolume, find, get, make, openTestVolume, put, remove, testVolumePath } from '../../test/support/files.js';
import { GLOBAL_LAYER, PAGE_MAGIC } from '../layout/constants.js';
import { dropPages } from '../linux/page-cache.js';
import { checkpoint } from './checkpoint.js';
import { createLayer, removeLayer, updateLayer } from './layers.js';
import { flushLog } from './log-device.js';
import { reclaimAll } from './maintenance.js';
import { dropCleanPages } from './pager.js';
import { cancelScrub, endScrub, recallScrub, scrubInfo, scrubOnce, setScrubRate, startScrub } from './scrub.js';
import { abandonVolume, closeVolume, currentVolume, openVolume } from './volume.js';

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

/** A pass that is ended by `endScrub` when it rests for the third time. */
function scrubUntilStopped(): void {
  const originalWait = Atomics.wait;
  let rests = 0;
  Atomics.wait = (() => {
    if (rests++ === 2) endScrub();
    return 'timed-out';
  }) as unknown as typeof originalWait;
  try {
    setScrubRate(1 << 30);
    assert.equal(scrubOnce(), false);
  } finally {
    Atomics.wait = originalWait;
  }
}

/** Opens the test volume anew, after an end in order or a death. */
function openAgain(inOrder: boolean): void {
  if (inOrder) closeVolume();
  else {
    assert.ok(flushLog());
    abandonVolume();
  }
  openVolume(testVolumePath(), { cacheBytes: 16 << 20 });
}

for (const inOrder of [true, false]) {
  test(`a pass goes on after ${inOrder ? 'a stop' : 'a death'}, and what the last one found is known`, () => {
    fill(openTestVolume(), 300);
    checkpoint();
    scrubUntilStopped();
    const { doneBytes, totalBytes } = scrubInfo();
    openAgain(inOrder);
    const place = recallScrub();
    assert.ok(place !== null);
    const waiting = scrubInfo();
    assert.deepEqual([waiting.waiting, waiting.doneBytes, waiting.totalBytes], [true, doneBytes, totalBytes]);
    assert.ok(doneBytes > 0 && doneBytes < totalBytes / 2, `${doneBytes} of ${totalBytes}`);
    setScrubRate(FAST);
    assert.equal(scrubOnce(place), true);
    const ended = scrubInfo();
    // Nothing is left out; the batch that was cut off is read once more.
    assert.ok(ended.doneBytes >= totalBytes - 2 * 4096 && ended.damagedBlocks === 0, `${ended.doneBytes} of ${totalBytes}`);
    openAgain(inOrder);
    assert.equal(recallScrub(), null);
    assert.deepEqual({ ...scrubInfo(), passes: 1 }, { ...ended, rate: 0, doneBytes: 0, totalBytes: 0 });
    closeTestVolume();
  });
}

test('what is kept of a pass and means nothing is taken for nothing', () => {
  openTestVolume();
  const bad = [
    '',
    'null',
    '{',
    '7',
    '{"ended":1,"found":2,"pass":{}}',
    '{"ended":1,"found":2,"pass":{"layer":1,"key":[1]}}',
    '{"pass":null}',
  ];
  for (const text of bad) {
    updateLayer(GLOBAL_LAYER, { properties: { 'lcfs.scrub': text } });
    assert.equal(recallScrub(), null);
    assert.equal(scrubInfo().lastEnded, null);
  }
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
