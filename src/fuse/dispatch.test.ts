/** Requests as raw bytes against the engine, in the layouts of both transports: right ones, wrong ones, random ones. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { SEEK_DATA, SEEK_HOLE } from '../engine/file.js';
import { createLayer, sealLayer } from '../engine/layers.js';
import { closeTestVolume, find, get, make, nowMicroseconds, openTestVolume, put, REGULAR, ROOT, stat } from '../../test/support/files.js';
import { assertSound, Random } from '../../test/support/volume.js';
import { deviceWire, ringWire, strings, wide, type Answer, type Node, type Wire } from '../../test/support/wire.js';
import {
  EEXIST,
  EINVAL,
  EIO,
  ENAMETOOLONG,
  ENODATA,
  ENOENT,
  ENOSYS,
  ENOTEMPTY,
  ENXIO,
  EPERM,
  ERANGE,
  EROFS,
  ESTALE,
  EXDEV,
} from '../linux/errno.js';
import * as P from './protocol.js';

const MOUNT_ROOT: Node = { layer: 0, ino: 0 };
const LAYERS: Node = { layer: 0, ino: 1 };
const FOREVER = 0x7fff_ffff;

let layer = 0;
let sealed = 0;

before(() => {
  layer = openTestVolume();
  sealed = createLayer('sealed');
  make(sealed, ROOT, 'file');
  sealLayer('sealed');
});
after(closeTestVolume);

/** A 64-bit field of a reply. */
const wideAt = (body: Buffer, word: number): number => Number(body.readBigUInt64LE(word * 4));
const wordAt = (body: Buffer, word: number): number => body.readUInt32LE(word * 4);
const halfAt = (body: Buffer, word: number): number => body.readUInt16LE(word * 4);

function good(answer: Answer, bytes: number): Buffer {
  assert.deepEqual({ error: answer.error, bytes: answer.body.length }, { error: 0, bytes });
  return answer.body;
}

function bad(answer: Answer, error: number): void {
  assert.deepEqual({ error: answer.error, bytes: answer.body.length }, { error, bytes: 0 });
}

/** Names and inode numbers in a listing, with the cookie of the last entry. */
function entriesOf(body: Buffer, plus: boolean): { names: Map<string, number>; last: number } {
  const names = new Map<string, number>();
  let last = 0;
  for (let at = 0; at < body.length;) {
    const dirent = at + (plus ? P.ENTRY_BYTES : 0);
    const nameBytes = body.readUInt32LE(dirent + P.DIRENT_NAME_BYTES * 4);
    const name = body.toString('utf8', dirent + P.DIRENT_BYTES, dirent + P.DIRENT_BYTES + nameBytes);
    names.set(name, Number(body.readBigUInt64LE(dirent)));
    last = Number(body.readBigUInt64LE(dirent + P.DIRENT_NEXT * 4));
    at = (dirent + P.DIRENT_BYTES + nameBytes + 7) & ~7;
  }
  return { names, last };
}

for (const make of [deviceWire, ringWire]) describeWire(make());

function describeWire(wire: Wire): void {
  const root = (): Node => ({ layer, ino: ROOT });
  const name = (text: string): string => `${wire.name}-${text}`;
  const createFile = (text: string): number => {
    const args = [0, REGULAR, 0];
    const body = good(wire.send({ opcode: P.CREATE, node: root(), args, payload: strings(text), uid: 5, gid: 6 }), 144);
    assert.equal(wordAt(body, P.ENTRY_BYTES / 4 + P.OPEN_OUT_FLAGS), P.FOPEN_KEEP_CACHE | P.FOPEN_NOFLUSH);
    return Math.floor((wideAt(body, P.ENTRY_NODE) % 2 ** 32) / 2);
  };

  describe(`requests in the layout of ${wire.name}`, () => {
    it('creates, finds and describes a file', () => {
      const from = nowMicroseconds();
      const ino = createFile(name('described'));
      const body = good(wire.send({ opcode: P.LOOKUP, node: root(), payload: strings(name('described')) }), P.ENTRY_BYTES);
      assert.equal(wideAt(body, P.ENTRY_NODE), layer * 2 ** 32 + ino * 2 + 1);
      assert.equal(wideAt(body, P.ENTRY_GENERATION), 0);
      assert.equal(wideAt(body, P.ENTRY_VALID), FOREVER);
      assert.equal(wideAt(body, P.ENTRY_ATTR_VALID), FOREVER);
      const attr = body.subarray(P.ENTRY_ATTR * 4);
      assert.equal(wideAt(attr, P.ATTR_INO), layer * 2 ** 32 + ino);
      assert.equal(wordAt(attr, P.ATTR_MODE), REGULAR);
      assert.equal(wordAt(attr, P.ATTR_LINKS), 1);
      assert.equal(wordAt(attr, P.ATTR_UID), 5);
      assert.equal(wordAt(attr, P.ATTR_GID), 6);
      assert.equal(wordAt(attr, P.ATTR_BLOCK_BYTES), 4096);
      const ctime = wideAt(attr, P.ATTR_CTIME) * 1e6 + Math.floor(wordAt(attr, P.ATTR_CTIME_NSEC) / 1000);
      assert.ok(from <= ctime && ctime <= nowMicroseconds());
      const same = good(wire.send({ opcode: P.GETATTR, node: { layer, ino } }), P.ATTR_OUT_BYTES);
      assert.deepEqual(same.subarray(P.ATTR_OUT_ATTR * 4), attr);
    });

    it('remembers names that do not exist', () => {
      const body = good(wire.send({ opcode: P.LOOKUP, node: root(), payload: strings('absent') }), P.ENTRY_BYTES);
      assert.equal(wideAt(body, P.ENTRY_NODE), 0);
      assert.equal(wideAt(body, P.ENTRY_VALID), FOREVER);
    });

    it('answers STATX with the time of birth and the parts of a device number', () => {
      const rdev = 0x12 | (0xabc << 8) | (0x345 << 20);
      const args = [0o020600, rdev, 0];
      const made = good(wire.send({ opcode: P.MKNOD, node: root(), args, payload: strings(name('device')) }), P.ENTRY_BYTES);
      assert.equal(wordAt(made, P.ENTRY_ATTR + P.ATTR_RDEV), rdev);
      const ino = (wideAt(made, P.ENTRY_NODE) % 2 ** 32) >>> 1;
      const body = good(wire.send({ opcode: P.STATX, node: { layer, ino }, args: [0, 0, 0, 0, 0, 0xfff] }), P.STATX_BYTES);
      assert.equal(wordAt(body, P.STATX_MASK), 0xfff);
      assert.equal(halfAt(body, P.STATX_MODE), 0o020600);
      assert.equal(wideAt(body, P.STATX_INO), layer * 2 ** 32 + ino);
      assert.equal(wordAt(body, P.STATX_RDEV_MAJOR), 0xabc);
      assert.equal(wordAt(body, P.STATX_RDEV_MINOR), 0x34512);
      assert.equal(wideAt(body, P.STATX_BTIME), wideAt(body, P.STATX_CTIME));
    });

    it('writes, reads, seeks, allocates, copies and truncates', () => {
      const ino = createFile(name('data'));
      const node = { layer, ino };
      const data = Buffer.alloc(200_000, 'some data ');
      const at = 2 ** 33 + 4096;
      const written = wire.send({ opcode: P.WRITE, node, args: [0, 0, ...wide(at), data.length], payload: data });
      assert.equal(wideAt(good(written, 8), 0), data.length);
      assert.equal(stat(layer, ino).size, at + data.length);
      const read = wire.send({ opcode: P.READ, node, args: [0, 0, ...wide(at), 2 ** 20] });
      assert.ok(good(read, data.length).equals(data));
      const seek = wire.send({ opcode: P.LSEEK, node, args: [0, 0, 0, 0, 3] });
      assert.equal(wideAt(good(seek, 8), 0), at);
      const other = createFile(name('copy'));
      const copy = [0, 0, ...wide(at), other * 2 + 1, layer, 0, 0, 0, 0, ...wide(data.length), 0, 0];
      assert.equal(wideAt(good(wire.send({ opcode: P.COPY_FILE_RANGE_64, node, args: copy }), 8), 0), data.length);
      assert.ok(Buffer.from(get(layer, other, 0, data.length) as Buffer).equals(data));
      good(wire.send({ opcode: P.FALLOCATE, node, args: [0, 0, ...wide(at), ...wide(4096), 3] }), 0);
      assert.deepEqual(get(layer, ino, at, 10), Buffer.alloc(10));
      const change = [P.VALID_SIZE, 0, 0, 0, 100, 0];
      assert.equal(
        wideAt(good(wire.send({ opcode: P.SETATTR, node, args: change }), P.ATTR_OUT_BYTES), P.ATTR_OUT_ATTR + P.ATTR_SIZE),
        100,
      );
      good(wire.send({ opcode: P.OPEN, node, args: [1 | P.O_TRUNC] }), P.OPEN_OUT_BYTES);
      assert.equal(stat(layer, ino).size, 0);
    });

    it('takes all for data where somebody else may write through a mapping', () => {
      const ino = createFile(name('mapped'));
      const node = { layer, ino };
      good(wire.send({ opcode: P.WRITE, node, args: [0, 0, 2 ** 20, 0, 4], payload: Buffer.from('data') }), 8);
      const open = (flags: number): number => wordAt(good(wire.send({ opcode: P.OPEN, node, args: [flags] }), 16), P.OPEN_OUT_HANDLE);
      const seek = (handle: number, offset: number, whence: number): Answer =>
        wire.send({ opcode: P.LSEEK, node, args: [handle, 0, offset, 0, whence] });
      const ends = (handle: number): number[] => [SEEK_DATA, SEEK_HOLE].map((whence) => wideAt(good(seek(handle, 4096, whence), 8), 0));
      const release = (handle: number): void => void good(wire.send({ opcode: P.RELEASE, node, args: [handle, 0, 0] }), 0);
      const reader = open(0);
      release(open(1));
      assert.deepEqual(ends(reader), [2 ** 20, 4096]);
      const writer = open(2);
      assert.deepEqual(ends(writer), [2 ** 20, 4096], 'its own mappings are its own business');
      assert.deepEqual(ends(reader), [4096, 2 ** 20 + 4]);
      bad(seek(reader, 2 ** 20 + 4, SEEK_DATA), ENXIO);
      bad(seek(reader, 0, 5), EINVAL);
      const another = open(2);
      assert.deepEqual(ends(writer), [4096, 2 ** 20 + 4]);
      release(another);
      release(writer);
      assert.deepEqual(ends(reader), [2 ** 20, 4096]);
      release(reader);
    });

    it('sets times before 1970 and beyond 2038', () => {
      const node = { layer, ino: createFile(name('times')) };
      const args = [P.VALID_ATIME | P.VALID_MTIME, 0, 0, 0, 0, 0, 0, 0, 0xffff_ffff, 0xffff_ffff, 0x8000_0000, 1, 0, 0, 500, 999_999_999];
      const body = good(wire.send({ opcode: P.SETATTR, node, args }), P.ATTR_OUT_BYTES).subarray(P.ATTR_OUT_ATTR * 4);
      assert.equal(body.readBigInt64LE(P.ATTR_ATIME * 4), -1n);
      assert.equal(wideAt(body, P.ATTR_MTIME), 2 ** 32 + 2 ** 31);
      assert.equal(wordAt(body, P.ATTR_ATIME_NSEC), 500);
      assert.equal(wordAt(body, P.ATTR_MTIME_NSEC), 999_999_999);
    });

    it('links, renames and removes', () => {
      const ino = createFile(name('a'));
      const linked = wire.send({ opcode: P.LINK, node: root(), args: [ino * 2 + 1, layer], payload: strings(name('b')) });
      assert.equal(wordAt(good(linked, P.ENTRY_BYTES), P.ENTRY_ATTR + P.ATTR_LINKS), 2);
      const to = [ROOT * 2 + 1, layer];
      good(wire.send({ opcode: P.RENAME, node: root(), args: to, payload: strings(name('a'), name('c')) }), 0);
      const exclusive = [...to, P.RENAME_NOREPLACE];
      bad(wire.send({ opcode: P.RENAME2, node: root(), args: exclusive, payload: strings(name('c'), name('b')) }), EEXIST);
      bad(wire.send({ opcode: P.RENAME2, node: root(), args: [...to, 8], payload: strings(name('c'), name('b')) }), EINVAL);
      good(wire.send({ opcode: P.UNLINK, node: root(), payload: strings(name('c')) }), 0);
      good(wire.send({ opcode: P.UNLINK, node: root(), payload: strings(name('b')) }), 0);
      assert.equal(find(layer, ROOT, name('b')), -ENOENT);
    });

    it('frees an orphan when the kernel forgets it, and nothing else', () => {
      const ino = createFile(name('orphan'));
      wire.send({ opcode: P.FORGET, node: { layer, ino }, args: [1] });
      assert.equal(stat(layer, ino).links, 1);
      good(wire.send({ opcode: P.UNLINK, node: root(), payload: strings(name('orphan')) }), 0);
      assert.equal(stat(layer, ino).links, 0);
      const item = [ino * 2 + 1, layer, 1, 0];
      const forget = {
        opcode: P.BATCH_FORGET,
        node: { layer: 0, raw: 0 },
        payload: Uint8Array.from(Buffer.from(Uint32Array.from(item).buffer)),
      };
      // The count lies: there is one item only.
      assert.equal(wire.send({ ...forget, args: [1000] }).error, -1);
      bad(wire.send({ opcode: P.GETATTR, node: { layer, ino } }), ESTALE);
      assertSound();
    });

    it('keeps temporary files nameless until they are linked', () => {
      const args = [0, REGULAR, 0];
      const made = good(wire.send({ opcode: P.TMPFILE, node: root(), args, payload: strings('/') }), 144);
      assert.equal(wordAt(made, P.ENTRY_ATTR + P.ATTR_LINKS), 0);
      const low = wordAt(made, P.ENTRY_NODE);
      const linked = wire.send({ opcode: P.LINK, node: root(), args: [low, layer], payload: strings(name('tmp')) });
      assert.equal(wordAt(good(linked, P.ENTRY_BYTES), P.ENTRY_ATTR + P.ATTR_LINKS), 1);
    });

    it('stores link targets', () => {
      const target = `/${'t'.repeat(4000)}`;
      const made = good(wire.send({ opcode: P.SYMLINK, node: root(), payload: strings(name('link'), target) }), P.ENTRY_BYTES);
      const ino = wordAt(made, P.ENTRY_NODE) >>> 1;
      const read = wire.send({ opcode: P.READLINK, node: { layer, ino } });
      assert.equal(good(read, target.length).toString(), target);
      bad(wire.send({ opcode: P.SYMLINK, node: root(), payload: Buffer.from(`${name('x')}\0not ended`) }), EINVAL);
    });

    it('stores extended attributes', () => {
      const node = { layer, ino: createFile(name('xattr')) };
      const value = Buffer.alloc(60_000, 'v');
      const args = [value.length, 0, 0, 0];
      good(wire.send({ opcode: P.SETXATTR, node, args, payload: Buffer.concat([strings('user.big/slash'), value]) }), 0);
      good(wire.send({ opcode: P.SETXATTR, node, args: [1, 0, 0, 0], payload: Buffer.concat([strings('trusted.t'), Buffer.of(1)]) }), 0);
      assert.equal(
        wideAt(good(wire.send({ opcode: P.GETXATTR, node, args: [0], payload: strings('user.big/slash') }), 8), 0),
        value.length,
      );
      assert.ok(
        good(wire.send({ opcode: P.GETXATTR, node, args: [65536], payload: strings('user.big/slash') }), value.length).equals(value),
      );
      bad(wire.send({ opcode: P.GETXATTR, node, args: [100], payload: strings('user.big/slash') }), ERANGE);
      bad(wire.send({ opcode: P.GETXATTR, node, args: [100], payload: strings('user.absent') }), ENODATA);
      const list = (size: number, uid: number): Answer => wire.send({ opcode: P.LISTXATTR, node, args: [size], uid });
      assert.deepEqual(list(1000, 0).body.toString().split('\0').toSorted(), ['', 'trusted.t', 'user.big/slash']);
      assert.equal(list(1000, 1000).body.toString(), 'user.big/slash\0');
      assert.equal(wideAt(good(list(0, 1000), 8), 0), 15);
      bad(list(14, 1000), ERANGE);
      good(wire.send({ opcode: P.REMOVEXATTR, node, payload: strings('user.big/slash') }), 0);
      bad(wire.send({ opcode: P.REMOVEXATTR, node, payload: strings('user.big/slash') }), ENODATA);
      bad(wire.send({ opcode: P.SETXATTR, node, args: [100, 0, 0, 0], payload: strings('user.short') }), EINVAL);
    });

    for (const plus of [false, true]) {
      it(`lists a directory in parts${plus ? ' with attributes' : ''}`, () => {
        const text = name(`list-${plus}`);
        const made = good(wire.send({ opcode: P.MKDIR, node: root(), args: [0o755, 0], payload: strings(text) }), P.ENTRY_BYTES);
        const node = { layer, ino: wordAt(made, P.ENTRY_NODE) >>> 1 };
        const wanted = new Map<string, number>([
          ['.', node.ino],
          ['..', ROOT],
        ]);
        for (let i = 0; i < 300; i++) wanted.set(`entry ${i}`, make(layer, node.ino, `entry ${i}`));
        const seen = new Map<string, number>();
        for (let cookie = 0n; ;) {
          const offset = [Number(cookie & 0xffff_ffffn), Number(cookie >> 32n)];
          const answer = wire.send({ opcode: plus ? P.READDIRPLUS : P.READDIR, node, args: [0, 0, ...offset, 1000] });
          assert.equal(answer.error, 0);
          if (answer.body.length === 0) break;
          const { names } = entriesOf(answer.body, plus);
          for (const [entry, ino] of names) {
            assert.ok(!seen.has(entry));
            seen.set(entry, ino % 2 ** 32);
          }
          cookie = lastCookie(answer.body, plus);
        }
        assert.deepEqual(new Map([...seen].toSorted()), new Map([...wanted].toSorted()));
      });
    }

    it('shows the attributes of entries but not of dots', () => {
      const node = root();
      const { body } = wire.send({ opcode: P.READDIRPLUS, node, args: [0, 0, 0, 0, 4096] });
      assert.equal(wideAt(body, P.ENTRY_NODE), 0);
      const third = 2 * (P.ENTRY_BYTES + 32);
      assert.notEqual(body.readBigUInt64LE(third), 0n);
      assert.equal(body.readUInt32LE(third + (P.ENTRY_ATTR + P.ATTR_BLOCK_BYTES) * 4), 4096);
    });

    it('shows the space of the volume and of a quota', () => {
      const body = good(wire.send({ opcode: P.STATFS, node: root() }), P.STATFS_BYTES);
      assert.equal(wideAt(body, P.STATFS_BLOCKS), (64 << 20) / 4096);
      const limited = createLayer(name('limited'), { quotaBytes: 40960 });
      const quota = good(wire.send({ opcode: P.STATFS, node: { layer: limited, ino: ROOT } }), P.STATFS_BYTES);
      assert.equal(wideAt(quota, P.STATFS_BLOCKS), 10);
      assert.ok(wideAt(quota, P.STATFS_AVAILABLE) <= 10);
    });

    it('refuses to change a sealed layer, at open already', () => {
      const node = { layer: sealed, ino: find(sealed, ROOT, 'file') };
      good(wire.send({ opcode: P.OPEN, node, args: [0] }), P.OPEN_OUT_BYTES);
      for (const flags of [1, 2, P.O_TRUNC]) bad(wire.send({ opcode: P.OPEN, node, args: [flags] }), EROFS);
      bad(wire.send({ opcode: P.WRITE, node, args: [0, 0, 0, 0, 1], payload: Buffer.of(1) }), EROFS);
      bad(wire.send({ opcode: P.MKDIR, node: { layer: sealed, ino: ROOT }, args: [0o755], payload: strings('d') }), EROFS);
    });

    it('does not join layers by links, renames or copies', () => {
      const ino = createFile(name('other-layer'));
      const to = { layer: createLayer(name('other')), ino: ROOT };
      bad(wire.send({ opcode: P.LINK, node: to, args: [ino * 2 + 1, layer], payload: strings('x') }), EXDEV);
      bad(wire.send({ opcode: P.RENAME, node: to, args: [ROOT * 2 + 1, layer], payload: strings('x', 'y') }), EXDEV);
      bad(wire.send({ opcode: P.RENAME, node: to, args: [3, 0], payload: strings('x', 'y') }), EPERM);
    });

    it('has a tree of its own above the layers', () => {
      const layers = good(wire.send({ opcode: P.LOOKUP, node: MOUNT_ROOT, payload: strings('layers') }), P.ENTRY_BYTES);
      assert.equal(wideAt(layers, P.ENTRY_NODE), 3);
      const global = good(wire.send({ opcode: P.LOOKUP, node: MOUNT_ROOT, payload: strings('global') }), P.ENTRY_BYTES);
      assert.equal(wideAt(global, P.ENTRY_NODE), 5);
      bad(wire.send({ opcode: P.LOOKUP, node: MOUNT_ROOT, payload: strings('other') }), ENOENT);
      const test = good(wire.send({ opcode: P.LOOKUP, node: LAYERS, payload: strings('test') }), P.ENTRY_BYTES);
      assert.equal(wideAt(test, P.ENTRY_NODE), layer * 2 ** 32 + 5);
      assert.ok(wideAt(test, P.ENTRY_VALID) < 10);
      bad(wire.send({ opcode: P.LOOKUP, node: LAYERS, payload: strings('absent') }), ENOENT);
      for (const node of [MOUNT_ROOT, LAYERS]) refusesChanges(wire, node);
    });

    it('lists the layers', () => {
      const seen: string[] = [];
      for (let cookie = 0; ;) {
        const { error, body } = wire.send({ opcode: P.READDIR, node: LAYERS, args: [0, 0, cookie, 0, 100] });
        assert.equal(error, 0);
        if (body.length === 0) break;
        const { names, last } = entriesOf(body, false);
        seen.push(...names.keys());
        cookie = last;
      }
      assert.equal(new Set(seen).size, seen.length);
      for (const wanted of ['.', '..', 'test', 'sealed']) assert.ok(seen.includes(wanted));
      const plus = wire.send({ opcode: P.READDIRPLUS, node: MOUNT_ROOT, args: [0, 0, 0, 0, 4096] });
      assert.deepEqual([...entriesOf(plus.body, true).names.keys()], ['.', '..', 'layers', 'global']);
    });

    it('refuses names that are none', () => {
      const length = (bytes: number): number => wire.send({ opcode: P.LOOKUP, node: root(), payload: strings('n'.repeat(bytes)) }).error;
      assert.equal(length(255), 0);
      assert.equal(length(256), ENAMETOOLONG);
      assert.equal(length(4095), ENAMETOOLONG);
      for (const text of ['', '.', '..', 'a/b']) {
        for (const opcode of [P.LOOKUP, P.UNLINK, P.RMDIR, P.MKDIR, P.CREATE, P.MKNOD]) {
          bad(wire.send({ opcode, node: root(), args: [REGULAR, REGULAR], payload: strings(text) }), EINVAL);
        }
      }
      bad(wire.send({ opcode: P.LOOKUP, node: root(), payload: Buffer.from('no end') }), EINVAL);
      bad(wire.send({ opcode: P.MKDIR, node: root(), args: [0o755], payload: strings('name'), extensions: 100 }), EINVAL);
    });

    it('refuses what is cut off, too large or unknown', () => {
      const node = { layer, ino: createFile(name('cut')) };
      bad(wire.send({ opcode: P.SETATTR, node, length: 50 }), EINVAL);
      bad(wire.send({ opcode: P.WRITE, node, args: [0, 0, 0, 0, 100], payload: Buffer.alloc(99) }), EINVAL);
      bad(wire.send({ opcode: P.READ, node, args: [0, 0, 0, 0, 2 ** 20 + 1] }), EINVAL);
      for (const opcode of [0, 7, 54, 4096, 0xffff_ffff, P.IOCTL, P.POLL, P.SETLK, P.OPENDIR, P.FLUSH, P.INIT, P.BMAP]) {
        bad(wire.send({ opcode, node }), ENOSYS);
      }
      for (const opcode of [P.FORGET, P.BATCH_FORGET, P.INTERRUPT]) assert.equal(wire.send({ opcode, node, length: 40 }).error, -1);
    });

    it('knows no inode that was never given out', () => {
      for (const node of [
        { layer, ino: 999_999 },
        { layer: 999, ino: ROOT },
        { layer, raw: 4 },
        { layer: 0, raw: 0 },
      ]) {
        for (const opcode of [P.GETATTR, P.READ, P.READDIR, P.STATX, P.READLINK]) {
          const { error } = wire.send({ opcode, node, args: [0, 0, 0, 0, 100] });
          assert.equal(error, ESTALE, `opcode ${opcode}`);
        }
      }
    });

    it('answers a directory that is not empty', () => {
      const made = good(wire.send({ opcode: P.MKDIR, node: root(), args: [0o755], payload: strings(name('full')) }), P.ENTRY_BYTES);
      make(layer, wordAt(made, P.ENTRY_NODE) >>> 1, 'x');
      bad(wire.send({ opcode: P.RMDIR, node: root(), payload: strings(name('full')) }), ENOTEMPTY);
    });

    it('survives random requests', () => fuzz(wire));
  });
}

/** The 64-bit cookie of the last record, exactly. */
function lastCookie(body: Buffer, plus: boolean): bigint {
  let cookie = 0n;
  for (let at = 0; at < body.length;) {
    const dirent = at + (plus ? P.ENTRY_BYTES : 0);
    cookie = body.readBigUInt64LE(dirent + P.DIRENT_NEXT * 4);
    at = (dirent + P.DIRENT_BYTES + body.readUInt32LE(dirent + P.DIRENT_NAME_BYTES * 4) + 7) & ~7;
  }
  return cookie;
}

function refusesChanges(wire: Wire, node: Node): void {
  const changes = [P.MKDIR, P.CREATE, P.UNLINK, P.RMDIR, P.RENAME, P.SYMLINK, P.LINK, P.SETATTR, P.SETXATTR, P.MKNOD, P.TMPFILE];
  for (const opcode of changes) bad(wire.send({ opcode, node, args: [5, 0], payload: strings('test', 'x') }), EPERM);
  const attributes = good(wire.send({ opcode: P.GETATTR, node }), P.ATTR_OUT_BYTES);
  assert.equal(wordAt(attributes, P.ATTR_OUT_ATTR + P.ATTR_MODE), 0o040755);
  assert.equal(halfAt(good(wire.send({ opcode: P.STATX, node }), P.STATX_BYTES), P.STATX_MODE), 0o040755);
  good(wire.send({ opcode: P.STATFS, node }), P.STATFS_BYTES);
  bad(wire.send({ opcode: P.GETXATTR, node, args: [100], payload: strings('user.x') }), ENODATA);
}

const FUZZ_REQUESTS = 20_000;

const oneIn = (chance: Random, count: number): boolean => chance.below(count) === 0;

/** Requests that are mostly wrong: anything may come back but an exception, a hang or a damaged volume. */
function fuzz(wire: Wire): void {
  const chance = new Random();
  console.log(`# seed of the random requests: LCFS_SEED=${chance.seed}`);
  const fuzzed = createLayer(`${wire.name}-fuzz`);
  const answered = new Map<number, number>();
  for (let i = 0; i < FUZZ_REQUESTS; i++) {
    const { error } = wire.send(randomRequest(chance, fuzzed));
    answered.set(error, (answered.get(error) ?? 0) + 1);
  }
  assert.ok(answered.get(0)! > FUZZ_REQUESTS / 100, 'some requests were right by chance');
  assert.equal(answered.get(EIO), undefined, 'nothing was damaged');
  assertSound();
}

function randomRequest(chance: Random, fuzzed: number): Parameters<Wire['send']>[0] {
  const opcode = oneIn(chance, 20) ? chance.next() : chance.below(P.OPCODES);
  const node = oneIn(chance, 10) ? { layer: chance.below(4), raw: chance.next() } : { layer: fuzzed, ino: chance.below(20) };
  const args = Array.from({ length: 22 }, () => randomWord(chance, fuzzed));
  const payload = oneIn(chance, 3) ? randomBytes(chance) : strings(`n${chance.below(8)}`, `n${chance.below(8)}`);
  const raw = { opcode, node, args, payload, uid: chance.below(2), extensions: oneIn(chance, 20) ? chance.below(70_000) : 0 };
  return oneIn(chance, 10) ? { ...raw, length: 40 + chance.below(40 + payload.length) } : raw;
}

/** Small numbers, modes, nodeids of files, the layer, and now and then anything. */
function randomWord(chance: Random, fuzzed: number): number {
  const words = [0, 0, 0, 1, 2, 3, 4, 4096, fuzzed, fuzzed, chance.below(20) * 2 + 1, REGULAR, 0o040755, chance.below(2 ** 20)];
  return oneIn(chance, 30) ? chance.next() : chance.pick(words);
}

function randomBytes(chance: Random): Buffer {
  return Buffer.from(Array.from({ length: chance.below(600) }, () => (oneIn(chance, 8) ? 0 : chance.below(256))));
}

it('sees the same contents over both layouts', () => {
  const ino = make(layer, ROOT, 'both');
  put(layer, ino, 0, Buffer.from('contents'));
  const bodies = [deviceWire(), ringWire()].map(
    (wire) => wire.send({ opcode: P.READ, node: { layer, ino }, args: [0, 0, 0, 0, 100] }).body,
  );
  assert.equal(bodies[0]!.toString(), 'contents');
  assert.deepEqual(bodies[0], bodies[1]);
});
