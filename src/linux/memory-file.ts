/** Memory that is a file (memfd): it outlives a process that uses it as long as somebody holds its descriptor. */
import koffi from 'koffi';
import { closeSync, ftruncateSync } from 'node:fs';
import { errno } from './libc.js';

const libc = koffi.load('libc.so.6');
const memfdCreate = libc.func('memfd_create', 'int', ['str', 'uint']) as (name: string, flags: number) => number;
const mmap = libc.func('mmap', 'uint64_t', ['uint64_t', 'size_t', 'int', 'int', 'int', 'long']) as (
  at: number,
  bytes: number,
  protection: number,
  flags: number,
  fd: number,
  offset: number,
) => number | bigint;

const munmap = libc.func('munmap', 'int', ['uint64_t', 'size_t']) as (at: number, bytes: number) => number;

const MFD_CLOEXEC = 1;
const PROT_READ_WRITE = 3;
const MAP_SHARED_FIXED = 0x11;
const MAP_SHARED_FIXED_NOREPLACE = 0x10_0001;

/** Makes a file of zeros in memory; returns its descriptor, which is not inherited unless it is handed on. Throws Error. */
export function createMemoryFile(name: string, bytes: number): number {
  const fd = memfdCreate(name, MFD_CLOEXEC);
  if (fd < 0) throw new Error(`memory of ${bytes} bytes cannot be made (errno ${errno()})`);
  try {
    ftruncateSync(fd, bytes);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/**
 * Puts bytes [offset, offset + bytes) of such a file in the place of the memory at `address`. All three are multiples of the
 * page size, and the memory belongs to the caller, who does not give it back before this process ends or unmaps it: what lies
 * within a SharedArrayBuffer is seen by every thread that has the buffer. Throws Error.
 */
export function mapMemoryFile(fd: number, offset: number, bytes: number, address: number): void {
  if (Number(mmap(address, bytes, PROT_READ_WRITE, MAP_SHARED_FIXED, fd, offset)) === address) return;
  throw new Error(`a memory file cannot be mapped (errno ${errno()})`);
}

/**
 * Maps such a file at `address`, where nothing may lie yet, so that addresses within it are the same in every process that does so.
 * Throws Error.
 */
export function mapMemoryFileAt(fd: number, bytes: number, address: number): void {
  if (Number(mmap(address, bytes, PROT_READ_WRITE, MAP_SHARED_FIXED_NOREPLACE, fd, 0)) === address) return;
  throw new Error(`a memory file cannot be mapped at 0x${address.toString(16)} (errno ${errno()})`);
}

/** Takes a mapping away. No thread may use a view of it any more. */
export function unmapMemoryFile(address: number, bytes: number): void {
  munmap(address, bytes);
}

/** A view of mapped memory for the calling thread. `Atomics.wait` does not work on it. */
export function viewMemory(address: number, bytes: number): ArrayBuffer {
  return koffi.view(address, bytes) as ArrayBuffer;
}
