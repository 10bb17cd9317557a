/**
 * The device: whole blocks in, whole blocks out. Everything else of the engine reaches the disk through these functions,
 * so the tests replace them to count, fail, drop or tear writes.
 */
import { BLOCK_BYTES, type BlockNumber } from '../layout/constants.js';
import { errno, fallocate, fdatasync, pread, pwrite } from '../linux/libc.js';
import { EINTR } from '../linux/errno.js';
import { BlockError } from './errors.js';

export interface Device {
  /** Reads `count` blocks to the machine address; returns bytes read or -1 with errno set. */
  read(address: number, bytes: number, offset: number): number;
  write(address: number, bytes: number, offset: number): number;
  flush(): number;
  /** Tells the device that blocks hold nothing any more. Failure is of no consequence. */
  discard(offset: number, bytes: number): void;
}

const KEEP_SIZE_PUNCH_HOLE = 3;

/** The device behind a file descriptor: a block device or a file. */
export function descriptorDevice(fd: number): Device {
  return {
    read: (address, bytes, offset) => pread(fd, address, bytes, offset),
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

/** Reads whole blocks to a machine address. Throws BlockError. */
export function readBlocks(block: BlockNumber, count: number, address: number): void {
  let done = 0;
  const bytes = count * BLOCK_BYTES;
  while (done < bytes) {
    const n = device.read(address + done, bytes - done, block * BLOCK_BYTES + done);
    if (n > 0) done += n;
    else if (n === 0) throw new BlockError(block, `block ${block} lies beyond the end of the device`);
    else if (errno() !== EINTR) throw new BlockError(block, `reading block ${block} failed (errno ${errno()})`);
  }
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
