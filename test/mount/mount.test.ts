/** What programs see of a mounted volume, over each transport. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  rmSync,
  rmdirSync,
  statfsSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { after, before, describe, it } from 'node:test';
import { E2BIG, EAGAIN, EEXIST, EINVAL, ENODATA, ENOENT, ENOTEMPTY, ENXIO, EOPNOTSUPP, ERANGE, EXDEV } from '../../src/linux/errno.js';
import type { Transport } from '../../src/fuse/session.js';
import { Mounted, TRANSPORTS, cannotMount } from './mounted.js';
import * as sys from './syscalls.js';
import { byteAt, type TailTask } from './tail.js';

const { O_RDONLY, O_RDWR, O_WRONLY, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_DIRECT } = constants;
const MIB = 1 << 20;

for (const transport of TRANSPORTS) describe(`a volume mounted over ${transport}`, { skip: cannotMount }, () => describeMount(transport));

function describeMount(transport: Transport): void {
  let mounted: Mounted;
  /** A path in the global layer. */
  const at = (...parts: string[]): string => join(mounted.global, ...parts);

  before(async () => {
    mounted = await new Mounted(transport).ready();
    assert.equal(mounted.transport, transport);
  });
  after(async () => {
    try {
      await mounted.prove();
    } finally {
      await mounted.end();
    }
  });

  it('has its two directories', () => {
    assert.deepEqual(readdirSync(mounted.mountpoint).toSorted(), ['global', 'layers']);
    for (const path of [mounted.mountpoint, mounted.layers]) {
      assert.equal(statSync(path).mode, 0o040755);
      assert.equal(statSync(path).uid, 0);
      assert.equal(
        sys.codeOf(() => mkdirSync(join(path, 'x'))),
        'EPERM',
      );
      assert.equal(
        sys.codeOf(() => openSync(join(path, 'x'), O_CREAT | O_RDWR)),
        'EPERM',
      );
      assert.equal(
        sys.codeOf(() => chmodSync(path, 0o700)),
        'EPERM',
      );
    }
    assert.equal(
      sys.codeOf(() => rmdirSync(mounted.layers)),
      'EPERM',
    );
    assert.equal(
      sys.codeOf(() => renameSync(mounted.layers, join(mounted.mountpoint, 'other'))),
      'EPERM',
    );
  });

  it('writes and reads back', () => {
    const data = Buffer.alloc(3 * MIB + 12345, 'all kinds of contents ');
    writeFileSync(at('file'), data);
    assert.ok(readFileSync(at('file')).equals(data));
    assert.equal(statSync(at('file')).size, data.length);
    assert.equal(statSync(at('file')).blocks, Math.ceil(data.length / 4096) * 8);
    assert.equal(statSync(at('file')).blksize, 4096);
  });

  it('reads and writes at odd places, appends and truncates', () => {
    const fd = openSync(at('odd'), O_CREAT | O_RDWR | O_EXCL, 0o644);
    writeSync(fd, 'abc', 4095);
    writeSync(fd, 'defg', 8190);
    closeSync(fd);
    const append = openSync(at('odd'), O_WRONLY | O_APPEND);
    writeSync(append, 'end');
    closeSync(append);
    const wanted = Buffer.alloc(8197);
    wanted.write('abc', 4095);
    wanted.write('defgend', 8190);
    assert.ok(readFileSync(at('odd')).equals(wanted));
    truncateSync(at('odd'), 4096);
    truncateSync(at('odd'), 5000);
    const cut = Buffer.alloc(5000);
    cut.write('a', 4095);
    assert.ok(readFileSync(at('odd')).equals(cut));
    closeSync(openSync(at('odd'), O_WRONLY | O_TRUNC));
    assert.equal(statSync(at('odd')).size, 0);
    assert.equal(
      sys.codeOf(() => openSync(at('odd'), O_CREAT | O_EXCL)),
      'EEXIST',
    );
  });

  it('reads around the page cache', () => {
    const data = Buffer.alloc(2 * MIB, 'direct');
    writeFileSync(at('direct'), data);
    const fd = openSync(at('direct'), O_RDONLY | O_DIRECT);
    const mapping = Buffer.from(new ArrayBuffer(2 * MIB + 4096));
    // O_DIRECT on FUSE takes any address.
    assert.equal(readSync(fd, mapping, 0, 2 * MIB, 0), 2 * MIB);
    assert.ok(mapping.subarray(0, 2 * MIB).equals(data));
    closeSync(fd);
  });

  it('shows what is written to a new file to all who have it open or mapped', () => {
    const made = openSync(at('made'), O_WRONLY | O_CREAT | O_EXCL);
    writeSync(made, Buffer.alloc(10_000, 'a'));
    const other = openSync(at('made'), O_RDWR);
    const mapping = sys.mmap(other, 12_288, true);
    assert.equal(mapping.bytes[9999], 'a'.charCodeAt(0));
    mapping.bytes[4000] = 'm'.charCodeAt(0); // not written back yet when its page is written to
    writeSync(made, 'bb', 4001);
    writeSync(made, 'cc', 10_000);
    const seen = Buffer.alloc(12_288);
    assert.equal(readSync(other, seen, 0, seen.length, 0), 10_002);
    const expected = `${'a'.repeat(4000)}mbb${'a'.repeat(5997)}cc`;
    assert.equal(seen.toString('latin1', 0, 10_002), expected);
    assert.equal(Buffer.from(mapping.bytes.subarray(0, 10_002)).toString('latin1'), expected);
    mapping.unmap();
    for (const fd of [made, other]) closeSync(fd);
    assert.equal(readFileSync(at('made'), 'latin1'), expected);
  });

  it('shows a file that grows as it is', async () => {
    const bytes = 3 * MIB;
    const fd = openSync(at('log'), O_WRONLY | O_CREAT | O_APPEND);
    const task: TailTask = { path: at('log'), bytes };
    const tail = once(new Worker(new URL('./tail.js', import.meta.url), { workerData: task }), 'exit');
    const data = Buffer.from(Array.from({ length: bytes }, (_, offset) => byteAt(offset)));
    for (let at = 0, length = 1; at < bytes; at += length, length = (length * 7 + 13) % 3001)
      writeSync(fd, data, at, Math.min(length, bytes - at));
    closeSync(fd);
    assert.deepEqual(await tail, [0]);
  });

  it('keeps unlinked files until they are closed', async () => {
    const free = statfsSync(at()).bfree;
    const fd = openSync(at('unlinked'), O_CREAT | O_RDWR);
    writeSync(fd, Buffer.alloc(8 * MIB, 1));
    unlinkSync(at('unlinked'));
    assert.equal(existsSync(at('unlinked')), false);
    assert.equal(fstatSync(fd).nlink, 0);
    const read = Buffer.alloc(10);
    assert.equal(readSync(fd, read, 0, 10, 8 * MIB - 10), 10);
    assert.deepEqual(read, Buffer.alloc(10, 1));
    writeSync(fd, 'more', 8 * MIB);
    closeSync(fd);
    // FORGET comes by itself once the last user is gone.
    await until(() => (statfsSync(at()).bfree > free - 1000 ? true : undefined), mounted);
  });

  it('makes temporary files that have no name until they get one', () => {
    const fd = openSync(at(), sys.O_TMPFILE | O_RDWR, 0o640);
    writeSync(fd, 'temporary');
    assert.equal(fstatSync(fd).nlink, 0);
    assert.equal(sys.linkDescriptor(fd, at('named')), 0);
    closeSync(fd);
    assert.equal(readFileSync(at('named'), 'utf8'), 'temporary');
    assert.equal(statSync(at('named')).mode, 0o100640);
    assert.equal(statSync(at('named')).nlink, 1);
    const gone = openSync(at(), sys.O_TMPFILE | O_RDWR, 0o600);
    assert.equal(sys.linkDescriptor(gone, at('named')), -EEXIST);
    closeSync(gone);
  });

  it('renames with all flags', () => {
    mkdirSync(at('renames'));
    const path = (name: string): string => at('renames', name);
    writeFileSync(path('a'), 'a');
    writeFileSync(path('b'), 'b');
    assert.equal(sys.renameat2(path('a'), path('b'), sys.RENAME_NOREPLACE), -EEXIST);
    assert.equal(sys.renameat2(path('a'), path('b'), sys.RENAME_EXCHANGE), 0);
    assert.equal(readFileSync(path('a'), 'utf8') + readFileSync(path('b'), 'utf8'), 'ba');
    mkdirSync(path('d'));
    writeFileSync(path('d/inside'), '');
    assert.equal(sys.renameat2(path('d'), path('a'), sys.RENAME_EXCHANGE), 0);
    assert.ok(existsSync(path('a/inside')));
    assert.equal(statSync(path('')).nlink, 3);
    assert.equal(sys.renameat2(path('d'), path('w'), sys.RENAME_WHITEOUT), 0);
    const whiteout = lstatSync(path('d'));
    assert.equal(whiteout.mode & constants.S_IFMT, constants.S_IFCHR);
    assert.equal(whiteout.rdev, 0);
    assert.equal(sys.renameat2(path('absent'), path('b'), sys.RENAME_EXCHANGE), -ENOENT);
    mkdirSync(path('empty'));
    renameSync(path('a'), path('empty'));
    mkdirSync(path('full'));
    writeFileSync(path('full/x'), '');
    assert.equal(sys.renameat2(path('empty'), path('full'), 0), -ENOTEMPTY);
    assert.equal(
      sys.codeOf(() => renameSync(path('full'), path('full/below'))),
      'EINVAL',
    );
    assert.equal(
      sys.codeOf(() => renameSync(path('b'), path('full'))),
      'EISDIR',
    );
    assert.equal(
      sys.codeOf(() => renameSync(path('full'), path('b'))),
      'ENOTDIR',
    );
  });

  it('links', () => {
    writeFileSync(at('one'), 'shared');
    linkSync(at('one'), at('two'));
    assert.equal(statSync(at('one')).ino, statSync(at('two')).ino);
    assert.equal(statSync(at('one')).nlink, 2);
    writeFileSync(at('two'), 'changed');
    assert.equal(readFileSync(at('one'), 'utf8'), 'changed');
    unlinkSync(at('one'));
    assert.equal(statSync(at('two')).nlink, 1);
    assert.equal(
      sys.codeOf(() => linkSync(at(), at('dir'))),
      'EPERM',
    );
  });

  it('stores extended attributes of all namespaces', () => {
    const path = at('xattrs');
    writeFileSync(path, '');
    for (const name of ['user.a', 'trusted.b', 'security.c']) assert.equal(sys.setxattr(path, name, Buffer.from(name)), 0);
    assert.deepEqual(sys.listxattr(path), ['security.c', 'trusted.b', 'user.a']);
    assert.equal(String(sys.getxattr(path, 'trusted.b')), 'trusted.b');
    const long = Buffer.alloc(65536, 'x');
    assert.equal(sys.setxattr(path, 'user.long', long), 0);
    assert.ok((sys.getxattr(path, 'user.long') as Buffer).equals(long));
    assert.equal(sys.getxattrInto(path, 'user.long', 100), -ERANGE);
    assert.equal(sys.getxattrInto(path, 'user.long', 0), 65536);
    assert.equal(sys.setxattr(path, 'user.a', Buffer.of(1), 1), -EEXIST);
    assert.equal(sys.setxattr(path, 'user.new', Buffer.of(1), 2), -ENODATA);
    assert.equal(sys.removexattr(path, 'user.a'), 0);
    assert.equal(sys.getxattr(path, 'user.a'), -ENODATA);
    assert.equal(sys.setxattr(path, `user.${'n'.repeat(251)}`, Buffer.of(1)), -ERANGE);
    chmodSync(path, 0o644);
    assert.deepEqual(
      sys.asUser(1000, 1000, [], () => sys.listxattr(path)),
      ['security.c', 'user.long'],
    );
    symlinkSync('x', at('xattr-link'));
    assert.equal(sys.setxattr(at('xattr-link'), 'trusted.link', Buffer.of(1)), 0);
  });

  it('says that a list of names is longer than the kernel takes', () => {
    const path = at('many-names');
    writeFileSync(path, '');
    for (let i = 0; i < 300; i++) assert.equal(sys.setxattr(path, `user.${i}${'x'.repeat(240)}`, Buffer.of(i)), 0);
    assert.equal(sys.listxattrInto(path, 0), -E2BIG);
    assert.equal(sys.listxattrInto(path, 65536), -E2BIG);
    assert.deepEqual(sys.getxattr(path, `user.7${'x'.repeat(240)}`), Buffer.of(7));
  });

  it('keeps access control lists', () => {
    const acl = (...entries: [number, number, number][]): Buffer => {
      const buffer = Buffer.alloc(4 + entries.length * 8);
      buffer.writeUInt32LE(2, 0);
      entries.forEach(([tag, permissions, id], i) => {
        buffer.writeUInt16LE(tag, 4 + i * 8);
        buffer.writeUInt16LE(permissions, 6 + i * 8);
        buffer.writeUInt32LE(id, 8 + i * 8);
      });
      return buffer;
    };
    const NONE = 0xffff_ffff;
    const list = acl([1, 6, NONE], [2, 6, 1000], [4, 0, NONE], [16, 6, NONE], [32, 0, NONE]);
    writeFileSync(at('acl'), 'secret', { mode: 0o600 });
    const reading = (uid: number): string | undefined => sys.asUser(uid, uid, [], () => sys.codeOf(() => readFileSync(at('acl'))));
    assert.equal(reading(1000), 'EACCES');
    assert.equal(sys.setxattr(at('acl'), 'system.posix_acl_access', list), 0);
    assert.equal(reading(1000), undefined);
    assert.equal(reading(1001), 'EACCES');
    assert.equal(statSync(at('acl')).mode, 0o100660);
    chmodSync(at('acl'), 0o640);
    assert.equal(
      sys.asUser(1000, 1000, [], () => sys.codeOf(() => openSync(at('acl'), O_WRONLY))),
      'EACCES',
    );
    assert.equal((sys.getxattr(at('acl'), 'system.posix_acl_access') as Buffer).readUInt16LE(4 + 3 * 8 + 2), 4);
    mkdirSync(at('acl-dir'));
    assert.equal(sys.setxattr(at('acl-dir'), 'system.posix_acl_default', list), 0);
    const umask = process.umask(0o077);
    writeFileSync(at('acl-dir/child'), '', { mode: 0o666 });
    mkdirSync(at('acl-dir/sub'));
    process.umask(umask);
    assert.equal(statSync(at('acl-dir/child')).mode, 0o100660);
    assert.ok(sys.listxattr(at('acl-dir/sub')).includes('system.posix_acl_default'));
    assert.equal(sys.setxattr(at('acl'), 'system.posix_acl_default', list), -13);
  });

  it('takes an access control list away, whether or not there is one', () => {
    const path = at('no-acl');
    mkdirSync(path);
    for (const kind of ['system.posix_acl_access', 'system.posix_acl_default']) {
      assert.equal(sys.removexattr(path, kind), 0);
      assert.equal(sys.setxattr(path, kind, Buffer.from([2, 0, 0, 0])), 0, 'an empty list');
    }
    assert.equal(sys.removexattr(path, 'user.none'), -ENODATA);
  });

  it('finds data that was written into a hole through a mapping and is not written back yet', () => {
    const fd = openSync(at('mapped-hole'), O_CREAT | O_RDWR);
    ftruncateSync(fd, 2 ** 20);
    const mapping = sys.mmap(fd, 2 ** 20, true);
    mapping.bytes[500_000] = 7;
    execFileSync('cp', ['--sparse=auto', at('mapped-hole'), at('copied-hole')]);
    assert.ok(readFileSync(at('copied-hole')).equals(readFileSync(at('mapped-hole'))));
    mapping.unmap();
    closeSync(fd);
    const reader = openSync(at('mapped-hole'), O_RDONLY);
    assert.equal(sys.lseek(reader, 0, sys.SEEK_DATA), 499_712, 'what is written back is known exactly');
    closeSync(reader);
  });

  it('has sparse files up to a terabyte', () => {
    const fd = openSync(at('sparse'), O_CREAT | O_RDWR);
    ftruncateSync(fd, 2 ** 40);
    writeSync(fd, 'far', 2 ** 40 - 3);
    writeSync(fd, 'middle', 2 ** 35);
    assert.equal(fstatSync(fd).size, 2 ** 40);
    assert.equal(fstatSync(fd).blocks, 16);
    assert.equal(sys.lseek(fd, 0, sys.SEEK_DATA), 2 ** 35);
    assert.equal(sys.lseek(fd, 2 ** 35, sys.SEEK_HOLE), 2 ** 35 + 4096);
    assert.equal(sys.lseek(fd, 2 ** 35 + 4096, sys.SEEK_DATA), 2 ** 40 - 4096);
    assert.equal(sys.lseek(fd, 2 ** 40 - 1, sys.SEEK_HOLE), 2 ** 40);
    assert.equal(sys.lseek(fd, 2 ** 40, sys.SEEK_DATA), -ENXIO);
    const buffer = Buffer.alloc(4096, 1);
    assert.equal(readSync(fd, buffer, 0, 4096, 2 ** 39), 4096);
    assert.deepEqual(buffer, Buffer.alloc(4096));
    closeSync(fd);
    assert.equal(
      sys.codeOf(() => truncateSync(at('sparse'), 2 ** 45)),
      'EFBIG',
    );
  });

  it('allocates, punches and zeroes', () => {
    const fd = openSync(at('holes'), O_CREAT | O_RDWR);
    writeSync(fd, Buffer.alloc(65536, 7));
    assert.equal(sys.fallocate(fd, sys.PUNCH_HOLE | sys.KEEP_SIZE, 4096, 8192), 0);
    assert.equal(fstatSync(fd).blocks, 14 * 8);
    assert.equal(sys.lseek(fd, 0, sys.SEEK_HOLE), 4096);
    assert.equal(sys.fallocate(fd, sys.ZERO_RANGE, 16384, 100), 0);
    const buffer = Buffer.alloc(65536);
    readSync(fd, buffer, 0, 65536, 0);
    const wanted = Buffer.alloc(65536, 7).fill(0, 4096, 12288).fill(0, 16384, 16484);
    assert.ok(buffer.equals(wanted));
    assert.equal(sys.fallocate(fd, 0, 0, 100_000), 0);
    assert.equal(fstatSync(fd).size, 100_000);
    assert.equal(sys.fallocate(fd, sys.KEEP_SIZE, 0, 200_000), 0);
    assert.equal(fstatSync(fd).size, 100_000);
    assert.equal(sys.fallocate(fd, 8, 0, 4096), -EOPNOTSUPP);
    assert.equal(sys.fallocate(fd, 0, -1, 4096), -EINVAL);
    closeSync(fd);
  });

  it('copies ranges', () => {
    const data = Buffer.alloc(300_000, 'range ');
    writeFileSync(at('from'), data);
    const from = openSync(at('from'), O_RDONLY);
    const to = openSync(at('to'), O_CREAT | O_RDWR);
    assert.equal(sys.copyFileRange(from, 1000, to, 5000, 250_000), 250_000);
    assert.equal(sys.copyFileRange(from, 299_000, to, 0, 5000), 1000);
    const wanted = Buffer.concat([data.subarray(299_000), Buffer.alloc(4000), data.subarray(1000, 251_000)]);
    assert.ok(readFileSync(at('to')).equals(wanted));
    closeSync(from);
    closeSync(to);
  });

  it('maps files, shared and private', () => {
    writeFileSync(at('mapped'), Buffer.alloc(16384, 'm'));
    const fd = openSync(at('mapped'), O_RDWR);
    const shared = sys.mmap(fd, 16384, true);
    const other = sys.mmap(fd, 16384, false);
    shared.bytes.set(Buffer.from('hello'), 5000);
    assert.equal(Buffer.from(other.bytes.subarray(5000, 5005)).toString(), 'hello');
    other.bytes.set(Buffer.from('private'), 0);
    shared.sync();
    const read = Buffer.alloc(16384);
    readSync(fd, read, 0, 16384, 0);
    assert.ok(read.equals(Buffer.alloc(16384, 'm').fill('hello', 5000, 5005)));
    writeSync(fd, 'written', 0);
    assert.equal(Buffer.from(shared.bytes.subarray(0, 7)).toString(), 'written');
    shared.bytes.set(Buffer.from('last'), 12000);
    shared.unmap();
    other.unmap();
    closeSync(fd);
    assert.equal(readFileSync(at('mapped')).toString('latin1', 12000, 12004), 'last');
  });

  it('takes the longest names, targets and paths', () => {
    const name = 'é'.repeat(127) + 'x';
    writeFileSync(at(name), 'long');
    assert.ok(readdirSync(at()).includes(name));
    assert.equal(
      sys.codeOf(() => writeFileSync(at(`${name}y`), '')),
      'ENAMETOOLONG',
    );
    assert.equal(
      sys.codeOf(() => statSync(at(`${name}y`))),
      'ENAMETOOLONG',
    );
    const target = 't'.repeat(4095);
    symlinkSync(target, at('longest'));
    assert.equal(readlinkSync(at('longest')), target);
    assert.equal(lstatSync(at('longest')).size, 4095);
    let path = at('deep');
    mkdirSync(path);
    while (path.length < 3800) mkdirSync((path = join(path, 'd'.repeat(200))));
    const last = join(path, 'f'.repeat(4095 - path.length - 1));
    writeFileSync(last, 'deep');
    assert.equal(readFileSync(last, 'utf8'), 'deep');
    rmSync(at('deep'), { recursive: true });
  });

  it('has device nodes, fifos and sockets', async () => {
    assert.equal(sys.mknod(at('null'), 0o020666, 1, 3), 0);
    writeFileSync(at('null'), 'nowhere');
    assert.equal(readFileSync(at('null'), 'utf8'), '');
    assert.equal(sys.mknod(at('block'), 0o060600, 4095, 0xfffff), 0);
    assert.equal(lstatSync(at('block')).rdev, Number(((0xfffn & 0xfffn) << 8n) | 0xffn | (0xfff00n << 12n)));
    assert.equal(sys.mknod(at('fifo'), 0o010644), 0);
    const fifo = openSync(at('fifo'), O_RDWR);
    writeSync(fifo, 'through');
    const read = Buffer.alloc(7);
    readSync(fifo, read);
    assert.equal(read.toString(), 'through');
    closeSync(fifo);
    const server = createServer((socket) => socket.end('hello'));
    server.listen(at('socket'));
    await once(server, 'listening');
    assert.ok(lstatSync(at('socket')).isSocket());
    const client = createConnection(at('socket'));
    const [data] = (await once(client, 'data')) as [Buffer];
    assert.equal(data.toString(), 'hello');
    client.destroy();
    server.close();
    await once(server, 'close');
  });

  it('shows the time of birth', () => {
    writeFileSync(at('born'), '');
    utimesSync(at('born'), 1000, 2000);
    const image = sys.statx(at('born'));
    assert.equal(image.readUInt32LE(0) & 0x800, 0x800);
    const birth = Number(image.readBigInt64LE(80));
    assert.ok(Math.abs(birth - Date.now() / 1000) < 100);
    assert.equal(Number(image.readBigInt64LE(112)), 2000);
    assert.equal(statSync(at('born')).atimeMs, 1_000_000);
  });

  it('lists a directory that changes, each lasting name once', () => {
    const directory = at('changing');
    mkdirSync(directory);
    for (let i = 0; i < 10_000; i++) writeFileSync(join(directory, `file ${i}`), '');
    const seen = new Map<string, number>();
    const fd = openSync(directory, O_RDONLY);
    for (let round = 0; ; round++) {
      const names = sys.getdents(fd, 8192);
      if (names.length === 0) break;
      for (const name of names) seen.set(name, (seen.get(name) ?? 0) + 1);
      unlinkSync(join(directory, `file ${round}`));
      writeFileSync(join(directory, `new ${round}`), '');
      renameSync(join(directory, `file ${9999 - round}`), join(directory, `renamed ${round}`));
    }
    closeSync(fd);
    for (let i = 100; i < 9900; i++) assert.equal(seen.get(`file ${i}`), 1, `file ${i}`);
    assert.equal(readdirSync(directory).length, 10_000);
    rmSync(directory, { recursive: true });
    assert.equal(existsSync(directory), false);
  });

  it('has locks', () => {
    writeFileSync(at('locked'), '');
    const first = openSync(at('locked'), O_RDWR);
    const second = openSync(at('locked'), O_RDWR);
    const EXCLUSIVE_NOW = 2 | 4;
    assert.equal(sys.flock(first, EXCLUSIVE_NOW), 0);
    assert.equal(sys.flock(second, EXCLUSIVE_NOW), -EAGAIN);
    assert.equal(sys.lockDescriptor(first, 1), 0);
    assert.equal(sys.lockDescriptor(second, 0), -EAGAIN);
    closeSync(first);
    assert.equal(sys.flock(second, EXCLUSIVE_NOW), 0);
    assert.equal(sys.lockDescriptor(second, 1), 0);
    closeSync(second);
  });

  it('shows its space', () => {
    const info = statfsSync(at());
    assert.equal(info.bsize, 4096);
    assert.equal(info.blocks, (1 << 30) / 4096);
    assert.ok(info.bfree < info.blocks && info.bavail <= info.bfree);
    assert.ok(info.ffree > 1e9);
  });

  it('takes set-id bits away on writing and chown', () => {
    const path = at('suid');
    const setIds = (): number => statSync(path).mode & 0o6000;
    writeFileSync(path, 'program');
    chmodSync(path, 0o6777);
    sys.asUser(1000, 1000, [], () => {
      const fd = openSync(path, O_WRONLY);
      writeSync(fd, 'p');
      closeSync(fd);
    });
    assert.equal(setIds(), 0);
    chmodSync(path, 0o6777);
    sys.asUser(1000, 1000, [], () => truncateSync(path, 3));
    assert.equal(setIds(), 0);
    chmodSync(path, 0o6755);
    chownSync(path, 1, 1);
    assert.equal(setIds(), 0);
    chmodSync(path, 0o6755);
    writeFileSync(path, 'root may', { flag: 'r+' });
    assert.equal(setIds(), 0o6000);
  });

  it('follows the rules of set-group-id directories', () => {
    const directory = at('setgid');
    mkdirSync(directory);
    chownSync(directory, 1000, 2000);
    chmodSync(directory, 0o2777);
    sys.asUser(1000, 1000, [], () => {
      writeFileSync(join(directory, 'file'), '');
      mkdirSync(join(directory, 'sub'));
      const fd = openSync(join(directory, 'program'), O_CREAT | O_RDWR, 0o2775);
      closeSync(fd);
    });
    assert.deepEqual([statSync(join(directory, 'file')).gid, statSync(join(directory, 'file')).mode], [2000, 0o100644]);
    assert.deepEqual([statSync(join(directory, 'sub')).gid, statSync(join(directory, 'sub')).mode & 0o7000], [2000, 0o2000]);
    // Who is not in the group of the directory may not make a set-group-id program of it.
    assert.equal(statSync(join(directory, 'program')).mode & 0o2000, 0);
    chmodSync(join(directory, 'file'), 0o644);
    sys.asUser(1000, 1000, [], () => chmodSync(join(directory, 'file'), 0o2755));
    assert.equal(statSync(join(directory, 'file')).mode & 0o2000, 0);
  });

  it('obeys permissions and the sticky bit', () => {
    mkdirSync(at('sticky'));
    chmodSync(at('sticky'), 0o1777);
    writeFileSync(at('sticky/root'), '');
    sys.asUser(1000, 1000, [], () => {
      writeFileSync(at('sticky/user'), '');
      assert.equal(
        sys.codeOf(() => unlinkSync(at('sticky/root'))),
        'EPERM',
      );
      assert.equal(
        sys.codeOf(() => renameSync(at('sticky/user'), at('sticky/root'))),
        'EPERM',
      );
      assert.equal(
        sys.codeOf(() => chownSync(at('sticky/user'), 0, 0)),
        'EPERM',
      );
      assert.equal(
        sys.codeOf(() => writeFileSync(at('sticky/root'), 'x')),
        'EACCES',
      );
      assert.equal(
        sys.codeOf(() => mkdirSync(at('x'))),
        'EACCES',
      );
    });
  });

  it('sets times exactly', () => {
    writeFileSync(at('times'), '');
    assert.equal(sys.utimensat(at('times'), [-5, 123_456_789], [2 ** 33, 999_999_999]), 0);
    const times = (): bigint[] => {
      const stat = statSync(at('times'), { bigint: true });
      return [stat.atimeNs, stat.mtimeNs];
    };
    assert.deepEqual(times(), [-5_000_000_000n + 123_456_789n, 2n ** 33n * 1_000_000_000n + 999_999_999n]);
    assert.equal(sys.utimensat(at('times'), [0, sys.UTIME_OMIT], [0, sys.UTIME_NOW]), 0);
    assert.equal(times()[0], -5_000_000_000n + 123_456_789n);
    assert.ok(Math.abs(statSync(at('times')).mtimeMs - Date.now()) < 60_000);
  });

  it('stays coherent when many work at once', async () => {
    mkdirSync(at('many'));
    const script = new URL('./hammer.js', import.meta.url);
    const workers = Array.from({ length: 6 }, (_, id) => new Worker(script, { workerData: { directory: at('many'), id } }));
    await Promise.all(workers.map((worker) => once(worker, 'exit').then(([code]) => assert.equal(code, 0))));
    rmSync(at('many'), { recursive: true });
  });

  it('shows layers as they come, change and go', async () => {
    assert.equal(existsSync(join(mounted.layers, 'base')), false);
    await mounted.must({ order: 'create', name: 'base' });
    assert.deepEqual(readdirSync(mounted.layers), ['base']);
    writeFileSync(join(mounted.layers, 'base/file'), 'from base');
    await mounted.must({ order: 'create', name: 'clone', parent: 'base' });
    assert.deepEqual(readdirSync(mounted.layers).toSorted(), ['base', 'clone']);
    assert.equal(readFileSync(join(mounted.layers, 'clone/file'), 'utf8'), 'from base');
    writeFileSync(join(mounted.layers, 'clone/file'), 'changed');
    assert.equal(readFileSync(join(mounted.layers, 'base/file'), 'utf8'), 'from base');
    for (const work of [
      () => writeFileSync(join(mounted.layers, 'base/file'), ''),
      () => writeFileSync(join(mounted.layers, 'base/new'), ''),
      () => openSync(join(mounted.layers, 'base/file'), O_RDWR),
      () => chmodSync(join(mounted.layers, 'base'), 0o700),
    ])
      assert.equal(sys.codeOf(work), 'EROFS');
    assert.equal(sys.renameat2(join(mounted.layers, 'clone/file'), at('file'), 0), -EXDEV);
    assert.equal(
      sys.codeOf(() => linkSync(join(mounted.layers, 'clone/file'), at('cross'))),
      'EXDEV',
    );
    await mounted.must({ order: 'rename', name: 'clone', newName: 'other' });
    assert.deepEqual(readdirSync(mounted.layers).toSorted(), ['base', 'other']);
    assert.equal(existsSync(join(mounted.layers, 'clone')), false);
    assert.equal(readFileSync(join(mounted.layers, 'other/file'), 'utf8'), 'changed');
    const fd = openSync(join(mounted.layers, 'other/file'), O_RDONLY);
    await mounted.must({ order: 'remove', name: 'other' });
    assert.equal(existsSync(join(mounted.layers, 'other')), false);
    assert.ok(['ESTALE', 'EIO', 'ENOENT', undefined].includes(sys.codeOf(() => void readSync(fd, Buffer.alloc(10), 0, 10, 0))));
    closeSync(fd);
    await mounted.must({ order: 'create', name: 'other' });
    assert.deepEqual(readdirSync(join(mounted.layers, 'other')), []);
    assert.equal(
      sys.codeOf(() => rmdirSync(join(mounted.layers, 'other'))),
      'EPERM',
    );
  });

  it('ends a quota with its own error', async () => {
    await mounted.must({ order: 'create', name: 'limited', quotaBytes: 1 * MIB });
    const fd = openSync(join(mounted.layers, 'limited/file'), O_CREAT | O_WRONLY);
    const code = sys.codeOf(() => {
      for (let i = 0; i < 3; i++) writeSync(fd, Buffer.alloc(MIB, i + 1));
      return undefined;
    });
    assert.equal(code, 'EDQUOT');
    closeSync(fd);
    const info = statfsSync(join(mounted.layers, 'limited'));
    assert.equal(info.blocks, 256);
    assert.equal(info.bavail, 0);
    assert.equal(Buffer.byteLength(readFileSync(join(mounted.layers, 'limited/file'))) % 4096, 0);
  });

  it('gives the room of an unlinked file back at once', async () => {
    await mounted.must({ order: 'create', name: 'narrow', quotaBytes: 4 * MIB });
    const path = join(mounted.layers, 'narrow/file');
    for (let round = 0; round < 20; round++) {
      writeFileSync(path, Buffer.alloc(3 * MIB, round + 1));
      unlinkSync(path);
    }
  });

  it('lets a bind mount of a layer stand alone', async () => {
    await mounted.must({ order: 'create', name: 'bound' });
    const target = join(mounted.folder, 'bound');
    mkdirSync(target);
    assert.equal(sys.mount(join(mounted.layers, 'bound'), target, 4096), 0);
    try {
      writeFileSync(join(target, 'file'), 'bound');
      assert.equal(readFileSync(join(mounted.layers, 'bound/file'), 'utf8'), 'bound');
      const { kind, code, message } = await mounted.order({ order: 'stop', options: {} });
      assert.deepEqual([kind, code], ['failed', 'busy']);
      assert.ok(message!.includes(target), message);
    } finally {
      assert.equal(sys.umount(target), 0);
    }
  });
}

/** Waits for `test` to return something, with checkpoints in between. */
async function until<T>(test: () => T | undefined, mounted: Mounted): Promise<T> {
  for (let tries = 0; tries < 50; tries++) {
    const result = test();
    if (result !== undefined) return result;
    await mounted.prove();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error('what was waited for did not happen');
}
