import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { createArena } from './arena.js';
import { HISTOGRAM_BUCKETS, STAT_LAYERS_MAX, clearStats, dropStats, readStats, recordOperation, statKind } from './stats.js';

const LOOKUP = statKind('lookup');
const READ = statKind('read');

beforeEach(() => void createArena(1024, 1));

test('operations are counted per layer and kind, with errors, times and histogram', () => {
  for (const time of [0.4, 1, 3, 3, 1000]) recordOperation(7, READ, time);
  recordOperation(7, READ, 2, -5);
  recordOperation(8, LOOKUP, 1);
  const [seven] = readStats(7);
  assert.deepEqual(seven, {
    layer: 7,
    operations: [
      {
        kind: 'read',
        count: 6,
        errors: 1,
        totalMicroseconds: 1009,
        longestMicroseconds: 1000,
        histogram: [1, 1, 3, 0, 0, 0, 0, 0, 0, 0, 1],
      },
    ],
  });
  assert.deepEqual(
    readStats().map((stats) => stats.layer),
    [7, 8],
  );
});

test('the total goes on beyond 32 bits and the last bucket takes whatever is long', () => {
  for (let i = 0; i < 3; i++) recordOperation(1, READ, 2_000_000_000);
  const { totalMicroseconds, histogram, longestMicroseconds } = readStats(1)[0]!.operations[0]!;
  assert.equal(totalMicroseconds, 6_000_000_000);
  assert.equal(longestMicroseconds, 2_000_000_000);
  assert.equal(histogram.length, HISTOGRAM_BUCKETS);
});

test('layers beyond those that fit are counted together', () => {
  for (let layer = 0; layer < STAT_LAYERS_MAX + 5; layer++) recordOperation(layer, LOOKUP, 1);
  const stats = readStats();
  assert.equal(stats.length, STAT_LAYERS_MAX + 1);
  assert.equal(stats.at(-1)!.layer, null);
  assert.equal(stats.at(-1)!.operations[0]!.count, 5);
});

test('entries of layers that are gone are given back', () => {
  for (let layer = 0; layer < STAT_LAYERS_MAX; layer++) recordOperation(layer, LOOKUP, 1);
  dropStats((layer) => layer !== 3);
  assert.deepEqual(readStats(3), []);
  recordOperation(3 + STAT_LAYERS_MAX, LOOKUP, 1);
  assert.equal(readStats(3 + STAT_LAYERS_MAX).length, 1);
});

test('a clear sets one layer or all of them back', () => {
  recordOperation(1, LOOKUP, 1);
  recordOperation(2, LOOKUP, 1);
  clearStats(1);
  assert.deepEqual(
    readStats().map((stats) => stats.layer),
    [2],
  );
  clearStats();
  assert.deepEqual(readStats(), []);
  recordOperation(1, LOOKUP, 1);
  assert.equal(readStats(1)[0]!.operations[0]!.count, 1);
});
