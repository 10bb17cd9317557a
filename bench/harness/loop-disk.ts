/**
 * A disk of one peer: a file on the disk of the machine behind loop devices, so that all peers go through the same block
 * layer and each one's I/O can be counted and throttled.
 *
 *     file system or LCFS  ->  upper loop device  ->  lower loop device  ->  file
 *
 * The block cgroup throttles what is handed to a device, before neighbouring pieces are joined into one request; a file
 * system that hands over pages one by one, as buffered writes to a block device do, would be charged for each of them,
 * which no disk does. So I/O is throttled and counted at the lower device: what comes there are the requests that the
 * upper one makes of it, as a disk sees them. The limit is set in the root group, where the kernel's own write-back and
 * everything outside containers belongs; `proveThrottle` counts whether it is kept.
 *
 * The file and the lower device are used past the page cache, or everything would be cached several times. The file is
 * filled before, so that no peer pays for blocks that the file system below has to find first; and discards are off, or they
 * would punch holes into it.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { run, tryRun } from '../../scripts/lib/run.js';
import type { Undo } from './undo.js';

/** I/Os a second of the slow disk, reads and writes each. */
export const SLOW_IOPS = 400;
const SECTOR_BYTES = 512;
const ATTEMPTS = 20;
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
  /** What is formatted and mounted, as in /dev/loop3. */
  readonly device: string;
  readonly #lower: string;
  readonly remove: () => Promise<void>;

  private constructor(device: string, lower: string, remove: () => Promise<void>) {
    this.device = device;
    this.#lower = lower;
    this.remove = remove;
  }

  /** @param filled whether the file's blocks are written first, which takes as long as the disk takes for them */
  static async create(file: string, bytes: number, filled: boolean, undo: Undo): Promise<LoopDisk> {
    const removeFile = undo.add(`file ${file}`, () => rmSync(file, { force: true }));
    await run('truncate', ['-s', String(bytes), file]);
    const mebibytes = String(Math.floor(bytes / 2 ** 20));
    if (filled) await run('dd', ['if=/dev/zero', `of=${file}`, 'bs=1M', `count=${mebibytes}`, 'oflag=direct', 'conv=notrunc,fsync']);
    const lower = await attach(file, undo);
    const upper = await attach(lower.device, undo);
    const disk = new LoopDisk(upper.device, lower.device, async () => {
      disk.throttle(0);
      await upper.detach();
      await lower.detach();
      await removeFile();
    });
    undo.add(`throttle of ${lower.device}`, () => disk.throttle(0));
    return disk;
  }

  /** Limits reads and writes to `iops` a second each; 0 lifts the limit. */
  throttle(iops: number): void {
    const number = readFileSync(sys(this.#lower, 'dev'), 'utf8').trim();
    if (!existsSync(`${V1}/blkio.throttle.write_iops_device`)) {
      if (iops === 0) return;
      throw new Error('the slow disk needs the block controller of cgroup version 1 (/sys/fs/cgroup/blkio), which is not mounted here');
    }
    for (const kind of ['read', 'write']) writeFileSync(`${V1}/blkio.throttle.${kind}_iops_device`, `${number} ${iops}`);
  }

  counters(): Counters {
    const fields = readFileSync(sys(this.#lower, 'stat'), 'utf8').trim().split(/\s+/).map(Number);
    return {
      reads: fields[0]!,
      bytesRead: fields[2]! * SECTOR_BYTES,
      writes: fields[4]!,
      bytesWritten: fields[6]! * SECTOR_BYTES,
      flushes: fields[15]!,
    };
  }
}

const sys = (device: string, name: string): string => join('/sys/block', basename(device), name);

/** Puts a loop device before a file or device. Another program may take the one that was found free, so it is tried again. */
async function attach(file: string, undo: Undo): Promise<{ device: string; detach: () => Promise<void> }> {
  for (let attempt = 1; ; attempt++) {
    const { status, stdout, stderr } = await tryRun('losetup', ['--find', '--show', '--direct-io=on', file]);
    if (status !== 0 && attempt === ATTEMPTS) throw new Error(`no loop device for ${file}: ${stderr.trim()}`);
    if (status !== 0) continue;
    const device = stdout.trim();
    writeFileSync(sys(device, 'queue/discard_max_bytes'), '0');
    return { device, detach: undo.add(`loop device ${device}`, () => run('losetup', ['-d', device])) };
  }
}

/** Drops what the kernel caches of all file systems. */
export async function dropKernelCaches(): Promise<void> {
  await tryRun('sync', []);
  writeFileSync('/proc/sys/vm/drop_caches', '3');
}
