/** Whose contents a file shows (N5, N6 of inode.ts), and which files may be shown as shared. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import {
  closeTestVolume,
  find,
  get,
  linkTo,
  make,
  makeSymlink,
  move,
  nowMicroseconds,
  openTestVolume,
  put,
  randomBytes,
  remove,
  ROOT,
  stat,
} from '../../test/support/files.js';
import { Random } from '../../test/support/volume.js';
import type { Ino, LayerIndex } from '../layout/constants.js';
import { inodeContentLayer } from '../layout/records.js';
import { EINVAL, EISDIR, EROFS, ESTALE } from '../linux/errno.js';
import { SET_MODE, SET_MTIME_NOW, makePrivate, newAttributeChange, setAttributes } from './attributes.js';
import { diffLayers } from './diff.js';
import { copyRange, KEEP_SIZE, PUNCH_HOLE, allocate, truncate } from './file.js';
import { foundAt, getInode, isFoundFixed, isFoundShared } from './inode.js';
import { createLayer, sealLayer } from './layers.js';
import { namesOf } from './link-names.js';
import { createTemporary } from './namespace.js';

let parent: LayerIndex;
let child: LayerIndex;
let file: Ino;

beforeEach(() => {
  parent = openTestVolume();
  file = make(parent, ROOT, 'file');
  put(parent, file, 0, Buffer.alloc(10_000, 1));
  make(parent, ROOT, 'empty');
  const linked = make(parent, ROOT, 'linked');
  put(parent, linked, 0, Buffer.alloc(100, 2));
  linkTo(parent, linked, ROOT, 'second name');
  makeSymlink(parent, ROOT, 'symlink', 'file');
  child = createLayer('child', { parent: 'test' });
});
afterEach(closeTestVolume);

function contentLayer(layer: LayerIndex, ino: Ino): LayerIndex {
  assert.equal(getInode(layer, ino), 0);
  return inodeContentLayer(foundAt);
}

function isShared(layer: LayerIndex, ino: Ino): boolean {
  assert.equal(getInode(layer, ino), 0);
  return isFoundShared();
}

const inoOf = (layer: LayerIndex, name: string): Ino => find(layer, ROOT, name);

describe('the contents of a file', () => {
  it('belong to the layer that last changed data or size', () => {
    const changes: ((ino: Ino) => number)[] = [
      (ino) => put(child, ino, 3, Buffer.from('x')),
      (ino) => truncate(child, ino, 0, false),
      (ino) => truncate(child, ino, 20_000, false),
      (ino) => allocate(child, ino, 0, 0, 20_000),
      (ino) => allocate(child, ino, PUNCH_HOLE | KEEP_SIZE, 4096, 4096),
      (ino) => allocate(child, ino, PUNCH_HOLE | KEEP_SIZE, 10, 20),
      (ino) =>
        copyRange(child, inoOf(child, 'empty'), 0, child, ino, 0, 10) + copyRange(child, inoOf(child, 'linked'), 0, child, ino, 0, 10),
    ];
    changes.forEach((change, i) => {
      const name = `clone ${i}`;
      createLayer(`middle ${i}`, { parent: 'test' });
      child = createLayer(name, { parent: `middle ${i}` });
      assert.equal(contentLayer(child, file), parent);
      assert.ok(isShared(child, file));
      assert.ok(change(file) >= 0);
      assert.equal(contentLayer(child, file), child, `change ${i}`);
      assert.ok(!isShared(child, file));
      assert.equal(contentLayer(parent, file), parent);
    });
  });

  it('stay where they are while attributes and names change', () => {
    assert.equal(setAttributes(child, file, SET_MODE | SET_MTIME_NOW, newAttributeChange()), 0);
    assert.equal(move(child, ROOT, 'file', ROOT, 'renamed'), 0);
    assert.equal(contentLayer(child, file), parent);
    assert.ok(isShared(child, file));
    assert.equal(remove(child, ROOT, 'renamed'), 0);
    assert.equal(contentLayer(child, file), parent);
    assert.ok(isFoundFixed() && !isFoundShared());
  });

  it('are shared once their own layer is sealed', () => {
    const own = make(child, ROOT, 'own');
    put(child, own, 0, Buffer.from('x'));
    assert.ok(!isShared(child, own));
    sealLayer('child');
    assert.ok(isShared(child, own));
    assert.equal(contentLayer(child, own), child);
  });

  it('are never shared without data or with several names', () => {
    for (const name of ['empty', 'linked', 'symlink']) assert.ok(!isShared(child, inoOf(child, name)), name);
    assert.equal(getInode(child, ROOT), 0);
    assert.ok(!isFoundFixed());
    const unnamed = createTemporary(child, ROOT, 0o600, 0, 0, 0);
    put(child, unnamed, 0, Buffer.from('x'));
    assert.ok(!isShared(child, unnamed));
  });

  it('are private for good when names come and go', () => {
    const linked = inoOf(child, 'linked');
    assert.equal(contentLayer(child, linked), parent);
    assert.equal(remove(child, ROOT, 'second name'), 0);
    assert.equal(contentLayer(child, linked), child);
    assert.ok(!isShared(child, linked));
    assert.equal(linkTo(child, file, ROOT, 'another name'), file);
    assert.equal(remove(child, ROOT, 'file'), 0);
    assert.equal(stat(child, file).links, 1);
    assert.ok(!isShared(child, file));
  });

  it('are private for good when a name is replaced', () => {
    const linked = inoOf(child, 'linked');
    assert.equal(move(child, ROOT, 'empty', ROOT, 'second name'), 0);
    assert.equal(stat(child, linked).links, 1);
    assert.ok(!isShared(child, linked));
  });
});

describe('making a file private', () => {
  it('changes nothing that stat or a diff shows', () => {
    const before = stat(child, file);
    const from = nowMicroseconds();
    assert.equal(makePrivate(child, file), 0);
    assert.equal(makePrivate(child, file), 0);
    assert.deepEqual(stat(child, file), before);
    assert.ok(before.ctime <= from);
    assert.equal(contentLayer(child, file), child);
    assert.deepEqual(get(child, file, 0, 20_000), Buffer.alloc(10_000, 1));
    assert.deepEqual([...diffLayers('child', 'test')], []);
    put(child, file, 0, Buffer.from('x'));
    assert.deepEqual(
      [...diffLayers('child', 'test')].map((change) => change.path.toString()),
      ['file'],
    );
  });

  it('is refused where there is nothing to make private', () => {
    assert.equal(makePrivate(child, ROOT), -EISDIR);
    assert.equal(makePrivate(child, inoOf(child, 'symlink')), -EINVAL);
    assert.equal(makePrivate(child, 9999), -ESTALE);
    assert.equal(makePrivate(parent, file), -EROFS);
  });
});

describe('the names of an inode', () => {
  it('are found from the inode', () => {
    const directory = make(child, ROOT, 'directory', 0o040755);
    linkTo(child, file, directory, 'näme');
    move(child, ROOT, 'file', directory, 'moved');
    const names = namesOf(child, file).map(({ dir, name }) => `${dir} ${Buffer.from(name).toString()}`);
    assert.deepEqual(names.toSorted(), [`${directory} moved`, `${directory} näme`]);
    assert.deepEqual(namesOf(child, 9999), []);
    assert.deepEqual(namesOf(9999, file), []);
  });
});

describe('inherited contents', () => {
  it('are the same in the layer that they belong to, whatever changed in between', () => {
    const chance = new Random();
    console.log(`# seed of the random operations: LCFS_SEED=${chance.seed}`);
    const inos = [file, ...Array.from({ length: 10 }, (_, i) => make(child, ROOT, `file ${i}`))];
    const layers = [parent, child];
    for (let round = 0; round < 12; round++) {
      const layer = createLayer(`round ${round}`, { parent: round === 0 ? 'child' : `round ${round - 1}` });
      layers.push(layer);
      for (let i = 0; i < 5; i++) disturb(layer, chance.pick(inos), chance);
      for (const ino of inos) compare(layer, ino);
    }
  });
});

function disturb(layer: LayerIndex, ino: Ino, chance: Random): void {
  const at = chance.below(100_000);
  const changes = [
    () => put(layer, ino, at, randomBytes(chance, 1 + chance.below(20_000))),
    () => truncate(layer, ino, at, false),
    () => allocate(layer, ino, PUNCH_HOLE | KEEP_SIZE, at, 1 + chance.below(20_000)),
    () => setAttributes(layer, ino, SET_MODE, newAttributeChange()),
    () => makePrivate(layer, ino),
  ];
  assert.ok(chance.pick(changes)() >= 0);
}

function compare(layer: LayerIndex, ino: Ino): void {
  const source = contentLayer(layer, ino);
  const size = stat(layer, ino).size;
  assert.equal(stat(source, ino).size, size);
  assert.deepEqual(get(source, ino, 0, 200_000), get(layer, ino, 0, 200_000));
}
