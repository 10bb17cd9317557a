import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MIB, assertSound, withVolume } from '../../test/support/volume.js';
import { digestLayer } from '../../test/support/digest.js';
import { ioBuffer } from '../linux/libc.js';
import { ROOT_INO } from '../layout/constants.js';
import { EDQUOT, ENOSPC, EROFS, ESTALE } from '../linux/errno.js';
import { checkpoint } from './checkpoint.js';
import { diffLayers } from './diff.js';
import { LcfsError, type ErrorCode } from './errors.js';
import { write } from './file.js';
import {
  HELD_LAYERS_MAX,
  commitLayer,
  createLayer,
  findLayer,
  getProperty,
  holdLayer,
  layerInfo,
  listLayers,
  releaseLayer,
  removeLayer,
  renameLayer,
  sealLayer,
  setProperty,
} from './layers.js';
import { reapLeftOrphans, reclaimAll } from './maintenance.js';
import { create, lookup, rename, unlink } from './namespace.js';
import { volumeInfo } from './volume.js';

const io = ioBuffer(1 << 20);

function put(layer: number, name: string, text: string, dir = ROOT_INO): number {
  const bytes = Buffer.from(name);
  const found = lookup(layer, dir, bytes, 0, bytes.length);
  const ino = found > 0 ? found : create(layer, dir, bytes, 0, bytes.length, 0o100644, 0, 0, 0, 0);
  assert.ok(ino > 0, `creating ${name}: ${ino}`);
  io.bytes.set(Buffer.from(text));
  assert.equal(write(layer, ino, 0, text.length, io, 0, 0), text.length);
  return ino;
}

function makeDirectory(layer: number, name: string, dir = ROOT_INO): number {
  const bytes = Buffer.from(name);
  return create(layer, dir, bytes, 0, bytes.length, 0o040755, 0, 0, 0, 0);
}

function refuses(code: ErrorCode, work: () => unknown): void {
  assert.throws(work, (error) => error instanceof LcfsError && error.code === code);
}

function changes(layer: string, base: string | null): string[] {
  return Array.from(diffLayers(layer, base), (change) => `${'MAD'[change.kind]} ${change.path.toString()}`);
}

describe('layers', () => {
  test('a clone and its parent do not influence each other', async () => {
    await withVolume(32 * MIB, () => {
      const base = createLayer('base');
      put(base, 'file', 'one');
      const clone = createLayer('clone', { parent: 'base' });
      const before = digestLayer('base');
      put(clone, 'file', 'two');
      put(clone, 'other', 'three');
      assert.equal(digestLayer('base'), before);
      assert.equal(layerInfo('base').state, 'sealed');
      assert.equal(create(base, ROOT_INO, Buffer.from('x'), 0, 1, 0o100644, 0, 0, 0, 0), -EROFS);
      assert.deepEqual(changes('clone', 'base'), ['M file', 'A other']);
    });
  });

  test('removing gives back all space that the layer owned, and only that', async () => {
    await withVolume(64 * MIB, () => {
      const base = createLayer('base');
      for (let i = 0; i < 300; i++) put(base, `file${i}`, 'x'.repeat(5000));
      checkpoint();
      const used = volumeInfo().blocks.used;
      const digest = digestLayer('base');
      const clone = createLayer('clone', { parent: 'base' });
      for (let i = 0; i < 300; i += 2) put(clone, `file${i}`, 'y'.repeat(9000));
      for (let i = 1; i < 300; i += 2) unlink(clone, ROOT_INO, Buffer.from(`file${i}`), 0, `file${i}`.length);
      checkpoint();
      assert.ok(volumeInfo().blocks.used > used + 150);
      removeLayer('clone');
      refuses('not-found', () => layerInfo('clone'));
      assert.equal(put.length > 0 && lookup(clone, ROOT_INO, Buffer.from('file0'), 0, 5), -ESTALE);
      reclaimAll();
      checkpoint();
      assertSound();
      assert.ok(Math.abs(volumeInfo().blocks.used - used) <= 4, `${volumeInfo().blocks.used} blocks in use, ${used} before`);
      assert.equal(digestLayer('base'), digest);
    });
  });

  test('names, properties and states', async () => {
    await withVolume(16 * MIB, () => {
      createLayer('a', { properties: { label: 'one' } });
      createLayer('b', { parent: 'a' });
      refuses('exists', () => createLayer('a'));
      refuses('not-found', () => createLayer('c', { parent: 'nobody' }));
      for (const name of ['', '.', '..', 'x/y', 'x\0y', 'n'.repeat(256)]) refuses('invalid', () => createLayer(name));
      refuses('invalid', () => createLayer('global'));
      refuses('invalid', () => renameLayer('b', 'global'));
      createLayer('n'.repeat(255));
      refuses('busy', () => removeLayer('a'));
      renameLayer('b', 'c');
      assert.equal(findLayer('b'), -1);
      assert.equal(layerInfo('c').parent, 'a');
      refuses('exists', () => renameLayer('c', 'a'));
      setProperty('c', 'label', 'two');
      setProperty('c', 'label', 'three');
      setProperty('c', 'other', 'x');
      setProperty('c', 'other', null);
      assert.equal(getProperty('c', 'label'), 'three');
      assert.deepEqual(layerInfo('c').properties, { label: 'three' });
      assert.equal(getProperty('a', 'label'), 'one');
      refuses('invalid', () => setProperty('c', 'k', 'v'.repeat(131_073)));
      commitLayer('c', 'committed');
      assert.equal(layerInfo('committed').state, 'sealed');
      sealLayer('committed');
      assert.deepEqual(
        Array.from(listLayers(), (layer) => layer.name),
        ['a', 'committed', 'n'.repeat(255)],
      );
      removeLayer('committed');
      removeLayer('a');
      reclaimAll();
    });
  });

  test('a held layer is not removed', async () => {
    await withVolume(16 * MIB, () => {
      createLayer('a');
      assert.equal(holdLayer('a'), 1);
      assert.equal(holdLayer('a'), 2);
      refuses('busy', () => removeLayer('a'));
      assert.equal(releaseLayer('a'), 1);
      assert.equal(releaseLayer('a'), 0);
      assert.equal(releaseLayer('a'), 0);
      removeLayer('a');
      refuses('not-found', () => holdLayer('a'));
    });
  });

  test('no more layers are held than leave slots for the others', async () => {
    await withVolume(16 * MIB, () => {
      createLayer('base');
      for (let i = 0; i <= HELD_LAYERS_MAX; i++) createLayer(`clone${i}`, { parent: 'base' });
      for (let i = 0; i < HELD_LAYERS_MAX; i++) assert.equal(holdLayer(`clone${i}`), 1);
      assert.equal(holdLayer('clone0'), 2);
      refuses('busy', () => holdLayer(`clone${HELD_LAYERS_MAX}`));
      assert.equal(releaseLayer('clone1'), 0);
      assert.equal(holdLayer(`clone${HELD_LAYERS_MAX}`), 1);
    });
  });

  test('more layers than there are slots', async () => {
    await withVolume(64 * MIB, () => {
      for (let i = 0; i < 6000; i++) createLayer(`layer${i}`, i === 0 ? {} : { parent: `layer${i - 1}` });
      assert.equal(layerInfo('layer5999').depth, 5999);
      assert.equal(layerInfo('layer17').children, 1);
      put(findLayer('layer5999'), 'deep', 'text');
      assert.equal(Array.from(listLayers()).length, 6000);
      for (let i = 5999; i >= 0; i--) removeLayer(`layer${i}`);
      reclaimAll();
      assert.equal(volumeInfo().layers, 0);
    });
  });

  test('a quota limits what a layer owns, not what it inherits', async () => {
    await withVolume(32 * MIB, () => {
      const base = createLayer('base');
      put(base, 'big', 'x'.repeat(500_000));
      const clone = createLayer('clone', { parent: 'base', quotaBytes: 40_960 });
      const ino = put(clone, 'small', 'x'.repeat(40_960));
      assert.equal(write(clone, ino, 40_960, 4096, io, 0, 0), -EDQUOT);
      assert.equal(write(clone, ino, 0, 4096, io, 0, 0), 4096);
    });
  });

  test('a full volume has room for the records of all layers that changed', async () => {
    await withVolume(8 * MIB, () => {
      createLayer('base');
      const properties = { long: 'x'.repeat(900) };
      const clones = Array.from({ length: 600 }, (_, i) => createLayer(`clone${i}`, { parent: 'base', properties }));
      const filler = createLayer('filler');
      const ino = put(filler, 'file', 'x');
      checkpoint();
      for (const clone of clones) put(clone, 'file', '');
      io.bytes.fill(1);
      let written = 4096;
      for (let offset = 0; written === 4096; offset += 4096) written = write(filler, ino, offset, 4096, io, 0, 0);
      assert.equal(written, -ENOSPC);
      checkpoint();
    });
  });

  test('files that were removed while open are freed by the next mount', async () => {
    await withVolume(16 * MIB, () => {
      const layer = createLayer('a');
      put(layer, 'file', 'x'.repeat(10_000));
      put(layer, 'kept', 'x');
      unlink(layer, ROOT_INO, Buffer.from('file'), 0, 4);
      checkpoint();
      assert.equal(layerInfo('a').inodes, 3);
      assert.equal(reapLeftOrphans(), 1);
      assert.equal(reapLeftOrphans(), 0);
      assert.equal(layerInfo('a').inodes, 2);
    });
  });

  test('the diff finds renamed directories, replaced files and what is deep below', async () => {
    await withVolume(32 * MIB, () => {
      const base = createLayer('base');
      const a = makeDirectory(base, 'a');
      const deep = makeDirectory(base, 'deep', a);
      put(base, 'leaf', 'x', deep);
      put(base, 'same', 'x', deep);
      put(base, 'gone', 'x');
      makeDirectory(base, 'swap');
      put(base, 'swap2', 'x');
      const clone = createLayer('clone', { parent: 'base' });
      put(clone, 'leaf', 'changed', deep);
      unlink(clone, ROOT_INO, Buffer.from('gone'), 0, 4);
      assert.deepEqual(changes('clone', 'base'), ['M a/deep/leaf', 'D gone']);
      assert.equal(rename(clone, ROOT_INO, Buffer.from('a'), 0, 1, ROOT_INO, Buffer.from('b'), 0, 1, 0), 0);
      assert.equal(rename(clone, ROOT_INO, Buffer.from('swap'), 0, 4, ROOT_INO, Buffer.from('swap2'), 0, 5, 2), 0);
      assert.deepEqual(changes('clone', 'base'), [
        'D a',
        'A b',
        'A b/deep',
        'A b/deep/leaf',
        'A b/deep/same',
        'D gone',
        'M swap',
        'M swap2',
      ]);
      assert.deepEqual(changes('base', null), ['A a', 'A a/deep', 'A a/deep/leaf', 'A a/deep/same', 'A gone', 'A swap', 'A swap2']);
      createLayer('twin', { parent: 'clone' });
      assert.deepEqual(changes('twin', 'clone'), []);
    });
  });
});
