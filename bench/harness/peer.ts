/**
 * A storage under test. It has a disk of its own and gives two things: a Docker Engine whose images, containers and all
 * other files lie on that disk, and, without Docker, the root of a container made from the root of an image.
 *
 *     const peer = await bench.peer('overlay2');
 *     await peer.importRoot('debian', '/path/debian.tar');
 *     const { path, remove } = await peer.clone('debian');      // a container's root, writable
 *     await (await peer.engine()).docker('run', …);
 */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { PrivateDocker } from '../../scripts/lib/docker.js';
import { unmountBelow } from '../../scripts/lib/mounts.js';
import { run } from '../../scripts/lib/run.js';
import { dropKernelCaches, type LoopDisk } from './loop-disk.js';
import type { PeerName } from './types.js';
import type { Undo } from './undo.js';

/** The root of a container. */
export interface Clone {
  path: string;
  /** Unmounts it and deletes what it wrote. */
  remove(): Promise<void>;
}

export interface PeerOptions {
  name: PeerName;
  disk: LoopDisk;
  /** Where mount points lie, on any disk. */
  folder: string;
  /** For sockets and state that a machine has in memory: a tmpfs with a short path. */
  runFolder: string;
  undo: Undo;
}

export abstract class Peer {
  readonly name: PeerName;
  readonly disk: LoopDisk;
  readonly mountpoint: string;
  protected readonly runFolder: string;
  protected readonly undo: Undo;
  #engine: PrivateDocker | undefined;
  #stopEngine: (() => Promise<void>) | undefined;
  #clones = 0;

  constructor({ name, disk, folder, runFolder, undo }: PeerOptions) {
    this.name = name;
    this.disk = disk;
    this.mountpoint = join(folder, 'mnt');
    this.runFolder = runFolder;
    this.undo = undo;
    for (const path of [folder, this.mountpoint, runFolder]) mkdirSync(path, { recursive: true });
  }

  /** Formats the disk and mounts it. */
  abstract start(): Promise<void>;
  /** A plain folder on the storage. */
  abstract get folder(): string;
  /** Name of the storage driver for `dockerd -s`. */
  protected abstract get driver(): string;
  /** Unpacks the root of an image (a tar, not compressed) under a name. */
  abstract importRoot(name: string, tar: string): Promise<void>;
  abstract removeRoot(name: string): Promise<void>;
  protected abstract makeClone(root: string, name: string): Promise<Clone>;

  /** A container's root, made from that of an image. */
  async clone(root: string): Promise<Clone> {
    const clone = await this.makeClone(root, `clone-${this.#clones++}`);
    const remove = this.undo.add(`${this.name}: ${clone.path}`, () => clone.remove());
    return { path: clone.path, remove };
  }

  /** The Docker Engine on this storage, which is started the first time. */
  async engine(): Promise<PrivateDocker> {
    if (this.#engine !== undefined) return this.#engine;
    const [dataRoot, containerdRoot] = [join(this.folder, 'docker'), join(this.folder, 'containerd')];
    const engine = new PrivateDocker({ directory: this.runFolder, driver: this.driver, dataRoot, containerdRoot });
    this.#stopEngine = this.undo.add(`Docker on ${this.name}`, async () => {
      await engine.stop();
      await unmountBelow(dataRoot);
    });
    await engine.start();
    return (this.#engine = engine);
  }

  get hasEngine(): boolean {
    return this.#engine !== undefined;
  }

  /** Processes of the engine; none before it is started. */
  get enginePids(): number[] {
    return this.#engine?.pids() ?? [];
  }

  /** Processes that serve the storage as long as it is there; none where the kernel does, or others for each container. */
  get pids(): number[] {
    return [];
  }

  /** Ends the engine; what it has stored stays for the next one. */
  async stopEngine(): Promise<void> {
    await this.#stopEngine?.();
    this.#engine = undefined;
    this.#stopEngine = undefined;
  }

  /** Returns when all that was written is durable on the disk, and no work is left over from what was removed. */
  async settle(): Promise<void> {
    await run('sync', ['-f', this.mountpoint]);
  }

  /** Drops all caches, so that the next read goes to the disk. What was written is durable afterwards. */
  async dropCaches(): Promise<void> {
    await this.settle();
    await dropKernelCaches();
  }

  /** Makes a folder on the storage for roots or clones. */
  protected place(kind: 'roots' | 'clones', name: string): string {
    const path = join(this.folder, kind, name);
    if (!existsSync(join(this.folder, kind))) mkdirSync(join(this.folder, kind));
    return path;
  }
}

/** Unpacks a tar as root, with all attributes, into a new folder. */
export async function untar(tar: string, folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  await run('tar', ['-C', folder, '--numeric-owner', '--xattrs', '--xattrs-include=*', '-xpf', tar]);
}
