/**
 * The containers in which workloads run: of each peer one clone of an image's root, in which programs are started by chroot,
 * so that what they execute and map is the image's as well.
 *
 * As a container engine does, each is given the machine's /dev: storages may be mounted without device nodes.
 *
 * All repetitions of all workloads share the container; each removes what it made. A clone for each would cost the peers
 * that copy more time than everything that is measured.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Bench } from '../harness/bench.js';
import type { Clone, Peer } from '../harness/peer.js';
import type { PeerName } from '../harness/types.js';
import { run } from '../../scripts/lib/run.js';

/** What a program in a container finds in its environment. */
const ENVIRONMENT = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root', LC_ALL: 'C' };
const TIMEOUT_MS = 300_000;

const imported = new WeakMap<Peer, Set<string>>();

/** Unpacks the root of an image on a peer, unless it is there from an earlier part. */
export async function importOnce(peer: Peer, name: string, tar: string): Promise<void> {
  const names = imported.get(peer) ?? new Set();
  imported.set(peer, names);
  if (names.has(name)) return;
  await peer.importRoot(name, tar);
  names.add(name);
}

/** A clone with the machine's /dev in it, which goes before the clone does. */
async function cloneWithDevices(bench: Bench, peer: Peer, name: string): Promise<Clone> {
  const { path, remove } = await peer.clone(name);
  const devices = join(path, 'dev');
  mkdirSync(devices, { recursive: true });
  await run('mount', ['--bind', '/dev', devices]);
  const unmount = bench.undo.add(`mount of ${devices}`, () => run('umount', [devices]));
  return {
    path,
    remove: async () => {
      await unmount();
      await remove();
    },
  };
}

export class Containers {
  /** The peers that have one. */
  readonly peers: readonly PeerName[];
  readonly #clones: ReadonlyMap<Peer, Clone>;

  private constructor(peers: readonly PeerName[], clones: ReadonlyMap<Peer, Clone>) {
    this.peers = peers;
    this.#clones = clones;
  }

  /** Makes a container from the image's root on each of the peers; one that cannot is left out. */
  static async open(bench: Bench, peers: readonly PeerName[], name: string, tar: string): Promise<Containers> {
    const clones = new Map<Peer, Clone>();
    const good = await bench.prepare(peers, `a container of ${name}`, async (peer) => {
      await importOnce(peer, name, tar);
      clones.set(peer, await cloneWithDevices(bench, peer, name));
    });
    return new Containers(good, clones);
  }

  /** Folder of the container's root. */
  path(peer: Peer): string {
    return this.#clones.get(peer)!.path;
  }

  /** Removes a file or folder of the container, from outside: not every image has a program for it. */
  remove(peer: Peer, file: string): void {
    rmSync(join(this.path(peer), file), { recursive: true, force: true });
  }

  /** Runs a shell script in the container; throws if it fails. Returns what it printed. */
  sh(peer: Peer, script: string): Promise<string> {
    return run('chroot', [this.path(peer), '/bin/sh', '-ec', script], { env: ENVIRONMENT, timeoutMs: TIMEOUT_MS });
  }

  /** Runs the program of io-program.ts in the container. Returns milliseconds. */
  async io(peer: Peer, mode: string, file: string, bytes: number, block: number): Promise<number> {
    const args = [this.path(peer), '/usr/bin/io', mode, file, String(bytes), String(block)];
    return Number(await run('chroot', args, { timeoutMs: TIMEOUT_MS })) / 1e6;
  }

  /** Removes the containers. */
  async close(): Promise<void> {
    for (const clone of this.#clones.values()) await clone.remove();
  }
}
