import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TARGET_LABEL } from './snapshot.js';
import { isKnown } from './snapshot-claims.js';

const CHAIN = `sha256:${'0'.repeat(64)}`;

test('a snapshot is known by the name that containerd has for it, in whatever namespace', () => {
  const names = new Set(['container', CHAIN]);
  assert.ok(isKnown({ key: 'moby/7/container', labels: {} }, names));
  assert.ok(isKnown({ key: `k8s.io/1/${CHAIN}`, labels: {} }, names));
  assert.ok(!isKnown({ key: 'moby/7/other', labels: {} }, names));
  assert.ok(!isKnown({ key: 'moby/container', labels: {} }, names), 'only what stands behind namespace and number is the name');
});

test('a snapshot is known by the chain ID that it is offered under', () => {
  assert.ok(isKnown({ key: 'moby/3/extract-1 x', labels: { [TARGET_LABEL]: CHAIN } }, new Set([CHAIN])));
  assert.ok(!isKnown({ key: 'moby/3/extract-1 x', labels: {} }, new Set([CHAIN])));
});

test('names with slashes are whole names', () => {
  assert.ok(isKnown({ key: 'ns/12/a/b/3/c', labels: {} }, new Set(['a/b/3/c'])));
});
