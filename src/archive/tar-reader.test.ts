import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { LcfsError } from '../engine/errors.js';
import {
  archive,
  BLOCK,
  entryBytes,
  gnuTar,
  hasGnuTar,
  metaEntry,
  mutate,
  patched,
  paxLine,
  readArchive,
  type ReadEntry,
} from '../../test/support/archives.js';
import { Random } from '../../test/support/volume.js';
import * as Tar from './tar-format.js';
import { END_OF_ARCHIVE } from './tar-writer.js';

const END = END_OF_ARCHIVE;

function refused(bytes: Buffer, message: RegExp): void {
  const check = (error: unknown): boolean => error instanceof LcfsError && error.code === 'invalid' && message.test(error.message);
  for (const piece of [bytes.length || 1, 1, 700]) assert.throws(() => readArchive(bytes, piece), check);
}

/** Numbers become text, so that entries can be compared at a glance. */
function summary(entries: readonly ReadEntry[]): string[] {
  return entries.map((entry) => {
    const link = entry.linkPath.length > 0 ? ` -> ${entry.linkPath.toString()}` : '';
    return `${String.fromCharCode(entry.type)} ${entry.path.toString()}${link} ${entry.size}`;
  });
}

function one(bytes: Buffer): ReadEntry {
  const entries = readArchive(bytes);
  assert.equal(entries.length, 1);
  return entries[0]!;
}

test('entries come out the same however the archive is cut', () => {
  const bytes = archive(
    { path: 'dir/', type: Tar.DIRECTORY, mode: 0o755 },
    { path: 'dir/a', data: Buffer.alloc(1300, 'a') },
    { path: 'dir/empty' },
    { path: `dir/${'n'.repeat(200)}`, data: 'long', xattrs: { 'user.x': 'y', 'security.capability': Buffer.from([1, 0, 255]) } },
    { path: 'link', type: Tar.SYMLINK, linkPath: 'dir/a' },
    { path: 'hard', type: Tar.HARD_LINK, linkPath: 'dir/a' },
    { path: 'null', type: Tar.CHARACTER_DEVICE, major: 1, minor: 3 },
  );
  const whole = readArchive(bytes);
  assert.deepEqual(summary(whole).slice(0, 3), ['5 dir/ 0', '0 dir/a 1300', '0 dir/empty 0']);
  assert.equal(whole.length, 7);
  for (const piece of [1, 2, 7, 511, 512, 513, 1000, 1024]) assert.deepEqual(readArchive(bytes, piece), whole, `in pieces of ${piece}`);
});

test('the fields of a header arrive', () => {
  const entry = one(archive({ path: 'x', type: Tar.BLOCK_DEVICE, mode: 0o6751, uid: 123, gid: 2_000_000, mtime: 99, major: 8, minor: 17 }));
  assert.deepEqual(
    [entry.mode, entry.uid, entry.gid, entry.mtime, entry.major, entry.minor],
    [0o6751, 123, 2_000_000, { seconds: 99, nanoseconds: 0 }, 8, 17],
  );
});

test('pax records replace fields of the header', () => {
  const pax = [
    ['path', 'ü/long'],
    ['uid', '4294967294'],
    ['gid', '3000000'],
    ['mtime', '1350244992.0239'],
    ['atime', '12.5'],
    ['comment', 'nothing'],
    ['SCHILY.xattr.user.a=b'.split('=')[0]!, 'b=c\n\0'],
  ] as const;
  const body = pax.map(([key, value]) => paxLine(key, Buffer.from(value).toString('latin1'))).join('');
  const entry = one(Buffer.concat([metaEntry(Tar.PAX_HEADER, body), entryBytes({ path: 'short', data: 'x' }), END]));
  assert.equal(entry.path.toString(), 'ü/long');
  assert.deepEqual([entry.uid, entry.gid], [4294967294, 3000000]);
  assert.deepEqual(entry.mtime, { seconds: 1350244992, nanoseconds: 23_900_000 });
  assert.deepEqual(entry.atime, { seconds: 12, nanoseconds: 500_000_000 });
  assert.deepEqual(entry.xattrs, [{ name: Buffer.from('user.a'), value: Buffer.from('b=c\n\0') }]);
});

test('the size in pax decides how much data follows', () => {
  const file = patched(entryBytes({ data: Buffer.alloc(600, 'z') }), 124, '00000000000');
  const entry = one(Buffer.concat([metaEntry(Tar.PAX_HEADER, paxLine('size', '600')), file, END]));
  assert.equal(entry.content.toString(), 'z'.repeat(600));
});

test('an empty pax value takes the header’s', () => {
  const entry = one(
    Buffer.concat([metaEntry(Tar.PAX_HEADER, paxLine('path', '') + paxLine('mtime', '')), entryBytes({ path: 'kept', mtime: 5 }), END]),
  );
  assert.equal(entry.path.toString(), 'kept');
  assert.equal(entry.mtime.seconds, 5);
});

test('libarchive’s encoded attributes count where the plain ones are missing', () => {
  const body =
    paxLine('LIBARCHIVE.xattr.user.a%20b', Buffer.from('value').toString('base64')) +
    paxLine('SCHILY.xattr.user.c', 'plain') +
    paxLine('LIBARCHIVE.xattr.user.c', 'AAAA');
  const entry = one(Buffer.concat([metaEntry(Tar.PAX_HEADER, body), entryBytes({}), END]));
  assert.deepEqual(
    entry.xattrs.map((xattr) => `${xattr.name}=${xattr.value}`),
    ['user.a b=value', 'user.c=plain'],
  );
});

test('global headers change nothing', () => {
  const entry = one(
    Buffer.concat([metaEntry(Tar.PAX_GLOBAL, paxLine('path', 'wrong') + paxLine('uid', '7')), entryBytes({ path: 'right' }), END]),
  );
  assert.deepEqual([entry.path.toString(), entry.uid], ['right', 0]);
});

test('GNU long names and base-256 numbers', () => {
  const name = `d/${'x'.repeat(300)}`;
  const big = Buffer.from([0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xfe]);
  const past = Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfb]);
  let file = patched(entryBytes({ type: Tar.SYMLINK, linkPath: 'cut' }), 257, 'ustar  \0');
  file = patched(patched(file, 108, big), 136, past);
  const entry = one(
    Buffer.concat([metaEntry(Tar.GNU_LONG_NAME, `${name}\0`), metaEntry(Tar.GNU_LONG_LINK, `${name}/target\0`), file, END]),
  );
  assert.equal(entry.path.toString(), name);
  assert.equal(entry.linkPath.toString(), `${name}/target`);
  assert.equal(entry.uid, 0xffff_fffe);
  assert.equal(entry.mtime.seconds, -5);
});

test('ustar prefixes, v7 directories and old checksums', () => {
  const long = `${'p'.repeat(120)}/${'n'.repeat(90)}`;
  assert.equal(one(archive({ path: long })).path.toString(), long);
  const v7 = patched(patched(entryBytes({ path: 'old/' }), 156, '\0'), 257, '\0'.repeat(8));
  assert.deepEqual(summary(readArchive(Buffer.concat([v7, END]))), ['5 old/ 0']);
  const signed = patched(entryBytes({ path: 'x' }), 0, Buffer.from([0xe4]));
  signed.write(`${Tar.headerSumSigned(signed, 0).toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  assert.deepEqual(one(Buffer.concat([signed, END])).path, Buffer.from([0xe4]));
});

test('a ustar prefix in a GNU header, as Go wrote it before 1.8', () => {
  const header = patched(patched(entryBytes({ path: 'name' }), 257, 'ustar  \0'), 345, 'some/prefix');
  assert.equal(one(Buffer.concat([header, END])).path.toString(), 'some/prefix/name');
});

test('the archive may end between entries, with or without zero blocks', () => {
  const file = entryBytes({ data: 'abc' });
  for (const tail of [END, END.subarray(BLOCK), Buffer.alloc(0), Buffer.concat([END, Buffer.alloc(4096, 'junk')])]) {
    assert.equal(readArchive(Buffer.concat([file, tail]), 100).length, 1);
  }
  assert.equal(readArchive(file.subarray(0, BLOCK + 3)).length, 1);
  assert.equal(readArchive(Buffer.alloc(0)).length, 0);
  assert.equal(readArchive(END).length, 0);
});

function pairs(list: readonly number[]): Buffer {
  return Buffer.from(list.map((value) => `${value.toString(8).padStart(11, '0')}\0`).join(''), 'latin1');
}

test('old GNU sparse files', () => {
  let header = patched(entryBytes({ size: 6 * 512 }), 257, 'ustar  \0');
  header = patched(header, 156, 'S');
  header = patched(header, 386, pairs([0, 512, 1024, 512, 4096, 512, 8192, 512]));
  header = patched(patched(header, 482, Buffer.from([1])), 483, pairs([20_000]));
  const extension = Buffer.alloc(BLOCK);
  extension.set(pairs([12_288, 1024, 20_000, 0]));
  const data = Buffer.concat(['a', 'b', 'c', 'd', 'e', 'f'].map((letter) => Buffer.alloc(512, letter)));
  const bytes = Buffer.concat([header, extension, data, END]);
  const whole = one(bytes);
  assert.deepEqual([whole.size, whole.holeBytes], [20_000, 20_000 - 3072]);
  assert.deepEqual(
    [0, 511, 512, 1024, 4096, 8192, 12_288, 13_311, 13_312].map((at) => String.fromCharCode(whole.content[at]!)),
    ['a', 'a', '\0', 'b', 'c', 'd', 'e', 'f', '\0'],
  );
  assert.deepEqual(readArchive(bytes, 1), [whole]);
});

test('pax sparse files 0.0, 0.1 and 1.0', () => {
  const zero = paxLine('GNU.sparse.size', '5000') + paxLine('GNU.sparse.numblocks', '2');
  const repeated = [0, 3, 4000, 4]
    .map((value, i) => paxLine(i % 2 === 0 ? 'GNU.sparse.offset' : 'GNU.sparse.numbytes', String(value)))
    .join('');
  const map = paxLine('GNU.sparse.map', '0,3,4000,4') + paxLine('GNU.sparse.name', 'real');
  const first = paxLine('GNU.sparse.major', '1') + paxLine('GNU.sparse.minor', '0') + paxLine('GNU.sparse.realsize', '5000');
  const text = Buffer.alloc(BLOCK);
  text.write('2\n0\n3\n4000\n4\n');
  const cases: [string, Buffer][] = [
    [zero + repeated, Buffer.from('abcdefg')],
    [zero + map, Buffer.from('abcdefg')],
    [first, Buffer.concat([text, Buffer.from('abcdefg')])],
  ];
  for (const [body, data] of cases) {
    const entry = one(Buffer.concat([metaEntry(Tar.PAX_HEADER, body), entryBytes({ path: 'real', data }), END]));
    assert.equal(entry.path.toString(), 'real');
    assert.equal(entry.content.toString(), `abc${'\0'.repeat(3997)}defg${'\0'.repeat(996)}`);
  }
});

test('what is no archive is refused with the reason', () => {
  refused(Buffer.from('garbage'), /archive entry 1: the archive breaks off here, after 7 bytes/);
  refused(Buffer.alloc(5000, 'garbage '), /archive entry 1: this is not a tar archive$/);
  refused(Buffer.concat([Buffer.from([0x1f, 0x8b, 8]), Buffer.alloc(600, 1)]), /compressed by gzip/);
  refused(Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), Buffer.alloc(600, 1)]), /compressed by zstd/);
  refused(Buffer.concat([END.subarray(BLOCK), entryBytes({})]), /zeros is followed/);
});

test('broken archives are refused with the entry’s number and name', () => {
  const good = entryBytes({ path: 'good', data: 'x' });
  const bad = entryBytes({ path: 'bad', data: 'y'.repeat(600) });
  const broken = Buffer.from(bad);
  broken[3]! ^= 1;
  refused(Buffer.concat([good, broken, END]), /archive entry 2: the checksum/);
  refused(Buffer.concat([good, bad.subarray(0, 700)]), /archive entry 2 "bad": the archive breaks off/);
  refused(Buffer.concat([good, bad.subarray(0, 200)]), /archive entry 2: the archive breaks off/);
  refused(metaEntry(Tar.PAX_HEADER, paxLine('path', 'x')), /breaks off/);
  refused(Buffer.concat([patched(bad, 124, 'hello'), END]), /entry 1: its size is not a number/);
  refused(Buffer.concat([patched(bad, 108, '12 34 \0\0'), END]), /user id is not a number/);
  refused(Buffer.concat([entryBytes({ path: '' }), END]), /entry 1 "": it has no name/);
});

/** A field of twelve bytes that goes on with ones. */
function base256(bytes: number[]): Buffer {
  return Buffer.from([...bytes, ...Array.from<number>({ length: 12 - bytes.length }).fill(0xff)]);
}

test('sizes that cannot be are refused', () => {
  const file = entryBytes({ path: 'f' });
  refused(Buffer.concat([patched(file, 124, base256([0xff])), END]), /size is negative/);
  refused(Buffer.concat([patched(file, 124, base256([0x80])), END]), /beyond the 16 TiB/);
  refused(Buffer.concat([patched(entryBytes({ type: Tar.DIRECTORY }), 124, base256([0xff])), END]), /size is negative/);
  refused(Buffer.concat([metaEntry(Tar.PAX_HEADER, paxLine('size', '-1')), file, END]), /entry 1 "f": its size is negative/);
  refused(Buffer.concat([metaEntry(Tar.PAX_HEADER, paxLine('size', '99999999999999999999')), file, END]), /beyond the 16 TiB/);
  refused(Buffer.concat([patched(entryBytes({ type: Tar.PAX_HEADER }), 124, '00100000000'), END]), /extended header has 16777216 bytes/);
  refused(Buffer.concat([patched(entryBytes({ type: Tar.GNU_LONG_NAME }), 124, base256([0xff])), END]), /size is negative/);
});

test('broken pax records are refused', () => {
  const after = Buffer.concat([entryBytes({}), END]);
  for (const body of [
    'x',
    '5',
    ' path=x\n',
    '0 path=x\n',
    '99 path=x\n',
    '9 path=xy',
    '-9 path=x\n',
    '12345678901 p=x\n',
    '4 a\n',
    '6 =xx\n',
    '11 path=a\0\n',
    '3 \n',
  ]) {
    refused(Buffer.concat([metaEntry(Tar.PAX_HEADER, body), after]), /pax/);
  }
  refused(Buffer.concat([metaEntry(Tar.PAX_HEADER, paxLine('uid', 'x')), after]), /pax uid is not a number/);
  refused(Buffer.concat([metaEntry(Tar.PAX_HEADER, paxLine('mtime', '1e9')), after]), /pax mtime is not a time/);
});

function sized(size: string, map: string): string {
  return paxLine('GNU.sparse.size', size) + paxLine('GNU.sparse.map', map);
}

test('sparse bombs and broken maps are refused', () => {
  const sparse = (records: string, data: string): Buffer =>
    Buffer.concat([metaEntry(Tar.PAX_HEADER, records), entryBytes({ path: 's', data }), END]);
  refused(sparse(sized('9223372036854775807', '0,1'), 'x'), /beyond the 16 TiB/);
  refused(sparse(sized('10', '0,11'), 'x'), /not in order/);
  refused(sparse(sized('10', '5,1,4,1'), 'xx'), /not in order/);
  refused(sparse(sized('10', '5,2,6,1'), 'xxx'), /not in order/);
  refused(sparse(sized('10', '0,5'), 'x'), /names 5 bytes of data, but 1 are stored/);
  refused(sparse(sized('10', '0'), 'x'), /offset without length/);
  refused(sparse(sized('10', '0,-1'), 'x'), /not made of numbers/);
  refused(sparse(paxLine('GNU.sparse.map', '0,1'), 'x'), /without a size/);
  refused(sparse(paxLine('GNU.sparse.size', '9') + paxLine('GNU.sparse.numbytes', '1'), 'x'), /out of order/);
  refused(sparse(paxLine('GNU.sparse.major', '2') + paxLine('GNU.sparse.size', '9'), 'x'), /format 2.0 is not known/);
  const version1 = paxLine('GNU.sparse.major', '1') + paxLine('GNU.sparse.minor', '0') + paxLine('GNU.sparse.realsize', '5000');
  refused(sparse(version1, '1\n0\n'.padEnd(512, '5')), /not made of numbers|does not end/);
  refused(sparse(version1, '9999999999\n'.padEnd(512, '1\n')), /does not end/);
  refused(sparse(version1, ''), /does not end|breaks off/);
  refused(Buffer.concat([entryBytes({ type: Tar.GNU_SPARSE }), END]), /not in the GNU format/);
});

test('a sparse map of millions of parts is refused before it fills memory', () => {
  const version1 = paxLine('GNU.sparse.major', '1') + paxLine('GNU.sparse.minor', '0') + paxLine('GNU.sparse.realsize', String(2 ** 40));
  const map = Buffer.from(`5000000\n${'7\n0\n'.repeat(600_000)}`);
  assert.throws(
    () => readArchive(Buffer.concat([metaEntry(Tar.PAX_HEADER, version1), entryBytes({ data: map }), END])),
    /more than 262144 parts/,
  );
});

// Archives of GNU tar

function makeTree(folder: string): void {
  mkdirSync(join(folder, 'sub/empty'), { recursive: true });
  writeFileSync(join(folder, 'sub/hello'), 'hello\n');
  linkSync(join(folder, 'sub/hello'), join(folder, 'sub/other'));
  symlinkSync('sub/hello', join(folder, 'symbolic'));
  symlinkSync('/x'.repeat(120), join(folder, 'long-link'));
  writeFileSync(join(folder, `${'long-'.repeat(40)}ü`), Buffer.alloc(3000, 'q'));
  execFileSync('mkfifo', [join(folder, 'pipe')]);
  const sparse = openSync(join(folder, 'sparse'), 'w');
  writeSync(sparse, 'start', 0);
  for (let i = 1; i < 30; i++) writeSync(sparse, `part ${i}`, i * 100_000);
  ftruncateSync(sparse, 4_000_001);
  closeSync(sparse);
  utimesSync(join(folder, 'sub/hello'), 1_600_000_000.25, 1_600_000_000.25);
}

test('archives of GNU tar in all its formats', { skip: !hasGnuTar && 'needs GNU tar' }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'lcfs-tar-'));
  try {
    makeTree(folder);
    for (const format of [
      ['gnu'],
      ['posix'],
      ['oldgnu', '--sparse'],
      ['gnu', '--sparse'],
      ['posix', '--sparse', '--sparse-version=0.0'],
      ['posix', '--sparse', '--sparse-version=0.1'],
      ['posix', '--sparse', '--sparse-version=1.0'],
    ]) {
      checkTree(gnuTar(folder, '-c', `--format=${format[0]}`, ...format.slice(1), '--sort=name', '.'), format.join(' '));
    }
    const narrow = gnuTar(folder, '-c', '--format=ustar', '--sort=name', './sub');
    assert.deepEqual(summary(readArchive(narrow, 333)), [
      '5 ./sub/ 0',
      '5 ./sub/empty/ 0',
      '0 ./sub/hello 6',
      '1 ./sub/other -> ./sub/hello 0',
    ]);
    assert.deepEqual(summary(readArchive(gnuTar(folder, '-c', '--format=v7', './sub/hello'))), ['0 ./sub/hello 6']);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

function checkTree(bytes: Buffer, label: string): void {
  const entries = readArchive(bytes);
  assert.deepEqual(readArchive(bytes, 65_536 + 1), entries, label);
  const byPath = new Map(entries.map((entry) => [entry.path.toString().replace(/^\.\//, ''), entry]));
  assert.equal(byPath.get('sub/hello')!.content.toString(), 'hello\n', label);
  assert.equal(byPath.get('sub/other')!.linkPath.toString(), './sub/hello', label);
  assert.equal(byPath.get('symbolic')!.linkPath.toString(), 'sub/hello', label);
  assert.equal(byPath.get('long-link')!.linkPath.length, 240, label);
  assert.equal(byPath.get(`${'long-'.repeat(40)}ü`)!.content.toString(), 'q'.repeat(3000), label);
  assert.equal(byPath.get('pipe')!.type, Tar.FIFO, label);
  assert.equal(byPath.get('sub/hello')!.mtime.seconds, 1_600_000_000, label);
  assert.equal(byPath.get('sub/hello')!.mtime.nanoseconds, label.startsWith('posix') ? 250_000_000 : 0, label);
  checkSparse(byPath.get('sparse')!, label);
}

function checkSparse(entry: ReadEntry, label: string): void {
  assert.equal(entry.size, 4_000_001, label);
  assert.equal(entry.content.toString('latin1', 0, 5), 'start', label);
  for (let i = 1; i < 30; i++)
    assert.equal(entry.content.toString('latin1', i * 100_000, i * 100_000 + 7), `part ${i}`.padEnd(7, '\0'), label);
  assert.equal(entry.content.filter((byte) => byte !== 0).length, 5 + 9 * 6 + 20 * 7, label);
  if (label.includes('sparse')) assert.ok(entry.holeBytes > 3_000_000, label);
}

test('devices and attributes of GNU tar', { skip: (!hasGnuTar || process.getuid?.() !== 0) && 'needs GNU tar and root' }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'lcfs-tar-'));
  try {
    execFileSync('mknod', [join(folder, 'device'), 'b', '259', '300']);
    writeFileSync(join(folder, 'file'), '');
    const hasXattr = spawnSync('setfattr', ['-n', 'user.color', '-v', 'blue', join(folder, 'file')]).status === 0;
    const entries = readArchive(
      gnuTar(folder, '-c', '--format=posix', '--xattrs', '--owner=:3000000', '--group=:4294967294', 'device', 'file'),
    );
    assert.deepEqual([entries[0]!.major, entries[0]!.minor, entries[0]!.uid, entries[0]!.gid], [259, 300, 3_000_000, 4294967294]);
    if (hasXattr)
      assert.deepEqual(
        entries[1]!.xattrs.map((xattr) => `${xattr.name}=${xattr.value}`),
        ['user.color=blue'],
      );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

// Mutated archives

test('mutated archives are read or refused, never anything else', () => {
  const random = new Random();
  console.log(`# seed ${random.seed}`);
  const version1 = paxLine('GNU.sparse.major', '1') + paxLine('GNU.sparse.minor', '0') + paxLine('GNU.sparse.realsize', '5000');
  const good = Buffer.concat([
    entryBytes({ path: 'd/', type: Tar.DIRECTORY }),
    entryBytes({ path: `d/${'ü'.repeat(90)}`, data: Buffer.alloc(700, 'x'), xattrs: { 'user.a': 'b' } }),
    metaEntry(Tar.GNU_LONG_NAME, `${'y'.repeat(200)}\0`),
    entryBytes({ path: 'y', type: Tar.SYMLINK, linkPath: 'd' }),
    metaEntry(Tar.PAX_HEADER, version1),
    entryBytes({ path: 's', data: '1\n4000\n4\n'.padEnd(512, '\0') + 'data' }),
    END,
  ]);
  assert.equal(readArchive(good).length, 4);
  for (let round = 0; round < 3000; round++)
    tryMutated(mutate(good, random), 1 + random.below(2000), `seed ${random.seed}, round ${round}`);
});

function tryMutated(bytes: Buffer, piece: number, label: string): void {
  try {
    readArchive(bytes, piece);
  } catch (error) {
    if (!(error instanceof LcfsError) || error.code !== 'invalid') throw new Error(label, { cause: error });
  }
}
