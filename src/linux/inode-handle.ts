/** Opening inodes of a FUSE mount by their nodeids, in the way of name_to_handle_at(2), without a name. */
import koffi from 'koffi';
import { O_CLOEXEC, O_PATH } from './descriptors.js';
import { errno } from './libc.js';

const openByHandle = koffi.load('libc.so.6').func('open_by_handle_at', 'int', ['int', 'void *', 'int']) as (
  mount: number,
  handle: Uint32Array,
  flags: number,
) => number;

/** FILEID_INO64_GEN, as FUSE names inodes: high and low word of the nodeid, then the generation that LOOKUP told. */
const TYPE = 0x81;
const WORDS = 3;

// struct file_handle: bytes, type, and the handle.
const handle = new Uint32Array(2 + WORDS);

/**
 * Opens an inode with O_PATH: it can be named (/proc/self/fd), and nothing else. Nobody is asked for it, so a process that serves
 * the mount may do this: what the kernel does not have in memory is -ESTALE. `mount` is an open file of the mount; generations are 0.
 * Returns a descriptor or a negative error number.
 */
export function openNode(mount: number, high: number, low: number): number {
  handle.set([WORDS * 4, TYPE, high, low, 0]);
  const fd = openByHandle(mount, handle, O_PATH | O_CLOEXEC);
  return fd < 0 ? -errno() : fd;
}
