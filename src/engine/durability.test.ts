import assert from 'node:assert/strict';
import { closeSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import { afterEach, test } from 'node:test';
import { DIRECTORY, ROOT, find, get, make, openTestVolume, put, testVolumePath } from '../../test/support/files.js';
import { MIB, assertSound } from '../../test/support/volume.js';
import { I, W } from '../layout/memory.js';
import { CHECKPOINTS, FSYNC_STRICT, GENERATION } from './arena.js';
import { checkpoint } from './checkpoint.js';
import { makeDurable, syncLayer, syncVolume } from './durability.js';
import { createLayer, findLayer, layerInfo, removeLayer, updateLayer } from './layers.js';
import { createLogMemory } from './log-memory.js';
import { appliedOrigin, setOrigin } from './origins.js';
import { CHECKPOINT_FAILED, stopChanges } from './read-only.js';
import { truncate } from './truncate.js';
import { abandonVolume, closeVolume, growVolume, openVolume, volumeInfo, type OpenOptions } from './volume.js';

const CACHE = { cacheBytes: 8 * MIB };

afterEach(() => {
  assertSound();
  closeVolume();
  rmSync(testVolumePath());
});

/** The power fails, and comes back. */
function cutPower(options: OpenOptions = {}): void {
  abandonVolume();
  openVolume(testVolumePath(), { ...CACHE, ...options });
}

test('what sync(2) promises the daemon says', () => {
  openTestVolume();
  const layer = createLayer('plain');
  checkpoint();
  make(layer, ROOT, 'first');
  assert.equal(syncVolume(), 0);
  cutPower();
  assert.ok(find(layer, ROOT, 'first') < 0);
  I[FSYNC_STRICT] = 1;
  make(layer, ROOT, 'second');
  assert.equal(syncVolume(), 0);
  cutPower();
  assert.ok(find(layer, ROOT, 'second') > 0);
});

test('fsync is strict or relaxed as the daemon says, or as the layer does', () => {
  openTestVolume();
  const strict = createLayer('strict', { fsync: 'strict' });
  const relaxed = createLayer('relaxed', { fsync: 'relaxed' });
  const plain = createLayer('plain');
  checkpoint();
  make(plain, ROOT, 'first');
  assert.equal(syncLayer(plain), 0);
  cutPower();
  assert.ok(find(plain, ROOT, 'first') < 0, 'relaxed is what fsync is');
  make(plain, ROOT, 'second');
  make(strict, ROOT, 'file');
  const ino = make(strict, ROOT, 'contents');
  put(strict, ino, 0, Buffer.alloc(100_000, 7));
  assert.equal(syncLayer(strict), 0);
  make(strict, ROOT, 'later');
  cutPower();
  assert.ok(find(strict, ROOT, 'file') > 0 && find(plain, ROOT, 'second') > 0, 'everything before goes with it');
  assert.deepEqual(get(strict, ino, 0, 200_000), Buffer.alloc(100_000, 7));
  assert.ok(find(strict, ROOT, 'later') < 0);
  I[FSYNC_STRICT] = 1;
  make(relaxed, ROOT, 'file');
  assert.equal(syncLayer(relaxed), 0);
  cutPower();
  assert.ok(find(relaxed, ROOT, 'file') < 0);
  I[FSYNC_STRICT] = 1;
  make(plain, ROOT, 'third');
  assert.equal(syncLayer(plain), 0);
  cutPower();
  assert.ok(find(plain, ROOT, 'third') > 0);
});

test('nothing becomes durable on a device that has failed, although its next flush would succeed', () => {
  const layer = openTestVolume();
  make(layer, ROOT, 'acknowledged');
  makeDurable();
  make(layer, ROOT, 'waiting');
  stopChanges(CHECKPOINT_FAILED, 'for this test');
  assert.throws(makeDurable, { code: 'io' });
  cutPower();
  assert.ok(find(layer, ROOT, 'acknowledged') > 0);
});

test('what a layer says of fsync is kept and changed, and not inherited', () => {
  openTestVolume();
  createLayer('strict', { fsync: 'strict' });
  assert.equal(layerInfo('strict').fsync, 'strict');
  createLayer('clone', { parent: 'strict' });
  assert.equal(layerInfo('clone').fsync, undefined);
  updateLayer('clone', { fsync: 'relaxed' });
  makeDurable();
  cutPower();
  assert.equal(layerInfo('strict').fsync, 'strict');
  assert.equal(layerInfo('clone').fsync, 'relaxed');
  updateLayer('clone', { fsync: null });
  assert.equal(layerInfo('clone').fsync, undefined);
});

test('layers that were made, changed and removed since the checkpoint are so after a power cut', () => {
  openTestVolume();
  createLayer('doomed');
  checkpoint();
  removeLayer('doomed');
  createLayer('short', { properties: { key: 'value' } });
  removeLayer('short');
  createLayer('kept', { parent: 'test', quotaBytes: 40960, properties: { key: 'x'.repeat(5000) } });
  makeDurable();
  cutPower();
  assert.equal(findLayer('doomed'), -1);
  assert.equal(findLayer('short'), -1);
  assert.equal(volumeInfo().removing, 2);
  assert.equal(layerInfo('kept').properties['key']?.length, 5000);
  assert.equal(layerInfo('kept').quotaBytes, 40960);
  assert.equal(layerInfo('test').state, 'sealed');
  assert.equal(layerInfo('test').children, 1);
});

test('data that a batch refers to is not overwritten in place', () => {
  const layer = openTestVolume();
  const ino = make(layer, ROOT, 'file');
  put(layer, ino, 0, Buffer.alloc(40_960, 1));
  makeDurable();
  // Not logged yet, but its data may reach the device.
  put(layer, ino, 8192, Buffer.alloc(4096, 2));
  cutPower();
  assert.deepEqual(get(layer, ino, 0, 50_000), Buffer.alloc(40_960, 1));
});

test('a log that is full makes a checkpoint before an operation begins, not in its midst', () => {
  const log = createLogMemory(0);
  const layer = openTestVolume(256 * MIB, { log });
  const checkpoints = W[CHECKPOINTS]!;
  for (let i = 0; i < 9000; i++) make(layer, make(layer, ROOT, `dir${i}`, DIRECTORY), 'x'.repeat(250));
  assert.ok(W[CHECKPOINTS]! > checkpoints);
  abandonVolume();
  openVolume(testVolumePath(), { ...CACHE, log, takeover: true });
  for (let i = 0; i < 9000; i++) assert.ok(find(layer, find(layer, ROOT, `dir${i}`), 'x'.repeat(250)) > 0);
  closeSync(log.fd);
});

test('the smallest volume has a log, and what does not fit into it takes a checkpoint', () => {
  const layer = openTestVolume(4 * MIB);
  for (let i = 0; i < 60; i++) {
    const generation = W[GENERATION]!;
    for (let j = 0; j < 1 + (i % 7) * 8; j++) assert.ok(make(layer, ROOT, `file${i}-${j}`) > 0);
    makeDurable();
    if (i % 7 === 0) assert.ok(W[GENERATION]! <= generation + 1);
    make(layer, ROOT, `lost${i}`);
    cutPower();
    assert.ok(find(layer, ROOT, `file${i}-${(i % 7) * 8}`) > 0, `file${i}`);
    assert.ok(find(layer, ROOT, `lost${i}`) < 0);
  }
});

test('a volume that is only read shows what the log has, and stays as it is', () => {
  const layer = openTestVolume();
  put(layer, make(layer, ROOT, 'file'), 0, Buffer.from('contents'));
  makeDurable();
  abandonVolume();
  const before = readFileSync(testVolumePath());
  openVolume(testVolumePath(), { ...CACHE, readOnly: true });
  assert.ok(volumeInfo().replayed > 0);
  assert.deepEqual(get(layer, find(layer, ROOT, 'file'), 0, 100), Buffer.from('contents'));
  assertSound();
  abandonVolume();
  assert.ok(before.equals(readFileSync(testVolumePath())));
  openVolume(testVolumePath(), CACHE);
  assert.ok(find(layer, ROOT, 'file') > 0);
});

test('a volume that has grown is as large when its log is replayed', () => {
  const log = createLogMemory();
  const layer = openTestVolume(16 * MIB, { log });
  truncateSync(testVolumePath(), 64 * MIB);
  assert.equal(growVolume(), 16_384);
  const ino = make(layer, ROOT, 'large');
  for (let i = 0; i < 20; i++) assert.equal(put(layer, ino, i * MIB, Buffer.alloc(MIB, i + 1)), MIB);
  abandonVolume();
  openVolume(testVolumePath(), { ...CACHE, log, takeover: true });
  assert.deepEqual(get(layer, ino, 19 * MIB, MIB), Buffer.alloc(MIB, 20));
  closeSync(log.fd);
});

test('a request of several operations has had its effect when the last one has', () => {
  const log = createLogMemory();
  const layer = openTestVolume(64 * MIB, { log });
  const ino = make(layer, ROOT, 'file');
  for (let i = 0; i < 300; i++) put(layer, ino, i * 8192, Buffer.alloc(4096, 1));
  setOrigin(6, 0, 3);
  put(layer, ino, 0, Buffer.alloc(3 * MIB, 2));
  setOrigin(8, 0, 3);
  truncate(layer, ino, 100, false);
  setOrigin(10, 0, 5);
  assert.ok(make(layer, ROOT, 'file') < 0, 'a request that is refused has no effect');
  setOrigin(12, 7, 4095);
  make(layer, ROOT, 'other');
  setOrigin(0, 0, 0);
  checkpoint();
  abandonVolume();
  openVolume(testVolumePath(), { ...CACHE, log, takeover: true });
  assert.deepEqual(
    [6, 8, 10].map((lo) => appliedOrigin(lo, 0)),
    [false, true, false],
    'a place knows its last one',
  );
  assert.ok(appliedOrigin(12, 7));
  setOrigin(14, 0, 3);
  make(layer, ROOT, 'third');
  abandonVolume();
  openVolume(testVolumePath(), { ...CACHE, log, takeover: true });
  assert.deepEqual(
    [8, 12, 14].map((lo) => appliedOrigin(lo, lo === 12 ? 7 : 0)),
    [true, true, true],
    'also those of takeovers before',
  );
  closeSync(log.fd);
});

test('a write that found room for a part only has not had its effect, as nobody knows for which', () => {
  const log = createLogMemory();
  openTestVolume(64 * MIB, { log });
  const layer = createLayer('small', { quotaBytes: 64 << 10 });
  const ino = make(layer, ROOT, 'file');
  setOrigin(20, 0, 3);
  const written = put(layer, ino, 0, Buffer.alloc(MIB, 1));
  assert.ok(written > 0 && written < MIB, `${written} bytes`);
  setOrigin(22, 0, 4);
  assert.equal(put(layer, ino, 0, Buffer.alloc(4096, 2)), 4096);
  setOrigin(0, 0, 0);
  abandonVolume();
  openVolume(testVolumePath(), { ...CACHE, log, takeover: true });
  assert.deepEqual([appliedOrigin(20, 0), appliedOrigin(22, 0)], [false, true]);
  closeSync(log.fd);
});

test('what a connection asked that ended with the machine is not taken for what the next one asks', () => {
  const layer = openTestVolume();
  setOrigin(24, 0, 3);
  make(layer, ROOT, 'file');
  setOrigin(0, 0, 0);
  makeDurable();
  const log = createLogMemory();
  cutPower({ log });
  assert.ok(find(layer, ROOT, 'file') > 0 && volumeInfo().replayed > 0);
  setOrigin(24, 0, 4);
  assert.ok(make(layer, ROOT, 'file') < 0, 'refused, and so without an effect');
  setOrigin(0, 0, 0);
  abandonVolume();
  openVolume(testVolumePath(), { ...CACHE, log, takeover: true });
  assert.ok(!appliedOrigin(24, 0));
  closeSync(log.fd);
});
