import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import type { Ino, LayerIndex } from '../layout/constants.js';
import { checkpoint } from './checkpoint.js';
import { ROOT, closeTestVolume, get, make, openTestVolume, put, stat } from './testing.js';

let layer: LayerIndex;
let file: Ino;

beforeEach(() => {
  layer = openTestVolume();
  file = make(layer, ROOT, 'file');
});
afterEach(() => closeTestVolume());

test('what is written is read', () => {
  assert.equal(put(layer, file, 0, Buffer.from('hello world')), 11);
  assert.deepEqual(get(layer, file, 0, 100), Buffer.from('hello world'));
  checkpoint();
  assert.equal(put(layer, file, 6, Buffer.from('moon!')), 5);
  assert.deepEqual(get(layer, file, 0, 4096), Buffer.from('hello moon!'));
  assert.equal(stat(layer, file).blocks, 1);
});
