/** System calls that node does not offer, for tests. They return what the kernel does: a result, or a negative error number. */
import { closeSync } from 'node:fs';
import { getSystemErrorName } from 'node:util';
import koffi from 'koffi';
import { EDQUOT } from '../../src/linux/errno.js';
import { errno } from '../../src/linux/libc.js';

const libc = koffi.load('libc.so.6');

type Argument = number | string | Uint8Array | null;

/** A libc function that returns -1 on failure. */
function call(name: string, ...types: string[]): (...args: Argument[]) => number {
  return checked('int', name, types);
}

/** The same for one that returns a length or an offset. */
function longCall(name: string, ...types: string[]): (...args: Argument[]) => number {
  return checked('long', name, types);
}

function checked(result: string, name: string, types: string[]): (...args: Argument[]) => number {
  const f = libc.func(name, result, types) as (...args: Argument[]) => number;
  return (...args) => {
    const result = f(...args);
    return result === -1 ? -errno() : result;
  };
}

const AT_FDCWD = -100;

const linkatCall = call('linkat', 'int', 'str', 'int', 'str', 'int');
const renameat2Call = call('renameat2', 'int', 'str', 'int', 'str', 'uint');
const fallocateCall = call('fallocate', 'int', 'int', 'long', 'long');
const lseekCall = longCall('lseek', 'int', 'long', 'int');
const copyCall = longCall('copy_file_range', 'int', 'void *', 'int', 'void *', 'size_t', 'uint');
const mknodCall = call('mknod', 'str', 'uint', 'uint64_t');
const flockCall = call('flock', 'int', 'int');
const fcntlCall = call('fcntl', 'int', 'int', 'void *');
const fcntlNumber = call('fcntl', 'int', 'int', 'long');
const setxattrCall = call('lsetxattr', 'str', 'str', 'void *', 'size_t', 'int');
const getxattrCall = longCall('lgetxattr', 'str', 'str', 'void *', 'size_t');
const listxattrCall = longCall('llistxattr', 'str', 'void *', 'size_t');
const removexattrCall = call('lremovexattr', 'str', 'str');
const statxCall = call('statx', 'int', 'str', 'int', 'uint', 'void *');
const utimensatCall = call('utimensat', 'int', 'str', 'void *', 'int');
const truncateCall = call('truncate', 'str', 'long');
const umountCall = call('umount2', 'str', 'int');
const mountCall = call('mount', 'str', 'str', 'str', 'ulong', 'str');
const setfsuidCall = libc.func('setfsuid', 'int', ['uint']) as (uid: number) => number;
const setfsgidCall = libc.func('setfsgid', 'int', ['uint']) as (gid: number) => number;
const setgroupsCall = libc.func('syscall', 'long', ['long', 'size_t', 'void *']) as (
  n: number,
  count: number,
  groups: Uint32Array,
) => number;
const getdentsCall = libc.func('syscall', 'long', ['long', 'int', 'void *', 'size_t']) as (
  n: number,
  fd: number,
  buffer: Uint8Array,
  bytes: number,
) => number;
const mmapCall = libc.func('mmap', 'uint64_t', ['uint64_t', 'size_t', 'int', 'int', 'int', 'long']) as (
  at: number,
  bytes: number,
  protection: number,
  flags: number,
  fd: number,
  offset: number,
) => number;
const mincoreCall = libc.func('mincore', 'int', ['uint64_t', 'size_t', 'void *']) as (
  at: number,
  bytes: number,
  pages: Uint8Array,
) => number;
const msync = libc.func('msync', 'int', ['uint64_t', 'size_t', 'int']) as (at: number, bytes: number, flags: number) => number;
const munmap = libc.func('munmap', 'int', ['uint64_t', 'size_t']) as (at: number, bytes: number) => number;

const SYS_SETGROUPS = process.arch === 'x64' ? 116 : 159;
const SYS_GETDENTS64 = process.arch === 'x64' ? 217 : 61;

export const RENAME_NOREPLACE = 1;
export const RENAME_EXCHANGE = 2;
export const RENAME_WHITEOUT = 4;
export const KEEP_SIZE = 1;
export const PUNCH_HOLE = 2;
export const ZERO_RANGE = 16;
export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;
export const O_TMPFILE = 0o20200000;

export const renameat2 = (from: string, to: string, flags: number): number => renameat2Call(AT_FDCWD, from, AT_FDCWD, to, flags);
export const fallocate = (fd: number, mode: number, offset: number, bytes: number): number => fallocateCall(fd, mode, offset, bytes);
export const lseek = (fd: number, offset: number, whence: number): number => lseekCall(fd, offset, whence);
export const flock = (fd: number, operation: number): number => flockCall(fd, operation);
export const mount = (source: string, target: string, flags: number): number => mountCall(source, target, null, flags, null);
export const truncate = (path: string, bytes: number): number => truncateCall(path, bytes);
/** fcntl(F_SETLEASE): type 0 read, 1 write, 2 none. */
export const setLease = (fd: number, type: number): number => fcntlNumber(fd, 1024, type);
export const umount = (path: string, flags = 0): number => umountCall(path, flags);

/** Gives a file opened with O_TMPFILE a name. */
export function linkDescriptor(fd: number, path: string): number {
  const AT_SYMLINK_FOLLOW = 0x400;
  return linkatCall(AT_FDCWD, `/proc/self/fd/${fd}`, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
}

/** `rdev` as major and minor. */
export function mknod(path: string, mode: number, major = 0, minor = 0): number {
  return mknodCall(path, mode, ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0);
}

export function copyFileRange(from: number, fromOffset: number, to: number, toOffset: number, bytes: number): number {
  const offset = (value: number): Uint8Array => new Uint8Array(BigInt64Array.of(BigInt(value)).buffer);
  return copyCall(from, offset(fromOffset), to, offset(toOffset), bytes, 0);
}

/** fcntl(F_OFD_SETLK) of the whole file; `type` 0 read, 1 write, 2 unlock. */
export function lockDescriptor(fd: number, type: number): number {
  const F_OFD_SETLK = 37;
  const lock = new Uint8Array(32);
  new Uint16Array(lock.buffer)[0] = type;
  return fcntlCall(fd, F_OFD_SETLK, lock);
}

export function setxattr(path: string, name: string, value: Uint8Array, flags = 0): number {
  return setxattrCall(path, name, value, value.length, flags);
}

export function getxattr(path: string, name: string): Buffer | number {
  const buffer = Buffer.alloc(65536);
  const result = getxattrCall(path, name, buffer, buffer.length);
  return result < 0 ? result : buffer.subarray(0, result);
}

export const getxattrInto = (path: string, name: string, bytes: number): number =>
  getxattrCall(path, name, Buffer.alloc(Math.max(bytes, 1)), bytes);

export function listxattr(path: string): string[] {
  const buffer = Buffer.alloc(65536);
  const result = listxattrCall(path, buffer, buffer.length);
  if (result < 0) throw new Error(`llistxattr of ${path}: error ${-result}`);
  return buffer.toString('utf8', 0, result).split('\0').slice(0, -1).toSorted();
}

/** The length of the list of names, or why it does not fit into `bytes` bytes. */
export const listxattrInto = (path: string, bytes: number): number => listxattrCall(path, Buffer.alloc(Math.max(bytes, 1)), bytes);

export const removexattr = (path: string, name: string): number => removexattrCall(path, name);

/** What statx is asked for: what stat(2) tells, or that and the time of birth. */
export const STATX_BASIC = 0x7ff;
export const STATX_ALL = 0xfff;

/** The raw struct statx, of a link itself. */
export function statx(path: string, mask = STATX_ALL): Buffer {
  const buffer = Buffer.alloc(256);
  const AT_SYMLINK_NOFOLLOW = 0x100;
  const result = statxCall(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, mask, buffer);
  if (result < 0) throw new Error(`statx of ${path}: error ${-result}`);
  return buffer;
}

export const UTIME_NOW = 2 ** 30 - 1;
export const UTIME_OMIT = 2 ** 30 - 2;

/** Sets both times: seconds and nanoseconds. */
export function utimensat(path: string, atime: readonly [number, number], mtime: readonly [number, number]): number {
  const times = BigInt64Array.from([...atime, ...mtime].map(BigInt));
  return utimensatCall(AT_FDCWD, path, new Uint8Array(times.buffer), 0x100);
}

/** Names that one getdents64 call returns; empty at the end. */
export function getdents(fd: number, bytes: number): string[] {
  const buffer = Buffer.alloc(bytes);
  const length = getdentsCall(SYS_GETDENTS64, fd, buffer, bytes);
  if (length < 0) throw new Error(`getdents64: error ${errno()}`);
  const names: string[] = [];
  for (let at = 0; at < length; at += buffer.readUInt16LE(at + 16)) {
    const end = buffer.indexOf(0, at + 19);
    names.push(buffer.toString('utf8', at + 19, end));
  }
  return names;
}

export interface Mapping {
  readonly bytes: Uint8Array;
  /** How many of its pages the page cache has. */
  cachedPages(): number;
  sync(): void;
  unmap(): void;
}

function cachedPages(address: number, bytes: number): number {
  const pages = new Uint8Array(Math.ceil(bytes / 4096));
  if (mincoreCall(address, bytes, pages) !== 0) throw new Error(`mincore: error ${errno()}`);
  return pages.reduce((sum, page) => sum + (page & 1), 0);
}

/** Maps `bytes` bytes of a file for reading and writing, or only for reading. */
export function mmap(fd: number, bytes: number, shared: boolean, readOnly = false): Mapping {
  const address = Number(mmapCall(0, bytes, readOnly ? 1 : 3, shared ? 1 : 2, fd, 0));
  if (address >= 2 ** 47) throw new Error(`mmap: error ${errno()}`);
  return {
    bytes: new Uint8Array(koffi.view(address, bytes)),
    cachedPages: () => cachedPages(address, bytes),
    sync: () => void msync(address, bytes, 4),
    unmap: () => void munmap(address, bytes),
  };
}

/** Runs with the file system identity of a user; the capabilities that override permissions go with uid 0. */
export function asUser<T>(uid: number, gid: number, groups: readonly number[], work: () => T): T {
  setgroupsCall(SYS_SETGROUPS, groups.length, Uint32Array.from(groups.length === 0 ? [0] : groups));
  setfsgidCall(gid);
  setfsuidCall(uid);
  try {
    return work();
  } finally {
    setfsuidCall(0);
    setfsgidCall(0);
    setgroupsCall(SYS_SETGROUPS, 0, Uint32Array.of(0));
  }
}

/** Name of an error number. */
export function errorName(number: number): string {
  return getSystemErrorName(-number);
}

/** The error code of what `work` throws; undefined if it does not. */
export function codeOf(work: () => unknown): string | undefined {
  try {
    const result = work();
    // An unexpected descriptor must not keep the file system busy.
    if (typeof result === 'number') closeSync(result);
    return undefined;
  } catch (error) {
    const { code, errno: number } = error as NodeJS.ErrnoException;
    // The one of our errors that node has no name for.
    return number === -EDQUOT ? 'EDQUOT' : code;
  }
}
