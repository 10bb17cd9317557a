import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../test/support/volume.js';
import { BLOCK_BYTES } from '../layout/constants.js';
import { crc32, ioBuffer } from '../linux/libc.js';
import { sumOfBlocks } from './block-sums.js';

test('the sum of a run is that of its blocks one after the other', (t) => {
  const random = new Random();
  t.diagnostic(`LCFS_SEED=${random.seed}`);
  const buffer = ioBuffer(40 * BLOCK_BYTES);
  for (let i = 0; i < buffer.bytes.length; i++) buffer.bytes[i] = random.below(256);
  const sums = Uint32Array.from({ length: 40 }, (_, i) => crc32(0, buffer.address + i * BLOCK_BYTES, BLOCK_BYTES));
  for (let first = 0; first < 40; first += 3) {
    for (let count = 1; first + count <= 40; count++) {
      assert.equal(sumOfBlocks(sums, first, count), crc32(0, buffer.address + first * BLOCK_BYTES, count * BLOCK_BYTES));
    }
  }
});
