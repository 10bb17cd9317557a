import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertSound, MIB, withVolume } from '../../test/support/volume.js';
import { W } from '../layout/memory.js';
import { CHECKPOINTS } from './arena.js';
import { checkpoint, checkpointUnsettled, settle } from './checkpoint.js';
import { currentDevice, useDevice } from './device.js';
import { allocateBlocks, blockIsTaken, closeWindowsOf, freeBlocks, WINDOW_SHARED } from './space.js';

const BLOCKS = 100;

/** Runs on a volume where `BLOCKS` blocks were just freed, with the discards of this thread counted. */
function withFreed(work: (start: number, discarded: () => number) => void): Promise<void> {
  return withVolume(16 * MIB, () => {
    const device = currentDevice();
    let bytes = 0;
    useDevice({ ...device, discard: (_, length) => void (bytes += length) });
    const start = allocateBlocks(1, WINDOW_SHARED, 0, BLOCKS);
    freeBlocks(start, BLOCKS);
    try {
      work(start, () => bytes / 4096);
    } finally {
      useDevice(device);
      closeWindowsOf(1);
    }
  });
}

test('what was freed is given back by the checkpoint, or by whoever settles it later, once', async () => {
  await withFreed((start, discarded) => {
    checkpoint();
    assert.equal(blockIsTaken(start), false);
    assert.equal(discarded(), BLOCKS);
  });
  await withFreed((start, discarded) => {
    checkpointUnsettled();
    assert.equal(blockIsTaken(start), true);
    assert.equal(discarded(), 0);
    assertSound();
    settle();
    settle();
    assert.equal(blockIsTaken(start), false);
    assert.equal(discarded(), BLOCKS);
  });
});

test('a checkpoint settles what the one before left, also if it has nothing else to do', async () => {
  await withFreed((start, discarded) => {
    checkpointUnsettled();
    const checkpoints = W[CHECKPOINTS];
    checkpoint();
    assert.equal(W[CHECKPOINTS], checkpoints, 'none was needed');
    assert.equal(blockIsTaken(start), false);
    assert.equal(discarded(), BLOCKS);
  });
  await withFreed((start, discarded) => {
    checkpointUnsettled();
    const second = allocateBlocks(1, WINDOW_SHARED, 0, BLOCKS);
    freeBlocks(second, BLOCKS);
    checkpointUnsettled();
    assert.equal(blockIsTaken(start), false);
    assert.equal(blockIsTaken(second), true);
    assert.equal(discarded(), BLOCKS);
    settle();
    assert.equal(discarded(), 2 * BLOCKS);
  });
});
