/**
 * Looking at and into the kernel's cache of a file or block device: what is there can be read without waiting, and what has
 * been passed on can be let go.
 */
import koffi from 'koffi';
import { addressOf } from './libc.js';

const libc = koffi.load('libc.so.6');
/** The number is the same on all architectures. */
const SYS_CACHESTAT = 451;
const RWF_NOWAIT = 8;
const POSIX_FADV_DONTNEED = 4;

const preadv2 = libc.func('preadv2', 'long', ['int', 'uint64_t', 'int', 'long', 'int']) as (
  fd: number,
  iovecs: number,
  count: number,
  offset: number,
  flags: number,
) => number;
const cachestat = libc.func('syscall', 'long', ['long', 'uint', 'uint64_t', 'uint64_t', 'uint']) as (
  n: number,
  fd: number,
  range: number,
  result: number,
  flags: number,
) => number;
const fadvise = libc.func('posix_fadvise', 'int', ['int', 'long', 'long', 'int']) as (
  fd: number,
  offset: number,
  bytes: number,
  advice: number,
) => number;

// Memory for the calls, as words: struct iovec, then struct cachestat_range, then struct cachestat.
const memory = new Uint32Array(new SharedArrayBuffer(256));
const IOVEC = 0;
const RANGE = 4;
const RESULT = 8;
const CACHED = RESULT;
const DIRTY = RESULT + 2;
const WRITEBACK = RESULT + 4;
const at = addressOf(memory);

function put64(word: number, value: number): void {
  memory[word] = value % 2 ** 32;
  memory[word + 1] = Math.floor(value / 2 ** 32);
}

/** As pread, of what is in the kernel's cache: fewer bytes than asked for, or -1 with EAGAIN, where it would have to wait. */
export function preadNow(fd: number, address: number, bytes: number, offset: number): number {
  put64(IOVEC, address);
  put64(IOVEC + 2, bytes);
  return preadv2(fd, at + IOVEC * 4, 1, offset, RWF_NOWAIT);
}

/** Pages of the last range that was looked at which are not on the device yet. */
export let dirtyPages = 0;

/**
 * How many pages of a range are in the kernel's cache or on their way into it. Sets `dirtyPages`. -1 where the kernel does
 * not tell (before Linux 6.5).
 */
export function cachedPages(fd: number, offset: number, bytes: number): number {
  put64(RANGE, offset);
  put64(RANGE + 2, bytes);
  if (cachestat(SYS_CACHESTAT, fd, at + RANGE * 4, at + RESULT * 4, 0) !== 0) return -1;
  dirtyPages = memory[DIRTY]! + memory[WRITEBACK]!;
  return memory[CACHED]!;
}

/** Lets the kernel forget what its cache holds of a range, as far as it is on the device. */
export function dropPages(fd: number, offset: number, bytes: number): void {
  fadvise(fd, offset, bytes, POSIX_FADV_DONTNEED);
}
