/**
 * LCFS and a containerd on it, with a registry and images beside them, in one temporary folder that both see at the same
 * path. The containerd is the machine's own or, private like everything else, that of a newer suite of Debian.
 */
import assert from 'node:assert/strict';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from '../../src/cli/client.js';
import type { Layer, Status } from '../../src/daemon/protocol.js';
import { NAMESPACE, PrivateContainerd } from '../../scripts/lib/containerd.js';
import { makeFolder } from '../../scripts/lib/folders.js';
import { goProgram } from '../../scripts/lib/go-program.js';
import { LcfsDaemon } from '../../scripts/lib/lcfs.js';
import { PATIENCE_MS, waitUntil } from '../../scripts/lib/limits.js';
import { unmountBelow } from '../../scripts/lib/mounts.js';
import { chainIds, type Image } from '../../scripts/lib/oci.js';
import { needCommands } from '../../scripts/lib/packages.js';
import { run } from '../../scripts/lib/run.js';
import { HOST, type Place, shareFolder, Suite, type SuiteName } from '../../scripts/lib/suites.js';
import { makeTestImages, type TestImages } from './containerd-images.js';
import { CountingRegistry } from './counting-registry.js';
import { assertSame } from './harness.js';
import { listTar } from './tar-list.js';

/** The root directory itself: when it was changed depends on when the layer was unpacked. */
const ROOT = /^$/;

export class Stack {
  readonly folder = makeFolder('lcfs-c-');
  readonly socket = this.path('s.sock');
  readonly registry = new CountingRegistry();
  readonly lcfs: LcfsDaemon;
  place: Place = HOST;
  containerd!: PrivateContainerd;
  images!: TestImages;
  #suite: Suite | undefined;
  #mounts = 0;

  constructor() {
    const address = this.path('c/c.sock');
    const args = ['--containerd', this.socket, '--containerd-address', address];
    this.lcfs = new LcfsDaemon({ directory: this.path('l'), driver: `lcfs-test-${process.pid}`, size: '20G', args });
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Starts everything; the containerd of the machine itself unless a suite is named. */
  async start(suite?: SuiteName): Promise<void> {
    await shareFolder(this.folder);
    await this.lcfs.start();
    if (suite === undefined) await needCommands('containerd', 'runc');
    else this.place = this.#suite = await Suite.enter(suite, this.folder);
    const { socket, place } = this;
    const { mountpoint } = this.lcfs;
    this.containerd = new PrivateContainerd({ directory: this.path('c'), place, lcfs: { socket, mountpoint } });
    await Promise.all([this.registry.start(), this.containerd.start()]);
    this.images = await makeTestImages(this.path('i'));
  }

  /** Ends everything in whatever state it is, also if something of it cannot be ended. Throws then. */
  async stop(): Promise<void> {
    this.registry.stop();
    const ended = [];
    for (const end of [() => this.containerd?.end(), () => this.#suite?.leave(), () => this.lcfs.end()])
      ended.push(...(await Promise.allSettled([end()])));
    await unmountBelow(this.folder);
    rmSync(this.folder, { recursive: true, force: true });
    rmSync(this.lcfs.socket, { force: true });
    for (const end of ended) if (end.status === 'rejected') throw end.reason;
  }

  /**
   * After a failure: ends everything, whatever it hangs in, and begins anew with nothing but the images that the registry has. What the
   * volume held is checked before it goes.
   */
  async startAfresh(): Promise<void> {
    this.registry.letGo();
    await this.containerd.end();
    await this.lcfs.end();
    const check = await this.lcfs.check();
    if (check.status !== 0) console.error(`the volume that a failure left:\n${check.stdout}${check.stderr}`);
    await unmountBelow(this.path('c'));
    for (const name of ['c/root', 'c/state']) rmSync(this.path(name), { recursive: true, force: true });
    rmSync(this.lcfs.volume);
    this.containerd.servesKubernetes = false;
    await this.lcfs.start();
    await this.containerd.start();
  }

  /** Ends containerd and LCFS in order, and proves the volume. */
  async stopAndCheck(): Promise<void> {
    await this.containerd.end();
    await this.#suite?.leave();
    await this.lcfs.stop();
    const check = await this.lcfs.check();
    assert.equal(check.status, 0, check.stdout + check.stderr);
  }

  /** Starts LCFS again and waits until containerd has found it. */
  async startLcfs(): Promise<void> {
    await this.lcfs.start();
    await this.meetLcfs();
  }

  /**
   * Waits until containerd has found LCFS again: a connection that is not answered within a second it gives up, and what it is asked
   * until it tries again, after some seconds, fails.
   */
  async meetLcfs(): Promise<void> {
    await waitUntil('containerd finds LCFS again', () => this.#reachesLcfs());
  }

  /** A list of no snapshots, or a look at one that is not there, containerd answers itself. */
  async #reachesLcfs(): Promise<boolean> {
    const key = `probe-${this.#mounts++}`;
    const made = await this.containerd.try('snapshots', '--snapshotter', 'lcfs', 'prepare', key);
    if (made.status === 0) await this.ctr('snapshots', '--snapshotter', 'lcfs', 'rm', key);
    return made.status === 0;
  }

  /** Ends LCFS as a crash would, and takes its dead mount away. */
  async killLcfs(): Promise<void> {
    await this.lcfs.kill();
    await this.lcfs.end();
  }

  /** What the daemons said last: printed when a test fails. */
  logs(): string {
    return `--- lcfs\n${this.lcfs.log()}\n--- containerd\n${this.containerd?.log() ?? ''}`;
  }

  ctr(...args: string[]): Promise<string> {
    return this.containerd.ctr(...args);
  }

  /** Runs a program where containerd runs. */
  run(program: string, ...args: string[]): Promise<string> {
    const [command, words] = this.place.command(program, args);
    return run(command, words, { timeoutMs: PATIENCE_MS });
  }

  /** Runs a script of the shell outside. */
  hostShell(script: string): Promise<string> {
    return run('sh', ['-ec', script], { timeoutMs: PATIENCE_MS });
  }

  /** Pulls an image from the registry and unpacks it. */
  pull(reference: string, snapshotter = 'lcfs'): Promise<string> {
    return this.ctr('images', 'pull', '--plain-http', '--snapshotter', snapshotter, reference);
  }

  /** Pulls an image as Docker and Kubernetes do: layers that LCFS has are neither downloaded nor unpacked. */
  async pullSharing(reference: string, namespace = NAMESPACE): Promise<void> {
    const program = await goProgram('pull', 'test/conformance/snapshots/pull');
    await run(program, ['-address', this.containerd.address, '-namespace', namespace, reference], { timeoutMs: PATIENCE_MS });
  }

  /** Runs a container to its end and returns what it wrote. */
  runContainer(image: string, id: string, script: string, ...options: string[]): Promise<string> {
    const place = ['--cgroup', `/${this.containerd.cgroup}/${id}`, '--snapshotter', 'lcfs'];
    return this.ctr('run', ...place, ...options, image, id, 'sh', '-c', script);
  }

  /** Keys of the snapshots of a snapshotter, with their kinds. */
  async snapshots(snapshotter = 'lcfs', namespace = NAMESPACE): Promise<Map<string, string>> {
    const list = await this.containerd.ctrIn(namespace, 'snapshots', '--snapshotter', snapshotter, 'ls');
    const rows = list
      .split('\n')
      .slice(1)
      .map((line) => line.trim().split(/\s+/));
    return new Map(rows.map((columns) => [columns[0]!, columns.at(-1)!]));
  }

  layers(): Promise<Layer[]> {
    return this.lcfs.json<Layer[]>('layer', 'ls');
  }

  /** Names of all layers. Quicker than a command, to see what is there for a moment only. */
  async layerNames(): Promise<string[]> {
    const names: string[] = [];
    for await (const { name } of new Client(this.lcfs.control).lines<Layer>('GET', 'layers')) names.push(name);
    return names;
  }

  /** What `lcfs status` tells, quicker. */
  status(): Promise<Status> {
    return new Client(this.lcfs.control).call<Status>('GET', 'status');
  }

  /** Blocks in use, once nothing is being given back any more. */
  async usedBlocks(): Promise<number> {
    let used = 0;
    await waitUntil('removed layers are given back', async () => {
      await this.lcfs.lcfs('commit');
      const { blocks, removing } = await this.status();
      used = blocks.used;
      return removing === 0;
    });
    return used;
  }

  /** Waits until no more than `blocks` are in use: space comes back by itself, after the checkpoint that no longer needs it. */
  async spaceComesBack(blocks: number): Promise<void> {
    let used = 0;
    await waitUntil('space comes back', async () => (used = await this.usedBlocks()) <= blocks).catch((error: Error) => {
      throw new Error(`${error.message}: ${used} blocks are in use, ${blocks} were expected`);
    });
  }

  /** All files of a committed snapshot, as a list. */
  async files(key: string, snapshotter: string): Promise<Map<string, string>> {
    const name = `files-${this.#mounts++}`;
    // Views made by ctr are garbage from the start; what it prepares is not.
    await this.ctr('snapshots', '--snapshotter', snapshotter, 'prepare', name, key);
    const files = await this.activeFiles(name, snapshotter);
    await this.ctr('snapshots', '--snapshotter', snapshotter, 'rm', name);
    return files;
  }

  /** All files of an active snapshot, as a list. */
  async activeFiles(key: string, snapshotter: string): Promise<Map<string, string>> {
    const target = this.path(`mount-${this.#mounts++}`);
    mkdirSync(target);
    const mount = await this.ctr('snapshots', '--snapshotter', snapshotter, 'mounts', target, key);
    const pack = `tar -C ${target} --format=pax --numeric-owner --xattrs --xattrs-include='*' --sort=name -cf ${target}.tar .`;
    // The new interface of mount(8) takes options of 255 bytes at most, too few for the folders of overlayfs.
    await this.run('sh', '-ec', `export LIBMOUNT_FORCE_MOUNT2=always\n${mount}\n${pack} || status=$?\numount ${target}\nexit $status`);
    return listTar(`${target}.tar`, { times: true, ignore: ROOT });
  }

  /** Proves that an image looks the same on LCFS as on another snapshotter of the same containerd, layer by layer. */
  async assertSameFiles(image: Image, other: string): Promise<void> {
    for (const chainId of chainIds(image.diffIds)) {
      assertSame(await this.files(chainId, 'lcfs'), await this.files(chainId, other), ['lcfs', other]);
    }
  }
}
