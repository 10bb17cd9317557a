import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { deflateRawSync } from 'node:zlib';
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createLayer, findLayer, layerInfo, removeLayer, sealLayer } from '../engine/layers.js';
import { reclaimAll } from '../engine/maintenance.js';
import { appendRecipeChunk } from '../engine/recipe.js';
import { volumeInfo } from '../engine/volume.js';
import { archive, entryBytes, gnuTar, hasGnuTar, metaEntry, paxLine, type EntrySpec } from '../../test/support/archives.js';
import { apply, dump, refusal } from '../../test/support/archive-layers.js';
import { closeTestVolume, openTestVolume } from '../../test/support/files.js';
import { assertSound, withFolder } from '../../test/support/volume.js';
import { exportOriginal, hasOriginal } from './export.js';
import { recipeSteps } from './recipe.js';
import * as Tar from './tar-format.js';
import { END_OF_ARCHIVE } from './tar-writer.js';

let count = 0;
const fresh = (): string => `layer-${count++}`;
const original = (name: string): Buffer => Buffer.concat([...exportOriginal(name)]);
const OPTIONS = { recipe: true };

/** A new layer with the archive in it and its recipe beside it. */
function layerWith(bytes: Buffer, piece = 0, parent?: string): string {
  const name = fresh();
  createLayer(name, { parent });
  apply(name, bytes, piece, OPTIONS);
  return name;
}

/** Bytes of the archive that the recipe of a layer holds itself. */
function restBytes(name: string): number {
  let bytes = 0;
  for (const step of recipeSteps(findLayer(name))) if (!('ino' in step)) bytes += step.length;
  return bytes;
}

before(() => openTestVolume(256 << 20));
after(() => {
  assertSound();
  closeTestVolume();
});

const LOWER = archive({ path: 'd/', type: Tar.DIRECTORY }, { path: 'd/old', data: 'old' }, { path: 'l', type: Tar.SYMLINK, linkPath: 'd' });

const SPECS: EntrySpec[] = [
  { path: './d/', type: Tar.DIRECTORY, mode: 0o1777 },
  { path: 'd/empty' },
  { path: 'd/block', data: Buffer.alloc(512, 'b') },
  { path: 'd/large', data: randomBytes(2_500_000) },
  { path: 'd/zeros', data: Buffer.alloc(300_000) },
  { path: 'l/through', data: 'a link of the layer below', uid: 70_000, gid: 0o7_777_777_777 },
  { path: `${'long/'.repeat(60)}name`, data: 'x', xattrs: { 'user.key': randomBytes(3000) } },
  { path: 'd/hard', type: Tar.HARD_LINK, linkPath: 'd/large' },
  { path: 'd/soft', type: Tar.SYMLINK, linkPath: '../anywhere' },
  { path: 'd/.wh.old' },
  { path: 'd/.wh..wh..opq' },
  { path: '.wh..wh.plnk/pool', data: 'of an old storage driver, kept in no file' },
  { path: 'd/.wh.data', data: 'a whiteout with data' },
  { path: 'pipe', type: Tar.FIFO },
];

test('an archive comes back byte by byte, whatever pieces it came in', () => {
  layerWith(LOWER);
  const bytes = Buffer.concat([archive(...SPECS), Buffer.from('anything behind the end'), randomBytes(100_000)]);
  for (const piece of [0, 1 << 16, 4096, 513, 7]) {
    const lower = layerWith(LOWER);
    assert.ok(original(layerWith(bytes, piece, lower)).equals(bytes), `pieces of ${piece} bytes`);
  }
});

test('contents of files are not kept twice', () => {
  const name = layerWith(archive({ path: 'large', data: randomBytes(3 << 20) }, { path: 'small', data: randomBytes(1000) }));
  assert.equal(restBytes(name), 2 * 512 + 24 + END_OF_ARCHIVE.length);
  assert.ok(layerInfo(name).ownBytes < (3 << 20) + 100_000);
});

test('sparse files come back with the map they had', { skip: !hasGnuTar && 'needs GNU tar' }, () =>
  withFolder((folder) => {
    const root = join(folder, 'root');
    mkdirSync(join(root, 'sub'), { recursive: true });
    for (let i = 0; i < 20; i++) writeFileSync(join(root, `sub/f${i}`), randomBytes(i * 700));
    symlinkSync('f1', join(root, 'sub/link'));
    writeFileSync(join(root, 'holes'), 'start');
    truncateSync(join(root, 'holes'), 5_000_001);
    writeFileSync(join(root, 'holes'), 'end', { flag: 'a' });
    const formats = [['gnu'], ['posix', '--sparse-version=0.1'], ['posix', '--sparse-version=1.0'], ['ustar'], ['v7']];
    for (const [format, ...more] of formats) {
      const bytes = gnuTar(root, '-c', `--format=${format}`, ...(format === 'ustar' || format === 'v7' ? [] : ['-S', ...more]), '.');
      assert.ok(original(layerWith(bytes, 10_000)).equals(bytes), `${format} ${more.join(' ')}`);
    }
  }),
);

test('stretches of a sparse file that begin anywhere', () => {
  const meta = metaEntry(Tar.PAX_HEADER, paxLine('GNU.sparse.size', '100000') + paxLine('GNU.sparse.map', '1,3,5000,4097,50000,4'));
  const bytes = Buffer.concat([meta, entryBytes({ path: 'sparse', data: randomBytes(3 + 4097 + 4) }), END_OF_ARCHIVE]);
  assert.ok(original(layerWith(bytes, 100)).equals(bytes));
});

test('a file of which another entry took the place cannot be given back', () => {
  const twice = archive({ path: 'f', data: 'first' }, { path: 'f', data: 'second' });
  const name = fresh();
  createLayer(name);
  assert.throws(() => apply(name, twice, 0, OPTIONS), { code: 'invalid', message: /several entries with data for one path/ });
  removeLayer(name);
  assert.equal(refusal(fresh(), twice), 'accepted', 'without a recipe it is no matter');
  const below = archive({ path: 'd/f', data: 'data' }, { path: 'd', type: Tar.SYMLINK, linkPath: 'x' });
  assert.throws(() => apply(layerWith(archive()), below, 0, OPTIONS), { code: 'state' }, 'a layer has one recipe');
  const other = fresh();
  createLayer(other);
  assert.throws(() => apply(other, below, 0, OPTIONS), { code: 'invalid' });
});

test('entries without data may be there twice, and those of lower layers may be replaced', () => {
  const lower = layerWith(LOWER);
  const bytes = archive(
    { path: 'd/old', data: 'new' },
    { path: 'e', type: Tar.SYMLINK, linkPath: 'a' },
    { path: 'e', type: Tar.SYMLINK, linkPath: 'b' },
    { path: 'h', data: 'linked' },
    { path: 'i', type: Tar.HARD_LINK, linkPath: 'h' },
    { path: 'h', type: Tar.DIRECTORY },
  );
  assert.ok(original(layerWith(bytes, 0, lower)).equals(bytes));
});

test('a clone has no recipe, and its layer keeps its own', () => {
  const bytes = archive({ path: 'f', data: 'data' });
  const parent = layerWith(bytes);
  const child = fresh();
  createLayer(child, { parent });
  assert.equal(hasOriginal(child), false);
  const more = archive({ path: 'g', data: 'more' }, { path: '.wh.f' });
  apply(child, more, 0, OPTIONS);
  assert.deepEqual([...dump(findLayer(child)).keys()], ['g']);
  assert.ok(original(child).equals(more));
  assert.ok(original(parent).equals(bytes));
  assert.throws(() => original(fresh()), { code: 'not-found' });
});

test('a recipe that breaks off is reported', () => {
  const name = fresh();
  createLayer(name);
  assert.throws(() => original(name), { code: 'state', message: /it ends early/ });
  const piece = Buffer.from([5, 0, 0, 0, 1, 2, 3, 4, 5]);
  assert.equal(appendRecipeChunk(findLayer(name), 0, piece, 0, piece.length), 0);
  assert.throws(() => original(name), { code: 'state', message: /not whole/ });
  sealLayer(name);
  assert.ok(appendRecipeChunk(findLayer(name), 1, piece, 0, 1) < 0);
});

test('recipes go with their layers', () => {
  reclaimAll();
  const { free } = volumeInfo().blocks;
  const name = layerWith(archive(...Array.from({ length: 3000 }, (_, i) => ({ path: `file-${i}`, data: randomBytes(20) }))));
  assert.ok(original(name).length > 3000 * 1024);
  removeLayer(name);
  reclaimAll();
  assert.equal(volumeInfo().blocks.free, free);
});

test('steps that are cut off or name impossible ranges make no archive', () => {
  const file = (offset: number, length: number): Buffer => {
    const step = Buffer.alloc(24, 0xff);
    step.writeUInt32LE(2, 4);
    step.writeDoubleLE(offset, 8);
    step.writeDoubleLE(length, 16);
    return step;
  };
  for (const steps of [
    Buffer.alloc(3),
    Buffer.of(9, 0, 0, 0, 1),
    file(0, 1).subarray(0, 20),
    file(NaN, 1),
    file(0, Infinity),
    file(-1, 1),
    file(0.5, 1),
  ]) {
    const name = fresh();
    const piece = deflateRawSync(steps);
    const recipe = Buffer.concat([Buffer.of(piece.length, 0, 0, 0), piece, Buffer.alloc(4)]);
    assert.equal(appendRecipeChunk(createLayer(name), 0, recipe, 0, recipe.length), 0);
    assert.throws(() => original(name), { code: 'state', message: /is not whole/ });
    removeLayer(name);
  }
});
