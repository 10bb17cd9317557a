/** What POSIX and Linux say of each kind of file: errors, permissions, link counts and above all which times change when. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { once } from 'node:events';
import { basename, dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { EINVAL, ENAMETOOLONG } from '../../src/linux/errno.js';
import type { Transport } from '../../src/fuse/session.js';
import { Mounted, TRANSPORTS, cannotMount } from './mounted.js';
import * as sys from './syscalls.js';

const { O_RDONLY, O_RDWR, O_WRONLY, O_CREAT, O_EXCL, O_TRUNC, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK } = constants;

const TYPES = ['regular', 'dir', 'fifo', 'block', 'char', 'socket', 'symlink'] as const;
type Type = (typeof TYPES)[number];
const NOT_DIRECTORIES = TYPES.filter((type) => type !== 'dir');
const NOT_SYMLINKS = TYPES.filter((type) => type !== 'symlink');

const MODES: Record<Type, number> = {
  regular: 0o100644,
  dir: 0o040755,
  fifo: 0o010644,
  block: 0o060644,
  char: 0o020644,
  socket: 0o140644,
  symlink: 0o120777,
};

function make(type: Type, path: string): void {
  if (type === 'regular') writeFileSync(path, '', { flag: 'wx', mode: 0o644 });
  else if (type === 'dir') mkdirSync(path, 0o755);
  else if (type === 'symlink') symlinkSync('test', path);
  else {
    const result = sys.mknod(path, MODES[type], type === 'fifo' || type === 'socket' ? 0 : 1, type === 'fifo' || type === 'socket' ? 0 : 2);
    if (result < 0) throw Object.assign(new Error(`mknod: error ${-result}`), { code: sys.errorName(-result) });
  }
}

function unmake(path: string): void {
  if (lstatSync(path).isDirectory()) rmdirSync(path);
  else unlinkSync(path);
}

interface Times {
  readonly atime: bigint;
  readonly mtime: bigint;
  readonly ctime: bigint;
}

function times(path: string): Times {
  const { atimeNs, mtimeNs, ctimeNs } = lstatSync(path, { bigint: true });
  return { atime: atimeNs, mtime: mtimeNs, ctime: ctimeNs };
}

/** Time passes, so that what changes now has another time than what changed before. */
function tick(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3);
}

/** Which times of each path `work` changes: letters a, m, c. */
function changes(paths: readonly string[], work: () => void): string[] {
  const earlier = paths.map(times);
  tick();
  work();
  return paths.map((path, i) => {
    const now = times(path);
    const was = earlier[i]!;
    const letter = (name: keyof Times): string => {
      assert.ok(now[name] >= was[name], `${name} of ${path} does not go back`);
      return now[name] === was[name] ? '' : name[0]!;
    };
    return letter('atime') + letter('mtime') + letter('ctime');
  });
}

const asNobody = <T>(work: () => T): T => sys.asUser(65534, 65534, [], work);

for (const transport of TRANSPORTS) describe(`POSIX over ${transport}`, { skip: cannotMount }, () => describePosix(transport));

function describePosix(transport: Transport): void {
  let mounted: Mounted;
  let count = 0;
  /** A directory of its own for a test. */
  const place = (): string => {
    const path = join(mounted.global, `place ${++count}`);
    mkdirSync(path);
    return path;
  };

  before(async () => {
    process.umask(0o022);
    mounted = await new Mounted(transport).ready();
  });
  after(async () => {
    try {
      await mounted.prove();
    } finally {
      await mounted.end();
    }
  });

  for (const type of TYPES) {
    it(`makes a ${type} with its owner and times, and touches the directory`, () => {
      const directory = place();
      chmodSync(directory, 0o777);
      const path = join(directory, 'x');
      const from = BigInt(Date.now()) * 1_000_000n;
      assert.deepEqual(
        changes([directory], () => sys.asUser(65534, 65533, [], () => (isDevice(type) ? undefined : make(type, path)))),
        [isDevice(type) ? '' : 'mc'],
      );
      if (isDevice(type)) {
        assert.equal(
          asNobody(() => sys.codeOf(() => make(type, path))),
          'EPERM',
        );
        assert.deepEqual(
          changes([directory], () => make(type, path)),
          ['mc'],
        );
        lchownSync(path, 65534, 65533);
      }
      const stat = lstatSync(path, { bigint: true });
      assert.deepEqual([Number(stat.mode), Number(stat.uid), Number(stat.gid)], [MODES[type], 65534, 65533]);
      assert.equal(Number(stat.nlink), type === 'dir' ? 2 : 1);
      assert.ok(stat.mtimeNs >= from && stat.atimeNs >= from && stat.ctimeNs >= from);
      assert.equal(lstatSync(directory).nlink, type === 'dir' ? 3 : 2);
      assert.deepEqual(
        changes([directory], () => unmake(path)),
        ['mc'],
      );
      assert.equal(lstatSync(directory).nlink, 2);
    });

    it(`refuses names that a ${type} has taken`, () => {
      const path = join(place(), 'x');
      make(type, path);
      const directory = dirname(path);
      const refused = changes([directory, path], () => {
        for (const other of TYPES)
          assert.equal(
            sys.codeOf(() => make(other, path)),
            'EEXIST',
          );
        const other = join(directory, 'other');
        writeFileSync(join(mounted.global, 'elsewhere'), '');
        assert.equal(
          sys.codeOf(() => linkSync(join(mounted.global, 'elsewhere'), path)),
          'EEXIST',
        );
        assert.equal(
          sys.codeOf(() => openSync(path, O_CREAT | O_EXCL | O_RDWR)),
          'EEXIST',
        );
        assert.equal(existsSync(other), false);
      });
      assert.deepEqual(refused, ['', '']);
    });

    it(`renames a ${type}`, () => {
      const directory = place();
      const [a, b] = [join(directory, 'a'), join(directory, 'b')];
      make(type, a);
      const { ino, mode } = lstatSync(a);
      renameSync(a, b);
      assert.equal(
        sys.codeOf(() => lstatSync(a)),
        'ENOENT',
      );
      assert.deepEqual([lstatSync(b).ino, lstatSync(b).mode], [ino, mode]);
      renameSync(b, b);
      assert.equal(lstatSync(b).ino, ino);
      const refused = changes([b, directory], () =>
        assert.equal(
          asNobody(() => sys.codeOf(() => renameSync(b, a))),
          'EACCES',
        ),
      );
      assert.deepEqual(refused, ['', '']);
      mkdirSync(join(directory, 'sub'));
      const moved = changes([directory, join(directory, 'sub')], () => renameSync(b, join(directory, 'sub/c')));
      assert.deepEqual(moved, ['mc', 'mc']);
      assert.equal(lstatSync(directory).nlink, 3);
      assert.equal(lstatSync(join(directory, 'sub')).nlink, type === 'dir' ? 3 : 2);
      if (type === 'dir') assert.equal(lstatSync(join(directory, 'sub/c/..')).ino, lstatSync(join(directory, 'sub')).ino);
    });

    it(`changes the owner of a ${type}`, () => {
      const path = join(place(), 'x');
      make(type, path);
      assert.deepEqual(
        changes([path, dirname(path)], () => lchownSync(path, 65534, 65533)),
        ['c', ''],
      );
      assert.deepEqual(
        changes([path], () => sys.asUser(65534, 65532, [65531], () => lchownSync(path, -1 >>> 0, 65531))),
        ['c'],
      );
      assert.deepEqual([lstatSync(path).uid, lstatSync(path).gid], [65534, 65531]);
      const refused = changes([path], () => {
        assert.equal(
          sys.asUser(65534, 65532, [], () => sys.codeOf(() => lchownSync(path, 65533, 65532))),
          'EPERM',
        );
        assert.equal(
          sys.asUser(65534, 65532, [], () => sys.codeOf(() => lchownSync(path, 65534, 65530))),
          'EPERM',
        );
        assert.equal(
          sys.asUser(65533, 65532, [], () => sys.codeOf(() => lchownSync(path, 65534, 65532))),
          'EPERM',
        );
      });
      assert.deepEqual(refused, ['']);
      lchownSync(path, 4_000_000_000, 4_000_000_001);
      assert.deepEqual([lstatSync(path).uid, lstatSync(path).gid], [4_000_000_000, 4_000_000_001]);
    });
  }

  for (const type of NOT_SYMLINKS) {
    it(`changes the mode of a ${type}`, () => {
      const path = join(place(), 'x');
      make(type, path);
      assert.deepEqual(
        changes([path, dirname(path)], () => chmodSync(path, 0o111)),
        ['c', ''],
      );
      assert.equal(lstatSync(path).mode, (MODES[type] & constants.S_IFMT) | 0o111);
      chownSync(path, 65534, 65534);
      assert.deepEqual(
        changes([path], () => asNobody(() => chmodSync(path, 0o7755))),
        ['c'],
      );
      assert.equal(lstatSync(path).mode & 0o7777, 0o7755);
      assert.deepEqual(
        changes([path], () =>
          assert.equal(
            sys.asUser(1, 1, [], () => sys.codeOf(() => chmodSync(path, 0o777))),
            'EPERM',
          ),
        ),
        [''],
      );
      assert.deepEqual(
        changes([path], () =>
          assert.equal(
            sys.asUser(65534, 1, [], () => sys.codeOf(() => chmodSync(path, 0o2755))),
            undefined,
          ),
        ),
        ['c'],
      );
      assert.equal(lstatSync(path).mode & 0o2000, 0, 'who is not in the group cannot set the set-group-id bit');
    });

    it(`takes the set-id bits of a ${type} away when its owner changes it`, () => {
      const path = join(place(), 'x');
      make(type, path);
      chownSync(path, 65534, 65533);
      chmodSync(path, 0o6555);
      assert.equal(lstatSync(path).mode & 0o7777, 0o6555);
      sys.asUser(65534, 65533, [65532], () => chownSync(path, 65534, 65532));
      assert.equal(lstatSync(path).mode & 0o7777, type === 'dir' ? 0o6555 : 0o555);
    });

    it(`sets the times of a ${type}`, () => {
      const path = join(place(), 'x');
      make(type, path);
      assert.equal(sys.utimensat(path, [100, 1], [200, 2]), 0);
      assert.deepEqual(times(path).atime, 100_000_000_001n);
      assert.deepEqual(times(path).mtime, 200_000_000_002n);
      const omitted = changes([path], () => assert.equal(sys.utimensat(path, [0, sys.UTIME_OMIT], [0, sys.UTIME_OMIT]), 0));
      assert.deepEqual(omitted, ['']);
      assert.deepEqual(
        changes([path, dirname(path)], () => sys.utimensat(path, [0, sys.UTIME_NOW], [0, sys.UTIME_OMIT])),
        ['ac', ''],
      );
      assert.equal(
        asNobody(() => sys.utimensat(path, [1, 0], [1, 0])),
        -1,
      );
      assert.equal(
        asNobody(() => sys.utimensat(path, [0, sys.UTIME_NOW], [0, sys.UTIME_NOW])),
        -13,
      );
      if (type !== 'socket') assert.equal(sys.utimensat(path, [0, 1_000_000_000], [0, 0]), -EINVAL);
    });
  }

  for (const type of NOT_DIRECTORIES) {
    it(`links and unlinks a ${type}`, () => {
      const directory = place();
      const [a, b, c] = [join(directory, 'a'), join(directory, 'b'), join(directory, 'c')];
      make(type, a);
      assert.deepEqual(
        changes([a, directory], () => linkSync(a, b)),
        ['c', 'mc'],
      );
      assert.deepEqual([lstatSync(a).nlink, lstatSync(b).nlink], [2, 2]);
      assert.equal(lstatSync(a).ino, lstatSync(b).ino);
      linkSync(b, c);
      assert.equal(lstatSync(a).nlink, 3);
      lchownSync(c, 65533, 65532);
      assert.deepEqual([lstatSync(a).uid, lstatSync(b).gid], [65533, 65532]);
      renameSync(a, b);
      assert.ok(existsSync(a) || type === 'symlink', 'renaming one name of a file to another does nothing');
      assert.equal(lstatSync(a).nlink, 3);
      assert.deepEqual(
        changes([b, directory], () => unlinkSync(a)),
        ['c', 'mc'],
      );
      assert.deepEqual([lstatSync(b).nlink, lstatSync(c).nlink], [2, 2]);
      const refused = changes([b, directory], () => {
        assert.equal(
          asNobody(() => sys.codeOf(() => unlinkSync(b))),
          'EACCES',
        );
        // EPERM where the kernel protects hard links (fs.protected_hardlinks).
        assert.match(
          asNobody(() => sys.codeOf(() => linkSync(b, a)))!,
          /EACCES|EPERM/,
        );
      });
      assert.deepEqual(refused, ['', '']);
      assert.equal(
        sys.codeOf(() => rmdirSync(b)),
        'ENOTDIR',
      );
      assert.equal(
        sys.codeOf(() => mkdirSync(join(b, 'x'))),
        type === 'symlink' ? 'ENOENT' : 'ENOTDIR',
      );
    });

    for (const onto of TYPES) {
      it(`renames a ${type} onto a ${onto}`, () => {
        const directory = place();
        const [a, b] = [join(directory, 'a'), join(directory, 'b')];
        make(type, a);
        make(onto, b);
        const { ino } = lstatSync(a);
        if (onto === 'dir') {
          assert.equal(
            sys.codeOf(() => renameSync(a, b)),
            'EISDIR',
          );
          assert.equal(
            sys.codeOf(() => renameSync(b, a)),
            'ENOTDIR',
          );
          return;
        }
        const kept = join(directory, 'kept');
        linkSync(b, kept);
        assert.deepEqual(
          changes([directory, kept], () => renameSync(a, b)),
          ['mc', 'c'],
        );
        assert.equal(lstatSync(b).ino, ino);
        assert.equal(lstatSync(kept).nlink, 1);
        assert.equal(existsSync(a), false);
      });
    }
  }

  it('renames directories onto empty ones only', () => {
    const directory = place();
    const path = (name: string): string => join(directory, name);
    for (const name of ['a', 'b', 'full']) mkdirSync(path(name));
    writeFileSync(path('full/x'), '');
    assert.equal(
      sys.codeOf(() => renameSync(path('a'), path('full'))),
      'ENOTEMPTY',
    );
    assert.deepEqual(
      changes([directory], () => renameSync(path('full'), path('a'))),
      ['mc'],
    );
    assert.deepEqual(readdirSync(path('a')), ['x']);
    assert.equal(lstatSync(directory).nlink, 4);
    assert.equal(
      sys.codeOf(() => renameSync(path('a'), path('a/below'))),
      'EINVAL',
    );
    assert.equal(
      sys.codeOf(() => rmdirSync(path('a'))),
      'ENOTEMPTY',
    );
    assert.equal(
      sys.codeOf(() => unlinkSync(path('b'))),
      'EISDIR',
    );
    assert.equal(
      sys.codeOf(() => linkSync(path('b'), path('link'))),
      'EPERM',
    );
    assert.equal(
      sys.codeOf(() => rmdirSync(`${path('b')}/.`)),
      'EINVAL',
    );
    assert.equal(
      sys.codeOf(() => rmdirSync(`${path('a')}/..`)),
      'ENOTEMPTY',
    );
  });

  it('keeps a directory usable after its name is gone', () => {
    const path = join(place(), 'gone');
    mkdirSync(path);
    const fd = openSync(path, O_RDONLY | O_DIRECTORY);
    rmdirSync(path);
    assert.equal(
      sys.codeOf(() => writeFileSync(`/proc/self/fd/${fd}/x`, '')),
      'ENOENT',
    );
    assert.throws(() => sys.getdents(fd, 4096), /error 2/);
    assert.equal(fstatSync(fd).nlink, 0);
    closeSync(fd);
  });

  it('changes the times of contents', () => {
    const path = join(place(), 'x');
    writeFileSync(path, 'contents');
    const directory = dirname(path);
    assert.deepEqual(
      changes([path, directory], () => writeFileSync(path, 'c', { flag: 'r+' })),
      ['mc', ''],
    );
    assert.deepEqual(
      changes([path, directory], () => writeFileSync(path, 'new')),
      ['mc', ''],
    );
    assert.deepEqual(
      changes([path], () => truncateSync(path, 10)),
      ['mc'],
    );
    assert.deepEqual(
      changes([path], () => truncateSync(path, 2)),
      ['mc'],
    );
    const fd = openSync(path, O_RDWR);
    assert.deepEqual(
      changes([path], () => ftruncateSync(fd, 2)),
      ['mc'],
    );
    assert.deepEqual(
      changes([path], () => void writeSync(fd, '')),
      [''],
    );
    assert.deepEqual(
      changes([path], () => void sys.fallocate(fd, 0, 0, 100)),
      ['mc'],
    );
    assert.deepEqual(
      changes([path], () => void sys.fallocate(fd, sys.KEEP_SIZE, 0, 1000)),
      ['mc'],
      'also where the size stays',
    );
    assert.deepEqual(
      changes([path], () => void sys.setxattr(path, 'user.x', Buffer.of(1))),
      ['c'],
    );
    assert.deepEqual(
      changes([path], () => void sys.removexattr(path, 'user.x')),
      ['c'],
    );
    closeSync(fd);
    assert.deepEqual(
      changes([path], () => closeSync(openSync(path, O_WRONLY | O_TRUNC))),
      ['mc'],
    );
    assert.deepEqual(
      changes([path], () => closeSync(openSync(path, O_WRONLY | O_TRUNC))),
      ['mc'],
      'even if it was empty',
    );
    assert.deepEqual(
      changes([path], () =>
        assert.equal(
          asNobody(() => sys.codeOf(() => truncateSync(path, 0))),
          'EACCES',
        ),
      ),
      [''],
    );
    assert.equal(
      sys.codeOf(() => truncateSync(directory, 0)),
      'EISDIR',
    );
  });

  it('opens as flags say', () => {
    const directory = place();
    const path = (name: string): string => join(directory, name);
    mkdirSync(path('d'));
    writeFileSync(path('f'), '');
    symlinkSync('f', path('link'));
    symlinkSync('new', path('dangling'));
    make('fifo', path('fifo'));
    make('socket', path('socket'));
    assert.equal(
      sys.codeOf(() => openSync(path('d'), O_WRONLY)),
      'EISDIR',
    );
    assert.equal(
      sys.codeOf(() => openSync(path('d'), O_RDONLY | O_CREAT)),
      'EISDIR',
    );
    assert.equal(
      sys.codeOf(() => openSync(path('f'), O_DIRECTORY)),
      'ENOTDIR',
    );
    assert.equal(
      sys.codeOf(() => openSync(path('link'), O_NOFOLLOW)),
      'ELOOP',
    );
    assert.equal(
      sys.codeOf(() => openSync(path('link'), O_CREAT | O_EXCL)),
      'EEXIST',
    );
    assert.equal(
      sys.codeOf(() => openSync(path('fifo'), O_WRONLY | O_NONBLOCK)),
      'ENXIO',
    );
    assert.equal(
      sys.codeOf(() => openSync(path('socket'), O_RDONLY)),
      'ENXIO',
    );
    assert.equal(
      sys.codeOf(() => openSync(path('absent'), O_RDONLY)),
      'ENOENT',
    );
    assert.deepEqual(
      changes([directory], () => closeSync(openSync(path('dangling'), O_CREAT | O_RDWR))),
      ['mc'],
    );
    assert.ok(existsSync(path('new')));
    assert.deepEqual(
      changes([directory], () => closeSync(openSync(path('f'), O_CREAT | O_RDWR))),
      [''],
    );
    const readOnly = openSync(path('f'), O_RDONLY);
    assert.equal(
      sys.codeOf(() => void writeSync(readOnly, 'x')),
      'EBADF',
    );
    closeSync(readOnly);
    const noMode = openSync(path('none'), O_CREAT | O_RDWR, 0o000);
    writeSync(noMode, 'written all the same');
    const buffer = Buffer.alloc(7);
    assert.equal(readSync(noMode, buffer, 0, 7, 0), 7);
    closeSync(noMode);
  });

  it('follows the umask', () => {
    const directory = place();
    const umask = process.umask(0o027);
    mkdirSync(join(directory, 'd'), 0o777);
    closeSync(openSync(join(directory, 'f'), O_CREAT | O_RDWR, 0o666));
    make('fifo', join(directory, 'p'));
    process.umask(umask);
    const modes = ['d', 'f', 'p'].map((name) => lstatSync(join(directory, name)).mode & 0o777);
    assert.deepEqual(modes, [0o750, 0o640, 0o640]);
  });

  it('runs programs, which nobody can write meanwhile', async () => {
    const path = join(place(), 'sleep');
    copyFileSync('/bin/sleep', path);
    chmodSync(path, 0o755);
    const child = spawn(path, ['20']);
    await once(child, 'spawn');
    assert.equal(
      sys.codeOf(() => openSync(path, O_WRONLY)),
      'ETXTBSY',
    );
    assert.equal(
      sys.codeOf(() => truncateSync(path, 0)),
      'ETXTBSY',
    );
    unlinkSync(path);
    assert.equal(child.exitCode, null);
    child.kill();
    await once(child, 'exit');
  });

  it('follows links, but not for ever', () => {
    const directory = place();
    const path = (name: string): string => join(directory, name);
    symlinkSync(path('b'), path('a'));
    symlinkSync(path('a'), path('b'));
    for (const work of [() => openSync(path('a'), O_RDONLY), () => mkdirSync(join(path('a'), 'x')), () => truncateSync(path('a'), 0)]) {
      assert.equal(sys.codeOf(work), 'ELOOP');
    }
    assert.equal(readlinkSync(path('a')), path('b'));
    assert.equal(lstatSync(path('a')).size, path('b').length);
    renameSync(path('a'), path('c'));
    assert.ok(lstatSync(path('c')).isSymbolicLink());
    assert.equal(
      sys.codeOf(() => symlinkSync('', path('empty'))),
      'ENOENT',
    );
    assert.equal(
      sys.codeOf(() => readlinkSync(directory)),
      'EINVAL',
    );
  });

  it('refuses names of 256 bytes everywhere', () => {
    const directory = place();
    const long = join(directory, 'n'.repeat(256));
    const longest = join(directory, 'n'.repeat(255));
    writeFileSync(join(directory, 'f'), '');
    const file = join(directory, 'f');
    const works: (() => unknown)[] = [
      () => openSync(long, O_CREAT | O_RDWR),
      () => mkdirSync(long),
      () => symlinkSync('x', long),
      () => linkSync(file, long),
      () => linkSync(long, file),
      () => renameSync(file, long),
      () => renameSync(long, file),
      () => unlinkSync(long),
      () => rmdirSync(long),
      () => chmodSync(long, 0),
      () => lchownSync(long, 0, 0),
      () => truncateSync(long, 0),
      () => lstatSync(long),
      () => readdirSync(long),
      () => writeFileSync(join(long, 'below'), ''),
    ];
    for (const work of works) assert.equal(sys.codeOf(work), 'ENAMETOOLONG', String(work));
    for (const type of ['fifo', 'char', 'socket'] as const) assert.equal(sys.mknod(long, MODES[type]), -ENAMETOOLONG);
    for (const type of TYPES) {
      make(type, longest);
      assert.ok(readdirSync(directory).includes(basename(longest)));
      unmake(longest);
    }
  });

  it('inherits the group of a set-group-id directory', () => {
    const directory = place();
    chownSync(directory, 0, 12_345);
    chmodSync(directory, 0o2775);
    for (const type of TYPES) {
      const path = join(directory, type);
      make(type, path);
      assert.equal(lstatSync(path).gid, 12_345);
      assert.equal(lstatSync(path).mode & 0o2000, type === 'dir' ? 0o2000 : 0);
    }
  });

  it('obeys the sticky bit for every kind of file', () => {
    const directory = place();
    chmodSync(directory, 0o1777);
    for (const type of TYPES) {
      const path = join(directory, type);
      make(type, path);
      const other = type === 'dir' ? rmdirSync : unlinkSync;
      assert.equal(
        asNobody(() => sys.codeOf(() => other(path))),
        'EPERM',
      );
      assert.equal(
        asNobody(() => sys.codeOf(() => renameSync(path, `${path} new`))),
        'EPERM',
      );
      lchownSync(path, 65534, 65534);
      assert.equal(
        asNobody(() => sys.codeOf(() => renameSync(path, `${path} new`))),
        undefined,
      );
      assert.equal(
        asNobody(() => sys.codeOf(() => other(`${path} new`))),
        undefined,
      );
    }
  });

  it('takes bytes as they are in names', () => {
    const directory = place();
    const name = Buffer.from(Array.from({ length: 255 }, (_, i) => (i + 1 === 0x2f ? 0x30 : i + 1)));
    const path = Buffer.concat([Buffer.from(`${directory}/`), name]);
    writeFileSync(path, 'bytes');
    assert.deepEqual(readdirSync(directory, { encoding: 'buffer' }), [name]);
    assert.equal(readFileSync(path, 'utf8'), 'bytes');
    rmSync(path);
  });
}

function isDevice(type: Type): boolean {
  return type === 'block' || type === 'char';
}
