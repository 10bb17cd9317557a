import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, test } from 'node:test';
import {
  type AttributeChange,
  newAttributeChange,
  SET_ATIME,
  SET_GID,
  SET_MODE,
  SET_MTIME,
  SET_SIZE,
  SET_UID,
  setAttributes,
} from '../engine/attributes.js';
import { LcfsError } from '../engine/errors.js';
import { createLayer, findLayer } from '../engine/layers.js';
import {
  closeTestVolume,
  DIRECTORY,
  find,
  linkTo,
  list,
  make,
  makeSymlink,
  move,
  openTestVolume,
  put,
  REGULAR,
  remove,
  removeDir,
  ROOT,
  stat,
} from '../../test/support/files.js';
import { Random } from '../../test/support/volume.js';
import { setXattr } from '../engine/xattr.js';
import { ROOT_INO, type Ino, type LayerIndex } from '../layout/constants.js';
import { isDirectory, S_IFCHR, S_IFDIR, S_IFIFO, S_IFMT, S_IFREG, S_IFSOCK } from '../linux/mode.js';
import { changes, diffSize } from './changes.js';
import { exportLayer } from './export.js';
import { archive, gnuList, hasGnuTar, readArchive, type EntrySpec } from '../../test/support/archives.js';
import { apply, dump, exported, layerOf, paths } from '../../test/support/archive-layers.js';
import * as Tar from './tar-format.js';

let count = 0;
const fresh = (): string => `layer-${count++}`;
const dir = (path: string, more: EntrySpec = {}): EntrySpec => ({ path, type: Tar.DIRECTORY, mode: 0o755, ...more });

/** A clone with its name. */
function clone(parent: string): { name: string; layer: LayerIndex } {
  const name = fresh();
  return { name, layer: createLayer(name, { parent }) };
}

function at(layer: LayerIndex, path: string): Ino {
  return path === '' ? ROOT : path.split('/').reduce((ino, name) => find(layer, ino, name), ROOT);
}

/** Entries of an export: type, path and link target. */
function entries(name: string, base: string | null): string[] {
  return readArchive(exported(name, base)).map((entry) => {
    const link = entry.linkPath.length > 0 ? ` -> ${entry.linkPath.toString()}` : '';
    return `${String.fromCharCode(entry.type)} ${entry.path.toString()}${link}`;
  });
}

function listed(name: string, base: string | null): string[] {
  return [...changes(name, base)].map(({ kind, path }) => `${'CAD'[kind]} ${path.toString()}`);
}

function setTimes(layer: LayerIndex, ino: Ino, seconds: number): void {
  const change = newAttributeChange();
  change.mtimeLo = change.atimeLo = seconds;
  assert.equal(setAttributes(layer, ino, SET_MTIME | SET_ATIME, change), 0);
}

const TREE = [
  dir('bin/', { mtime: 1 }),
  { path: 'bin/sh', data: 'shell', mode: 0o4755, mtime: 2 },
  { path: 'bin/hard', type: Tar.HARD_LINK, linkPath: 'bin/sh', mode: 0o4755, mtime: 2 },
  dir('etc/', { mtime: 3 }),
  { path: 'etc/hosts', data: 'hosts', uid: 3_000_000, mtime: 4 },
  dir('etc/sub/', { mtime: 5 }),
  { path: 'etc/sub/x', data: Buffer.alloc(70_000, 'x'), mtime: 6 },
  { path: 'etc/zone', type: Tar.SYMLINK, linkPath: '../bin/sh', mode: 0o777, mtime: 7 },
  { path: 'null', type: Tar.CHARACTER_DEVICE, major: 1, minor: 300, mtime: 8 },
  { path: 'pipe', type: Tar.FIFO, mtime: 9 },
];

function base(): string {
  const name = fresh();
  layerOf(name, archive(...TREE));
  return name;
}

before(() => openTestVolume(256 << 20));
after(() => closeTestVolume());

test('a whole layer comes out as it went in', () => {
  const name = base();
  assert.deepEqual(entries(name, null), [
    '5 bin/',
    '0 bin/hard',
    '1 bin/sh -> bin/hard',
    '5 etc/',
    '0 etc/hosts',
    '5 etc/sub/',
    '0 etc/sub/x',
    '2 etc/zone -> ../bin/sh',
    '3 null',
    '6 pipe',
  ]);
  const copy = layerOf(fresh(), exported(name, null));
  assert.deepEqual(dump(copy), dump(findLayer(name)));
});

test('nothing changed, nothing in the archive', () => {
  const { name } = clone(base());
  const bytes = exported(name, findLayerName(name));
  assert.ok(bytes.equals(Buffer.alloc(1024)));
});

function findLayerName(name: string): string {
  return `layer-${Number(name.slice('layer-'.length)) - 1}`;
}

test('changes with the directories that lead to them', () => {
  const lower = base();
  const { name, layer } = clone(lower);
  put(layer, at(layer, 'etc/sub/x'), 5, Buffer.from('changed'));
  assert.deepEqual(entries(name, lower), ['5 etc/', '5 etc/sub/', '0 etc/sub/x']);
  assert.deepEqual(listed(name, lower), ['C /etc/sub/x']);
  assert.equal(diffSize(name, lower), 70_000);
  remove(layer, at(layer, 'etc'), 'hosts');
  make(layer, at(layer, 'bin'), 'new');
  assert.deepEqual(entries(name, lower), ['5 bin/', '0 bin/new', '5 etc/', '0 etc/.wh.hosts', '5 etc/sub/', '0 etc/sub/x']);
  assert.deepEqual(listed(name, lower), ['C /bin', 'A /bin/new', 'C /etc', 'D /etc/hosts', 'C /etc/sub/x']);
});

test('a file with several names is written once', () => {
  const lower = base();
  const { name, layer } = clone(lower);
  linkTo(layer, at(layer, 'bin/sh'), at(layer, 'etc'), 'third');
  assert.deepEqual(entries(name, lower), ['5 bin/', '0 bin/hard', '1 bin/sh -> bin/hard', '5 etc/', '1 etc/third -> bin/hard']);
  assert.equal(diffSize(name, lower), 5);
  const copy = clone(lower);
  apply(copy.name, exported(name, lower));
  assert.deepEqual(dump(copy.layer), dump(layer));
});

test('other kinds in each other’s place', () => {
  const lower = base();
  const { name, layer } = clone(lower);
  for (const path of ['sh', 'hard']) remove(layer, at(layer, 'bin'), path);
  removeDir(layer, ROOT, 'bin');
  makeSymlink(layer, ROOT, 'bin', 'etc');
  remove(layer, ROOT, 'null');
  make(layer, at(layer, ''), 'null', DIRECTORY);
  make(layer, at(layer, 'null'), 'in');
  remove(layer, at(layer, 'etc'), 'zone');
  make(layer, at(layer, 'etc'), 'zone', DIRECTORY);
  assert.deepEqual(entries(name, lower), ['2 bin -> etc', '5 etc/', '5 etc/zone/', '5 null/', '0 null/in']);
  const copy = clone(lower);
  apply(copy.name, exported(name, lower));
  assert.deepEqual(dump(copy.layer), dump(layer));
});

test('a directory that was removed and made again', () => {
  const lower = base();
  const { name, layer } = clone(lower);
  remove(layer, at(layer, 'etc/sub'), 'x');
  removeDir(layer, at(layer, 'etc'), 'sub');
  make(layer, at(layer, 'etc'), 'sub', DIRECTORY);
  make(layer, at(layer, 'etc/sub'), 'y');
  assert.deepEqual(entries(name, lower), ['5 etc/', '5 etc/sub/', '0 etc/sub/.wh.x', '0 etc/sub/y']);
  const copy = clone(lower);
  apply(copy.name, exported(name, lower));
  assert.deepEqual(dump(copy.layer), dump(layer));
});

test('sockets and names that mean whiteouts are left out', () => {
  const { name, layer } = clone(base());
  make(layer, ROOT, 'socket', S_IFSOCK | 0o600);
  make(layer, ROOT, '.wh.bin');
  make(layer, ROOT, '.wh.dir', DIRECTORY);
  make(layer, at(layer, '.wh.dir'), 'below');
  make(layer, ROOT, 'kept');
  assert.deepEqual(entries(name, findLayerName(name)), ['0 kept']);
});

test('the root is in the archive if its attributes changed', () => {
  const lower = base();
  const { name, layer } = clone(lower);
  const change = newAttributeChange();
  change.mode = 0o1777;
  change.uid = 5;
  setAttributes(layer, ROOT_INO, SET_MODE | SET_UID, change);
  assert.deepEqual(entries(name, lower), ['5 ./']);
  const copy = clone(lower);
  apply(copy.name, exported(name, lower));
  assert.deepEqual([stat(copy.layer, ROOT).mode, stat(copy.layer, ROOT).uid], [0o41777, 5]);
});

function setOne(layer: LayerIndex, ino: Ino, name: string, value: Buffer): void {
  assert.equal(setXattr(layer, ino, Buffer.from(name), 0, name.length, value, 0, value.length, 0, false), 0);
}

test('attributes that belong into an image', () => {
  const lower = base();
  const { name, layer } = clone(lower);
  const ino = make(layer, ROOT, 'f');
  const acl = Buffer.from('0200000001000600ffffffff020006000500000004000400ffffffff10000600ffffffff20000400ffffffff', 'hex');
  setOne(
    layer,
    ino,
    'security.capability',
    Buffer.from(`00000003${'00200000'.padEnd(32, '0')}e8030000`.replace('00000003', '01000003'), 'hex'),
  );
  for (const key of ['security.selinux', 'trusted.overlay.opaque', 'user.overlay.x', 'trusted.kept', 'user.empty'])
    setOne(layer, ino, key, Buffer.from(key === 'user.empty' ? '' : 'v'));
  setOne(layer, ino, 'system.posix_acl_access', acl);
  const [entry] = readArchive(exported(name, lower));
  const found = Object.fromEntries(entry!.xattrs.map((xattr) => [xattr.name.toString(), xattr.value.toString('hex')]));
  assert.deepEqual(found, {
    'security.capability': `01000002${'00200000'.padEnd(32, '0')}`,
    'system.posix_acl_access': acl.toString('hex'),
    'trusted.kept': '76',
    'user.empty': '',
  });
  const copy = clone(lower);
  apply(copy.name, exported(name, lower));
  assert.equal(stat(copy.layer, at(copy.layer, 'f')).mode, stat(layer, ino).mode);
});

test('ids are mapped back, and unmapped ones named', () => {
  const maps = { uids: [{ container: 0, host: 100_000, size: 10 }], gids: [{ container: 0, host: 0, size: 65_536 }] };
  const name = fresh();
  const layer = createLayer(name);
  const ino = make(layer, ROOT, 'f', REGULAR, 0, 100_003, 7);
  const change = newAttributeChange();
  change.uid = 100_000;
  setAttributes(layer, ROOT, SET_UID, change);
  const [root, entry] = readArchive(exported(name, null, maps));
  assert.deepEqual([root!.path.toString(), root!.uid, entry!.uid, entry!.gid], ['./', 0, 3, 7]);
  change.gid = 70_000;
  setAttributes(layer, ino, SET_GID, change);
  assert.throws(
    () => exported(name, null, maps),
    (error) => error instanceof LcfsError && /export of "f": its group id 70000 is not in the map/.test(error.message),
  );
});

test('contents of all sizes, in chunks that hold no more than they may', () => {
  const name = fresh();
  const layer = createLayer(name);
  const sizes = [0, 1, 511, 512, 513, 4095, 4096, 4097, 261_120, 262_144, 262_145, 1_048_576, 3_000_001];
  const random = new Random(7);
  sizes.forEach((size, i) => {
    const ino = make(layer, ROOT, `f${i + 10}`);
    if (size > 0) put(layer, ino, 0, randomBytes(random, size));
  });
  const change = newAttributeChange();
  change.size = 2_000_000;
  const hole = make(layer, ROOT, 'hole');
  put(layer, hole, 1_000_000, Buffer.from('middle'));
  setAttributes(layer, hole, SET_SIZE, change);
  const chunks = [...exportLayer(name, null)];
  assert.ok(chunks.every((chunk) => chunk.length <= 1 << 18));
  assert.deepEqual(dump(layerOf(fresh(), Buffer.concat(chunks))), dump(layer));
});

test('an export that is given up gives its memory back and can be repeated', () => {
  const name = base();
  for (let i = 0; i < 10; i++) {
    const chunks = exportLayer(name, null);
    assert.ok(chunks.next().value!.length > 0);
    chunks.return(undefined);
  }
  assert.equal(exported(name, null).length % 512, 0);
});

test('what disappears during an export is left out, what shrinks is filled up', () => {
  const name = fresh();
  const layer = createLayer(name);
  for (const file of ['a', 'b', 'c']) put(layer, make(layer, ROOT, file), 0, Buffer.alloc(600_000, file));
  const chunks = exportLayer(name, null);
  const first = chunks.next().value as Buffer;
  const change = newAttributeChange();
  change.size = 400_000;
  setAttributes(layer, at(layer, 'a'), SET_SIZE, change);
  remove(layer, ROOT, 'b');
  const [a, b, c] = readArchive(Buffer.concat([first, ...chunks]));
  assert.deepEqual([a!.content.length, a!.content[399_999], a!.content[599_999]], [600_000, 0x61, 0]);
  // An unlinked file lives on as long as it may be open somewhere.
  assert.deepEqual([b!.path.toString(), c?.path.toString()], ['b', 'c']);
});

test('a layer that does not exist is named', () => {
  assert.throws(() => exported('nowhere', null), /there is no layer "nowhere"/);
  assert.throws(() => exported(base(), 'nowhere'), /there is no layer "nowhere"/);
});

test('GNU tar lists an export', { skip: !hasGnuTar && 'needs GNU tar' }, () => {
  const lower = base();
  const { name, layer } = clone(lower);
  remove(layer, ROOT, 'pipe');
  setTimes(layer, at(layer, 'null'), 86_400);
  setTimes(layer, ROOT, 86_400);
  const lines = gnuList(exported(name, lower))
    .split('\n')
    .map((line) => line.replaceAll(/ +/g, ' '));
  assert.deepEqual(lines, ['crw-r--r-- 0/0 1,300 1970-01-02 00:00 null', '---------- 0/0 0 1970-01-01 00:00 .wh.pipe', '']);
});

function randomBytes(random: Random, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random.below(256));
}

// Random changes: a layer, the archive of its changes applied to another clone, both the same

class RandomChanges {
  readonly #layer: LayerIndex;
  readonly #random: Random;
  /** Moving a directory with hard links in it is what archives cannot express, so a run has either. */
  readonly #hasLinks: boolean;

  constructor(layer: LayerIndex, random: Random, hasLinks: boolean) {
    this.#layer = layer;
    this.#random = random;
    this.#hasLinks = hasLinks;
  }

  run(steps: number): void {
    for (let i = 0; i < steps; i++) this.#step();
  }

  /** A directory and a name in it that may or may not exist. */
  #pick(): { dir: Ino; name: string; ino: Ino } {
    let dir = ROOT as Ino;
    while (this.#random.below(3) !== 0) {
      const below = [...list(this.#layer, dir)].filter(([name, { kind }]) => kind === S_IFDIR >>> 12 && name !== '.' && name !== '..');
      if (below.length === 0) break;
      dir = this.#random.pick(below)[1].ino;
    }
    const name = this.#random.pick(['a', 'b', 'c', 'd', 'e', 'ü', 'f'.repeat(101)]);
    return { dir, name, ino: find(this.#layer, dir, name) };
  }

  #step(): void {
    const { dir, name, ino } = this.#pick();
    switch (this.#random.below(9)) {
      case 0:
      case 1:
        this.#make(dir, name, this.#random.pick([S_IFREG, S_IFDIR, S_IFDIR, S_IFIFO, S_IFCHR]));
        break;
      case 2:
        makeSymlink(this.#layer, dir, name, `to/${name}`);
        break;
      case 3:
        if (remove(this.#layer, dir, name) < 0) removeDir(this.#layer, dir, name);
        break;
      case 4:
        this.#move(dir, name, ino);
        break;
      case 5:
        this.#link(ino);
        break;
      default:
        if (ino > 0) this.#change(ino);
    }
  }

  #make(dir: Ino, name: string, type: number): void {
    make(this.#layer, dir, name, type | 0o750, 0, this.#random.below(3), 0, type === S_IFCHR ? 0x103 : 0);
  }

  #move(dir: Ino, name: string, ino: Ino): void {
    if (ino < 0 || (this.#hasLinks && isDirectory(stat(this.#layer, ino).mode))) return;
    const to = this.#pick();
    move(this.#layer, dir, name, to.dir, to.name, this.#random.pick([0, 1, 2].slice(0, this.#hasLinks ? 2 : 3)));
  }

  #link(ino: Ino): void {
    if (!this.#hasLinks || ino < 0) return;
    const to = this.#pick();
    linkTo(this.#layer, ino, to.dir, to.name);
  }

  #change(ino: Ino): void {
    const { mode } = stat(this.#layer, ino);
    const change = newAttributeChange();
    change.mode = this.#random.below(0o10000);
    change.uid = this.#random.below(4_000_000);
    change.size = this.#random.below(50_000);
    if ((mode & S_IFMT) === S_IFDIR) setAttributes(this.#layer, ino, SET_MODE, change);
    else if ((mode & S_IFMT) === S_IFREG) this.#changeFile(ino, change);
  }

  #changeFile(ino: Ino, change: AttributeChange): void {
    switch (this.#random.below(3)) {
      case 0:
        put(this.#layer, ino, this.#random.below(40_000), randomBytes(this.#random, this.#random.below(9000)));
        break;
      case 1:
        setOne(this.#layer, ino, 'user.k', Buffer.from(randomBytes(this.#random, 20)));
        break;
      default:
        setAttributes(this.#layer, ino, SET_SIZE | SET_UID | SET_MODE, change);
    }
  }
}

test('random changes survive export and import', () => {
  const random = new Random();
  console.log(`# seed ${random.seed}`);
  for (let round = 0; round < 40; round++) roundTrip(random, `seed ${random.seed}, round ${round}`);
});

function roundTrip(random: Random, label: string): void {
  const lower = fresh();
  const hasLinks = random.below(2) === 0;
  new RandomChanges(createLayer(lower), random, hasLinks).run(120);
  const { name, layer } = clone(lower);
  new RandomChanges(layer, random, hasLinks).run(1 + random.below(120));
  const bytes = exported(name, lower);
  const copy = clone(lower);
  apply(copy.name, bytes, 1 + random.below(10_000));
  assert.deepEqual(dump(copy.layer), dump(layer), label);
  const others = listed(copy.name, name).filter((line) => !line.startsWith('C'));
  assert.deepEqual(others, [], `${label}: the same paths`);
  assert.deepEqual(paths(layerOf(fresh(), exported(name, null))), paths(layer), label);
}

test('the bytes of an export stay what they were in earlier versions: images are known by their digests', () => {
  const name = fresh();
  layerOf(
    name,
    archive(
      dir('d/', { mode: 0o1777, uid: 1, gid: 2, mtime: 100 }),
      { path: 'd/file', data: 'contents', mode: 0o4755, uid: 70_000, mtime: 1_234_567_890 },
      { path: 'd/hard', type: Tar.HARD_LINK, linkPath: 'd/file', mode: 0o4755, uid: 70_000, mtime: 1_234_567_890 },
      { path: `d/${'long'.repeat(40)}-näme`, data: Buffer.alloc(600, 'x'), gid: 3_000_000, xattrs: { 'user.b': '1', 'user.a': '2' } },
      { path: 'link', type: Tar.SYMLINK, linkPath: '/anywhere', mode: 0o777, mtime: -1 },
      { path: 'null', type: Tar.CHARACTER_DEVICE, major: 1, minor: 3 },
      { path: 'pipe', type: Tar.FIFO },
    ),
  );
  const upper = clone(name);
  remove(upper.layer, at(upper.layer, 'd'), 'hard');
  put(upper.layer, at(upper.layer, 'd/file'), 0, Buffer.from('C'));
  const change = { ...newAttributeChange(), mtimeLo: 2000 };
  for (const path of ['d/file', 'd']) setAttributes(upper.layer, at(upper.layer, path), SET_MTIME, change);
  const digest = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
  assert.equal(digest(exported(name, null)), '4c8ddb132243f9b3d6f0cb9a326b461e5d3c01d7be81762ef2d9bbe2d278daf3');
  assert.equal(digest(exported(upper.name, name)), '05da183caf7b3eee598debca5f74d28fdf92144f5e9472a6a6127b9d77aa7b0f');
});
