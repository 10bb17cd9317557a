/**
 * Archives that no archiver writes: headers with right checksums and wrong fields, broken pax records, cut, doubled and moved
 * pieces, in chunks of any length. Each is applied or refused; what was applied can be given out again, byte by byte; the
 * layer below stays what it was, and the volume sound. And recipes that are not what an import writes.
 */
import assert from 'node:assert/strict';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { LcfsError } from '../engine/errors.js';
import { createLayer, findLayer, removeLayer } from '../engine/layers.js';
import { reclaimAll } from '../engine/maintenance.js';
import { RECIPE_CHUNK_BYTES, appendRecipeChunk, readRecipeChunk } from '../engine/recipe.js';
import { closeTestVolume, openTestVolume } from '../../test/support/files.js';
import { mutateBytes, oddWord, runCases, type FuzzFigures, type FuzzOptions } from '../../test/support/fuzz.js';
import { archive, entryBytes, metaEntry, mutate, paxLine, type EntrySpec } from '../../test/support/archives.js';
import { exportOriginal } from './export.js';
import { apply, dump, exported, layerOf } from '../../test/support/archive-layers.js';
import { assertSound, type Random } from '../../test/support/volume.js';
import * as Tar from './tar-format.js';
import { END_OF_ARCHIVE } from './tar-writer.js';

const LOWER: EntrySpec[] = [
  { path: 'd/', type: Tar.DIRECTORY },
  { path: 'd/a', data: Buffer.alloc(9000, 'a') },
  { path: 'd/s/x', data: 'x' },
  { path: 'l', type: Tar.SYMLINK, linkPath: 'd/s' },
];

const UPPER = Buffer.concat([
  entryBytes({ path: 'd/', type: Tar.DIRECTORY, xattrs: { 'user.k': 'v' } }),
  entryBytes({ path: 'd/a', data: Buffer.alloc(5000, 'b'), mode: 0o4755 }),
  entryBytes({ path: 'l/y', data: 'through a link' }),
  entryBytes({ path: 'd/h', type: Tar.HARD_LINK, linkPath: 'd/s/x' }),
  entryBytes({ path: 'd/.wh..wh..opq' }),
  entryBytes({ path: 'c', type: Tar.CHARACTER_DEVICE, major: 5, minor: 1 }),
  metaEntry(Tar.PAX_HEADER, paxLine('GNU.sparse.size', '100000') + paxLine('GNU.sparse.map', '50000,4')),
  entryBytes({ path: 'sparse', data: 'data' }),
  entryBytes({ path: 'l', data: 'no link any more' }),
  END_OF_ARCHIVE,
]);

/** Records of pax headers, right ones and others. */
const PAX: [string, string][] = [
  ['path', 'p'.repeat(300)],
  ['path', '../up'],
  ['linkpath', 'd/a'],
  ['size', '99999999999999999999'],
  ['size', '-1'],
  ['size', '4'],
  ['mtime', '-99999999999999999999.999999999999'],
  ['uid', '4294967296'],
  ['SCHILY.xattr.user.x', 'v'.repeat(70_000)],
  ['SCHILY.xattr.', 'no name'],
  ['LIBARCHIVE.xattr.user.%00', '!'],
  ['GNU.sparse.major', '1'],
  ['GNU.sparse.minor', '0'],
  ['GNU.sparse.realsize', '9007199254740993'],
  ['GNU.sparse.map', '0,1,0,1,5'],
  ['GNU.sparse.offset', '17592186044416'],
  ['GNU.sparse.numbytes', '3'],
];

/** An archive with pax headers of whatever in front of files, or a mutated good one. */
function someArchive(random: Random): Buffer {
  if (random.below(3) > 0) return mutate(UPPER, random);
  const entries = Array.from({ length: 1 + random.below(3) }, (_, i) => {
    const lines = Array.from({ length: 1 + random.below(4) }, () => paxLine(...random.pick(PAX)));
    const body = Buffer.from(lines.join(''), 'latin1');
    const pax = metaEntry(random.pick([Tar.PAX_HEADER, 0x67, 0x4c, 0x4b]), random.below(2) === 0 ? body : mutateBytes(body, random));
    return Buffer.concat([pax, entryBytes({ path: `f${i}`, data: 'data' })]);
  });
  return Buffer.concat([...entries, END_OF_ARCHIVE]);
}

function applyOrRefuse(bytes: Buffer, piece: number): void {
  createLayer('upper', { parent: 'lower' });
  try {
    apply('upper', bytes, piece, { recipe: true });
    // What was accepted can be given out again, as it was and anew.
    assert.ok(Buffer.concat([...exportOriginal('upper')]).equals(bytes), 'the original comes back');
    exported('upper', 'lower');
  } catch (error) {
    if (!(error instanceof LcfsError) || !['invalid', 'full'].includes(error.code)) throw error;
  } finally {
    removeLayer('upper');
  }
}

export async function fuzzImport(options: FuzzOptions): Promise<FuzzFigures> {
  openTestVolume(128 << 20);
  layerOf('lower', archive(...LOWER));
  const untouched = dump(findLayer('lower'));
  const figures = await runCases(options, (random, seed) => {
    applyOrRefuse(someArchive(random), 1 + random.below(3000));
    if (seed % 50 === 0) reclaimAll();
    if (seed % 500 === 0) assertSound();
  });
  assert.deepEqual(dump(findLayer('lower')), untouched);
  reclaimAll();
  closeTestVolume();
  return figures;
}

// Recipes

/** The stored bytes of a layer's recipe. */
function recipeOf(name: string): Buffer {
  const chunk = Buffer.alloc(RECIPE_CHUNK_BYTES);
  const chunks: Buffer[] = [];
  for (let length = 1; length > 0;) {
    length = readRecipeChunk(findLayer(name), chunks.length, chunk);
    chunks.push(Buffer.from(chunk.subarray(0, Math.max(0, length))));
  }
  return Buffer.concat(chunks);
}

function storeRecipe(name: string, bytes: Buffer): void {
  const layer = createLayer(name, { parent: 'made' });
  for (let at = 0, chunk = 0; at < bytes.length; at += RECIPE_CHUNK_BYTES, chunk++) {
    const part = bytes.subarray(at, at + RECIPE_CHUNK_BYTES);
    assert.equal(appendRecipeChunk(layer, chunk, part, 0, part.length), 0);
  }
}

/** Steps with other numbers, compressed as they should be; or other bytes altogether. */
function damaged(recipe: Buffer, random: Random): Buffer {
  if (random.below(3) === 0) return mutateBytes(recipe, random);
  const length = recipe.readUInt32LE(0);
  const steps = inflateRawSync(recipe.subarray(4, 4 + length));
  const changed = random.below(2) === 0 ? mutateBytes(steps, random) : withOddNumber(steps, random);
  const piece = deflateRawSync(changed);
  const head = Buffer.alloc(4);
  head.writeUInt32LE(piece.length);
  return Buffer.concat([head, piece, recipe.subarray(4 + length)]);
}

function withOddNumber(steps: Buffer, random: Random): Buffer {
  const copy = Buffer.from(steps);
  const at = random.below(Math.max(1, copy.length - 8));
  if (random.below(2) === 0) copy.writeUInt32LE(oddWord(random, copy.readUInt32LE(at)), at);
  else copy.writeDoubleLE(random.pick([NaN, Infinity, -1, 0.5, 1e300, 2 ** 44, 2 ** 53, 4097]), at);
  return copy;
}

export async function fuzzRecipe(options: FuzzOptions): Promise<FuzzFigures> {
  openTestVolume(64 << 20);
  createLayer('made');
  apply('made', archive(...LOWER, { path: 'e', data: Buffer.alloc(70_000, 'e') }), 0, { recipe: true });
  const recipe = recipeOf('made');
  const figures = await runCases(options, (random, seed) => {
    storeRecipe('odd', damaged(recipe, random));
    try {
      let bytes = 0;
      for (const chunk of exportOriginal('odd')) if ((bytes += chunk.length) > 1 << 26) break; // it may say a file often
    } catch (error) {
      if (!(error instanceof LcfsError)) throw error;
    }
    removeLayer('odd');
    if (seed % 50 === 0) reclaimAll();
  });
  reclaimAll();
  closeTestVolume();
  return figures;
}
