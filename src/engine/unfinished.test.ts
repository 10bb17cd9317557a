import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { closeTestVolume, openTestVolume } from '../../test/support/files.js';
import { createLayer, listLayers } from './layers.js';
import { UNFINISHED_MARK, markFinished, markUnfinished, removeUnfinished } from './unfinished.js';

beforeEach(() => openTestVolume());
afterEach(() => closeTestVolume());

const names = (): string[] => Array.from(listLayers(), ({ name }) => name).toSorted();

test('layers that were left half-made are removed, finished ones are not', () => {
  const before = names();
  createLayer('half', { properties: UNFINISHED_MARK });
  markUnfinished(createLayer('half, too'));
  const whole = createLayer('whole', { properties: UNFINISHED_MARK });
  markFinished(whole);
  assert.deepEqual(removeUnfinished().toSorted(), ['half', 'half, too']);
  assert.deepEqual(names(), [...before, 'whole'].toSorted());
  assert.deepEqual(removeUnfinished(), []);
});

test('one that somebody has cloned stays', () => {
  createLayer('half', { properties: UNFINISHED_MARK });
  createLayer('clone', { parent: 'half' });
  assert.deepEqual(removeUnfinished(), []);
});
