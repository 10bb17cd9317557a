/** Damaged volumes: looked at, worked on and repaired (test/support/damaged-volume.ts). */
import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkDevice, repairDevice } from '../../src/daemon/offline-check.js';
import { createLayer, layerInfo } from '../../src/engine/layers.js';
import { DAMAGED_PROPERTY } from '../../src/engine/properties.js';
import { closeVolume, formatVolume, openVolume } from '../../src/engine/volume.js';
import { PAGE_MAGIC } from '../../src/layout/constants.js';
import { damageRounds } from '../support/damaged-volume.js';
import { ROOT, find, list, make, put } from '../support/files.js';
import { MIB, Random, assertSound, withFolder } from '../support/volume.js';

/** `npm run torture -- --only damage` goes on for as long as one likes. */
const ROUNDS = 20;

test('whatever is damaged, nothing wrong is shown, check names what is hit, and repair makes the rest whole', async (t) => {
  const { seed } = new Random();
  t.diagnostic(`LCFS_SEED=${seed}`);
  await withFolder((folder) => {
    for (const withLog of [false, true]) {
      const figures = damageRounds(folder, seed, ROUNDS, withLog);
      t.diagnostic(JSON.stringify({ withLog, ...figures }));
      assert.ok(figures.repaired > ROUNDS / 2, `${figures.repaired} volumes were repaired`);
    }
  });
});

/** Makes a volume with a layer, a child and a clone, and returns its path. */
function makeVolume(folder: string): string {
  const path = join(folder, 'volume');
  formatVolume(path, { bytes: 32 * MIB });
  openVolume(path, { cacheBytes: 4 * MIB });
  const base = createLayer('base');
  for (let i = 0; i < 100; i++) put(base, make(base, ROOT, `file${i}`), 0, Buffer.alloc(9000, `contents of ${i};`));
  const child = createLayer('child', { parent: 'base' });
  put(child, make(child, ROOT, 'own'), 0, Buffer.from('own'));
  createLayer('clone', { parent: 'base' });
  closeVolume();
  return path;
}

function overwrite(path: string, offset: number, bytes: Buffer): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, bytes, 0, bytes.length, offset);
  closeSync(fd);
}

const quiet = (): void => undefined;

test('a block of data that cannot be read is named in every layer that has it, and stays the only loss', async () => {
  await withFolder((folder) => {
    const path = makeVolume(folder);
    assert.equal(checkDevice(path, true, quiet).errorCount, 0);
    const at = readFileSync(path).indexOf('contents of 77;');
    overwrite(path, at, Buffer.alloc(4096));
    const report = repairDevice(path, true, quiet);
    assert.equal(report.repair, null, 'there is nothing to repair');
    assert.deepEqual(
      report.damage.map(({ layerName, path: file, kind }) => [layerName, file, kind]),
      ['base', 'child', 'clone'].map((layer) => [layer, '/file77', 'data']),
    );
  });
});

test('a volume whose bitmap is damaged cannot be opened, and is whole after a repair', async () => {
  await withFolder((folder) => {
    const path = makeVolume(folder);
    for (const block of [2, 3]) overwrite(path, block * 4096, Buffer.alloc(4096, 0xff));
    const found = checkDevice(path, true, quiet);
    assert.match(found.errors.join(), /bitmap of block group 0/);
    assert.deepEqual(found.repair, { done: false, damage: [], notes: [], log: null });
    const repaired = repairDevice(path, true, quiet);
    assert.equal(repaired.errorCount, 0);
    assert.equal(repaired.repair!.done, true);
  });
});

test('a layer that lost something says so, and its files are in lost+found', async () => {
  await withFolder((folder) => {
    const path = makeVolume(folder);
    const image = readFileSync(path);
    const leaf = leafWith(image, 'file77');
    overwrite(path, leaf * 4096 + 100, Buffer.from('damage'));
    const { errorCount, repair } = repairDevice(path, true, quiet);
    assert.equal(errorCount, 0);
    assert.ok(repair!.damage.some((each) => each.layerName === 'clone'));
    openVolume(path, { cacheBytes: 4 * MIB });
    for (const name of ['base', 'clone']) {
      const { index, properties } = layerInfo(name);
      assert.ok(JSON.parse(properties[DAMAGED_PROPERTY]!).count > 0);
      const found = find(index, ROOT, 'lost+found');
      assert.ok(list(index, found).size > 2);
    }
    assertSound();
    closeVolume();
  });
});

test('without its catalog a volume goes back to an earlier one', async () => {
  await withFolder((folder) => {
    const path = makeVolume(folder);
    openVolume(path, { cacheBytes: 4 * MIB });
    const child = layerInfo('child').index;
    put(child, make(child, ROOT, 'last'), 0, Buffer.from('last'));
    closeVolume();
    const image = readFileSync(path);
    const generations = [0, 1].map((block) => image.readUInt32LE(block * 4096 + 12));
    const root = image.readUInt32LE((generations[0]! > generations[1]! ? 0 : 4096) + 20);
    overwrite(path, root * 4096, Buffer.alloc(4096));
    const { errorCount, repair } = repairDevice(path, true, quiet);
    assert.equal(errorCount, 0);
    assert.match(repair!.notes.join(), /checkpoint/);
    openVolume(path, { cacheBytes: 4 * MIB });
    for (const name of ['base', 'child', 'clone']) assert.ok(find(layerInfo(name).index, ROOT, 'file5') > 0, name);
    assertSound();
    closeVolume();
  });
});

/** The leaf of a layer that holds a name. */
function leafWith(image: Buffer, name: string): number {
  for (let block = 4; block < image.length / 4096; block++) {
    const page = image.subarray(block * 4096, (block + 1) * 4096);
    if (page.readUInt32LE(0) === PAGE_MAGIC && page.readUInt16LE(22) === 0 && page.includes(name)) return block;
  }
  throw new Error(`no page holds ${name}`);
}
