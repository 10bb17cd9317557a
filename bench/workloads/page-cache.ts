/**
 * Memory that containers cost which all read the same 500 MiB of their image: the page cache, and the processes that serve
 * the storage.
 *
 * The page cache is what /proc/meminfo says of file and block device pages, without shared memory, after all of it was
 * dropped before. Of a process only memory of its own counts (RssAnon and RssShmem): its program lies in the page cache.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../scripts/lib/run.js';
import type { Bench } from '../harness/bench.js';
import { LcfsPeer } from '../harness/lcfs-peer.js';
import type { Clone, Peer } from '../harness/peer.js';
import { type Part, type PeerName } from '../harness/types.js';
import { importOnce } from './containers.js';
import { DATA_FILE, dataRoot } from './roots.js';

const MIB = 2 ** 20;
const READ_BYTES = 500 * MIB;
const BLOCK_BYTES = 128 * 1024;

interface Step {
  containers: number;
  peers: readonly PeerName[];
}

/** Peers that have a copy of the data for each container, in memory or even on the disk, run out of it soon. */
const STEPS: readonly Step[] = [
  { containers: 1, peers: ['lcfs', 'overlay2', 'btrfs', 'fuse-overlayfs', 'vfs'] },
  { containers: 10, peers: ['lcfs', 'overlay2', 'btrfs', 'fuse-overlayfs'] },
  { containers: 100, peers: ['lcfs', 'overlay2', 'fuse-overlayfs'] },
];

export const pageCache: Part = {
  name: 'page-cache',
  description: 'memory for 1, 10 and 100 containers that read the same 500 MiB',
  disks: ['fast'],
  run: async (bench) => {
    const tar = await dataRoot();
    for (const { containers, peers } of STEPS) await measure(bench, containers, peers, tar);
  },
};

async function measure(bench: Bench, containers: number, peers: readonly PeerName[], tar: string): Promise<void> {
  let clones: Clone[] = [];
  const served = new Map<PeerName, number[]>(peers.map((name) => [name, []]));
  await bench.compare({
    metric: 'page cache of containers that read the same 500 MiB',
    unit: 'MiB',
    x: containers,
    peers,
    warmUp: false,
    cold: true,
    prepare: async (peer) => {
      await importOnce(peer, 'data', tar);
      for (let i = 0; i < containers; i++) clones.push(await peer.clone('data'));
    },
    work: async (peer) => {
      const before = pageCacheBytes();
      for (const { path } of clones) await run('chroot', [path, '/usr/bin/io', 'read', DATA_FILE, String(READ_BYTES), String(BLOCK_BYTES)]);
      served.get(peer.name)!.push(servingBytes(peer) / MIB);
      return (pageCacheBytes() - before) / MIB;
    },
    after: async () => {
      for (const clone of clones) await clone.remove();
      clones = [];
    },
  });
  for (const peer of ['lcfs', 'fuse-overlayfs'] as const) {
    const values = served.get(peer) ?? [];
    bench.addRow({ metric: 'memory of what serves these containers', peer, unit: 'MiB', better: 'lower', x: containers, values });
  }
}

function pageCacheBytes(): number {
  const text = readFileSync('/proc/meminfo', 'utf8');
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)![1]) * 1024;
  return field('Cached') + field('Buffers') - field('Shmem');
}

/** Memory of the daemon of LCFS, or of all processes of fuse-overlayfs that serve mounts of this peer. */
function servingBytes(peer: Peer): number {
  const pids = peer instanceof LcfsPeer ? peer.pids : processesServing(peer.mountpoint);
  return pids.reduce((sum, pid) => sum + ownBytes(pid), 0);
}

function processesServing(mountpoint: string): number[] {
  const pids = readdirSync('/proc').map(Number).filter(Number.isInteger);
  return pids.filter((pid) => {
    const words = readOrEmpty(`/proc/${pid}/cmdline`).split('\0');
    return words[0]!.endsWith('fuse-overlayfs') && words.some((word) => word.includes(join(mountpoint, '/')));
  });
}

function ownBytes(pid: number): number {
  const status = readOrEmpty(`/proc/${pid}/status`);
  const fields = [...status.matchAll(/^Rss(?:Anon|Shmem):\s+(\d+)/gm)];
  return fields.reduce((sum, field) => sum + Number(field[1]) * 1024, 0);
}

/** A process may end between being listed and being looked at. */
function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
