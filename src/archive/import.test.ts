import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { after, before, test } from 'node:test';
import { LcfsError } from '../engine/errors.js';
import { createLayer, findLayer, layerInfo, removeLayer, sealLayer } from '../engine/layers.js';
import { reclaimAll } from '../engine/maintenance.js';
import { closeTestVolume, find, get, openTestVolume, ROOT, stat } from '../../test/support/files.js';
import { volumeInfo } from '../engine/volume.js';
import { ROOT_INO, type LayerIndex } from '../layout/constants.js';
import { archive, entryBytes, gnuTar, metaEntry, patched, paxLine, type EntrySpec } from '../../test/support/archives.js';
import { importLayer, importNewLayer } from './import.js';
import { apply, dump, layerOf, linkTarget, paths, refusal, xattr } from '../../test/support/archive-layers.js';
import * as Tar from './tar-format.js';
import { END_OF_ARCHIVE } from './tar-writer.js';

let count = 0;
const fresh = (): string => `layer-${count++}`;
const dir = (path: string, more: EntrySpec = {}): EntrySpec => ({ path, type: Tar.DIRECTORY, mode: 0o755, ...more });
const link = (path: string, linkPath: string): EntrySpec => ({ path, type: Tar.SYMLINK, linkPath, mode: 0o777 });
const hard = (path: string, linkPath: string, more: EntrySpec = {}): EntrySpec => ({ path, type: Tar.HARD_LINK, linkPath, ...more });

/** Inode at a path. */
function at(layer: LayerIndex, path: string): number {
  return path.split('/').reduce((ino, name) => (ino < 0 ? ino : find(layer, ino, name)), ROOT);
}

function text(layer: LayerIndex, path: string): string {
  return String(get(layer, at(layer, path), 0, 100_000));
}

before(() => openTestVolume(256 << 20));
after(() => closeTestVolume());

test('every type of entry', () => {
  const specs = [
    dir('d/', { mode: 0o1775, uid: 7, gid: 8, mtime: 1000 }),
    { path: 'd/file', data: 'hello', mode: 0o4755, uid: 70_000, gid: 0xffff_fffe, mtime: 2000 },
    link('d/symbolic', '../../../anywhere'),
    hard('d/hard', 'd/file', { mode: 0o4755, uid: 70_000, gid: 0xffff_fffe, mtime: 2000 }),
    { path: 'd/null', type: Tar.CHARACTER_DEVICE, major: 1, minor: 3, mode: 0o666 },
    { path: 'd/disk', type: Tar.BLOCK_DEVICE, major: 259, minor: 0x1_2345, mode: 0o660 },
    { path: 'd/pipe', type: Tar.FIFO },
  ];
  const name = fresh();
  createLayer(name);
  const bytes = archive(...specs);
  assert.deepEqual(apply(name, bytes), { bytes: 5, entries: 7, archiveBytes: bytes.length, ended: true });
  const lines = Object.fromEntries(dump(findLayer(name)));
  assert.deepEqual(lines, {
    d: '41775 7:8 mtime 1000',
    'd/disk': '60660 0:0 mtime 1700000000 device 12310345',
    'd/file': '104755 70000:4294967294 mtime 2000 5 bytes aaf4c61ddcc5',
    'd/hard': '104755 70000:4294967294 mtime 2000 same as d/file 5 bytes aaf4c61ddcc5',
    'd/null': '20666 0:0 mtime 1700000000 device 103',
    'd/pipe': '10644 0:0 mtime 1700000000',
    'd/symbolic': '120777 0:0 mtime 1700000000 -> ../../../anywhere',
  });
  assert.equal(stat(findLayer(name), at(findLayer(name), 'd/file')).links, 2);
});

test('pieces of any size give the same layer', () => {
  const bytes = archive(
    dir('a/', { mtime: 5 }),
    { path: 'a/big', data: Buffer.alloc(300_000, 'abcdefg'), xattrs: { 'user.k': 'v' } },
    { path: 'a/small', data: 's' },
    dir(`a/${'n'.repeat(200)}/`),
    { path: `a/${'n'.repeat(200)}/${'m'.repeat(200)}`, data: 'deep' },
  );
  const whole = dump(layerOf(fresh(), bytes));
  for (const piece of [1, 511, 512, 513, 4096, 65_536]) {
    const name = fresh();
    createLayer(name);
    apply(name, bytes, piece);
    assert.deepEqual(dump(findLayer(name)), whole, `in pieces of ${piece}`);
  }
});

test('contents arrive: empty, short, block-sized, larger than the buffer', () => {
  const sizes = [0, 1, 511, 4095, 4096, 4097, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_500_000];
  const contents = sizes.map((size) => Buffer.from(Array.from({ length: size }, (_, i) => (i * 7 + size) & 0xff)));
  const layer = layerOf(fresh(), archive(...contents.map((data, i) => ({ path: `f${i}`, data }))));
  contents.forEach((data, i) => {
    const ino = at(layer, `f${i}`);
    assert.equal(stat(layer, ino).size, data.length);
    assert.ok(data.equals(get(layer, ino, 0, data.length) as Buffer), `file of ${data.length}`);
  });
});

test('a file of zeros takes no blocks, a sparse one those of its data', () => {
  const sparse = paxLine('GNU.sparse.size', '10000000') + paxLine('GNU.sparse.map', '4096,3,8000000,5');
  const bytes = Buffer.concat([
    entryBytes({ path: 'zeros', data: Buffer.alloc(1 << 20) }),
    metaEntry(Tar.PAX_HEADER, sparse),
    entryBytes({ path: 'sparse', data: 'abcdefgh' }),
    END_OF_ARCHIVE,
  ]);
  const name = fresh();
  createLayer(name);
  assert.equal(apply(name, bytes).bytes, (1 << 20) + 10_000_000);
  const layer = findLayer(name);
  assert.deepEqual([stat(layer, at(layer, 'zeros')).blocks, stat(layer, at(layer, 'zeros')).size], [0, 1 << 20]);
  assert.deepEqual([stat(layer, at(layer, 'sparse')).blocks, stat(layer, at(layer, 'sparse')).size], [2, 10_000_000]);
  assert.equal(String(get(layer, at(layer, 'sparse'), 4096, 5)), 'abc\0\0');
  assert.equal(String(get(layer, at(layer, 'sparse'), 8_000_000, 6)), 'defgh\0');
});

test('times: fractions, access times, before 1970', () => {
  const body = paxLine('mtime', '100.25') + paxLine('atime', '200.5');
  const old = paxLine('mtime', '-5') + paxLine('atime', '1');
  const layer = layerOf(
    fresh(),
    Buffer.concat([
      metaEntry(Tar.PAX_HEADER, body),
      entryBytes({ path: 'f' }),
      metaEntry(Tar.PAX_HEADER, old),
      entryBytes({ path: 'g' }),
      entryBytes({ path: 'h', mtime: 9 }),
      END_OF_ARCHIVE,
    ]),
  );
  const times = (path: string): number[] => [stat(layer, at(layer, path)).mtime, stat(layer, at(layer, path)).atime];
  assert.deepEqual(times('f'), [100_250_000, 200_500_000]);
  assert.deepEqual(times('g'), [0, 1_000_000]);
  assert.deepEqual(times('h'), [9_000_000, 9_000_000]);
});

test('extended attributes and capabilities outlive owner and mode', () => {
  const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');
  const layer = layerOf(
    fresh(),
    archive(
      {
        path: 'ping',
        uid: 5,
        mode: 0o4755,
        data: 'x',
        xattrs: { 'security.capability': capability, 'user.a': '', 'trusted.b': Buffer.alloc(65_536, 'v'), 'unknown.c': 'x' },
      },
      { path: 'null', type: Tar.CHARACTER_DEVICE, xattrs: { 'user.a': 'not on a device', 'trusted.a': 't' } },
    ),
  );
  assert.deepEqual(xattr(layer, at(layer, 'ping'), 'security.capability'), capability);
  assert.equal(xattr(layer, at(layer, 'ping'), 'trusted.b').length, 65_536);
  assert.equal(stat(layer, at(layer, 'ping')).mode, 0o104755);
  assert.deepEqual([...dump(layer).values()], ['20644 0:0 mtime 1700000000 trusted.a=dA==', dump(layer).get('ping')]);
});

test('set-group-id directories and default ACLs do not change what the archive says', () => {
  const acl = Buffer.from('0200000001000700ffffffff04000500ffffffff20000500ffffffff', 'hex');
  const layer = layerOf(
    fresh(),
    archive(
      dir('d/', { mode: 0o2755, gid: 50, xattrs: { 'system.posix_acl_default': acl } }),
      { path: 'd/f', mode: 0o666, gid: 3 },
      dir('d/e/', { mode: 0o700, gid: 4 }),
      link('d/l', 'x'),
    ),
  );
  assert.deepEqual([stat(layer, at(layer, 'd/f')).mode, stat(layer, at(layer, 'd/f')).gid], [0o100666, 3]);
  assert.deepEqual([stat(layer, at(layer, 'd/e')).mode, stat(layer, at(layer, 'd/e')).gid], [0o40700, 4]);
  assert.equal(stat(layer, at(layer, 'd/l')).gid, 0);
});

test('times of directories are those of the archive, whatever comes later', () => {
  const specs = [
    dir('a/', { mtime: 11 }),
    dir('a/b/', { mtime: 12 }),
    { path: 'a/b/f' },
    { path: 'a/g' },
    dir('c/', { mtime: 13 }),
    { path: 'a/b/h' },
    { path: 'c/i' },
    { path: 'a/b/f' },
    dir('./', { mtime: 14, mode: 0o711 }),
  ];
  const layer = layerOf(fresh(), archive(...specs, { path: 'j' }));
  assert.deepEqual(
    ['a', 'a/b', 'c'].map((path) => stat(layer, at(layer, path)).mtime / 1e6),
    [11, 12, 13],
  );
  assert.deepEqual([stat(layer, ROOT_INO).mtime / 1e6, stat(layer, ROOT_INO).mode], [14, 0o40711]);
});

test('times of very many directories', () => {
  const number = 9000;
  const specs: EntrySpec[] = [];
  for (let i = 0; i < number; i++) specs.push(dir(`d${i}/`, { mtime: 1000 + i }), { path: `d${i}/f` });
  for (let i = 0; i < number; i += 100) specs.push({ path: `d${i}/late` });
  const layer = layerOf(fresh(), archive(dir('./', { mtime: 77 }), ...specs));
  for (let i = 0; i < number; i++) assert.equal(stat(layer, find(layer, ROOT, `d${i}`)).mtime, (1000 + i) * 1e6);
  assert.equal(stat(layer, ROOT).mtime, 77e6);
});

test('missing parents are made, 0755 and root’s', () => {
  const layer = layerOf(fresh(), archive({ path: './x/y/../y/z'.replace('/../y', ''), uid: 9 }));
  assert.deepEqual(paths(layer), ['x', 'x/y', 'x/y/z']);
  assert.match(dump(layer).get('x/y')!, /^40755 0:0/);
});

// Over lower layers

function base(): string {
  const name = fresh();
  const tree = [
    dir('d/', { mtime: 1, xattrs: { 'user.old': '1' } }),
    { path: 'd/a', data: 'old a' },
    { path: 'd/b', data: 'old b' },
    dir('d/sub/'),
    { path: 'd/sub/x', data: 'x' },
    dir('usr/'),
    dir('usr/lib/', { mtime: 2 }),
    link('lib', 'usr/lib'),
    link('abs', '/usr/lib'),
    { path: 'file', data: 'file' },
    hard('file2', 'file'),
  ];
  layerOf(name, archive(...tree));
  return name;
}

test('entries over what is there', () => {
  const specs = [
    dir('d/', { mode: 0o700, mtime: 3 }),
    { path: 'd/a', data: 'new' },
    { path: 'd/sub', data: 'now a file' },
    dir('file/'),
    { path: 'file/in' },
    link('usr', 'd'),
  ];
  const layer = layerOf(fresh(), archive(...specs), base());
  assert.deepEqual(paths(layer), ['abs', 'd', 'd/a', 'd/b', 'd/sub', 'file', 'file/in', 'file2', 'lib', 'usr']);
  assert.match(dump(layer).get('d')!, /^40700 0:0 mtime 3 user.old=MQ==$/);
  assert.equal(text(layer, 'd/a'), 'new');
  assert.equal(text(layer, 'file2'), 'file');
  assert.equal(stat(layer, at(layer, 'file2')).links, 1);
});

test('the lower layer stays as it is', () => {
  const lower = base();
  const before = dump(findLayer(lower));
  layerOf(fresh(), archive({ path: 'd/.wh..wh..opq' }, { path: '.wh.usr' }, { path: 'file', data: 'x' }, hard('more', 'file2')), lower);
  assert.deepEqual(dump(findLayer(lower)), before);
});

test('whiteouts hide what comes from below, and nothing else', () => {
  const lower = base();
  const cases: [EntrySpec[], string[]][] = [
    [
      [{ path: 'd/.wh.a' }, { path: '.wh.usr' }, { path: '.wh.missing' }, { path: 'new/.wh.x' }],
      ['abs', 'd', 'd/b', 'd/sub', 'd/sub/x', 'file', 'file2', 'lib', 'new'],
    ],
    [
      [{ path: 'd/a', data: 'new' }, { path: 'd/.wh.a' }],
      ['abs', 'd', 'd/a', 'd/b', 'd/sub', 'd/sub/x', 'file', 'file2', 'lib', 'usr', 'usr/lib'],
    ],
    [
      [{ path: '.wh.d' }, dir('d/'), { path: 'd/n' }],
      ['abs', 'd', 'd/n', 'file', 'file2', 'lib', 'usr', 'usr/lib'],
    ],
    [
      [dir('d/'), { path: 'd/n' }, { path: '.wh.d' }],
      ['abs', 'd', 'd/n', 'file', 'file2', 'lib', 'usr', 'usr/lib'],
    ],
    [
      [{ path: 'd/sub/n' }, { path: '.wh.d' }],
      ['abs', 'd', 'd/sub', 'd/sub/n', 'file', 'file2', 'lib', 'usr', 'usr/lib'],
    ],
    [
      [hard('d/c', 'file'), { path: '.wh.file' }, { path: '.wh.file2' }, { path: 'd/.wh.c' }],
      ['abs', 'd', 'd/a', 'd/b', 'd/c', 'd/sub', 'd/sub/x', 'lib', 'usr', 'usr/lib'],
    ],
  ];
  for (const [specs, expected] of cases)
    assert.deepEqual(paths(layerOf(fresh(), archive(...specs), lower)), expected, JSON.stringify(specs));
});

test('an opaque directory hides what comes from below, wherever the marker stands', () => {
  const lower = base();
  const marker: EntrySpec = { path: 'd/.wh..wh..opq' };
  const entries: EntrySpec[] = [
    dir('d/', { mtime: 50 }),
    { path: 'd/b', data: 'new' },
    dir('d/sub/'),
    { path: 'd/sub/n' },
    hard('d/h', 'file'),
  ];
  const expected = ['abs', 'd', 'd/b', 'd/h', 'd/sub', 'd/sub/n', 'file', 'file2', 'lib', 'usr', 'usr/lib'];
  for (let i = 0; i <= entries.length; i++) {
    const layer = layerOf(fresh(), archive(...entries.slice(0, i), marker, ...entries.slice(i)), lower);
    assert.deepEqual(paths(layer), expected, `marker at ${i}`);
    assert.equal(text(layer, 'd/b'), 'new');
    assert.equal(stat(layer, at(layer, 'd')).mtime, 50e6);
  }
  assert.deepEqual(paths(layerOf(fresh(), archive({ path: '.wh..wh..opq' }), lower)), []);
});

test('an import into a layer that holds something already takes it for lower', () => {
  const name = fresh();
  layerOf(name, archive(dir('d/'), { path: 'd/a' }, { path: 'b' }));
  apply(name, archive({ path: 'd/.wh.a' }, { path: '.wh.b' }, { path: 'c' }));
  assert.deepEqual(paths(findLayer(name)), ['c', 'd']);
});

test('directories that are only passed keep their time', () => {
  const layer = layerOf(fresh(), archive({ path: 'd/new' }, { path: 'usr/lib/.wh.x' }), base());
  assert.equal(stat(layer, at(layer, 'd')).mtime, 1e6);
  assert.equal(stat(layer, at(layer, 'usr/lib')).mtime, 2e6);
});

test('hard links to files of lower layers', () => {
  const lower = base();
  const layer = layerOf(fresh(), archive(hard('d/link', 'file', { mode: 0o600, uid: 4, mtime: 8 }), hard('d/link2', '/d/b')), lower);
  assert.equal(at(layer, 'd/link'), at(layer, 'file'));
  assert.match(dump(layer).get('file')!, /^100600 4:0 mtime 8/);
  assert.equal(stat(layer, at(layer, 'file')).links, 3);
  assert.equal(at(layer, 'd/link2'), at(layer, 'd/b'));
  assert.equal(stat(findLayer(lower), at(findLayer(lower), 'file')).links, 2);
});

test('symbolic links among the parents are followed within the layer', () => {
  const layer = layerOf(
    fresh(),
    archive(
      { path: 'lib/x' },
      { path: 'abs/y' },
      dir('lib/deep/', { mtime: 9 }),
      { path: 'usr/lib/deep/z' },
      link('up', 'd/../usr'),
      { path: 'up/w' },
      hard('linked', 'up/lib/x'),
    ),
    base(),
  );
  assert.deepEqual(
    paths(layer).filter((path) => path.startsWith('usr/')),
    ['usr/lib', 'usr/lib/deep', 'usr/lib/deep/z', 'usr/lib/x', 'usr/lib/y', 'usr/w'],
  );
  assert.equal(stat(layer, at(layer, 'usr/lib/deep')).mtime, 9e6);
  assert.equal(at(layer, 'linked'), at(layer, 'usr/lib/x'));
  assert.equal(linkTarget(layer, at(layer, 'up')), 'd/../usr');
});

test('a dangling link among the parents gets its target', () => {
  const layer = layerOf(fresh(), archive(link('run', 'var/run'), { path: 'run/pid' }));
  assert.deepEqual(paths(layer), ['run', 'var', 'var/run', 'var/run/pid']);
});

test('paths are looked up anew when what they lead through is replaced', () => {
  const specs = [
    { path: 'lib/x' },
    { path: 'lib', data: 'a file' },
    { path: 'usr/lib/y' },
    { path: '.wh.abs' },
    dir('abs/'),
    { path: 'abs/z' },
    { path: '.wh.d' },
    { path: 'd/sub/q' },
  ];
  const layer = layerOf(fresh(), archive(...specs), base());
  assert.deepEqual(paths(layer), [
    'abs',
    'abs/z',
    'd',
    'd/sub',
    'd/sub/q',
    'file',
    'file2',
    'lib',
    'usr',
    'usr/lib',
    'usr/lib/x',
    'usr/lib/y',
  ]);
});

test('notes of old storage drivers are passed over', () => {
  const layer = layerOf(
    fresh(),
    archive(dir('.wh..wh.plnk/'), { path: '.wh..wh.plnk/1.2', data: 'x' }, { path: '.wh..wh.aufs' }, { path: 'kept', data: 'k' }),
  );
  assert.deepEqual(paths(layer), ['kept']);
});

test('ids are mapped', () => {
  const maps = {
    uids: [
      { container: 0, host: 100_000, size: 1000 },
      { container: 1000, host: 5000, size: 1 },
    ],
    gids: [{ container: 0, host: 200_000, size: 65_536 }],
  };
  const name = fresh();
  createLayer(name);
  apply(name, archive({ path: 'new/f', uid: 1000, gid: 7 }), 0, maps);
  const layer = findLayer(name);
  assert.match(dump(layer).get('new')!, /^40755 100000:200000/);
  assert.match(dump(layer).get('new/f')!, /^100644 5000:200007/);
  createLayer('unmapped');
  assert.throws(() => apply('unmapped', archive({ path: 'f', uid: 1001 }), 0, maps), /entry 1 "f": its user id 1001 is not in the map/);
});

// Hostile and broken archives

test('hostile archives are refused, and nothing is left', () => {
  const lower = base();
  const cases: [EntrySpec[] | Buffer, RegExp][] = [
    [[{ path: '/etc/passwd' }], /invalid: archive entry 1 "\/etc\/passwd": its path is absolute/],
    [[{ path: 'ok' }, { path: '../x' }], /entry 2 "..\/x": its path contains ".."/],
    [[{ path: 'a/../../x' }], /contains ".."/],
    [[{ path: 'd/..' }], /contains ".."/],
    [[link('out', '/etc'), { path: 'out/x' }], /leads through the symbolic link "out" to "\/etc", which is absolute/],
    [[link('out', '../../etc'), { path: 'out/x' }], /"out" to "..\/..\/etc", which is outside of the layer/],
    [[link('d/out', '../..'), { path: 'd/out/x' }], /outside of the layer/],
    [[link('loop', 'loop'), { path: 'loop/x' }], /more than 40 symbolic links/],
    [[hard('h', '../file')], /contains ".."/],
    [[hard('h', '/etc/shadow')], /target of the hard link, "\/etc\/shadow", does not exist|does not exist|disappeared/],
    [[hard('h', 'missing')], /"missing", does not exist/],
    [[hard('h', 'd')], /is a directory/],
    [[hard('h', '.')], /is a directory/],
    [[hard('file2', 'file2')], /does not exist/],
    [[{ path: 'file/x' }], /"file" in its path is not a directory/],
    [[{ path: '.wh.' }], /must name what it hides/],
    [[{ path: 'd/.wh...' }], /must name what it hides/],
    [[{ path: '.', data: 'x' }], /root of a layer can only be a directory/],
    [[{ path: 'x'.repeat(256) }], /longer than 255 bytes/],
    [[{ path: 'x/'.repeat(3000) }], /longer than 4095 bytes/],
    [[{ path: 'l', type: Tar.SYMLINK }], /target is empty/],
    [[link('l', 'x'.repeat(4096))], /link target is longer than 4095/],
    [[{ path: 'n', type: Tar.CHARACTER_DEVICE, major: 4096 }], /device number 4096:0 is out of range/],
    [[{ path: 'u', uid: 0xffff_ffff }], /user id 4294967295 is out of range/],
    [[{ path: 'u', gid: -2 }], /group id -2 is out of range/],
    [[{ path: 'odd', type: 0x56 }], /its type "V" is not known/],
    [[{ path: 'x', xattrs: { [`user.${'n'.repeat(251)}`]: '' } }], /name of an extended attribute is empty or longer/],
    [[{ path: 'x', xattrs: { 'user.x': Buffer.alloc(65_537) } }], /larger than 64 KiB/],
    [Buffer.from('garbage'), /entry 1: the archive breaks off/],
    [entryBytes({ path: 'cut', data: 'x'.repeat(1000) }).subarray(0, 900), /entry 1 "cut": the archive breaks off/],
    [patched(entryBytes({ path: 'neg' }), 124, Buffer.alloc(12, 0xff)), /size is negative/],
    [
      Buffer.concat([
        metaEntry(Tar.PAX_HEADER, paxLine('GNU.sparse.size', String(2 ** 43)) + paxLine('GNU.sparse.map', '0,1')),
        entryBytes({ path: 'bomb', data: 'x' }),
      ]),
      /holes of its sparse files add up/,
    ],
  ];
  reclaimAll();
  const used = volumeInfo().blocks.used;
  for (const [specs, message] of cases) {
    const bytes = Buffer.isBuffer(specs) ? specs : archive(...specs);
    for (const piece of [0, 100]) assert.match(refusal('hostile', bytes, lower, piece), message);
    assert.equal(findLayer('hostile'), -1);
  }
  reclaimAll();
  assert.ok(volumeInfo().blocks.used <= used + 64, `${volumeInfo().blocks.used - used} blocks are left`);
});

test('paths with bytes that are no text', () => {
  const name = Buffer.from([0xff, 0x01, 0x80]);
  const layer = layerOf(fresh(), archive({ path: Buffer.concat([Buffer.from('d/'), name]), data: 'x' }));
  assert.deepEqual(paths(layer), ['d', `d/${name.toString('latin1')}`]);
});

test('deep trees are made and removed', () => {
  const deep = 'd/'.repeat(2040);
  const lower = fresh();
  layerOf(lower, archive({ path: `${deep}f` }));
  assert.equal(paths(findLayer(lower)).length, 2041);
  assert.deepEqual(paths(layerOf(fresh(), archive({ path: '.wh.d' }), lower)), []);
});

test('large directories are hidden', () => {
  const lower = fresh();
  layerOf(lower, archive(...Array.from({ length: 1000 }, (_, i) => ({ path: `d/${i}` }))));
  const layer = layerOf(
    fresh(),
    archive(...Array.from({ length: 10 }, (_, i) => ({ path: `d/${i * 50}`, data: 'new' })), { path: 'd/.wh..wh..opq' }),
    lower,
  );
  assert.equal(paths(layer).length, 11);
});

test('a sealed layer refuses, a missing one is named', async () => {
  const name = fresh();
  createLayer(name);
  sealLayer(name);
  assert.throws(
    () => apply(name, archive({ path: 'x' })),
    (error) => error instanceof LcfsError && error.code === 'state' && /sealed/.test(error.message),
  );
  await assert.rejects(importLayer([], 'nowhere'), /layer "nowhere" does not exist/);
});

test('a full layer is reported as such', () => {
  createLayer('small', { quotaBytes: 100_000 });
  const bytes = archive({ path: 'big', data: Buffer.alloc(500_000, 'x') });
  assert.throws(
    () => apply('small', bytes),
    (error) => error instanceof LcfsError && error.code === 'full' && /entry 1 "big": the layer reached its quota/.test(error.message),
  );
  removeLayer('small');
});

test('streams: into a layer, and into a new one that vanishes on failure', async () => {
  const bytes = archive({ path: 'a', data: Buffer.alloc(200_000, 'z') });
  const cut = (): Buffer[] => Array.from({ length: Math.ceil(bytes.length / 1000) }, (_, i) => bytes.subarray(i * 1000, i * 1000 + 1000));
  const result = await importNewLayer(Readable.from(cut()), 'streamed', { quotaBytes: 1 << 20, properties: { from: 'test' } });
  assert.equal(result.bytes, 200_000);
  assert.deepEqual(layerInfo('streamed').properties, { from: 'test' });
  await importLayer(Readable.from([archive({ path: 'b' })]), 'streamed');
  assert.deepEqual(paths(findLayer('streamed')), ['a', 'b']);
  await assert.rejects(importNewLayer(Readable.from([bytes.subarray(0, 50_000)]), 'broken', { parent: 'streamed' }), /breaks off/);
  assert.equal(findLayer('broken'), -1);
  const failing = Readable.from(
    (function* () {
      yield bytes.subarray(0, 5000);
      throw new Error('connection lost');
    })(),
  );
  await assert.rejects(importNewLayer(failing, 'broken'), /connection lost/);
  assert.equal(findLayer('broken'), -1);
});

test('an archive of GNU tar from this machine', () => {
  const bytes = gnuTar('/etc', '-c', '--format=gnu', '--exclude=./ssl', '.');
  const layer = layerOf(fresh(), bytes);
  assert.equal(text(layer, 'hostname').length > 0, true);
});
