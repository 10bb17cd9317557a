/**
 * A naive model of one layer, in maps and arrays, and a driver that does the same random things to it and to the engine and
 * compares: results, error numbers, contents, attributes, and for every operation which times changed.
 */
import assert from 'node:assert/strict';
import { BLOCK_BYTES, type Ino, type LayerIndex } from '../../src/layout/constants.js';
import { EEXIST, EINVAL, EISDIR, ENODATA, ENOENT, ENOTDIR, ENOTEMPTY, ENXIO } from '../../src/linux/errno.js';
import { S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_ISGID, S_ISUID, S_IXGRP } from '../../src/linux/mode.js';
import {
  KILL_SET_IDS,
  SET_ATIME,
  SET_GID,
  SET_MODE,
  SET_MTIME,
  SET_MTIME_NOW,
  SET_SIZE,
  SET_UID,
  newAttributeChange,
  setAttributes,
} from '../../src/engine/attributes.js';
import { SEEK_DATA, SEEK_HOLE, allocate, copyRange, seekData } from '../../src/engine/file.js';
import { foundIno } from '../../src/engine/inode.js';
import { createTemporary, lastUnlinkedIno, readLink, reapOrphan } from '../../src/engine/namespace.js';
import { getXattr, listXattr, removeXattr, setXattr } from '../../src/engine/xattr.js';
import {
  bytesOf,
  find,
  foundStat,
  get,
  linkTo,
  list,
  make,
  makeSymlink,
  move,
  nowMicroseconds,
  oneIn,
  put,
  randomBytes,
  remove,
  removeDir,
  stat,
  type Stat,
} from './files.js';
import type { Random } from './volume.js';

/** When something happened: between these times, in microseconds. */
type Moment = readonly [from: number, to: number];

class ModelFile {
  mode: number;
  uid: number;
  gid: number;
  rdev = 0;
  size = 0;
  /** Number of names; directories: 1 while they exist. */
  names = 0;
  readonly blocks = new Map<number, Uint8Array>();
  readonly children = new Map<string, ModelFile>();
  parent: ModelFile | null = null;
  target = '';
  readonly xattrs = new Map<string, Buffer>();
  ino: Ino = 0;
  atime: Moment = [0, 0];
  mtime: Moment = [0, 0];
  ctime: Moment = [0, 0];

  constructor(mode: number, uid: number, gid: number) {
    this.mode = mode;
    this.uid = uid;
    this.gid = gid;
  }

  get type(): number {
    return this.mode & S_IFMT;
  }
  get isDir(): boolean {
    return this.type === S_IFDIR;
  }
  get isRegular(): boolean {
    return this.type === S_IFREG;
  }
  get links(): number {
    if (!this.isDir) return this.names;
    return this.names === 0 ? 0 : 2 + [...this.children.values()].filter((child) => child.isDir).length;
  }

  byte(at: number): number {
    return this.blocks.get(Math.floor(at / BLOCK_BYTES))?.[at % BLOCK_BYTES] ?? 0;
  }

  bytes(from: number, size: number): Buffer {
    const out = Buffer.alloc(Math.max(0, Math.min(size, this.size - from)));
    for (let i = 0; i < out.length; i++) out[i] = this.byte(from + i);
    return out;
  }

  set(at: number, data: Uint8Array): void {
    for (let i = 0; i < data.length;) {
      const number = Math.floor((at + i) / BLOCK_BYTES);
      const skip = (at + i) % BLOCK_BYTES;
      const length = Math.min(BLOCK_BYTES - skip, data.length - i);
      let block = this.blocks.get(number);
      if (block === undefined) this.blocks.set(number, (block = new Uint8Array(BLOCK_BYTES)));
      block.set(data.subarray(i, i + length), skip);
      if (block.every((byte) => byte === 0)) this.blocks.delete(number);
      i += length;
    }
    this.size = Math.max(this.size, at + data.length);
  }

  clear(from: number, to: number): void {
    for (const [number, block] of this.blocks) {
      const start = Math.max(from - number * BLOCK_BYTES, 0);
      const end = Math.min(to - number * BLOCK_BYTES, BLOCK_BYTES);
      if (start >= end) continue;
      block.fill(0, start, end);
      if (block.every((byte) => byte === 0)) this.blocks.delete(number);
    }
  }

  killSetIds(): void {
    if (this.isDir) return;
    this.mode &= ~S_ISUID;
    if ((this.mode & S_IXGRP) !== 0) this.mode &= ~S_ISGID;
  }

  liesWithin(ancestor: ModelFile): boolean {
    return this === ancestor || (this.parent?.liesWithin(ancestor) ?? false);
  }
}

const NAMES = ['a', 'b', 'c', 'd', 'e', 'x'.repeat(255), 'f.txt', 'ö', 'g', 'h', 'i', 'j'];
const XATTRS = ['user.a', 'user.b', 'trusted.c', 'security.capability', 'security.selinux', `user.${'y'.repeat(250)}`];
const FAR = 2 ** 40;

export class FilesFuzz {
  private readonly root: ModelFile;
  private readonly files: ModelFile[] = [];
  private readonly change = newAttributeChange();
  private start = 0;
  private step = 0;
  private readonly layer: () => LayerIndex;
  private readonly chance: Random;
  private readonly log: string[] = [];

  /** Works below directory `root`, which is empty, in whatever layer `layer` says at the time. */
  constructor(layer: () => LayerIndex, root: Ino, chance: Random) {
    this.layer = layer;
    this.chance = chance;
    const found = stat(layer(), root);
    this.root = new ModelFile(found.mode, found.uid, found.gid);
    this.root.ino = root;
    this.root.names = 1;
    this.root.atime = [found.atime, found.atime];
    this.root.mtime = [found.mtime, found.mtime];
    this.root.ctime = [found.ctime, found.ctime];
    this.files.push(this.root);
  }

  /** Does something to both. */
  act(): void {
    const actions = [
      this.create,
      this.create,
      this.createSymlink,
      this.createTemporary,
      this.link,
      this.unlink,
      this.removeDirectory,
      this.rename,
      this.rename,
      this.write,
      this.write,
      this.write,
      this.read,
      this.truncate,
      this.allocate,
      this.seek,
      this.copy,
      this.setXattr,
      this.removeXattr,
      this.changeAttributes,
      this.forget,
      this.verifyOne,
    ];
    const action = this.chance.pick(actions);
    this.step++;
    this.start = nowMicroseconds();
    try {
      action.call(this);
    } catch (error) {
      if (error instanceof Error) error.message += `\nstep ${this.step} (${action.name}), before it:\n${this.log.slice(-12).join('\n')}`;
      throw error;
    }
  }

  private note(...words: unknown[]): void {
    this.log.push(
      `${this.step}: ${words.map((word) => (word instanceof ModelFile ? `#${word.ino}` : String(word).slice(0, 40))).join(' ')}`,
    );
    if (this.log.length > 100) this.log.splice(0, 50);
  }

  private now(): Moment {
    return [this.start, nowMicroseconds()];
  }

  private changed(...files: ModelFile[]): void {
    const now = this.now();
    for (const file of files) file.ctime = now;
  }

  private modified(...files: ModelFile[]): void {
    const now = this.now();
    for (const file of files) file.mtime = file.ctime = now;
  }

  // Choosing

  private name(): string {
    return this.chance.pick(NAMES);
  }

  private directory(): ModelFile {
    const directories = this.files.filter((file) => file.isDir);
    return oneIn(this.chance, 40) ? this.chance.pick(this.files) : this.chance.pick(directories);
  }

  private regular(): ModelFile | undefined {
    const files = this.files.filter((file) => file.isRegular);
    return files.length === 0 ? undefined : this.chance.pick(files);
  }

  private offset(file: ModelFile): number {
    switch (this.chance.below(8)) {
      case 0:
        return 0;
      case 1:
        return file.size;
      case 2:
        return this.chance.below(300) * BLOCK_BYTES;
      case 3:
        return FAR + this.chance.below(3 * BLOCK_BYTES);
      case 4:
        return Math.max(0, file.size - this.chance.below(5000));
      default:
        return this.chance.below(600_000);
    }
  }

  private size(): number {
    switch (this.chance.below(6)) {
      case 0:
        return this.chance.below(100);
      case 1:
        return BLOCK_BYTES * (1 + this.chance.below(70));
      case 2:
        return this.chance.below(300_000);
      default:
        return this.chance.below(3 * BLOCK_BYTES);
    }
  }

  private data(size: number): Uint8Array {
    const data = randomBytes(this.chance, Math.min(size, 700));
    const out = new Uint8Array(size);
    if (oneIn(this.chance, 6)) return out;
    for (let at = 0; at < size; at += data.length)
      if (!oneIn(this.chance, 12)) out.set(data.subarray(0, Math.min(data.length, size - at)), at);
    return out;
  }

  /** Why nothing can be made under a name. */
  private refusal(dir: ModelFile, name: string): number {
    if (dir.children.has(name)) return -EEXIST;
    if (!dir.isDir) return -ENOTDIR;
    return dir.names === 0 ? -ENOENT : 0;
  }

  private enter(dir: ModelFile, name: string, file: ModelFile): void {
    dir.children.set(name, file);
    if (file.isDir) file.parent = dir;
  }

  private adopt(file: ModelFile, ino: number): void {
    assert.ok(ino > 0, `a file was made (${ino})`);
    assert.ok(
      this.files.every((other) => other.ino < ino || other.ino !== ino),
      'inode numbers are new',
    );
    assert.equal(foundIno(), ino);
    file.ino = ino;
    file.atime = file.mtime = file.ctime = this.now();
    this.files.push(file);
    this.compare(file, foundStat());
  }

  // Acting

  private create(): void {
    const dir = this.directory();
    const name = this.name();
    const type = this.chance.pick([S_IFREG, S_IFREG, S_IFREG, S_IFDIR, S_IFDIR, S_IFCHR, S_IFIFO]);
    const mode = type | this.chance.below(0o10000);
    const umask = this.chance.pick([0, 0o022, 0o077]);
    const uid = this.chance.below(5);
    const gid = this.chance.below(5);
    const rdev = type === S_IFCHR ? this.chance.below(1000) : 0;
    const expected = this.refusal(dir, name);
    this.note('create', dir, name, mode.toString(8));
    const ino = make(this.layer(), dir.ino, name, mode, umask, uid, gid, rdev);
    if (expected < 0) return assert.equal(ino, expected);
    const sgid = (dir.mode & S_ISGID) !== 0;
    const file = new ModelFile((mode & ~umask) | (sgid && type === S_IFDIR ? S_ISGID : 0), uid, sgid ? dir.gid : gid);
    file.rdev = rdev;
    file.names = 1;
    this.enter(dir, name, file);
    this.adopt(file, ino);
    this.modified(dir);
  }

  private createSymlink(): void {
    const dir = this.directory();
    const name = this.name();
    const target = 't'.repeat(1 + this.chance.below(oneIn(this.chance, 3) ? 4095 : 60));
    const expected = this.refusal(dir, name);
    this.note('symlink', dir, name);
    const ino = makeSymlink(this.layer(), dir.ino, name, target);
    if (expected < 0) return assert.equal(ino, expected);
    const file = new ModelFile(S_IFLNK | 0o777, 0, (dir.mode & S_ISGID) === 0 ? 0 : dir.gid);
    file.target = target;
    file.size = target.length;
    file.names = 1;
    this.enter(dir, name, file);
    this.adopt(file, ino);
    this.modified(dir);
  }

  private createTemporary(): void {
    const dir = this.directory();
    const mode = S_IFREG | this.chance.below(0o1000);
    this.note('tmpfile', dir);
    const ino = createTemporary(this.layer(), dir.ino, mode, 0, 1, 2);
    if (!dir.isDir || dir.names === 0) return assert.equal(ino, dir.isDir ? -ENOENT : -ENOTDIR);
    this.adopt(new ModelFile(mode, 1, (dir.mode & S_ISGID) === 0 ? 2 : dir.gid), ino);
  }

  private link(): void {
    const file = this.chance.pick(this.files);
    if (file.isDir) return;
    const dir = this.directory();
    const name = this.name();
    const expected = this.refusal(dir, name);
    this.note('link', file, dir, name);
    const ino = linkTo(this.layer(), file.ino, dir.ino, name);
    if (expected < 0) return assert.equal(ino, expected);
    assert.equal(ino, file.ino);
    file.names++;
    this.enter(dir, name, file);
    this.modified(dir);
    this.changed(file);
    this.compare(file, foundStat());
  }

  private loseName(file: ModelFile): void {
    file.names--;
    if (file.isDir) file.parent = null;
    this.changed(file);
  }

  private unlink(): void {
    const dir = this.directory();
    const name = this.name();
    const file = dir.children.get(name);
    this.note('unlink', dir, name);
    const result = remove(this.layer(), dir.ino, name);
    if (file === undefined || file.isDir) return assert.equal(result, file !== undefined ? -EISDIR : dir.isDir ? -ENOENT : -ENOTDIR);
    assert.equal(result, 0);
    assert.equal(lastUnlinkedIno, file.ino);
    dir.children.delete(name);
    this.loseName(file);
    this.modified(dir);
  }

  private removeDirectory(): void {
    const dir = this.directory();
    const name = this.name();
    const file = dir.children.get(name);
    this.note('rmdir', dir, name);
    const result = removeDir(this.layer(), dir.ino, name);
    if (file === undefined) return assert.equal(result, dir.isDir ? -ENOENT : -ENOTDIR);
    if (!file.isDir) return assert.equal(result, -ENOTDIR);
    if (file.children.size > 0) return assert.equal(result, -ENOTEMPTY);
    assert.equal(result, 0);
    dir.children.delete(name);
    this.loseName(file);
    this.modified(dir);
  }

  private rename(): void {
    const dir = this.directory();
    const newDir = oneIn(this.chance, 3) ? dir : this.directory();
    const name = oneIn(this.chance, 3) && dir.children.size > 0 ? this.chance.pick([...dir.children.keys()]) : this.name();
    const newName = this.name();
    const flags = this.chance.pick([0, 0, 0, 1, 2, 2, 4, 5, 3, 8]);
    this.note('rename', dir, name, newDir, newName, flags);
    const expected = this.renameRefusal(dir, name, newDir, newName, flags);
    const result = move(this.layer(), dir.ino, name, newDir.ino, newName, flags);
    assert.equal(result, expected);
    const file = dir.children.get(name);
    const target = newDir.children.get(newName);
    if (expected < 0 || file === undefined || file === target) return;
    if (flags === 2) this.exchange(dir, name, file, newDir, newName, target!);
    else this.move(dir, name, file, newDir, newName, target, (flags & 4) !== 0);
  }

  private renameRefusal(dir: ModelFile, name: string, newDir: ModelFile, newName: string, flags: number): number {
    const isExchange = (flags & 2) !== 0;
    if (flags > 7 || (isExchange && flags !== 2)) return -EINVAL;
    const file = dir.children.get(name);
    if (file === undefined) return dir.isDir ? -ENOENT : -ENOTDIR;
    if (!newDir.isDir) return -ENOTDIR;
    if (newDir.names === 0) return -ENOENT;
    const target = newDir.children.get(newName);
    if (isExchange && target === undefined) return -ENOENT;
    if ((flags & 1) !== 0 && target !== undefined) return -EEXIST;
    if (file === target) return 0;
    if (file.isDir && newDir.liesWithin(file)) return -EINVAL;
    if (target === undefined) return 0;
    if (target.isDir && dir.liesWithin(target)) return isExchange ? -EINVAL : -ENOTEMPTY;
    if (isExchange) return 0;
    if (file.isDir !== target.isDir) return file.isDir ? -ENOTDIR : -EISDIR;
    return target.children.size > 0 ? -ENOTEMPTY : 0;
  }

  private move(
    dir: ModelFile,
    name: string,
    file: ModelFile,
    newDir: ModelFile,
    newName: string,
    target: ModelFile | undefined,
    leaves: boolean,
  ): void {
    dir.children.delete(name);
    if (target !== undefined) this.loseName(target);
    assert.equal(lastUnlinkedIno, target?.ino ?? 0);
    this.enter(newDir, newName, file);
    this.changed(file);
    if (leaves) {
      const whiteout = new ModelFile(S_IFCHR, 0, 0);
      whiteout.names = 1;
      this.enter(dir, name, whiteout);
      this.adopt2(whiteout, find(this.layer(), dir.ino, name));
    }
    this.modified(dir, newDir);
  }

  private adopt2(file: ModelFile, ino: number): void {
    this.adopt(file, ino);
  }

  private exchange(dir: ModelFile, name: string, file: ModelFile, newDir: ModelFile, newName: string, target: ModelFile): void {
    this.enter(dir, name, target);
    this.enter(newDir, newName, file);
    this.changed(file, target);
    this.modified(dir, newDir);
  }

  private write(): void {
    const file = this.regular();
    if (file === undefined) return;
    const offset = this.offset(file);
    const data = this.data(this.size());
    const kill = oneIn(this.chance, 3);
    this.note('write', file, offset, data.length, kill);
    assert.equal(put(this.layer(), file.ino, offset, data, kill ? 1 : 0), data.length);
    if (data.length === 0) return;
    file.set(offset, data);
    if (kill) file.killSetIds();
    file.xattrs.delete('security.capability');
    this.modified(file);
  }

  private read(): void {
    const file = this.regular();
    if (file === undefined) return;
    const offset = this.offset(file);
    const size = this.size();
    this.note('read', file, offset, size);
    assert.deepEqual(get(this.layer(), file.ino, offset, size), file.bytes(offset, size));
  }

  private truncate(): void {
    const file = oneIn(this.chance, 20) ? this.chance.pick(this.files) : this.regular();
    if (file === undefined) return;
    const size = this.offset(file);
    const kill = oneIn(this.chance, 3);
    this.note('truncate', file, size);
    this.change.size = size;
    const result = setAttributes(this.layer(), file.ino, SET_SIZE | (kill ? KILL_SET_IDS : 0), this.change);
    if (!file.isRegular) return assert.equal(result, file.isDir ? -EISDIR : -EINVAL);
    assert.equal(result, 0);
    file.clear(size, Infinity);
    file.size = size;
    if (kill) file.killSetIds();
    file.xattrs.delete('security.capability');
    this.modified(file);
    this.compare(file, foundStat());
  }

  private allocate(): void {
    const file = this.regular();
    if (file === undefined) return;
    const mode = this.chance.pick([0, 1, 3, 3, 16, 17]);
    const from = this.offset(file);
    // Without a mode the range must fit on the volume.
    const to = from + 1 + this.chance.below(mode < 2 ? 100_000 : 2_000_000);
    this.note('allocate', file, mode, from, to);
    assert.equal(allocate(this.layer(), file.ino, mode, from, to - from), 0);
    if (mode < 2) {
      if (mode === 0) file.size = Math.max(file.size, to);
      this.modified(file);
      return;
    }
    file.clear(from, to);
    if (mode === 16) file.size = Math.max(file.size, to);
    file.xattrs.delete('security.capability');
    this.modified(file);
  }

  private seek(): void {
    const file = this.regular();
    if (file === undefined) return;
    const offset = this.offset(file);
    const whence = this.chance.pick([SEEK_DATA, SEEK_HOLE]);
    this.note('seek', file, offset, whence);
    assert.equal(seekData(this.layer(), file.ino, offset, whence), this.sought(file, offset, whence));
  }

  private sought(file: ModelFile, offset: number, whence: number): number {
    if (offset >= file.size) return -ENXIO;
    let block = Math.floor(offset / BLOCK_BYTES);
    if (whence === SEEK_HOLE) {
      while (file.blocks.has(block)) block++;
      return Math.min(file.size, Math.max(offset, block * BLOCK_BYTES));
    }
    const later = [...file.blocks.keys()].filter((number) => number >= block);
    return later.length === 0 ? -ENXIO : Math.max(offset, Math.min(...later) * BLOCK_BYTES);
  }

  private copy(): void {
    const from = this.regular();
    const to = this.regular();
    if (from === undefined || to === undefined || from === to) return;
    const offset = this.offset(from);
    const toOffset = this.offset(to);
    const length = this.chance.below(1_000_000);
    this.note('copy', from, offset, to, toOffset, length);
    const copied = copyRange(this.layer(), from.ino, offset, this.layer(), to.ino, toOffset, length);
    assert.equal(copied, Math.max(0, Math.min(length, from.size - offset)));
    if (copied === 0) return;
    to.set(toOffset, from.bytes(offset, copied));
    to.xattrs.delete('security.capability');
    this.modified(to);
  }

  private setXattr(): void {
    const file = this.chance.pick(this.files);
    const name = this.chance.pick(XATTRS);
    const value = Buffer.from(randomBytes(this.chance, oneIn(this.chance, 8) ? this.chance.below(65_537) : this.chance.below(300)));
    const flags = this.chance.pick([0, 0, 1, 2]);
    this.note('setxattr', file, name, value.length, flags);
    const bytes = bytesOf(name);
    const result = setXattr(this.layer(), file.ino, bytes, 0, bytes.length, value, 0, value.length, flags, false);
    if (flags === 1 && file.xattrs.has(name)) return assert.equal(result, -EEXIST);
    if (flags === 2 && !file.xattrs.has(name)) return assert.equal(result, -ENODATA);
    assert.equal(result, 0);
    file.xattrs.set(name, value);
    this.changed(file);
  }

  private removeXattr(): void {
    const file = this.chance.pick(this.files);
    const name = this.chance.pick(XATTRS);
    this.note('removexattr', file, name);
    const bytes = bytesOf(name);
    assert.equal(
      removeXattr(this.layer(), file.ino, bytes, 0, bytes.length),
      file.xattrs.delete(name) ? (this.changed(file), 0) : -ENODATA,
    );
  }

  private changeAttributes(): void {
    const file = this.chance.pick(this.files);
    const valid = this.chance.below(8) | this.chance.pick([0, SET_ATIME, SET_MTIME, SET_MTIME_NOW]);
    const { change } = this;
    change.mode = this.chance.below(0o10000);
    change.uid = this.chance.below(70_000);
    change.gid = 0xffff_fff0;
    change.atimeLo = this.chance.next();
    change.atimeHi = this.chance.pick([0, 1, -1]);
    change.mtimeLo = this.chance.next();
    change.mtimeHi = 0;
    this.note('setattr', file, valid);
    assert.equal(setAttributes(this.layer(), file.ino, valid, change), 0);
    if ((valid & (SET_UID | SET_GID)) !== 0 || valid === 0) {
      file.killSetIds();
      file.xattrs.delete('security.capability');
    }
    if ((valid & SET_MODE) !== 0) file.mode = file.type | change.mode;
    if ((valid & SET_UID) !== 0) file.uid = change.uid;
    if ((valid & SET_GID) !== 0) file.gid = change.gid;
    if ((valid & SET_ATIME) !== 0)
      file.atime = [(change.atimeHi * 2 ** 32 + change.atimeLo) * 1e6, (change.atimeHi * 2 ** 32 + change.atimeLo) * 1e6];
    if ((valid & SET_MTIME) !== 0) file.mtime = [change.mtimeLo * 1e6, change.mtimeLo * 1e6];
    if ((valid & SET_MTIME_NOW) !== 0) file.mtime = this.now();
    this.changed(file);
    this.compare(file, foundStat());
  }

  /** What FORGET does: whatever has no name is freed. */
  private forget(): void {
    const file = this.chance.pick(this.files);
    this.note('forget', file);
    assert.equal(reapOrphan(this.layer(), file.ino), 0);
    if (file.names === 0) this.files.splice(this.files.indexOf(file), 1);
  }

  /** All orphans were freed, as at a mount. */
  forgetAll(): void {
    for (const file of this.files.filter((file) => file.names === 0)) this.files.splice(this.files.indexOf(file), 1);
  }

  // Comparing

  private verifyOne(): void {
    this.verify(this.chance.pick(this.files));
  }

  verifyAll(): void {
    for (const file of this.files) this.verify(file);
  }

  private verify(file: ModelFile): void {
    this.compare(file, stat(this.layer(), file.ino));
    this.compareXattrs(file);
    if (file.isDir) this.compareEntries(file);
    if (file.type === S_IFLNK) {
      const out = Buffer.alloc(4096);
      assert.equal(out.toString('latin1', 0, readLink(this.layer(), file.ino, out, 0)), file.target);
    }
    if (!file.isRegular) return;
    for (const block of file.blocks.keys()) {
      const from = Math.max(0, block * BLOCK_BYTES - 100);
      assert.deepEqual(get(this.layer(), file.ino, from, BLOCK_BYTES + 200), file.bytes(from, BLOCK_BYTES + 200));
    }
  }

  private compare(file: ModelFile, found: Stat): void {
    const { mode, uid, gid, rdev, links } = file;
    const size = file.isDir ? file.children.size * 32 : file.size;
    const seen = {
      mode: found.mode,
      uid: found.uid,
      gid: found.gid,
      rdev: found.rdev,
      links: found.links,
      size: found.size,
      blocks: found.blocks,
    };
    assert.deepEqual(seen, { mode, uid, gid, rdev, links, size, blocks: file.blocks.size });
    for (const time of ['atime', 'mtime', 'ctime'] as const) {
      const [from, to] = file[time];
      assert.ok(found[time] >= from && found[time] <= to, `${time} of #${file.ino}: ${from} <= ${found[time]} <= ${to}`);
    }
  }

  private compareXattrs(file: ModelFile): void {
    const layer = this.layer();
    const out = Buffer.alloc(70_000);
    const listed = listXattr(layer, file.ino, out, 0, out.length);
    assert.equal(listXattr(layer, file.ino, out, 0, 0), listed);
    const names = out.toString('latin1', 0, listed).split('\0').slice(0, -1);
    assert.deepEqual(names.toSorted(), [...file.xattrs.keys()].toSorted());
    for (const name of XATTRS) {
      const bytes = bytesOf(name);
      const length = getXattr(layer, file.ino, bytes, 0, bytes.length, out, 0, out.length);
      const value = file.xattrs.get(name);
      if (value === undefined) assert.equal(length, -ENODATA);
      else assert.ok(length === value.length && out.subarray(0, length).equals(value), `value of ${name}`);
    }
  }

  private compareEntries(dir: ModelFile): void {
    const entries = list(this.layer(), dir.ino);
    assert.deepEqual(entries.get('.')?.ino, dir.ino);
    if (dir.parent !== null) assert.equal(entries.get('..')?.ino, dir.parent.ino);
    entries.delete('.');
    entries.delete('..');
    assert.equal(entries.size, dir.children.size);
    for (const [name, child] of dir.children) {
      assert.deepEqual(entries.get(bytesOf(name).toString('latin1')), { ino: child.ino, kind: child.type >>> 12 });
      assert.equal(find(this.layer(), dir.ino, name), child.ino);
    }
  }
}
