import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { INODE_HAS_ACL, INODE_HAS_DEFAULT_ACL, INODE_HAS_XATTR, type Ino, type LayerIndex } from '../layout/constants.js';
import { EACCES, EINVAL, ENODATA, EOPNOTSUPP } from '../linux/errno.js';
import { SET_MODE, newAttributeChange, setAttributes } from './attributes.js';
import { createTemporary } from './namespace.js';
import { DIRECTORY, REGULAR, ROOT, bytesOf, closeTestVolume, make, makeSymlink, openTestVolume, stat } from '../../test/support/files.js';
import { getXattr, listXattr, removeXattr, setXattr } from './xattr.js';

let layer: LayerIndex;
let file: Ino;
let dir: Ino;

beforeEach(() => {
  layer = openTestVolume();
  file = make(layer, ROOT, 'file', 0o100644);
  dir = make(layer, ROOT, 'dir', 0o040755);
});
afterEach(() => closeTestVolume());

const ACCESS = 'system.posix_acl_access';
const DEFAULT = 'system.posix_acl_default';
const TAGS: Record<string, number> = { u: 1, 'u:': 2, g: 4, 'g:': 8, m: 16, o: 32 };
const NO_ID = 0xffff_ffff;

/** The kernel's form of a list such as `u=6 u:1000=7 g=4 m=7 o=0`. */
function acl(text: string): Buffer {
  const entries = text.split(' ').map((entry) => {
    const [who, perm] = entry.split('=') as [string, string];
    const [kind, id] = who.split(':') as [string, string | undefined];
    const bytes = Buffer.alloc(8);
    bytes.writeUInt16LE(TAGS[id === undefined ? kind : `${kind}:`]!, 0);
    bytes.writeUInt16LE(Number(perm), 2);
    bytes.writeUInt32LE(id === undefined ? NO_ID : Number(id), 4);
    return bytes;
  });
  return Buffer.concat([Buffer.from([2, 0, 0, 0]), ...entries]);
}

function set(ino: Ino, name: string, value: Buffer, clearSgid = false): number {
  const bytes = bytesOf(name);
  return setXattr(layer, ino, bytes, 0, bytes.length, value, 0, value.length, 0, clearSgid);
}

function get(ino: Ino, name: string): Buffer | number {
  const bytes = bytesOf(name);
  const out = Buffer.alloc(66_000);
  const length = getXattr(layer, ino, bytes, 0, bytes.length, out, 0, out.length);
  return length < 0 ? length : out.subarray(0, length);
}

const permissions = (ino: Ino): number => stat(layer, ino).mode & 0o7777;

test('an access ACL sets the permission bits and is stored', () => {
  const value = acl('u=6 u:1000=7 g=5 g:50=4 m=6 o=1');
  assert.equal(set(file, ACCESS, value), 0);
  assert.equal(permissions(file), 0o661);
  assert.deepEqual(get(file, ACCESS), value);
  assert.equal(stat(layer, file).flags, INODE_HAS_XATTR | INODE_HAS_ACL);
  const out = Buffer.alloc(100);
  assert.equal(out.toString('utf8', 0, listXattr(layer, file, out, 0, 100)), `${ACCESS}\0`);
});

test('an access ACL that says no more than the mode is not stored', () => {
  assert.equal(set(file, ACCESS, acl('u=7 u:1000=7 g=5 m=7 o=1')), 0);
  assert.equal(set(file, ACCESS, acl('u=7 g=5 o=1')), 0);
  assert.equal(permissions(file), 0o751);
  assert.equal(get(file, ACCESS), -ENODATA);
  assert.equal(stat(layer, file).flags, 0);
  assert.equal(set(file, ACCESS, acl('u=7 g=5 m=1 o=1')), 0, 'a mask does say more');
  assert.equal(permissions(file), 0o711);
  assert.equal(stat(layer, file).flags, INODE_HAS_XATTR | INODE_HAS_ACL);
});

test('chmod changes the owner, mask and other entries', () => {
  const chmod = (ino: Ino, mode: number): void =>
    void assert.equal(setAttributes(layer, ino, SET_MODE, { ...newAttributeChange(), mode }), 0);
  set(file, ACCESS, acl('u=6 u:1000=7 g=5 m=6 o=1'));
  chmod(file, 0o2517);
  assert.equal(permissions(file), 0o2517);
  assert.deepEqual(get(file, ACCESS), acl('u=5 u:1000=7 g=5 m=1 o=7'));
  const plain = acl('u=6 g=5 m=7 o=1');
  set(file, ACCESS, plain);
  chmod(file, 0o600);
  assert.deepEqual(get(file, ACCESS), acl('u=6 g=5 m=0 o=0'));
});

test('removing an ACL keeps the permission bits', () => {
  set(file, ACCESS, acl('u=6 u:1000=7 g=5 m=6 o=1'));
  const bytes = bytesOf(ACCESS);
  assert.equal(removeXattr(layer, file, bytes, 0, bytes.length), 0);
  assert.equal(removeXattr(layer, file, bytes, 0, bytes.length), 0, 'a file without an ACL can lose it');
  assert.deepEqual([permissions(file), stat(layer, file).flags], [0o661, 0]);
  set(file, ACCESS, acl('u=6 u:1000=7 g=5 m=6 o=1'));
  assert.equal(set(file, ACCESS, Buffer.from([2, 0, 0, 0])), 0, 'an ACL without entries removes it');
  assert.deepEqual([get(file, ACCESS), stat(layer, file).flags], [-ENODATA, 0]);
});

test('set-group-id goes when the caller may not keep it', () => {
  setAttributes(layer, file, SET_MODE, { ...newAttributeChange(), mode: 0o2755 });
  set(file, ACCESS, acl('u=7 u:1=7 g=7 m=7 o=7'), false);
  assert.equal(permissions(file), 0o2777);
  set(file, ACCESS, acl('u=7 u:1=7 g=7 m=7 o=7'), true);
  assert.equal(permissions(file), 0o777);
});

test('bad ACLs are refused', () => {
  const good = acl('u=6 u:1=7 g=5 m=6 o=1');
  const bad = [
    Buffer.from([2, 0]),
    good.subarray(0, good.length - 1),
    Buffer.concat([Buffer.from([1, 0, 0, 0]), good.subarray(4)]),
    acl('u=6 u:1=7 g=5 o=1'),
    acl('u=6 g=5'),
    acl('g=5 o=1 u=6'),
    acl('u=6 u=6 g=5 o=1'),
    acl('u=8 g=5 o=1'),
    acl('u=6 g=5 u:1=7 m=7 o=1'),
    acl('u=6 g=5 m=7 m=7 o=1'),
  ];
  for (const value of bad) {
    assert.equal(set(file, ACCESS, value), -EINVAL);
    assert.equal(set(dir, DEFAULT, value), -EINVAL);
  }
  assert.equal(permissions(file), 0o644);
  const link = makeSymlink(layer, ROOT, 'link', 'x');
  assert.equal(set(link, ACCESS, good), -EOPNOTSUPP);
  assert.equal(set(file, DEFAULT, good), -EACCES);
  assert.equal(set(file, DEFAULT, Buffer.alloc(0)), 0);
});

test('a default ACL is inherited in place of the umask', () => {
  const value = acl('u=7 u:1000=7 g=5 m=7 o=1');
  assert.equal(set(dir, DEFAULT, value), 0);
  assert.deepEqual([permissions(dir), stat(layer, dir).flags], [0o755, INODE_HAS_XATTR | INODE_HAS_DEFAULT_ACL]);
  const made = make(layer, dir, 'file', REGULAR | 0o666, 0o077);
  assert.equal(permissions(made), 0o660, 'owner 6 of 7, group the mask 6 of 7, others none of 6');
  assert.deepEqual(get(made, ACCESS), acl('u=6 u:1000=7 g=5 m=6 o=0'));
  assert.equal(get(made, DEFAULT), -ENODATA);
  const below = make(layer, dir, 'dir', DIRECTORY | 0o777, 0o077);
  assert.equal(permissions(below), 0o771);
  assert.deepEqual(get(below, ACCESS), acl('u=7 u:1000=7 g=5 m=7 o=1'));
  assert.deepEqual(get(below, DEFAULT), value);
  const unnamed = createTemporary(layer, below, 0o600, 0o077, 0, 0);
  assert.deepEqual(get(unnamed, ACCESS), acl('u=6 u:1000=7 g=5 m=0 o=0'));
  assert.equal(stat(layer, makeSymlink(layer, dir, 'link', 'x')).flags, 0);
  assert.equal(stat(layer, make(layer, ROOT, 'other', REGULAR | 0o666, 0o022)).mode & 0o777, 0o644);
});

test('a default ACL without named entries only limits the mode', () => {
  assert.equal(set(dir, DEFAULT, acl('u=7 g=5 o=0')), 0);
  const made = make(layer, dir, 'file', REGULAR | 0o666, 0);
  assert.deepEqual([permissions(made), stat(layer, made).flags], [0o640, 0]);
});

test('ACLs as long as an attribute can be', () => {
  const entries = Array.from({ length: 8187 }, (_, i) => `u:${i}=7`).join(' ');
  const value = acl(`u=7 ${entries} g=7 m=7 o=7`);
  assert.equal(value.length, 65_532);
  assert.equal(set(dir, DEFAULT, value), 0);
  const below = make(layer, dir, 'dir', DIRECTORY | 0o750);
  assert.equal((get(below, ACCESS) as Buffer).length, value.length);
  assert.deepEqual(get(below, DEFAULT), value);
});
