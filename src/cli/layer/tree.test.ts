import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Layer } from '../../daemon/protocol.js';
import { layerTree, treeLines } from './tree.js';

const layer = (name: string, parent: string | null): Layer => ({
  index: 1,
  name,
  state: 'sealed',
  parent,
  depth: 0,
  children: 0,
  created: '',
  ownBytes: 0,
  quotaBytes: 0,
  fsync: null,
  inodes: 0,
  holders: 0,
  properties: {},
});

const draw = (layers: readonly Layer[], name?: string): string[] =>
  [...treeLines(layerTree(layers, name))].map((line) => line.replace(/ \(.*/, ''));

test('branches are indented, chains are not', () => {
  const layers = [layer('a', null), layer('b', 'a'), layer('c', 'b'), layer('d', 'b'), layer('e', 'c'), layer('f', null)];
  assert.deepEqual(draw(layers), ['a', '↳ b', '├─ c', '│  ↳ e', '└─ d', 'f']);
  assert.deepEqual(draw(layers, 'c'), ['c', '↳ e']);
  assert.throws(() => draw(layers, 'z'), /layer z is not there/);
});

test('a chain of 10,000 layers is no problem', () => {
  const layers = Array.from({ length: 10_000 }, (_, i) => layer(`l${i}`, i === 0 ? null : `l${i - 1}`));
  assert.equal(draw(layers).at(-1), '↳ l9999');
});

test('a layer whose parent is not listed is a root', () => {
  assert.deepEqual(draw([layer('orphan', 'gone')]), ['orphan']);
});
