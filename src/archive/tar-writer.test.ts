import assert from 'node:assert/strict';
import { test } from 'node:test';
import { archive, BLOCK, entryBytes, gnuList, hasGnuTar, PLAIN, readArchive, type EntrySpec } from '../../test/support/archives.js';
import * as Tar from './tar-format.js';
import { END_OF_ARCHIVE, tarHeader } from './tar-writer.js';

/** Text of a block with dots for zero bytes. */
function shown(bytes: Buffer): string {
  return bytes.toString('latin1').replaceAll('\0', '.');
}

test('the bytes of a ustar header', () => {
  const block = tarHeader({ ...PLAIN, path: Buffer.from('etc/hosts'), mode: 0o644, uid: 1000, gid: 100, size: 1234, mtime: 1_600_000_000 });
  assert.equal(
    shown(block),
    `etc/hosts${'.'.repeat(91)}0000644.0001750.0000144.00000002322.13727410000.011121. 0${'.'.repeat(100)}ustar.00${'.'.repeat(64)}0000000.0000000.${'.'.repeat(167)}`,
  );
});

test('the bytes of a header with pax', () => {
  const bytes = tarHeader({
    ...PLAIN,
    type: Tar.DIRECTORY,
    path: Buffer.from('é/'),
    uid: 3_000_000,
    mtime: -1,
    xattrs: [{ name: Buffer.from('user.z'), value: Buffer.from([0, 255]) }],
  });
  assert.equal(bytes.length, 3 * BLOCK);
  assert.equal(shown(bytes.subarray(0, 20)), 'PaxHeaders.0/.......');
  assert.equal(bytes[Tar.TYPE_AT], Tar.PAX_HEADER);
  const body = '26 SCHILY.xattr.user.z=.\xff\n12 mtime=-1\n12 path=\xc3\xa9/\n15 uid=3000000\n';
  assert.equal(shown(bytes.subarray(BLOCK, BLOCK + body.length + 1)), `${body}.`);
  assert.equal(shown(bytes.subarray(2 * BLOCK, 2 * BLOCK + 3)), '/..');
});

test('the length of a pax record counts its own digits', () => {
  for (let length = 80; length < 130; length++) {
    const entry = readArchive(archive({ xattrs: { 'user.x': 'v'.repeat(length) } }))[0]!;
    assert.equal(entry.xattrs[0]!.value.length, length);
  }
});

const CASES: EntrySpec[] = [
  { path: 'a', data: 'x' },
  { path: `${'d'.repeat(99)}/`, type: Tar.DIRECTORY },
  { path: `${'d'.repeat(155)}/${'n'.repeat(100)}` },
  { path: `${'d'.repeat(156)}/${'n'.repeat(100)}` },
  { path: `${'d'.repeat(100)}/`, type: Tar.DIRECTORY },
  { path: `${'d/'.repeat(127)}x` },
  { path: `${'d/'.repeat(2000)}x` },
  { path: 'n'.repeat(101) },
  { path: Buffer.from([0xff, 0x2f, 0x80]) },
  { path: 'new\nline' },
  { path: 'l', type: Tar.SYMLINK, linkPath: 't'.repeat(101) },
  { path: 'l', type: Tar.HARD_LINK, linkPath: 'zürich' },
  { path: 'big', uid: 0xffff_fffe, gid: 2 ** 21 },
  { path: 'old', mtime: -100 },
  { path: 'late', mtime: 2 ** 33 },
  { path: 'c', type: Tar.CHARACTER_DEVICE, major: 4095, minor: 1_048_575 },
  { path: 'p', type: Tar.FIFO, mode: 0o7777 },
  { path: 'x', xattrs: { 'user.b': '', 'user.a': Buffer.alloc(65_536, '=') } },
];

test('the reader gets back what was written', () => {
  for (const spec of CASES) {
    const entry = readArchive(archive(spec))[0]!;
    assert.deepEqual(entry.path, Buffer.from(spec.path as string));
    assert.deepEqual(entry.linkPath, Buffer.from((spec.linkPath as string) ?? ''));
    assert.deepEqual(
      [entry.type, entry.mode, entry.uid, entry.gid],
      [spec.type ?? Tar.FILE, spec.mode ?? 0o644, spec.uid ?? 0, spec.gid ?? 0],
    );
    assert.deepEqual([entry.mtime.seconds, entry.major, entry.minor], [spec.mtime ?? PLAIN.mtime, spec.major ?? 0, spec.minor ?? 0]);
    assert.deepEqual(
      Object.fromEntries(entry.xattrs.map((xattr) => [xattr.name.toString(), xattr.value])),
      Object.fromEntries(Object.entries(spec.xattrs ?? {}).map(([name, value]) => [name, Buffer.from(value)])),
    );
  }
});

test('a file of 8 GiB and more has its size in pax', () => {
  const header = tarHeader({ ...PLAIN, size: 2 ** 33 });
  assert.match(shown(header), /19 size=8589934592\n/);
  assert.equal(tarHeader({ ...PLAIN, size: 2 ** 33 - 1 }).length, BLOCK);
});

test('attributes that pax cannot name are left out', () => {
  const bytes = entryBytes({ xattrs: { 'user.a=b': 'x' } });
  assert.equal(bytes.length, BLOCK);
});

test('GNU tar lists what was written', { skip: !hasGnuTar && 'needs GNU tar' }, () => {
  const bytes = Buffer.concat([
    ...[
      { path: 'dir/', type: Tar.DIRECTORY, mode: 0o1755, uid: 3_000_000 },
      { path: 'dir/file', data: 'hello', mode: 0o4711, gid: 12 },
      { path: 'dir/hard', type: Tar.HARD_LINK, linkPath: 'dir/file' },
      { path: `${'n'.repeat(120)}`, type: Tar.SYMLINK, linkPath: 'dir' },
      { path: 'null', type: Tar.CHARACTER_DEVICE, major: 1, minor: 3 },
      { path: 'ü', type: Tar.FIFO },
    ].map(entryBytes),
    END_OF_ARCHIVE,
  ]);
  const time = '2023-11-14 22:13';
  const lines = gnuList(bytes)
    .split('\n')
    .map((line) => line.replaceAll(/ +/g, ' '));
  assert.deepEqual(lines, [
    `drwxr-xr-t 3000000/0 0 ${time} dir/`,
    `-rws--x--x 0/12 5 ${time} dir/file`,
    `hrw-r--r-- 0/0 0 ${time} dir/hard link to dir/file`,
    `lrw-r--r-- 0/0 0 ${time} ${'n'.repeat(120)} -> dir`,
    `crw-r--r-- 0/0 1,3 ${time} null`,
    `prw-r--r-- 0/0 0 ${time} ü`,
    '',
  ]);
});
