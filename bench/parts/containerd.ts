/**
 * LCFS as containerd's snapshotter and differ against the ones that containerd has, all in the same run.
 *
 *   snapshots   prepare, commit and remove with 10, 100 and 1,000 snapshots there; LCFS over its socket, containerd's own
 *               within the measuring process, which spares them a socket
 *   unpacking   layers that lie in the content store, applied by way of containerd's diff service: containerd of Debian's
 *               testing suite, which takes differs; until the call returns, and those with gzip also until all is on
 *               the disk
 *   pulling     from a registry on this machine, by ctr
 *
 * Pairs are measured in turn, several times; medians are compared. The volume of LCFS, and what containerd keeps by itself, lie on
 * new disks of their own: on an ext4 that is in use, most of an unpacking after a removal can be ext4's search for an inode that was
 * not deleted lately.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { NAMESPACE, PrivateContainerd } from '../../scripts/lib/containerd.js';
import { makeFolder } from '../../scripts/lib/folders.js';
import { goProgram } from '../../scripts/lib/go-program.js';
import { debianRoot } from '../../scripts/lib/images.js';
import { LcfsDaemon } from '../../scripts/lib/lcfs.js';
import { unmountBelow } from '../../scripts/lib/mounts.js';
import { type Compression, type Image, makeImage, packImage, pushImage } from '../../scripts/lib/oci.js';
import { needCommands } from '../../scripts/lib/packages.js';
import { run } from '../../scripts/lib/run.js';
import { shareFolder, Suite } from '../../scripts/lib/suites.js';
import { GrpcClient } from '../../src/drivers/containerd/client.js';
import { METHODS as DIFFS } from '../../src/drivers/containerd/diff-service.js';
import { METHODS as SNAPSHOTS } from '../../src/drivers/containerd/snapshots-service.js';
import { Registry } from '../../test/engines/registry.js';
import type { Bench } from '../harness/bench.js';
import { formatExt4 } from '../harness/kernel-peers.js';
import { LoopDisk } from '../harness/loop-disk.js';
import type { Part } from '../harness/types.js';

const SNAPSHOTTERS = ['lcfs', 'overlayfs'] as const;
type Snapshotter = (typeof SNAPSHOTTERS)[number];
const FILES = 10_000;
const FILES_PER_FOLDER = 100;

export const containerd: Part = {
  name: 'containerd',
  description: "LCFS as containerd's snapshotter and differ, beside containerd's own",
  disks: ['fast'],
  run: async (bench) => {
    const engine = new Engine(bench);
    const end = bench.undo.add('containerd', () => engine.end());
    try {
      await engine.start();
      await engine.measure();
    } finally {
      await end();
    }
  },
};

/** A containerd on LCFS, with its own snapshotters beside. */
class Engine {
  readonly #bench: Bench;
  readonly #folder = makeFolder('lcfs-b-');
  readonly #socket = this.#path('s.sock');
  readonly #address = this.#path('e/c/c.sock');
  #lcfs: LcfsDaemon | undefined;
  #suite: Suite | undefined;
  #containerd: PrivateContainerd | undefined;
  #registry: Registry | undefined;
  #client: GrpcClient | undefined;
  #keys = 0;

  #path(name: string): string {
    return join(this.#folder, name);
  }

  constructor(bench: Bench) {
    this.#bench = bench;
  }

  async start(): Promise<void> {
    await needCommands('docker-registry', 'zstd');
    await shareFolder(this.#folder);
    await this.#mountExt4();
    this.#lcfs = new LcfsDaemon({
      directory: this.#path('l'),
      driver: `lcfs-bench-${process.pid}-c`, // the peer LCFS may be there, too
      volume: (await this.#disk('volume')).device,
      args: ['--containerd', this.#socket, '--containerd-address', this.#address],
    });
    await this.#lcfs.start();
    this.#suite = await Suite.enter('forky', this.#folder);
    const lcfs = { socket: this.#socket, mountpoint: this.#lcfs.mountpoint };
    this.#containerd = new PrivateContainerd({ directory: this.#path('e/c'), place: this.#suite, lcfs });
    await this.#containerd.start();
    this.#registry = await Registry.start(this.#path('r'));
  }

  #disk(name: string): Promise<LoopDisk> {
    const { volumeBytes, quick, undo } = this.#bench.options;
    return LoopDisk.create(join(this.#bench.folder('containerd'), `${name}.img`), volumeBytes, !quick, undo);
  }

  /** For all that containerd keeps, its own snapshots among them. */
  async #mountExt4(): Promise<void> {
    const { device } = await this.#disk('ext4');
    await formatExt4(device);
    mkdirSync(this.#path('e'));
    await run('mount', [device, this.#path('e')]);
  }

  async end(): Promise<void> {
    this.#client?.close();
    await this.#registry?.stop();
    await this.#containerd?.end();
    await this.#suite?.leave();
    await this.#lcfs?.end();
    await unmountBelow(this.#folder);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async measure(): Promise<void> {
    await this.#snapshots();
    await this.#unpacking();
    await this.#pulling();
  }

  /** @param times in milliseconds */
  #add(metric: string, peer: string, times: readonly number[], x?: number): void {
    this.#bench.addRow({ metric, peer, unit: 'ms', better: 'lower', values: [...times], ...(x === undefined ? {} : { x }) });
  }

  #addBoth(metric: string, times: Times): void {
    for (const snapshotter of SNAPSHOTTERS) this.#add(metric, snapshotter, times[snapshotter]);
  }

  // Snapshots

  async #snapshots(): Promise<void> {
    const program = await goProgram('bench', 'bench/snapshots');
    const measured = new Map<string, Measured[]>();
    for (const name of ['lcfs', 'overlayfs', 'native']) {
      const root = this.#path(join('e', name));
      mkdirSync(root);
      measured.set(name, JSON.parse(await run(program, ['-snapshotter', name, '-address', this.#socket, '-root', root])) as Measured[]);
      await run('sync', []);
    }
    for (const call of ['Prepare', 'Commit', 'Remove'] as const) {
      for (const [at, { Snapshots }] of measured.get('lcfs')!.entries()) {
        for (const [name, results] of measured) this.#add(call.toLowerCase(), name, results[at]![call], Snapshots);
      }
    }
  }

  // Unpacking

  async #unpacking(): Promise<void> {
    this.#client = new GrpcClient(this.#address);
    this.#client.headers['containerd-namespace'] = NAMESPACE;
    const root = await debianRoot();
    const files = await this.#manyFiles();
    for (const compression of ['none', 'gzip', 'zstd'] as const) await this.#unpack(`unpack 200 MB, ${compression}`, root, compression);
    await this.#unpack(`unpack ${FILES.toLocaleString('en')} files, gzip`, files, 'gzip');
  }

  async #unpack(name: string, tar: string, compression: Compression): Promise<void> {
    const folder = this.#path(name.replaceAll(/\W/g, '-'));
    const image = await makeImage(folder, [{ tar, compression }]);
    await packImage(image, `docker.io/bench/${compression}:1`, `${folder}.tar`);
    await this.#containerd!.ctr('images', 'import', '--no-unpack', '--local', `${folder}.tar`);
    rmSync(`${folder}.tar`);
    this.#addBoth(name, await this.#alternate((snapshotter) => this.#apply(snapshotter, image, false)));
    if (compression !== 'gzip') return;
    const durable = await this.#alternate((snapshotter) => this.#apply(snapshotter, image, true));
    this.#addBoth(`${name}, until it is on the disk`, durable);
  }

  /** Applies the layer of an image to a new snapshot. Returns milliseconds. */
  async #apply(snapshotter: Snapshotter, image: Image, durable: boolean): Promise<number> {
    const client = this.#client!;
    const key = `bench-${this.#keys++}`;
    const name = `${key}-done`;
    const labels = { 'containerd.io/gc.root': 'bench' };
    const time = await timed(async () => {
      const { mounts } = await client.call(SNAPSHOTS.prepare, { snapshotter, key, parent: '', labels });
      await client.call(DIFFS.apply, { diff: image.manifest.layers[0]!, mounts, payloads: {}, syncFs: false });
      await client.call(SNAPSHOTS.commit, { snapshotter, name, key, labels, parent: '' });
      if (durable) await run('sync', []);
    });
    await client.call(SNAPSHOTS.remove, { snapshotter, key: name });
    await this.#containerd!.collectGarbage();
    return time;
  }

  async #manyFiles(): Promise<string> {
    const root = this.#path('files');
    for (let i = 0; i < FILES; i++) {
      const folder = join(root, `folder-${Math.floor(i / FILES_PER_FOLDER)}`);
      if (i % FILES_PER_FOLDER === 0) mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, `file-${i}`), `${i} `.repeat(100 + (i % 1000)));
    }
    await run('tar', ['-C', root, '--numeric-owner', '--sort=name', '-cf', `${root}.tar`, '.']);
    rmSync(root, { recursive: true });
    return `${root}.tar`;
  }

  // Pulling

  async #pulling(): Promise<void> {
    const host = `127.0.0.1:${this.#registry!.port}`;
    const image = await makeImage(this.#path('pulled'), [{ tar: await debianRoot(), compression: 'gzip' }]);
    await pushImage(image, host, 'debian', '1');
    const reference = `${host}/debian:1`;
    const containerd = this.#containerd!;
    // What was imported before has the same layer: pulled is only what is not there.
    for (const name of (await containerd.ctr('images', 'ls', '-q')).split('\n')) await containerd.ctr('images', 'rm', '--sync', name);
    const times = await this.#alternate(async (snapshotter) => {
      const time = await timed(() => containerd.ctr('images', 'pull', '--plain-http', '--snapshotter', snapshotter, reference));
      await containerd.ctr('images', 'rm', '--sync', reference);
      await containerd.collectGarbage();
      return time;
    });
    this.#addBoth('pull and unpack of 200 MB, gzip', times);
  }

  /** Does the work with both in turn; each starts as often as the other. One round goes before the first that counts. */
  async #alternate(once: (snapshotter: Snapshotter) => Promise<number>): Promise<Times> {
    const times: Times = { lcfs: [], overlayfs: [] };
    for (let round = 0; round <= this.#bench.runs; round++) {
      const order = round % 2 === 0 ? SNAPSHOTTERS : SNAPSHOTTERS.toReversed();
      for (const snapshotter of order) {
        await run('sync', []);
        const time = await once(snapshotter);
        if (round > 0) times[snapshotter].push(time);
      }
    }
    return times;
  }
}

/** What the program in Go prints for each number of snapshots: milliseconds of each call. */
interface Measured {
  Snapshots: number;
  Prepare: number[];
  Commit: number[];
  Remove: number[];
}

type Times = Record<Snapshotter, number[]>;

async function timed(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}
