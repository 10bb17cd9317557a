import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MIB, Random, withVolume } from '../../test/support/volume.js';
import { I, W } from '../layout/memory.js';
import { GROUP_BLOCKS } from '../layout/constants.js';
import { CHANGED, FREE_BLOCKS, RESERVE_BLOCKS, SPACE_LOCK, WINDOW_COUNT } from './arena.js';
import { checkpoint } from './checkpoint.js';
import { currentDevice, useDevice } from './device.js';
import {
  WINDOW_PAGES,
  WINDOW_SHARED,
  admit,
  allocateBlocks,
  allocatedLength,
  blockIsTaken,
  closeWindowsOf,
  countBits,
  dismiss,
  freeBlocks,
  pendingBlocks,
} from './space.js';

function available(): number {
  return W[FREE_BLOCKS]!;
}

/** A checkpoint even if no operation changed anything. */
function settle(): void {
  I[CHANGED] = 1;
  checkpoint();
}

describe('space', () => {
  test('no block is given out twice, and all come back', async () => {
    const random = new Random();
    console.log(`# seed ${random.seed}`);
    // Twice as large as what is given out and not taken back in the end: nothing is admitted here.
    await withVolume(800 * MIB, () => {
      settle();
      const before = available() + pendingBlocks();
      const taken = new Set<number>();
      const runs: [number, number][] = [];
      for (let i = 0; i < 3000; i++) {
        if (random.below(5) < 3 || runs.length === 0) {
          const start = allocateBlocks(
            1 + random.below(5),
            random.below(100) < 50 ? WINDOW_SHARED : 3 + random.below(50),
            0,
            1 + random.below(300),
          );
          assert.notEqual(start, 0);
          for (let block = start; block < start + allocatedLength; block++) {
            assert.ok(!taken.has(block), `block ${block} twice`);
            taken.add(block);
          }
          runs.push([start, allocatedLength]);
        } else {
          const [start, length] = runs.splice(random.below(runs.length), 1)[0]!;
          freeBlocks(start, length);
          // Taken until the checkpoint that does not need it any more: so it stays in `taken` until then.
          if (random.below(50) === 0) {
            settle();
            taken.clear();
            for (const [at, count] of runs) for (let block = at; block < at + count; block++) taken.add(block);
          }
        }
      }
      for (const [start, length] of runs) freeBlocks(start, length);
      settle();
      for (let layer = 1; layer <= 5; layer++) closeWindowsOf(layer);
      settle();
      assert.ok(Math.abs(available() + pendingBlocks() - before) <= 8);
    });
  });

  test('a freed block is allocatable only after the next checkpoint', async () => {
    await withVolume(16 * MIB, () => {
      const start = allocateBlocks(1, WINDOW_SHARED, 0, 10);
      freeBlocks(start, 10);
      assert.ok(blockIsTaken(start));
      settle();
      assert.ok(!blockIsTaken(start));
      closeWindowsOf(1);
    });
  });

  test('a freed run is discarded while nobody can get it, and others need not wait', async () => {
    await withVolume(16 * MIB, () => {
      const start = allocateBlocks(1, WINDOW_SHARED, 0, 100);
      freeBlocks(start, 100);
      const device = currentDevice();
      let discarded = 0;
      useDevice({
        ...device,
        discard: (offset, bytes) => {
          assert.equal(I[SPACE_LOCK], 0);
          for (let at = offset; at < offset + bytes; at += 4096) assert.ok(blockIsTaken(at / 4096));
          discarded += bytes;
        },
      });
      settle();
      useDevice(device);
      assert.equal(discarded, 100 * 4096);
      assert.ok(!blockIsTaken(start));
      closeWindowsOf(1);
    });
  });

  test('small files lie behind one another, and so does what is appended to the last of them', async () => {
    await withVolume(300 * MIB, () => {
      const [first, second] = [10, 11];
      const start = allocateBlocks(1, first, 0, 3);
      assert.equal(allocateBlocks(1, first, start + 3, 2), start + 3);
      assert.equal(allocateBlocks(1, second, 0, 1), start + 5);
      const apart = allocateBlocks(1, first, start + 5, 1);
      assert.ok(apart > start + 6, 'not among the small files that are still to come');
      assert.equal(allocateBlocks(1, second, start + 6, 1), start + 6);
      assert.equal(allocateBlocks(1, first, apart + 1, 1), apart + 1);
      for (const [block, length] of [
        [start, 7],
        [apart, 2],
      ] as const)
        freeBlocks(block, length);
      closeWindowsOf(1);
    });
  });

  test('a file that grows lies in one piece although another grows beside it', async () => {
    await withVolume(300 * MIB, () => {
      const goals = [0, 0];
      const breaks = [0, 0];
      for (let i = 0; i < 64; i++) {
        const file = i & 1;
        const start = allocateBlocks(1, 10 + file, goals[file]!, 32);
        if (goals[file] !== 0 && start !== goals[file]) breaks[file]!++;
        goals[file] = start + allocatedLength;
        freeBlocks(start, allocatedLength);
      }
      assert.ok(breaks[0]! + breaks[1]! < 16, `${breaks.join(' and ')} breaks in 64 writes`);
      closeWindowsOf(1);
    });
  });

  test('layers spread over the groups, also when there are more of them than windows', async () => {
    await withVolume(128 * 1024 * MIB, () => {
      const groups = new Set<number>();
      for (let layer = 1; layer <= 4 * WINDOW_COUNT; layer++) {
        const start = allocateBlocks(layer, WINDOW_PAGES, 0, 1);
        groups.add(Math.floor(start / GROUP_BLOCKS));
        freeBlocks(start, 1);
      }
      assert.ok(groups.size > 2 * WINDOW_COUNT, `256 layers began in ${groups.size} of 1024 groups`);
      for (let layer = 1; layer <= 4 * WINDOW_COUNT; layer++) closeWindowsOf(layer);
    });
  });

  test('admission keeps the reserve, and half of it for what frees', async () => {
    await withVolume(16 * MIB, () => {
      const all = available();
      assert.ok(!admit(all, false) && !admit(all, true));
      const most = all - W[RESERVE_BLOCKS]!;
      assert.ok(admit(most, false));
      assert.ok(!admit(1, false) && admit(1, true));
      dismiss(most + 1);
      assert.ok(admit(most, false));
      dismiss(most);
    });
  });

  test('bits are counted', () => {
    for (const [word, bits] of [
      [0, 0],
      [1, 1],
      [0xffff_ffff, 32],
      [0x8000_0001, 2],
      [0xf0f0_f0f0, 16],
    ] as const)
      assert.equal(countBits(word), bits);
  });
});
