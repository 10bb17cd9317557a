/**
 * A containerd for power cuts (engine-cuts.ts). Its work: images are imported and unpacked, containers run, and all of that
 * is removed again. Each snapshot of a layer that it lists must have the files that it had when all was well.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PrivateContainerd } from '../../scripts/lib/containerd.js';
import { busyboxRoot } from '../../scripts/lib/images.js';
import { chainIds, makeImage, packImage, type Compression } from '../../scripts/lib/oci.js';
import { needCommands } from '../../scripts/lib/packages.js';
import { run } from '../../scripts/lib/run.js';
import { makeTar } from '../engines/containerd-images.js';
import { differences, listTar } from '../engines/tar-list.js';
import { randomBytes } from '../support/files.js';
import type { Random } from '../support/volume.js';
import { engineCuts, type Engine, type Extent, type Site } from './engine-cuts.js';
import { randomOf, type Budget, type Figures } from './part.js';

const IMAGES = 5;
const SNAPSHOTTER = ['--snapshotter', 'lcfs'] as const;
const CONTAINERS_MAX = 5;
/** The root directory itself: when it was changed depends on when the layer was unpacked. */
const ROOT = /^$/;

interface KnownImage {
  readonly name: string;
  readonly archive: string;
  readonly chain: readonly string[];
}

class ContainerdUnderCuts implements Engine {
  readonly daemonArgs: readonly string[];
  readonly folders: readonly string[];
  readonly gcArgs = [];
  readonly #folder: string;
  /** What runc knows of containers: usually in memory, in one place for all containerds of the machine, and gone with the power. */
  readonly #runcRoot: string;
  readonly #containerd: PrivateContainerd;
  readonly #images: KnownImage[] = [];
  /** Files of each snapshot of an image's layer. */
  readonly #files = new Map<string, Map<string, string>>();
  #made = 0;

  constructor({ folder, mountpoint, place }: Site) {
    this.#folder = folder;
    this.#runcRoot = join(folder, 'runc');
    const socket = join(folder, 's.sock');
    const directory = join(folder, 'c');
    const root = place === 'on the volume' ? join(mountpoint, 'global/containerd') : join(directory, 'root');
    this.folders = place === 'on the volume' ? [] : [root];
    this.#containerd = new PrivateContainerd({ directory, root, lcfs: { socket, mountpoint } });
    this.daemonArgs = ['--containerd', socket, '--containerd-address', this.#containerd.address];
  }

  start(): Promise<void> {
    return this.#containerd.start();
  }

  stop(): Promise<void> {
    return this.#containerd.end();
  }

  async cutPower(): Promise<void> {
    await this.#containerd.cutPower();
    rmSync(this.#runcRoot, { recursive: true, force: true });
  }

  pids(): number[] {
    return [this.#containerd.pid];
  }

  log(): string {
    return this.#containerd.log();
  }

  #ctr(...args: string[]): Promise<string> {
    return this.#containerd.ctr(...args);
  }

  /** Makes images that share layers, unpacks them, notes what is in each layer, and removes all but the first. */
  async prepare(): Promise<void> {
    await needCommands('zstd', 'runc');
    const layers = join(this.#folder, 'layers');
    mkdirSync(layers, { recursive: true });
    const compressions: Compression[] = ['gzip', 'zstd', 'none'];
    const tars = [await busyboxRoot()];
    for (let i = 0; i < IMAGES; i++) {
      tars.push(await makeTar(layers, (at) => fillLayer(at, i)));
      const used = i % 2 === 0 ? tars : [tars[0]!, tars.at(-1)!];
      const image = await makeImage(
        join(this.#folder, `image${i}`),
        used.map((tar, index) => ({ tar, compression: compressions[index % 3]! })),
      );
      const known = { name: `docker.io/lcfs/image${i}:1`, archive: join(this.#folder, `image${i}.tar`), chain: chainIds(image.diffIds) };
      await packImage(image, known.name, known.archive);
      this.#images.push(known);
      await this.#import(known);
      for (const id of known.chain) if (!this.#files.has(id)) this.#files.set(id, await this.#filesOf(id));
    }
    for (const { name } of this.#images.slice(1)) await this.#ctr('images', 'rm', '--sync', name);
  }

  async #import({ archive }: KnownImage): Promise<void> {
    await this.#ctr('images', 'import', ...SNAPSHOTTER, archive);
  }

  async work(random: Random): Promise<void> {
    const image = random.pick(this.#images);
    const containers = await this.#containers();
    const id = `c${this.#made++}`;
    const fill = `dd if=/dev/urandom of=/data bs=1k count=${1 + random.below(1000)}; rm -f /etc/group; echo ${id} > /name; sleep 10000`;
    const kind = random.below(5);
    if (kind === 0) await this.#containerd.try('images', 'rm', '--sync', image.name);
    else if (containers.length > CONTAINERS_MAX || kind === 1)
      await this.#remove(containers.length === 0 ? 'none' : random.pick(containers));
    else if (kind < 4) await this.#containerd.try('images', 'import', ...SNAPSHOTTER, image.archive);
    else await this.#containerd.try('run', '-d', ...this.#runOptions(id), image.name, id, 'sh', '-c', fill);
  }

  #runOptions(id: string): string[] {
    return ['--cgroup', `/${this.#containerd.cgroup}/${id}`, '--runc-root', this.#runcRoot, ...SNAPSHOTTER];
  }

  async #containers(): Promise<string[]> {
    const { stdout } = await this.#containerd.try('containers', 'ls', '-q');
    return stdout.split('\n').filter((line) => line !== '');
  }

  async #remove(id: string): Promise<void> {
    await this.#containerd.try('tasks', 'kill', '--signal', 'SIGKILL', id);
    await this.#containerd.try('tasks', 'rm', '--force', id);
    await this.#containerd.try('containers', 'rm', id);
  }

  async verify(): Promise<number> {
    let bytes = 0;
    for (const key of await this.#committed()) bytes += await this.#verifySnapshot(key);
    for (const name of await this.#listed()) await this.#verifyImage(name);
    for (const id of await this.#containers()) await this.#verifyContainer(id);
    return bytes;
  }

  async #listed(): Promise<string[]> {
    return (await this.#ctr('images', 'ls', '-q')).split('\n').filter((name) => name !== '');
  }

  /** Snapshots of images' layers that containerd lists. */
  async #committed(): Promise<string[]> {
    const list = await this.#ctr('snapshots', ...SNAPSHOTTER, 'ls');
    const rows = list.split('\n').map((line) => line.trim().split(/\s+/));
    return rows.filter((columns) => columns.at(-1) === 'Committed').map((columns) => columns[0]!);
  }

  async #verifySnapshot(key: string): Promise<number> {
    const wanted = this.#files.get(key);
    if (wanted === undefined) throw new Error(`snapshot ${key} belongs to no image`);
    const found = differences(await this.#filesOf(key), wanted, ['found', 'wanted']);
    if (found.length > 0) throw new Error(`snapshot ${key}: ${found.slice(0, 10).join('\n')}`);
    return this.#packedBytes;
  }

  /** An image that is listed can be run, whatever of its layers has to be unpacked first. */
  async #verifyImage(name: string): Promise<void> {
    const id = `proof${this.#made++}`;
    await this.#ctr('run', '--rm', ...this.#runOptions(id), name, id, 'true');
  }

  async #verifyContainer(id: string): Promise<void> {
    await this.#containerd.try('tasks', 'rm', '--force', id);
    await this.#ctr('tasks', 'start', '-d', id);
  }

  #packedBytes = 0;

  async #filesOf(key: string): Promise<Map<string, string>> {
    const name = `files-${this.#made++}`;
    const target = join(this.#folder, name);
    mkdirSync(target);
    await this.#ctr('snapshots', ...SNAPSHOTTER, 'prepare', name, key);
    const mount = await this.#ctr('snapshots', ...SNAPSHOTTER, 'mounts', target, name);
    const pack = `tar -C ${target} --format=pax --numeric-owner --xattrs --xattrs-include='*' --sort=name -cf ${target}.tar .`;
    await run('sh', ['-ec', `export LIBMOUNT_FORCE_MOUNT2=always\n${mount}\n${pack} || status=$?\numount ${target}\nexit $status`]);
    await this.#ctr('snapshots', ...SNAPSHOTTER, 'rm', name);
    this.#packedBytes = Number((await run('stat', ['-c', '%s', `${target}.tar`])).trim());
    const files = listTar(`${target}.tar`, { times: true, ignore: ROOT });
    rmSync(`${target}.tar`);
    rmSync(target, { recursive: true });
    return files;
  }

  async removeAll(): Promise<void> {
    for (const id of await this.#containers()) await this.#remove(id);
    for (const name of await this.#listed()) await this.#ctr('images', 'rm', name);
    // Whoever was unpacking an image has a lease for what it made.
    const leases = (await this.#ctr('leases', 'ls', '-q')).split('\n').filter((id) => id !== '');
    for (const id of leases) await this.#ctr('leases', 'rm', '--sync', id);
    await this.#removeSnapshots();
    await this.#containerd.collectGarbage();
    const left = await this.#ctr('snapshots', ...SNAPSHOTTER, 'ls');
    if (left.trim().includes('\n')) throw new Error(`snapshots cannot be removed:\n${left}`);
  }

  /** Nothing: what containerd lists it also removes. */
  async remains(): Promise<string[]> {
    return [];
  }

  /** Snapshots of containers that were being made, and of layers that were being unpacked, have no other name. */
  async #removeSnapshots(): Promise<void> {
    for (let before = -1; ;) {
      const rows = (await this.#ctr('snapshots', ...SNAPSHOTTER, 'ls')).split('\n').slice(1);
      const keys = rows.map((line) => line.trim().split(/\s+/)[0]!).filter((key) => key !== '');
      if (keys.length === 0 || keys.length === before) return;
      before = keys.length;
      for (const key of keys) await this.#containerd.try('snapshots', ...SNAPSHOTTER, 'rm', key);
    }
  }
}

function fillLayer(at: (path: string) => string, number: number): void {
  mkdirSync(at('files'));
  for (let i = 0; i < 40; i++) writeFileSync(at(`files/${number}-${i}`), randomBytes(randomOf(number * 100 + i), 1000 * (i + 1)));
  writeFileSync(at(`files/.wh.${number - 1}-3`), '');
}

/** Cuts the power under containerds. */
export function containerdCuts(budget: Budget, extent?: Extent): Promise<Figures> {
  return engineCuts(budget, (site) => new ContainerdUnderCuts(site), extent);
}
