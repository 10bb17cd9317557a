import assert from 'node:assert/strict';
import { test } from 'node:test';
import { quantile } from './stats.js';

test('a quantile is the end of the bucket it falls in', () => {
  assert.equal(quantile([], 0.99), 0);
  assert.equal(quantile([5], 0.99), 1);
  assert.equal(quantile([0, 0, 99, 0, 1], 0.99), 4);
  assert.equal(quantile([0, 0, 98, 0, 2], 0.99), 16);
});
