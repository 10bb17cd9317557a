/** What a volume and its daemon have in use, to be compared when everything was removed again. */
import { readFileSync, readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Layer, Status } from '../../src/daemon/protocol.js';
import type { LcfsDaemon } from '../../scripts/lib/lcfs.js';

export interface Usage {
  layers: number;
  /** Blocks of the volume. */
  blocks: number;
  /** Open descriptors of the process that serves. */
  descriptors: number;
  /** Resident memory of it, in bytes. */
  memory: number;
  /** Inodes of FUSE that the kernel has, of all mounts of the machine. For the log: others may have some, too. */
  inodes: number;
}

const PATIENCE_MS = 30_000;
/** The catalog may have a page more, and a window of it: names of layers hash elsewhere. */
const BLOCKS_MORE = 64;
/** Connections of the control socket that are just being closed. */
const DESCRIPTORS_MORE = 4;
/** Heaps of threads that have been at work, and what of the page cache was used for the first time. */
const MEMORY_MORE = 128 << 20;

/** Measures once nothing is being given back any more. */
export async function usageOf(lcfs: LcfsDaemon): Promise<Usage> {
  for (const deadline = performance.now() + PATIENCE_MS; ; await delay(100)) {
    await lcfs.lcfs('flush', '--kernel');
    await lcfs.lcfs('commit');
    const { blocks, removing, pid, memoryBytes } = await lcfs.json<Status>('status');
    if (removing > 0 && performance.now() < deadline) continue;
    const layers = await lcfs.json<Layer[]>('layer', 'ls');
    const descriptors = readdirSync(`/proc/${pid}/fd`).length;
    return { layers: layers.length, blocks: blocks.used, descriptors, memory: memoryBytes, inodes: fuseInodes() };
  }
}

function fuseInodes(): number {
  const line = /^fuse_inode +(\d+)/m.exec(readFileSync('/proc/slabinfo', 'utf8'));
  return Number(line?.[1] ?? 0);
}

/** What there is more of than there was, in words; nothing if all was given back. */
export function leaks(before: Usage, after: Usage): string {
  const found: string[] = [];
  const compare = (name: keyof Usage, more: number): void => {
    if (after[name] > before[name] + more) found.push(`${after[name]} ${name} instead of ${before[name]}`);
  };
  compare('layers', 0);
  compare('blocks', BLOCKS_MORE);
  compare('descriptors', DESCRIPTORS_MORE);
  compare('memory', MEMORY_MORE);
  return found.join(', ');
}
