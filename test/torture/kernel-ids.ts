/**
 * Backing ids as the kernel knows them. It shows them nowhere, but answers whether an id that is to be closed was there; so the
 * ids of a connection are counted by closing them. Ids are given out in order, which a new one makes use of: none is higher.
 */
import koffi from 'koffi';
import { closeSync, readdirSync } from 'node:fs';
import * as P from '../../src/fuse/protocol.js';
import { ioBuffer, ioctl } from '../../src/linux/libc.js';
import { createMemoryFile } from '../../src/linux/memory-file.js';
import { linkOf } from '../support/hang-report.js';

const PIDFD_OPEN = 434;
const PIDFD_GETFD = 438;
const syscall = koffi.load('libc.so.6').func('syscall', 'long', ['long', 'long', 'long', 'long']) as (
  number: number,
  a: number,
  b: number,
  c: number,
) => number;

const argument = ioBuffer(4096);
const words = new Uint32Array(argument.bytes.buffer, argument.bytes.byteOffset, P.BACKING_MAP_BYTES / 4);

/** Closes all backing ids of the connections that a process serves, and returns how many there were. Nobody may use them any more. */
export function closeKernelIds(pid: number): number {
  const pidfd = syscall(PIDFD_OPEN, pid, 0, 0);
  if (pidfd < 0) throw new Error(`pid ${pid} cannot be looked into`);
  let closed = 0;
  for (const name of readdirSync(`/proc/${pid}/fd`)) {
    if (linkOf(`/proc/${pid}/fd/${name}`) !== '/dev/fuse') continue;
    const device = syscall(PIDFD_GETFD, pidfd, Number(name), 0);
    if (device < 0) continue;
    closed += closeIdsOf(device);
    closeSync(device);
  }
  closeSync(pidfd);
  return closed;
}

/** A connection without passthrough has none. */
function closeIdsOf(device: number): number {
  const file = createMemoryFile('lcfs-test', 4096);
  words.fill(0);
  words[0] = file;
  const newest = ioctl(device, P.IOCTL_BACKING_OPEN, argument.address);
  closeSync(file);
  let closed = 0;
  for (let id = 1; id <= newest; id++) {
    words[0] = id;
    if (ioctl(device, P.IOCTL_BACKING_CLOSE, argument.address) === 0) closed++;
  }
  return Math.max(0, closed - 1);
}
