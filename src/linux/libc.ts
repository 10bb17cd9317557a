/**
 * System calls through the FFI library. Addresses are plain numbers (user space ends below 2^47), so no call on the hot
 * path makes an object. Functions return what the C function returns; after a failure `errno()` tells why.
 */
import koffi from 'koffi';

export { crc32 } from './crc32.js';

const libc = koffi.load('libc.so.6');
export const errno = (): number => koffi.errno();
/** For devices that are emulated: what `errno` answers next. */
export const setErrno = (value: number): void => void koffi.errno(value);

export const pread = libc.func('pread', 'long', ['int', 'uint64_t', 'size_t', 'long']) as (
  fd: number,
  address: number,
  bytes: number,
  offset: number,
) => number;
export const pwrite = libc.func('pwrite', 'long', ['int', 'uint64_t', 'size_t', 'long']) as typeof pread;
export const read = libc.func('read', 'long', ['int', 'uint64_t', 'size_t']) as (fd: number, address: number, bytes: number) => number;
export const write = libc.func('write', 'long', ['int', 'uint64_t', 'size_t']) as typeof read;
export const fdatasync = libc.func('fdatasync', 'int', ['int']) as (fd: number) => number;
export const fallocate = libc.func('fallocate', 'int', ['int', 'int', 'long', 'long']) as (
  fd: number,
  mode: number,
  offset: number,
  bytes: number,
) => number;
export const ioctl = libc.func('ioctl', 'int', ['int', 'ulong', 'uint64_t']) as (fd: number, request: number, address: number) => number;
export const fcntl = libc.func('fcntl', 'int', ['int', 'int', 'uint64_t']) as (fd: number, command: number, address: number) => number;
export const close = libc.func('close', 'int', ['int']) as (fd: number) => number;
/** Makes the number `to` another name of the open file `fd`; what it was before is closed. */
export const dup2 = libc.func('dup2', 'int', ['int', 'int']) as (fd: number, to: number) => number;
export const clockGettime = libc.func('clock_gettime', 'int', ['int', 'uint64_t']) as (clock: number, address: number) => number;
/** Ends the process at once, whatever its threads are waiting for. */
export const exitNow = libc.func('_exit', 'void', ['int']) as (status: number) => void;

const memcpy = libc.func('memcpy', 'uint64_t', ['void *', 'void *', 'size_t']) as (
  to: ArrayBufferView,
  from: ArrayBufferView,
  bytes: number,
) => number | bigint;

/** Address of the first byte of a view. The memory of a (Shared)ArrayBuffer never moves; keep the buffer alive. */
export function addressOf(view: ArrayBufferView): number {
  return Number(memcpy(view, view, 0));
}

/** A request's payload: memory that both JavaScript and system calls reach. */
export interface IoBuffer {
  readonly bytes: Uint8Array;
  /** Address of `bytes[0]`, a multiple of 4096. */
  readonly address: number;
}

/** Buffers of this thread. Callers may keep nothing but the address, which the garbage collector does not see. */
const buffers: Uint8Array[] = [];

/** Allocates a page-aligned buffer, which lives as long as the thread. */
export function ioBuffer(bytes: number): IoBuffer {
  const memory = new Uint8Array(new SharedArrayBuffer(bytes + 4096));
  buffers.push(memory);
  const skip = (4096 - (addressOf(memory) % 4096)) % 4096;
  return { bytes: memory.subarray(skip, skip + bytes), address: addressOf(memory) + skip };
}
