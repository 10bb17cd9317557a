import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { assertSound, MIB, Random, withFolder, withVolume } from '../../test/support/volume.js';
import { createLayer, findLayer, layerInfo, removeLayer, replaceLayer, setProperty, updateLayer } from './layers.js';
import { reclaimAll } from './maintenance.js';
import { closeVolume, formatVolume, openVolume } from './volume.js';

/** Lengths around the ends of chunks of 976 bytes, the first of which also holds 8 bytes of lengths and the key. */
const LENGTHS = [0, 1, 3, 4, 960, 965, 966, 967, 968, 975, 976, 977, 1941, 1942, 1943, 4096, 65_536, 131_072];

test('values of all lengths, kept over a restart', () =>
  withFolder((folder) => {
    const path = join(folder, 'volume');
    formatVolume(path, { bytes: 32 * MIB });
    openVolume(path, { cacheBytes: 8 * MIB });
    createLayer('a', { properties: { first: 'x' } });
    const expected: Record<string, string> = { first: 'x' };
    for (const length of LENGTHS) {
      const key = `k${length}`.padEnd(3, '.');
      expected[key] = 'é'.repeat(length >> 1) + 'x'.repeat(length & 1);
      setProperty('a', key, expected[key]);
    }
    assert.deepEqual(layerInfo('a').properties, expected);
    assertSound();
    closeVolume();
    openVolume(path, { cacheBytes: 8 * MIB });
    assert.deepEqual(layerInfo('a').properties, expected);
    for (const key of Object.keys(expected)) setProperty('a', key, null);
    assert.deepEqual(layerInfo('a').properties, {});
    assertSound();
    closeVolume();
  }));

test('random changes against a plain object', async () => {
  const random = new Random();
  console.log(`# seed ${random.seed}`);
  const model = new Map<string, string>();
  await withVolume(32 * MIB, () => {
    createLayer('a');
    createLayer('b', { properties: { other: 'layer' } });
    for (let i = 0; i < 400; i++) {
      const changes: Record<string, string | null> = {};
      for (let n = 0; n < 3; n++) {
        const key = `key ${random.next() % 12}`.repeat(1 + (random.next() % 3));
        const value = random.next() % 4 === 0 ? null : 'v'.repeat(random.next() % 6000);
        changes[key] = value;
        if (value === null) model.delete(key);
        else model.set(key, value);
      }
      updateLayer('a', { properties: changes });
      assert.deepEqual(layerInfo('a').properties, Object.fromEntries(model));
    }
    assert.deepEqual(layerInfo('b').properties, { other: 'layer' });
  });
});

test('what is too long is refused before anything changes', () =>
  withVolume(16 * MIB, () => {
    createLayer('a', { properties: { k: 'v' } });
    const refuses = (properties: Record<string, string>): void => {
      assert.throws(() => updateLayer('a', { newName: 'b', seal: true, properties }), { code: 'invalid' });
      assert.throws(() => createLayer('c', { properties }), { code: 'invalid' });
    };
    refuses({ '': 'x' });
    refuses({ fine: 'x', k: 'v'.repeat(131_073) });
    refuses({ ['k'.repeat(513)]: 'x' });
    assert.deepEqual([layerInfo('a').properties, layerInfo('a').state, findLayer('c')], [{ k: 'v' }, 'writable', -1]);
    updateLayer('a', { properties: { ['k'.repeat(512)]: 'x' } });
  }));

test('name, state and properties change in one step', () =>
  withVolume(16 * MIB, () => {
    createLayer('a', { properties: { gone: '1', kept: '2' } });
    createLayer('taken');
    assert.throws(() => updateLayer('a', { newName: 'taken', seal: true, properties: { gone: null } }), { code: 'exists' });
    assert.throws(() => updateLayer('nothing', { seal: true }), { code: 'not-found' });
    assert.equal(layerInfo('a').state, 'writable');
    updateLayer(findLayer('a'), { newName: 'b', seal: true, properties: { gone: null, come: '3' } });
    const { name, state, properties } = layerInfo('b');
    assert.deepEqual([name, state, properties, findLayer('a')], ['b', 'sealed', { kept: '2', come: '3' }, -1]);
    updateLayer('b', { newName: 'b' });
    updateLayer('b', {});
  }));

test('a layer takes the place of another', () =>
  withVolume(16 * MIB, () => {
    createLayer('parent');
    const old = createLayer('a', { parent: 'parent', properties: { old: '1' } });
    const other = createLayer('b', { parent: 'parent', properties: { mine: '2', dropped: '3' } });
    replaceLayer(old, other, { dropped: null, given: '4' });
    assert.equal(findLayer('a'), other);
    assert.equal(findLayer('b'), -1);
    assert.deepEqual(layerInfo('a').properties, { mine: '2', given: '4' });
    assert.equal(layerInfo('parent').children, 1);
    createLayer('child', { parent: 'a' });
    const third = createLayer('c');
    assert.throws(() => replaceLayer(other, third, {}), { code: 'busy' });
    assert.throws(() => replaceLayer(old, third, {}), { code: 'not-found' });
    assert.throws(() => replaceLayer(third, 4711, {}), { code: 'not-found' });
    for (const name of ['child', 'a', 'parent', 'c']) removeLayer(name);
    reclaimAll();
  }));
