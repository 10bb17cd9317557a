import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CrashPolicy, WINDOW_MS } from './crash-policy.js';

const verdicts = (policy: CrashPolicy, ...atMs: number[]): string[] => atMs.map((at) => policy.died(at));

test('deaths now and then are survived for ever', () => {
  const policy = new CrashPolicy();
  const apart = Array.from({ length: 50 }, (_, i) => i * (WINDOW_MS / 2));
  assert.deepEqual(new Set(verdicts(policy, ...apart)), new Set(['restart']));
});

test('the third death within a minute makes the volume read-only, and so it stays', () => {
  const policy = new CrashPolicy();
  assert.deepEqual(verdicts(policy, 0, 1000, WINDOW_MS - 1), ['restart', 'restart', 'read-only']);
  assert.equal(policy.died(10 * WINDOW_MS), 'read-only');
});

test('what dies even when nothing is changed ends', () => {
  assert.deepEqual(verdicts(new CrashPolicy(), 0, 1, 2, 3), ['restart', 'restart', 'read-only', 'end']);
  const policy = new CrashPolicy();
  verdicts(policy, 0, 1, 2);
  const later = 10 * WINDOW_MS;
  assert.deepEqual(verdicts(policy, later, later + 1, later + 2), ['read-only', 'read-only', 'end']);
});

test('after it has been resumed earlier deaths count no more', () => {
  const policy = new CrashPolicy();
  verdicts(policy, 0, 1, 2);
  policy.resume();
  assert.deepEqual(verdicts(policy, 3, 4, 5), ['restart', 'restart', 'read-only']);
});
