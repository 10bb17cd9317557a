/** Descriptors of /dev/fuse. */
import { closeSync, constants, openSync } from 'node:fs';
import koffi from 'koffi';
import { EISDIR } from '../linux/errno.js';
import { errno, fcntl } from '../linux/libc.js';
import { BACKING_MAP_BYTES, IOCTL_BACKING_OPEN, IOCTL_CLONE } from './protocol.js';

const PATH = '/dev/fuse';
const F_SETFL = 4;

const ioctl = koffi.load('libc.so.6').func('ioctl', 'int', ['int', 'ulong', 'void *']) as (
  fd: number,
  request: number,
  data: Uint32Array,
) => number;

/** Opens /dev/fuse; loads the kernel module if need be. */
export function openDevice(): number {
  return openSync(PATH, constants.O_RDWR);
}

/** Another descriptor of the connection of `device`, with a processing table of its own. Throws if the kernel refuses. */
export function cloneDevice(device: number): number {
  const fd = openDevice();
  if (ioctl(fd, IOCTL_CLONE, Uint32Array.of(device)) === 0) return fd;
  const error = errno();
  closeSync(fd);
  throw new Error(`cloning a descriptor of ${PATH} failed with error ${error}`);
}

/** The same, but reading from it never waits. */
export function cloneWithoutWaiting(device: number): number {
  const fd = cloneDevice(device);
  fcntl(fd, F_SETFL, constants.O_RDWR | constants.O_NONBLOCK);
  return fd;
}

export function closeDevice(fd: number): void {
  closeSync(fd);
}

/** Why the kernel gives no backing ids for this connection, as an error number; 0 if it does. `directory` is any descriptor of one. */
export function refusesBacking(device: number, directory: number): number {
  // A directory can't have one, which is all that the kernel must object to.
  const map = new Uint32Array(BACKING_MAP_BYTES / 4);
  map[0] = directory;
  return ioctl(device, IOCTL_BACKING_OPEN, map) < 0 && errno() === EISDIR ? 0 : errno();
}
