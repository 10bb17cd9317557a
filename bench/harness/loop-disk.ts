/**
 * A disk of one peer: a file on the disk of the machine behind a loop device, so that all peers go through the same block
 * layer and each one's I/O can be counted and throttled.
 *
 * The file is read and written past the page cache, or everything would be cached twice. It is filled before, so that no
 * peer pays for blocks that the file system below has to find first; and discards are off, or they would punch holes into it.
 *
 * Throttling is that of the block cgroup at the loop device's own queue, in the root group: what the kernel writes back
 * belongs to the root group as well, so all I/O is met, whoever causes it. `proveThrottle` counts whether that is so.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { run, tryRun } from '../../scripts/lib/run.js';
import type { Undo } from './undo.js';

/** I/Os a second of the slow disk, reads and writes each. */
export const SLOW_IOPS = 400;
const SECTOR_BYTES = 512;
const V1 = '/sys/fs/cgroup/blkio';

/** I/O of a device since it was made. */
export interface Counters {
  reads: number;
  bytesRead: number;
  writes: number;
  bytesWritten: number;
  flushes: number;
}

export class LoopDisk {
  /** As in /dev/loop3. */
  readonly device: string;
  readonly remove: () => Promise<void>;

  private constructor(device: string, remove: () => Promise<void>) {
    this.device = device;
    this.remove = remove;
  }

  /** @param filled whether the file's blocks are written first, which takes as long as the disk takes for them */
  static async create(file: string, bytes: number, filled: boolean, undo: Undo): Promise<LoopDisk> {
    const removeFile = undo.add(`file ${file}`, () => rmSync(file, { force: true }));
    await run('truncate', ['-s', String(bytes), file]);
    const mebibytes = String(Math.floor(bytes / 2 ** 20));
    if (filled) await run('dd', ['if=/dev/zero', `of=${file}`, 'bs=1M', `count=${mebibytes}`, 'oflag=direct', 'conv=notrunc,fsync']);
    const device = (await run('losetup', ['--find', '--show', '--direct-io=on', file])).trim();
    const detach = undo.add(`loop device ${device}`, () => run('losetup', ['-d', device]));
    const disk = new LoopDisk(device, async () => {
      disk.throttle(0);
      await detach();
      await removeFile();
    });
    undo.add(`throttle of ${device}`, () => disk.throttle(0));
    writeFileSync(disk.#sys('queue/discard_max_bytes'), '0');
    return disk;
  }

  #sys(name: string): string {
    return join('/sys/block', basename(this.device), name);
  }

  /** Limits reads and writes to `iops` a second each; 0 lifts the limit. */
  throttle(iops: number): void {
    const number = readFileSync(this.#sys('dev'), 'utf8').trim();
    if (!existsSync(`${V1}/blkio.throttle.write_iops_device`)) {
      if (iops === 0) return;
      throw new Error('the slow disk needs the block controller of cgroup version 1 (/sys/fs/cgroup/blkio), which is not mounted here');
    }
    for (const kind of ['read', 'write']) writeFileSync(`${V1}/blkio.throttle.${kind}_iops_device`, `${number} ${iops}`);
  }

  counters(): Counters {
    const fields = readFileSync(this.#sys('stat'), 'utf8').trim().split(/\s+/).map(Number);
    return {
      reads: fields[0]!,
      bytesRead: fields[2]! * SECTOR_BYTES,
      writes: fields[4]!,
      bytesWritten: fields[6]! * SECTOR_BYTES,
      flushes: fields[15]!,
    };
  }
}

/** What happened between two looks at the counters. */
export function difference(before: Counters, after: Counters): Counters {
  return {
    reads: after.reads - before.reads,
    bytesRead: after.bytesRead - before.bytesRead,
    writes: after.writes - before.writes,
    bytesWritten: after.bytesWritten - before.bytesWritten,
    flushes: after.flushes - before.flushes,
  };
}

/** Drops what the kernel caches of all file systems. */
export async function dropKernelCaches(): Promise<void> {
  await tryRun('sync', []);
  writeFileSync('/proc/sys/vm/drop_caches', '3');
}
