/**
 * Symbolic links: the target lies in records (inode, SYMLINK, chunk number), VALUE_BYTES_MAX bytes in each but the last.
 * Its length is the size of the inode.
 */
import { SYMLINK, VALUE_BYTES_MAX, type Ino, type LayerIndex } from '../layout/constants.js';
import { B } from '../layout/memory.js';
import { inodeMode } from '../layout/records.js';
import { EINVAL, EIO, ESTALE } from '../linux/errno.js';
import { isSymlink } from '../linux/mode.js';
import { findInode, inodeSize } from './inode.js';
import { abandon, beginRead, end } from './operation.js';
import { find, insert, recordBytes, valueOf } from './tree.js';

/** Chunks of the longest target: ⌈4095 / 976⌉. */
export const SYMLINK_CHUNKS_MAX = 5;

/** Stores the target of a new link, inside an operation. */
export function storeTarget(ino: Ino, target: Uint8Array, at: number, length: number): void {
  for (let done = 0, chunk = 0; done < length; done += VALUE_BYTES_MAX, chunk++) {
    const bytes = Math.min(length - done, VALUE_BYTES_MAX);
    const value = valueOf(insert(ino, SYMLINK, 0, chunk, bytes)) * 4;
    for (let i = 0; i < bytes; i++) B[value + i] = target[at + done + i]!;
  }
}

/** Copies the target to `out` from `at` on (there is room for SYMLINK_BYTES_MAX bytes); returns its length, -ESTALE or -EINVAL. */
export function readLink(layer: LayerIndex, ino: Ino, out: Uint8Array, at: number): number {
  const slot = beginRead(layer);
  if (slot < 0) return slot;
  let result: number;
  try {
    result = loadTarget(ino, out, at);
  } catch (error) {
    return abandon(error);
  }
  return end(result);
}

function loadTarget(ino: Ino, out: Uint8Array, at: number): number {
  const inode = findInode(ino);
  if (inode === 0) return -ESTALE;
  if (!isSymlink(inodeMode(inode))) return -EINVAL;
  const length = inodeSize(inode);
  for (let done = 0, chunk = 0; done < length; done += VALUE_BYTES_MAX, chunk++) {
    const record = find(ino, SYMLINK, 0, chunk);
    const bytes = Math.min(length - done, VALUE_BYTES_MAX);
    if (record === 0 || recordBytes(record) !== bytes) return -EIO;
    const value = valueOf(record) * 4;
    for (let i = 0; i < bytes; i++) out[at + done + i] = B[value + i]!;
  }
  return length;
}
