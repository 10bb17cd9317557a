import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { INODE_HAS_XATTR, type Ino, type LayerIndex } from '../layout/constants.js';
import { E2BIG, EEXIST, EINVAL, ENODATA, EOPNOTSUPP, ERANGE, EROFS, ESTALE } from '../linux/errno.js';
import { checkpoint } from './checkpoint.js';
import { createLayer } from './layers.js';
import { reapOrphan } from './namespace.js';
import {
  ROOT,
  bytesOf,
  closeTestVolume,
  make,
  makeSymlink,
  nowMicroseconds,
  openTestVolume,
  randomBytes,
  remove,
  stat,
} from '../../test/support/files.js';
import { Random } from '../../test/support/volume.js';
import { XATTR_CREATE, XATTR_REPLACE, getXattr, listXattr, removeXattr, setXattr } from './xattr.js';

let layer: LayerIndex;
let file: Ino;

beforeEach(() => {
  layer = openTestVolume();
  file = make(layer, ROOT, 'file');
});
afterEach(() => closeTestVolume());

const out = Buffer.alloc(70_000);

function set(name: string, value: Uint8Array, flags = 0, on = layer, ino = file): number {
  const bytes = bytesOf(name);
  return setXattr(on, ino, bytes, 0, bytes.length, value, 0, value.length, flags, false);
}

function get(name: string, room = out.length, on = layer, ino = file): Buffer | number {
  const bytes = bytesOf(name);
  const length = getXattr(on, ino, bytes, 0, bytes.length, out, 3, room);
  return length < 0 || room === 0 ? length : Buffer.from(out.subarray(3, 3 + length));
}

function erase(name: string): number {
  const bytes = bytesOf(name);
  return removeXattr(layer, file, bytes, 0, bytes.length);
}

function names(on = layer, ino = file): string[] {
  const length = listXattr(on, ino, out, 0, out.length);
  return out.toString('utf8', 0, length).split('\0').slice(0, -1).toSorted();
}

test('attributes of all namespaces are set, read, listed and removed', () => {
  const values = new Map(
    ['user.a', 'trusted.b', 'security.selinux', 'user.überlang', 'user.empty'].map((name) => [name, Buffer.from(`value of ${name}`)]),
  );
  values.set('user.empty', Buffer.alloc(0));
  assert.deepEqual(names(), []);
  for (const [name, value] of values) assert.equal(set(name, value), 0);
  checkpoint();
  for (const [name, value] of values) assert.deepEqual(get(name), value);
  assert.deepEqual(names(), [...values.keys()].toSorted());
  for (const name of values.keys()) {
    assert.equal(erase(name), 0);
    assert.equal(get(name), -ENODATA);
    assert.equal(erase(name), -ENODATA);
  }
  assert.deepEqual(names(), []);
  assert.equal(stat(layer, file).flags, 0);
});

test('values of up to 64 KiB, replaced by longer and shorter ones', () => {
  const chance = new Random(5);
  for (const length of [1, 960, 961, 962, 963, 976, 65_536, 10, 40_000, 0, 65_535]) {
    const value = Buffer.from(randomBytes(chance, length));
    assert.equal(set('user.value', value), 0);
    assert.deepEqual(get('user.value'), value);
    assert.equal(get('user.value', 0), length);
  }
  assert.equal(set('user.value', Buffer.alloc(65_537)), -E2BIG);
  assert.equal(get('user.value', 100), -ERANGE);
  assert.deepEqual(names(), ['user.value']);
});

test('flags, names and what is refused', () => {
  assert.equal(set('user.a', out.subarray(0, 5), XATTR_REPLACE), -ENODATA);
  assert.equal(set('user.a', out.subarray(0, 5), XATTR_CREATE), 0);
  assert.equal(set('user.a', out.subarray(0, 5), XATTR_CREATE), -EEXIST);
  assert.equal(set('user.a', out.subarray(0, 6), XATTR_REPLACE), 0);
  assert.equal(set('user.a', out.subarray(0, 6), 4), -EINVAL);
  assert.equal(set('', out), -ERANGE);
  assert.equal(set(`user.${'n'.repeat(250)}`, out.subarray(0, 1)), 0);
  assert.equal(set(`user.${'n'.repeat(251)}`, out.subarray(0, 1)), -ERANGE);
  assert.equal(set('user.', out.subarray(0, 1)), -EINVAL);
  for (const name of ['other.a', 'system.other', 'user']) {
    assert.equal(set(name, out.subarray(0, 1)), -EOPNOTSUPP);
    assert.equal(get(name), -EOPNOTSUPP);
  }
  const bytes = bytesOf('user.a');
  assert.equal(listXattr(layer, file, out, 0, 5), -ERANGE);
  assert.equal(listXattr(layer, 999, out, 0, 5), -ESTALE);
  assert.equal(getXattr(layer, 999, bytes, 0, bytes.length, out, 0, 5), -ESTALE);
});

test('ctime changes when an attribute does, and only then', () => {
  const ctime = (): number => stat(layer, file).ctime;
  const before = nowMicroseconds();
  set('user.a', out.subarray(0, 1));
  const first = ctime();
  assert.ok(first >= before);
  get('user.a');
  set('user.a', out.subarray(0, 1), XATTR_CREATE);
  erase('user.b');
  assert.equal(ctime(), first);
  erase('user.a');
  assert.ok(ctime() > first);
  assert.ok(stat(layer, file).mtime <= before);
});

test('many attributes, on all kinds of files; they go with the inode', () => {
  const link = makeSymlink(layer, ROOT, 'link', 'x');
  assert.equal(set('trusted.x', Buffer.from('on a link'), 0, layer, link), 0);
  assert.equal(set('user.x', Buffer.from('on a directory'), 0, layer, ROOT), 0);
  for (let i = 0; i < 200; i++) assert.equal(set(`user.attribute${i}`, Buffer.from(`value${i}`)), 0);
  assert.equal(names().length, 200);
  for (let i = 0; i < 200; i += 2) assert.equal(erase(`user.attribute${i}`), 0);
  for (let i = 0; i < 200; i++) assert.deepEqual(get(`user.attribute${i}`), i % 2 === 0 ? -ENODATA : Buffer.from(`value${i}`));
  for (const name of ['a', 'b', 'c', 'd']) set(`user.big-${name}`, Buffer.alloc(65_536, 1));
  assert.equal(stat(layer, file).flags, INODE_HAS_XATTR);
  remove(layer, ROOT, 'file');
  assert.equal(reapOrphan(layer, file), 0);
  assert.equal(listXattr(layer, file, out, 0, 0), -ESTALE);
});

test('a clone changes its own', () => {
  set('user.a', Buffer.from('old'));
  const clone = createLayer('clone', { parent: 'test' });
  assert.equal(set('user.a', Buffer.from('new'), 0, clone), 0);
  assert.equal(set('user.b', Buffer.from('more'), 0, clone), 0);
  assert.deepEqual([get('user.a'), get('user.a', 100, clone)], [Buffer.from('old'), Buffer.from('new')]);
  assert.deepEqual([names(), names(clone)], [['user.a'], ['user.a', 'user.b']]);
  assert.equal(set('user.c', Buffer.from('no')), -EROFS);
});
