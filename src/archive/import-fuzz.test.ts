import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { checkVolume } from '../engine/check.js';
import { LcfsError } from '../engine/errors.js';
import { createLayer, findLayer, removeLayer } from '../engine/layers.js';
import { reclaimAll } from '../engine/maintenance.js';
import { closeTestVolume, openTestVolume } from '../../test/support/files.js';
import { archive, entryBytes, metaEntry, mutate, paxLine, type EntrySpec } from '../../test/support/archives.js';
import { exportOriginal } from './export.js';
import { apply, dump, exported, layerOf } from '../../test/support/archive-layers.js';
import { Random } from '../../test/support/volume.js';
import * as Tar from './tar-format.js';
import { END_OF_ARCHIVE } from './tar-writer.js';

before(() => openTestVolume(128 << 20));
after(() => closeTestVolume());

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

test('mutated archives are applied or refused, and the volume stays sound', () => {
  const random = new Random();
  console.log(`# seed ${random.seed}`);
  layerOf('lower', archive(...LOWER));
  const untouched = dump(findLayer('lower'));
  for (let round = 0; round < 600; round++) tryOne(mutate(UPPER, random), 1 + random.below(3000), `seed ${random.seed}, round ${round}`);
  assert.deepEqual(dump(findLayer('lower')), untouched);
  reclaimAll();
  assert.deepEqual(checkVolume({ data: true }).errors, []);
});

function tryOne(bytes: Buffer, piece: number, label: string): void {
  createLayer('upper', { parent: 'lower' });
  try {
    apply('upper', bytes, piece, { recipe: true });
    // What was accepted can be given out again, as it was and anew.
    assert.ok(Buffer.concat([...exportOriginal('upper')]).equals(bytes), label);
    exported('upper', 'lower');
  } catch (error) {
    if (!(error instanceof LcfsError) || !['invalid', 'full'].includes(error.code)) throw new Error(label, { cause: error });
  } finally {
    removeLayer('upper');
  }
}
