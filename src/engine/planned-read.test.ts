import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { ROOT, closeTestVolume, get, make, openTestVolume, put } from '../../test/support/files.js';
import { Random } from '../../test/support/volume.js';
import { BLOCK_BYTES } from '../layout/constants.js';
import { ioBuffer } from '../linux/libc.js';
import { ESTALE, EISDIR } from '../linux/errno.js';
import { checkpoint } from './checkpoint.js';
import { currentDevice, useDevice } from './device.js';
import { PUNCH_HOLE, KEEP_SIZE, allocate, truncate } from './file.js';
import { createLayer, sealLayer } from './layers.js';
import {
  NOT_PLANNED,
  PLAN_BLOCKS_MAX,
  PLAN_RUNS_MAX,
  ReadPlan,
  isPlannable,
  planRead,
  provePlan,
  readRunsNow,
  readRunsWaiting,
} from './planned-read.js';

afterEach(() => closeTestVolume());

const buffer = ioBuffer(PLAN_BLOCKS_MAX * BLOCK_BYTES);
const plan = new ReadPlan();

/** What a planned read gives, or the number that it returned instead. */
function planned(layer: number, ino: number, offset: number, size: number): Buffer | number {
  buffer.bytes.fill(0xee);
  assert.ok(isPlannable(offset, size));
  const length = planRead(plan, layer, ino, offset, size, false);
  if (length < 0) return length;
  assert.ok(readRunsWaiting(plan, buffer.address));
  assert.ok(provePlan(plan, buffer.address));
  return Buffer.from(buffer.bytes.subarray(0, length));
}

/** A device that has nothing at hand. */
function withColdDevice(work: () => void): void {
  const device = currentDevice();
  const { read, write, flush, discard } = device;
  useDevice({ read, write, flush, discard, readNow: () => -1 });
  try {
    work();
  } finally {
    useDevice(device);
  }
}

test('a planned read gives what a read gives, whatever holes and pieces the file has', (t) => {
  const chance = new Random();
  t.diagnostic(`LCFS_SEED=${chance.seed}`);
  const layer = openTestVolume();
  const ino = make(layer, ROOT, 'file');
  for (let i = 0; i < 60; i++) {
    const at = chance.below(300_000);
    if (chance.below(3) === 0) allocate(layer, ino, PUNCH_HOLE | KEEP_SIZE, at, 1 + chance.below(50_000));
    else put(layer, ino, at, Buffer.alloc(1 + chance.below(40_000), chance.below(256)));
    if (chance.below(5) === 0) checkpoint();
    const offset = chance.below(80) * BLOCK_BYTES;
    const size = (1 + chance.below(PLAN_BLOCKS_MAX)) * BLOCK_BYTES;
    const expected = get(layer, ino, offset, size);
    assert.deepEqual(planned(layer, ino, offset, size), expected);
    withColdDevice(() => assert.deepEqual(planned(layer, ino, offset, size), expected));
  }
});

test('sealed files, small ones and large ones, are read past the cache and out of it', () => {
  openTestVolume();
  const layer = createLayer('sealed');
  const inos = Array.from({ length: 30 }, (_, i) => {
    const ino = make(layer, ROOT, `file${i}`);
    put(layer, ino, 0, Buffer.alloc(1 + i * 9000, i + 1));
    return ino;
  });
  sealLayer('sealed');
  for (const turn of ['as written', 'on the device', 'once more']) {
    for (const [i, ino] of inos.entries()) {
      const contents = planned(layer, ino, 0, 128 * BLOCK_BYTES);
      assert.deepEqual(contents, Buffer.alloc(1 + i * 9000, i + 1), turn);
      assert.ok(plan.isSealed);
    }
    checkpoint();
  }
});

test('a block that was overwritten after the plan was made does not pass', () => {
  const layer = openTestVolume();
  const ino = make(layer, ROOT, 'file');
  put(layer, ino, 0, Buffer.alloc(3 * BLOCK_BYTES, 1));
  assert.equal(planRead(plan, layer, ino, 0, 4 * BLOCK_BYTES, false), 3 * BLOCK_BYTES);
  put(layer, ino, BLOCK_BYTES, Buffer.alloc(BLOCK_BYTES, 2));
  assert.equal(readRunsNow(plan, buffer.address), 0);
  assert.equal(provePlan(plan, buffer.address), false);
});

test('what has no plan is said so', () => {
  const layer = openTestVolume();
  const ino = make(layer, ROOT, 'file');
  assert.equal((planned(layer, ino, 0, BLOCK_BYTES) as Buffer).length, 0, 'nothing behind the end');
  assert.equal(planRead(plan, layer, ino, 0, BLOCK_BYTES, true), NOT_PLANNED, 'only of sealed layers');
  assert.equal(planRead(plan, layer, ROOT, 0, BLOCK_BYTES, false), -EISDIR);
  assert.equal(planRead(plan, layer, 999, 0, BLOCK_BYTES, false), -ESTALE);
  for (let i = 0; i <= PLAN_RUNS_MAX; i++) put(layer, ino, i * 2 * BLOCK_BYTES, Buffer.alloc(BLOCK_BYTES, i + 1));
  assert.equal(planRead(plan, layer, ino, 0, 128 * BLOCK_BYTES, false), NOT_PLANNED, 'too many pieces');
  assert.ok(planRead(plan, layer, ino, 0, 4 * BLOCK_BYTES, false) > 0);
  assert.equal(truncate(layer, ino, 0, false), 0);
  assert.equal(planRead(plan, layer, ino, 0, BLOCK_BYTES, false), 0);
  assert.ok(!isPlannable(1, BLOCK_BYTES) && !isPlannable(0, 100) && !isPlannable(0, (PLAN_BLOCKS_MAX + 1) * BLOCK_BYTES));
});
