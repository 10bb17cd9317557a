/**
 * The device: whole blocks in, whole blocks out. Everything else of the engine reaches the disk through these functions,
 * so the tests replace them to count, fail, drop or tear writes.
 *
 * Blocks are read through the kernel's cache of the device. Tree pages and small files come into it in runs: those of a layer
 * lie together, and a device takes about as long for a run as for a block. Contents of large sealed files pass it by, since
 * the file's own cache will hold them (planned-read.ts).
 */
import { BLOCK_BYTES, LOST_BLOCK, type BlockNumber } from '../layout/constants.js';
import { W } from '../layout/memory.js';
import { errno, fallocate, fdatasync, ioBuffer, pread, pwrite } from '../linux/libc.js';
import { EAGAIN, EINTR } from '../linux/errno.js';
import { cachedPages, dirtyPages, dropPages, preadNow } from '../linux/page-cache.js';
import { TOTAL_BLOCKS } from './arena.js';
import { defer, isDeferred, mayDefer, putAside } from './deferral.js';
import { BlockError } from './errors.js';

export interface Device {
  /** Reads `count` blocks to the machine address; returns bytes read or -1 with errno set. */
  read(address: number, bytes: number, offset: number): number;
  /** As `read`, but instead of waiting it returns less, or -1 with errno EAGAIN. A device without it is never waited for. */
  readNow?(address: number, bytes: number, offset: number): number;
  write(address: number, bytes: number, offset: number): number;
  flush(): number;
  /** Tells the device that blocks hold nothing any more. Failure is of no consequence. */
  discard(offset: number, bytes: number): void;
  /** Descriptor behind which the kernel caches the device; none if there is no such cache. */
  readonly fd?: number;
  /** Descriptor that passes the cache by; none where that is not possible. */
  readonly directFd?: number;
}

/** A deferred read asks for no more at a time, so that one buffer takes them all: 256 KiB, the longest extent. */
export const DEFERRED_BLOCKS_MAX = 64;

const KEEP_SIZE_PUNCH_HOLE = 3;

/** The device behind a file descriptor: a block device or a file. `directFd` is the same one opened with O_DIRECT, or -1. */
export function descriptorDevice(fd: number, directFd = -1): Device {
  return {
    fd,
    ...(directFd < 0 ? {} : { directFd }),
    read: (address, bytes, offset) => pread(fd, address, bytes, offset),
    readNow: (address, bytes, offset) => preadNow(fd, address, bytes, offset),
    write: (address, bytes, offset) => pwrite(fd, address, bytes, offset),
    flush: () => fdatasync(fd),
    // Linux implements hole punching on block devices as discard.
    discard: (offset, bytes) => void fallocate(fd, KEEP_SIZE_PUNCH_HOLE, offset, bytes),
  };
}

let device: Device = descriptorDevice(-1);

/** Replaces the device of this thread. */
export function useDevice(next: Device): void {
  device = next;
}

export function currentDevice(): Device {
  return device;
}

/** Reads whole blocks to a machine address. Throws BlockError, or `deferral` where this thread may not wait. */
export function readBlocks(block: BlockNumber, count: number, address: number): void {
  if (mayDefer() && readUnlessWaiting(block, count, address)) return;
  let done = 0;
  const bytes = count * BLOCK_BYTES;
  while (done < bytes) {
    const n = device.read(address + done, bytes - done, block * BLOCK_BYTES + done);
    if (n > 0) done += n;
    else if (n === 0) throw new BlockError(block, beyondEnd(block));
    else if (errno() !== EINTR) throw new BlockError(block, `reading block ${block} failed (errno ${errno()})`);
  }
}

function beyondEnd(block: BlockNumber): string {
  return block >= LOST_BLOCK ? 'this part of the file was found lost by a repair' : `block ${block} lies beyond the end of the device`;
}

/** Whether the blocks could be read. If they are not at hand, the request is deferred; false at any other failure. */
function readUnlessWaiting(block: BlockNumber, count: number, address: number): boolean {
  if (device.readNow === undefined) return false;
  const bytes = count * BLOCK_BYTES;
  const n = device.readNow(address, bytes, block * BLOCK_BYTES);
  if (n === bytes) return true;
  if (n === 0 || (n < 0 && errno() !== EAGAIN)) return false;
  const done = Math.floor(Math.max(n, 0) / BLOCK_BYTES);
  return defer(block + done, Math.min(count - done, DEFERRED_BLOCKS_MAX));
}

/** Reads blocks if they are at hand; false if not, or if they cannot be read. */
export function readBlocksNow(block: BlockNumber, count: number, address: number): boolean {
  return device.readNow?.(address, count * BLOCK_BYTES, block * BLOCK_BYTES) === count * BLOCK_BYTES;
}

const passage = ioBuffer(DEFERRED_BLOCKS_MAX * BLOCK_BYTES);

/**
 * Brings blocks, at most 32, into the kernel's cache, with all of the aligned runs of `around` blocks (32 at most) that they
 * lie in; unless they are there. What goes wrong is left to be found by whoever reads them. False if the request was put
 * aside, as this thread may not wait.
 */
export function bringNear(block: BlockNumber, count: number, around: number): boolean {
  if (device.fd === undefined) return true;
  const cached = cachedPages(device.fd, block * BLOCK_BYTES, count * BLOCK_BYTES);
  if (cached < 0 || cached === count) return true;
  const first = block - (block % around);
  const end = Math.ceil((block + count) / around) * around;
  const wanted = Math.max(Math.min(end, W[TOTAL_BLOCKS]!), block + count) - first;
  if (mayDefer()) putAside(first, wanted);
  else device.read(passage.address, wanted * BLOCK_BYTES, first * BLOCK_BYTES);
  return !isDeferred();
}

/**
 * Moves blocks out of the kernel's cache of the device to a machine address: as far as they are on the device, the cache
 * lets them go. False if they are not all there.
 */
export function takeFromCache(block: BlockNumber, count: number, address: number): boolean {
  if (device.fd === undefined) return false;
  const offset = block * BLOCK_BYTES;
  const bytes = count * BLOCK_BYTES;
  if (cachedPages(device.fd, offset, bytes) !== count) return false;
  const areClean = dirtyPages === 0;
  if (!readBlocksNow(block, count, address)) return false;
  if (areClean) dropPages(device.fd, offset, bytes);
  return true;
}

/** Reads blocks past the kernel's cache, where that is possible; false if they cannot be read. */
export function readBlocksDirect(block: BlockNumber, count: number, address: number): boolean {
  const bytes = count * BLOCK_BYTES;
  const offset = block * BLOCK_BYTES;
  const n = device.directFd === undefined ? device.read(address, bytes, offset) : pread(device.directFd, address, bytes, offset);
  return n === bytes;
}

/** Writes whole blocks from a machine address. Throws BlockError. */
export function writeBlocks(block: BlockNumber, count: number, address: number): void {
  let done = 0;
  const bytes = count * BLOCK_BYTES;
  while (done < bytes) {
    const n = device.write(address + done, bytes - done, block * BLOCK_BYTES + done);
    if (n > 0) done += n;
    else if (n === 0 || errno() !== EINTR) throw new BlockError(block, `writing block ${block} failed (errno ${n === 0 ? 0 : errno()})`);
  }
}

/** Returns when everything written is durable. Throws BlockError. */
export function flushDevice(): void {
  if (device.flush() !== 0) throw new BlockError(0, `flushing the device failed (errno ${errno()})`);
}

export function discardBlocks(block: BlockNumber, count: number): void {
  device.discard(block * BLOCK_BYTES, count * BLOCK_BYTES);
}
