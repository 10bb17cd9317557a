import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { DIRENT, INO_MAX, LINK, type Ino, type LayerIndex } from '../layout/constants.js';
import { layerNextIno, setDirentIno, setDirentKind, setLayerNextIno, setLinkParent } from '../layout/records.js';
import { EEXIST, EINVAL, EISDIR, ENAMETOOLONG, ENOENT, ENOSPC, ENOTDIR, ENOTEMPTY, EPERM, EROFS, ESTALE } from '../linux/errno.js';
import { checkpoint } from './checkpoint.js';
import { hashHi, hashLo, hashName } from './hash.js';
import { foundIno, getInode } from './inode.js';
import { createLayer, findLayer, layerInfo, removeLayer, sealLayer } from './layers.js';
import { RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT } from './namespace.js';
import {
  createSymlink,
  createTemporary,
  lastUnlinkedIno,
  parentDirectory,
  readDirectory,
  readLink,
  reapAllOrphans,
  reapOrphan,
} from './namespace.js';
import { beginWrite, end, opRecord } from './operation.js';
import { mayBeOrphan } from './orphans.js';
import {
  DIRECTORY,
  REGULAR,
  ROOT,
  bytesOf,
  closeTestVolume,
  find,
  get,
  linkTo,
  list,
  make,
  makeSymlink,
  move,
  nowMicroseconds,
  openTestVolume,
  put,
  remove,
  removeDir,
  stat,
  testVolumePath,
} from '../../test/support/files.js';
import { assertSound } from '../../test/support/volume.js';
import { insert, remove as removeRecord, valueOf } from './tree.js';
import { closeVolume, openVolume } from './volume.js';

let layer: LayerIndex;

beforeEach(() => void (layer = openTestVolume()));
afterEach(() => closeTestVolume());

function makeDir(dir: Ino, name: string): Ino {
  return make(layer, dir, name, DIRECTORY);
}

test('files of all types are made and found', () => {
  const types = { reg: 0o100640, dir: 0o041777, fifo: 0o010600, sock: 0o140755, chr: 0o020666, blk: 0o060660 };
  for (const [name, mode] of Object.entries(types)) {
    const before = nowMicroseconds();
    const ino = make(layer, ROOT, name, mode, 0o002, 7, 8, 0x1234);
    assert.ok(ino > ROOT);
    assert.equal(foundIno(), ino);
    assert.equal(find(layer, ROOT, name), ino);
    const found = stat(layer, ino);
    assert.equal(found.mode, mode & ~0o002);
    assert.deepEqual([found.uid, found.gid, found.size, found.links], [7, 8, 0, name === 'dir' ? 2 : 1]);
    assert.equal(found.rdev, name === 'chr' || name === 'blk' ? 0x1234 : 0, 'only devices have a number');
    for (const time of [found.atime, found.mtime, found.ctime]) assert.ok(time >= before && time <= nowMicroseconds());
    assert.equal(list(layer, ROOT).get(name)?.kind, mode >>> 12);
  }
  assert.equal(stat(layer, ROOT).links, 3);
  assert.equal(stat(layer, ROOT).size, 6 * 32);
  assert.equal(layerInfo('test').inodes, 7);
});

test('a mode without a type makes a regular file; symbolic links have a function of their own', () => {
  assert.equal(stat(layer, make(layer, ROOT, 'file', 0o600)).mode, 0o100600);
  assert.equal(make(layer, ROOT, 'link', 0o120777), -EINVAL);
});

test('a set-group-id directory passes on its group, and itself to directories', () => {
  const dir = make(layer, ROOT, 'dir', 0o042775, 0, 1, 50);
  assert.deepEqual(
    [stat(layer, make(layer, dir, 'file', REGULAR, 0, 1, 2)).gid, stat(layer, find(layer, dir, 'file')).mode],
    [50, REGULAR],
  );
  const below = stat(layer, make(layer, dir, 'below', DIRECTORY, 0, 1, 2));
  assert.deepEqual([below.gid, below.mode], [50, 0o042755]);
  assert.equal(makeSymlink(layer, dir, 'link', 'x') > 0 && stat(layer, find(layer, dir, 'link')).gid, 50);
  assert.equal(stat(layer, createTemporary(layer, dir, 0o600, 0, 1, 2)).gid, 50);
});

test('names have 1 to 255 bytes, whatever bytes they are but "/" and zero', () => {
  const longest = 'n'.repeat(255);
  const ino = make(layer, ROOT, longest);
  assert.equal(find(layer, ROOT, longest), ino);
  assert.equal(make(layer, ROOT, longest + 'n'), -ENAMETOOLONG);
  assert.equal(find(layer, ROOT, longest + 'n'), -ENAMETOOLONG);
  assert.equal(linkTo(layer, ino, ROOT, longest + 'n'), -ENAMETOOLONG);
  assert.equal(move(layer, ROOT, longest, ROOT, longest + 'n'), -ENAMETOOLONG);
  assert.equal(make(layer, ROOT, ''), -ENOENT);
  for (const name of ['.', '..', 'a/b', 'a\0b']) assert.equal(make(layer, ROOT, name), -EINVAL);
  const strange = Buffer.from([0xff, 0x0a, 0x80]).toString('latin1');
  assert.ok(make(layer, ROOT, strange) > 0);
  assert.ok(make(layer, ROOT, '...') > 0);
});

test('what is refused changes nothing', () => {
  const file = make(layer, ROOT, 'file');
  const dir = makeDir(ROOT, 'dir');
  const before = stat(layer, ROOT);
  assert.equal(make(layer, ROOT, 'file'), -EEXIST);
  assert.equal(makeSymlink(layer, ROOT, 'dir', 'x'), -EEXIST);
  assert.equal(linkTo(layer, file, ROOT, 'dir'), -EEXIST);
  assert.equal(linkTo(layer, dir, ROOT, 'new'), -EPERM);
  assert.equal(make(layer, file, 'below'), -ENOTDIR);
  assert.equal(find(layer, file, 'below'), -ENOTDIR);
  assert.equal(find(layer, ROOT, 'none'), -ENOENT);
  assert.equal(remove(layer, ROOT, 'none'), -ENOENT);
  assert.equal(remove(layer, ROOT, 'dir'), -EISDIR);
  assert.equal(removeDir(layer, ROOT, 'file'), -ENOTDIR);
  assert.equal(remove(layer, file, 'x'), -ENOTDIR);
  make(layer, dir, 'inside');
  assert.equal(removeDir(layer, ROOT, 'dir'), -ENOTEMPTY);
  assert.deepEqual(stat(layer, ROOT), before);
});

test('inodes and layers that do not exist are stale; sealed layers are read-only', () => {
  assert.equal(getInode(layer, 12345), -ESTALE);
  assert.equal(getInode(4711, ROOT), -ESTALE);
  assert.equal(make(layer, 12345, 'x'), -ESTALE);
  const file = make(layer, ROOT, 'file');
  sealLayer('test');
  for (const result of [
    make(layer, ROOT, 'x'),
    remove(layer, ROOT, 'file'),
    move(layer, ROOT, 'file', ROOT, 'x'),
    put(layer, file, 0, Buffer.from('x')),
  ]) {
    assert.equal(result, -EROFS);
  }
  assert.equal(find(layer, ROOT, 'file'), file);
});

test('hard links count, across directories', () => {
  const dir = makeDir(ROOT, 'dir');
  const file = make(layer, ROOT, 'file');
  assert.equal(linkTo(layer, file, dir, 'file'), file);
  assert.equal(linkTo(layer, file, dir, 'other'), file);
  assert.equal(stat(layer, file).links, 3);
  assert.equal(remove(layer, ROOT, 'file'), 0);
  assert.equal(stat(layer, file).links, 2);
  assert.equal(reapOrphan(layer, file), 0, 'it has names still');
  assert.equal(find(layer, dir, 'other'), file);
});

test('an unlinked file lives on until it is reaped, and its number is not used again', () => {
  const file = make(layer, ROOT, 'file');
  put(layer, file, 0, Buffer.alloc(100_000, 1));
  assert.equal(remove(layer, ROOT, 'file'), 0);
  assert.equal(lastUnlinkedIno, file);
  assert.equal(find(layer, ROOT, 'file'), -ENOENT);
  assert.equal(stat(layer, file).links, 0);
  assert.equal(put(layer, file, 100_000, Buffer.from('more')), 4);
  assert.deepEqual(get(layer, file, 99_999, 10), Buffer.from('\x01more'));
  assertSound();
  const before = layerInfo('test').ownBytes;
  assert.equal(reapOrphan(layer, file), 0);
  assert.equal(before - layerInfo('test').ownBytes, 25 * 4096);
  assert.equal(getInode(layer, file), -ESTALE);
  assert.equal(reapOrphan(layer, file), 0, 'reaping twice does no harm');
  assert.ok(make(layer, ROOT, 'file') > file);
  assert.equal(layerInfo('test').inodes, 2);
});

test('what may be an orphan is known without a search', () => {
  const inherited = make(layer, ROOT, 'inherited');
  assert.equal(mayBeOrphan(layer, inherited), false);
  remove(layer, ROOT, 'inherited');
  assert.equal(mayBeOrphan(layer, inherited), true);
  const clone = createLayer('clone', { parent: 'test' });
  assert.equal(reapAllOrphans(clone), 1);
  assert.equal(mayBeOrphan(clone, inherited), false);
  const nameless = createTemporary(clone, ROOT, 0o600, 0, 0, 0);
  assert.equal(mayBeOrphan(clone, nameless), true);
  linkTo(clone, nameless, ROOT, 'named');
  assert.equal(mayBeOrphan(clone, nameless), false);
  remove(clone, ROOT, 'named');
  assert.equal(mayBeOrphan(clone, nameless), true);
  assert.equal(reapOrphan(clone, nameless), 0);
  assert.equal(mayBeOrphan(clone, nameless), false);
});

test('a removed directory is an orphan in which nothing can be made', () => {
  const dir = makeDir(ROOT, 'dir');
  assert.equal(removeDir(layer, ROOT, 'dir'), 0);
  assert.deepEqual([stat(layer, dir).links, stat(layer, ROOT).links], [0, 2]);
  assert.equal(make(layer, dir, 'x'), -ENOENT);
  assert.equal(createTemporary(layer, dir, 0o600, 0, 0, 0), -ENOENT);
  assert.equal(linkTo(layer, make(layer, ROOT, 'file'), dir, 'x'), -ENOENT);
  assert.equal(move(layer, ROOT, 'file', dir, 'x'), -ENOENT);
  assert.deepEqual([...list(layer, dir).keys()], ['.', '..']);
  assert.equal(reapOrphan(layer, dir), 0);
  assert.equal(getInode(layer, dir), -ESTALE);
});

test('a file without a name may get one', () => {
  const file = createTemporary(layer, ROOT, 0o100666, 0o022, 3, 4);
  assert.deepEqual([stat(layer, file).mode, stat(layer, file).links], [0o100644, 0]);
  put(layer, file, 0, Buffer.from('contents'));
  assertSound();
  assert.equal(linkTo(layer, file, ROOT, 'file'), file);
  assert.equal(stat(layer, file).links, 1);
  assert.equal(reapAllOrphans(layer), 0);
  assert.deepEqual(get(layer, find(layer, ROOT, 'file'), 0, 100), Buffer.from('contents'));
});

test('orphans are freed when the volume is opened again, and those that a clone inherits in the clone', () => {
  const file = make(layer, ROOT, 'file');
  put(layer, file, 0, Buffer.alloc(50_000, 1));
  make(layer, ROOT, 'kept');
  remove(layer, ROOT, 'file');
  createTemporary(layer, ROOT, 0o600, 0, 0, 0);
  const clone = createLayer('clone', { parent: 'test' });
  closeVolume();
  openVolume(testVolumePath());
  assert.equal(reapAllOrphans(findLayer('test')), -EROFS);
  assert.equal(reapAllOrphans(clone), 2);
  assert.equal(reapAllOrphans(clone), 0);
  assert.deepEqual([layerInfo('test').inodes, layerInfo('clone').inodes], [4, 2]);
  assert.deepEqual(get(findLayer('test'), file, 0, 3), Buffer.from([1, 1, 1]));
});

test('symbolic links hold 1 to 4,095 bytes', () => {
  const out = Buffer.alloc(5000);
  for (const length of [1, 976, 977, 4095]) {
    const target = 'x'.repeat(length - 1) + '/';
    const ino = makeSymlink(layer, ROOT, `link${length}`, target);
    assert.equal(stat(layer, ino).size, length);
    assert.equal(readLink(layer, ino, out, 7), length);
    assert.equal(out.toString('latin1', 7, 7 + length), target);
  }
  assert.equal(makeSymlink(layer, ROOT, 'empty', ''), -ENOENT);
  assert.equal(makeSymlink(layer, ROOT, 'long', 'x'.repeat(4096)), -ENAMETOOLONG);
  assert.equal(readLink(layer, ROOT, out, 0), -EINVAL);
  const name = bytesOf('link4095');
  assert.equal(createSymlink(layer, ROOT, name, 0, name.length, name, 0, 1, 0, 0), -EEXIST);
  remove(layer, ROOT, 'link4095');
  assert.equal(reapAllOrphans(layer), 1);
});

test('times of directories and inodes change as POSIX says', () => {
  const file = make(layer, ROOT, 'file');
  const dir = makeDir(ROOT, 'dir');
  const changes = (act: () => unknown, inos: Ino[]): string[] => {
    const before = inos.map((ino) => stat(layer, ino));
    act();
    return inos.map((ino, i) => {
      const after = stat(layer, ino);
      return (
        (after.atime > before[i]!.atime ? 'a' : '') +
        (after.mtime > before[i]!.mtime ? 'm' : '') +
        (after.ctime > before[i]!.ctime ? 'c' : '')
      );
    });
  };
  assert.deepEqual(
    changes(() => find(layer, ROOT, 'file'), [ROOT, file]),
    ['', ''],
  );
  assert.deepEqual(
    changes(() => linkTo(layer, file, dir, 'link'), [ROOT, dir, file]),
    ['', 'mc', 'c'],
  );
  assert.deepEqual(
    changes(() => move(layer, dir, 'link', dir, 'name'), [ROOT, dir, file]),
    ['', 'mc', 'c'],
  );
  assert.deepEqual(
    changes(() => move(layer, dir, 'name', ROOT, 'name'), [ROOT, dir, file]),
    ['mc', 'mc', 'c'],
  );
  assert.deepEqual(
    changes(() => move(layer, ROOT, 'name', ROOT, 'file'), [ROOT, dir, file]),
    ['', '', ''],
    'names of one inode',
  );
  assert.deepEqual(
    changes(() => remove(layer, ROOT, 'name'), [ROOT, dir, file]),
    ['mc', '', 'c'],
  );
  const other = make(layer, dir, 'other');
  assert.deepEqual(
    changes(() => move(layer, ROOT, 'file', dir, 'other'), [ROOT, dir, file, other]),
    ['mc', 'mc', 'c', 'c'],
  );
  const deep = makeDir(dir, 'deep');
  assert.deepEqual(
    changes(() => removeDir(layer, dir, 'deep'), [ROOT, dir, deep]),
    ['', 'mc', 'c'],
  );
});

test('rename: moving, replacing and what is refused', () => {
  const a = makeDir(ROOT, 'a');
  const b = makeDir(ROOT, 'b');
  const file = make(layer, a, 'file');
  const below = makeDir(a, 'below');
  assert.equal(move(layer, a, 'none', b, 'x'), -ENOENT);
  assert.equal(move(layer, a, 'below', b, 'below'), 0);
  assert.deepEqual([stat(layer, a).links, stat(layer, b).links], [2, 3]);
  assert.equal(list(layer, below).get('..')?.ino, b);
  assert.equal(parentDirectory(layer, below), b);
  assert.equal(parentDirectory(layer, ROOT), ROOT);
  assert.equal(parentDirectory(layer, file), -ENOTDIR);
  assert.equal(move(layer, ROOT, 'b', below, 'b'), -EINVAL, 'below itself');
  assert.equal(move(layer, ROOT, 'b', b, 'b'), -EINVAL, 'into itself');
  assert.equal(move(layer, b, 'below', ROOT, 'b'), -ENOTEMPTY, 'over its parent');
  assert.equal(move(layer, a, 'file', ROOT, 'b'), -EISDIR);
  assert.equal(move(layer, ROOT, 'b', a, 'file'), -ENOTDIR);
  assert.equal(move(layer, ROOT, 'a', ROOT, 'b'), -ENOTEMPTY);
  assert.equal(move(layer, a, 'file', b, 'file', RENAME_NOREPLACE), 0);
  make(layer, a, 'file');
  assert.equal(move(layer, a, 'file', b, 'file', RENAME_NOREPLACE), -EEXIST);
  assert.equal(move(layer, a, 'file', b, 'file'), 0);
  assert.equal(lastUnlinkedIno, file);
  assert.equal(move(layer, b, 'file', file, 'x'), -ENOTDIR);
  const empty = makeDir(ROOT, 'empty');
  assert.equal(move(layer, ROOT, 'a', ROOT, 'empty'), 0, 'over an empty directory');
  assert.equal(lastUnlinkedIno, empty);
  assert.equal(find(layer, ROOT, 'empty'), a);
  assert.equal(stat(layer, ROOT).links, 4);
});

test('rename with RENAME_EXCHANGE and RENAME_WHITEOUT', () => {
  const a = makeDir(ROOT, 'a');
  const b = makeDir(ROOT, 'b');
  const file = make(layer, a, 'file');
  const dir = makeDir(b, 'dir');
  assert.equal(move(layer, a, 'file', b, 'none', RENAME_EXCHANGE), -ENOENT);
  assert.equal(move(layer, a, 'file', b, 'dir', RENAME_EXCHANGE), 0);
  assert.deepEqual([find(layer, a, 'file'), find(layer, b, 'dir')], [dir, file]);
  assert.deepEqual([stat(layer, a).links, stat(layer, b).links], [3, 2]);
  assert.equal(list(layer, dir).get('..')?.ino, a);
  assert.equal(move(layer, ROOT, 'a', a, 'file', RENAME_EXCHANGE), -EINVAL);
  assert.equal(move(layer, a, 'file', ROOT, 'a', RENAME_EXCHANGE), -EINVAL);
  assert.equal(move(layer, ROOT, 'a', ROOT, 'b', RENAME_EXCHANGE | RENAME_WHITEOUT), -EINVAL);
  assert.equal(move(layer, ROOT, 'a', ROOT, 'b', RENAME_EXCHANGE | RENAME_NOREPLACE), -EINVAL);
  assert.equal(move(layer, ROOT, 'a', ROOT, 'b', 8), -EINVAL);
  assert.equal(move(layer, b, 'dir', ROOT, 'file', RENAME_WHITEOUT), 0);
  const whiteout = stat(layer, find(layer, b, 'dir'));
  assert.deepEqual([whiteout.mode, whiteout.rdev, whiteout.uid, whiteout.gid, whiteout.links], [0o020000, 0, 0, 0, 1]);
  assert.equal(find(layer, ROOT, 'file'), file);
});

test('reading a directory goes on behind its cookie, whatever changed', () => {
  for (let i = 0; i < 500; i++) make(layer, ROOT, `file${i}`);
  const seen: string[] = [];
  let hi = 0;
  let lo = 0;
  const some = (count: number): number => {
    let taken = 0;
    const result = readDirectory(layer, ROOT, hi, lo, {
      entry(_ino, _kind, cookieHi, cookieLo, bytes, at, length) {
        if (taken === count) return false;
        taken++;
        seen.push(Buffer.from(bytes.subarray(at, at + length)).toString());
        hi = cookieHi;
        lo = cookieLo;
        return true;
      },
    });
    assert.equal(result, 0);
    return taken;
  };
  some(1);
  some(1);
  assert.deepEqual(seen, ['.', '..']);
  for (let round = 0; some(7) > 0; round++) {
    remove(layer, ROOT, seen.at(-1)!);
    make(layer, ROOT, `new${round}`);
    if (round % 10 === 0) checkpoint();
  }
  const old = seen.filter((name) => name.startsWith('file'));
  assert.equal(new Set(old).size, 500);
  assert.equal(new Set(seen).size, seen.length, 'no name is shown twice');
  const file = make(layer, ROOT, 'regular');
  assert.equal(readDirectory(layer, file, 0, 0, { entry: () => true }), -ENOTDIR);
});

test('sixteen names may share a hash, the next is refused', () => {
  const name = bytesOf('name');
  const other = make(layer, ROOT, 'other');
  assert.equal(beginWrite(layer, 0, 64), 0);
  hashName(ROOT, name, 0, name.length);
  const keys = Array.from({ length: 16 }, (_, i) => [hashHi, (hashLo | i) >>> 0] as const);
  // Names as long as the real one, so that they differ in bytes only.
  keys.forEach(([hi, lo]) => {
    const entry = valueOf(insert(ROOT, DIRENT, hi, lo, 12));
    setDirentIno(entry, other);
    setDirentKind(entry, 8);
    setLinkParent(valueOf(insert(other, LINK, hi, lo, 4)), ROOT);
  });
  end(0);
  assert.equal(find(layer, ROOT, 'name'), -ENOENT);
  assert.equal(make(layer, ROOT, 'name'), -ENOSPC);
  assert.equal(linkTo(layer, other, ROOT, 'name'), -ENOSPC);
  assert.equal(move(layer, ROOT, 'other', ROOT, 'name'), -ENOSPC);
  assert.equal(beginWrite(layer, 0, 64), 0);
  keys.forEach(([hi, lo], i) => {
    if (i !== 9) removeRecord(ROOT, DIRENT, hi, lo);
    if (i !== 3) removeRecord(other, LINK, hi, lo);
  });
  end(0);
  // Key 3 is taken among the back references of one inode, key 9 among the entries of the directory.
  const made = make(layer, ROOT, 'name');
  assert.equal(find(layer, ROOT, 'name'), made);
  assert.equal(move(layer, ROOT, 'other', ROOT, 'name'), 0);
  assert.equal(find(layer, ROOT, 'name'), other);
  assert.equal(beginWrite(layer, 0, 64), 0);
  removeRecord(ROOT, DIRENT, keys[9]![0], keys[9]![1]);
  removeRecord(other, LINK, keys[3]![0], keys[3]![1]);
  end(0);
});

test('inode numbers end at 2^31 - 1', () => {
  assert.equal(beginWrite(layer, 0, 1), 0);
  const next = layerNextIno(opRecord());
  setLayerNextIno(opRecord(), INO_MAX);
  end(0);
  assert.equal(make(layer, ROOT, 'last'), INO_MAX);
  assert.equal(make(layer, ROOT, 'more'), -ENOSPC);
  assert.equal(createTemporary(layer, ROOT, 0o600, 0, 0, 0), -ENOSPC);
  assert.equal(move(layer, ROOT, 'last', ROOT, 'moved', RENAME_WHITEOUT), -ENOSPC);
  assert.equal(find(layer, ROOT, 'last'), INO_MAX);
  assert.ok(next < INO_MAX);
});

test('a large directory', () => {
  const dir = makeDir(ROOT, 'dir');
  for (let i = 0; i < 20_000; i++) make(layer, dir, `some-file-name-${i}`);
  assert.equal(stat(layer, dir).size, 20_000 * 32);
  assert.equal(list(layer, dir).size, 20_002);
  assert.equal(removeDir(layer, ROOT, 'dir'), -ENOTEMPTY);
  for (let i = 0; i < 20_000; i++) assert.equal(remove(layer, dir, `some-file-name-${i}`), 0);
  assert.equal(removeDir(layer, ROOT, 'dir'), 0);
  assert.equal(reapAllOrphans(layer), 20_001);
  assert.equal(layerInfo('test').inodes, 1);
});

test('a clone and its parent do not see each other’s names', () => {
  makeDir(ROOT, 'dir');
  const old = make(layer, ROOT, 'old');
  const clone = createLayer('clone', { parent: 'test' });
  assert.equal(remove(clone, ROOT, 'old'), 0);
  assert.ok(make(clone, ROOT, 'new') > old);
  assert.equal(move(clone, ROOT, 'dir', ROOT, 'moved'), 0);
  assert.deepEqual([...list(layer, ROOT).keys()].toSorted(), ['.', '..', 'dir', 'old']);
  assert.deepEqual([...list(clone, ROOT).keys()].toSorted(), ['.', '..', 'moved', 'new']);
  assertSound();
  removeLayer('clone');
  assert.equal(find(clone, ROOT, 'new'), -ESTALE);
});
