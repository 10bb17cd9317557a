/**
 * Counts what a throttled loop device really does, for the three ways in which I/O gets there: reads and writes that wait for
 * the device (as databases and LCFS have them) and what the kernel writes back later in threads of its own.
 */
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../scripts/lib/run.js';
import { LoopDisk, SLOW_IOPS } from './loop-disk.js';
import type { ThrottleProof } from './types.js';
import type { Undo } from './undo.js';

const OPERATIONS = 1200;
const BLOCK_BYTES = 4096;
const DISK_BYTES = 64 * 2 ** 20;

export async function proveThrottle(folder: string, undo: Undo): Promise<ThrottleProof> {
  const disk = await LoopDisk.create(join(folder, 'throttled.img'), DISK_BYTES, true, undo);
  try {
    disk.throttle(SLOW_IOPS);
    const counted = [`bs=${BLOCK_BYTES}`, `count=${OPERATIONS}`];
    const reads = await perSecond(disk, () => run('dd', [`if=${disk.device}`, 'of=/dev/null', 'iflag=direct', ...counted]));
    const writes = await perSecond(disk, () => run('dd', ['if=/dev/zero', `of=${disk.device}`, 'oflag=direct', ...counted]));
    const buffered = await perSecond(disk, () => writeBuffered(disk.device));
    return { limit: SLOW_IOPS, directReads: reads, directWrites: writes, bufferedWrites: buffered };
  } finally {
    await disk.remove();
  }
}

/** Every second block, so that no two can be joined into one I/O. */
async function writeBuffered(device: string): Promise<void> {
  const block = Buffer.alloc(BLOCK_BYTES, 0x6c);
  const fd = openSync(device, 'r+');
  try {
    for (let i = 0; i < OPERATIONS; i++) writeSync(fd, block, 0, BLOCK_BYTES, i * 2 * BLOCK_BYTES);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

async function perSecond(disk: LoopDisk, work: () => Promise<unknown>): Promise<number> {
  const before = disk.counters();
  const started = performance.now();
  await work();
  const seconds = (performance.now() - started) / 1000;
  const after = disk.counters();
  return Math.round((after.reads + after.writes - before.reads - before.writes) / seconds);
}
