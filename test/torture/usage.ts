/** What a volume and its daemon have in use, to be compared when everything was removed again. */
import { readFileSync, readdirSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Layer, Status } from '../../src/daemon/protocol.js';
import { onlineCpus } from '../../src/linux/affinity.js';
import type { LcfsDaemon } from '../../scripts/lib/lcfs.js';

export interface Usage {
  layers: number;
  /** Blocks of the volume. */
  blocks: number;
  /** Inodes of the layer that stays, those without a name included. */
  inodes: number;
  /** Openings that the daemon has a record of, and backing ids: used ones and those that are kept for the next opening. */
  openings: number;
  backings: number;
  /** Open descriptors of the process that serves and of the supervisor. */
  descriptors: number;
  supervisorDescriptors: number;
  /** Resident memory of both, in bytes. */
  memory: number;
  supervisorMemory: number;
  /** Inodes of FUSE that the kernel has, of all mounts of the machine. */
  kernelInodes: number;
}

/** The daemon looks twice a minute for openings whose end a kill took along. */
const PATIENCE_MS = 70_000;
/** The trees of the catalog and of the layer that stays may have a page more, as names hash elsewhere. */
const BLOCKS_MORE = 2;
/** Connections of the control socket that are just being closed, and a shell of each thread that serves (fuse/content-scout.ts). */
const DESCRIPTORS_MORE = 4 + 2 * onlineCpus().length;
/** Heaps of threads that have been at work, and what of the page cache was used for the first time. */
const MEMORY_MORE = 128 << 20;
/** The kernel counts what lies in pages that are partly used as used. */
const KERNEL_INODES_MORE = 512;

/** Measures once nothing is being given back any more. */
export async function usageOf(lcfs: LcfsDaemon): Promise<Usage> {
  for (const deadline = performance.now() + PATIENCE_MS; ; await delay(100)) {
    await lcfs.lcfs('flush', '--kernel');
    await lcfs.lcfs('commit');
    const { blocks, removing, pid, supervisor, files } = await lcfs.json<Status>('status');
    const isHeld = files.openings + files.backings + files.kept > 0;
    if ((removing > 0 || isHeld) && performance.now() < deadline) continue;
    const layers = await lcfs.json<Layer[]>('layer', 'ls');
    return {
      layers: layers.length,
      blocks: blocks.used,
      inodes: await inodesOf(join(lcfs.mountpoint, 'global')),
      openings: files.openings,
      backings: files.backings + files.kept,
      descriptors: descriptorsOf(pid),
      supervisorDescriptors: supervisor === null ? 0 : descriptorsOf(supervisor),
      memory: residentBytes(pid),
      supervisorMemory: supervisor === null ? 0 : residentBytes(supervisor),
      kernelInodes: fuseInodes(),
    };
  }
}

async function inodesOf(folder: string): Promise<number> {
  const { files, ffree } = await statfs(folder);
  return files - ffree;
}

function descriptorsOf(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** Resident memory of a process; 0 if it has ended. */
export function residentBytes(pid: number): number {
  try {
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

function fuseInodes(): number {
  const line = /^fuse_inode +(\d+)/m.exec(readFileSync('/proc/slabinfo', 'utf8'));
  return Number(line?.[1] ?? 0);
}

/** Mounts of FUSE on this machine: what the kernel has of others cannot be told from ours. */
export function fuseMounts(): string {
  return readdirSync('/sys/fs/fuse/connections').toSorted().join();
}

/** What there is more of than there was, in words; nothing if all was given back. `alone`: no other mounts came or went. */
export function leaks(before: Usage, after: Usage, alone: boolean): string {
  const found: string[] = [];
  const compare = (name: keyof Usage, more: number): void => {
    if (after[name] > before[name] + more) found.push(`${after[name]} ${name} instead of ${before[name]}`);
  };
  compare('layers', 0);
  compare('blocks', BLOCKS_MORE);
  compare('inodes', 0);
  compare('openings', 0);
  compare('backings', 0);
  compare('descriptors', DESCRIPTORS_MORE);
  compare('supervisorDescriptors', DESCRIPTORS_MORE);
  compare('memory', MEMORY_MORE);
  compare('supervisorMemory', MEMORY_MORE);
  if (alone) compare('kernelInodes', KERNEL_INODES_MORE);
  return found.join(', ');
}

/** Resident memory under load, taken just before a process is ended. */
export class MemoryTrail {
  readonly #samples: number[] = [];

  add(bytes: number): void {
    if (bytes > 0) this.#samples.push(bytes);
  }

  /** Medians of the first and of the last third; null if there is too little of either. */
  thirds(): { first: number; last: number } | null {
    const third = Math.floor(this.#samples.length / 3);
    return third < 3 ? null : { first: median(this.#samples.slice(0, third)), last: median(this.#samples.slice(-third)) };
  }

  /** In words, if there is more at the end than in the beginning. */
  growth(who: string): string {
    const thirds = this.thirds();
    if (thirds === null || thirds.last <= thirds.first * 1.2 + (8 << 20)) return '';
    return `${who} had ${thirds.first} bytes in the first third of the time, and ${thirds.last} in the last`;
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >>> 1]!;
}
