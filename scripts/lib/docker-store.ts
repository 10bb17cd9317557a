/**
 * A private Docker Engine that keeps its images in a containerd (28 and later), with its own data root, exec root, socket
 * and configuration in one folder, and without any network of the machine.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { dockerConfig } from '../../src/cli/setup/docker-config.js';
import { formatVersion, parseVersion, type Version } from '../../src/cli/setup/version.js';
import type { PrivateContainerd } from './containerd.js';
import { unmountBelow } from './mounts.js';
import { logTail, run, type RunOptions, type RunResult, type Server, startServer, tryRun, waitReady } from './run.js';
import type { Place } from './suites.js';

export interface StoreDockerOptions {
  /** Folder for data, sockets, state and logs. */
  directory: string;
  /** Started before, ended after this engine. */
  containerd: PrivateContainerd;
  place: Place;
  /** Snapshotter that images are unpacked with; LCFS, set up as `lcfs setup docker` does it, unless told. */
  snapshotter?: string;
  /** Namespace of containerd; two engines on one containerd need two. */
  namespace?: string;
}

export class StoreDocker {
  readonly host: string;
  readonly #options: StoreDockerOptions;
  #version: Version | undefined;
  #server: Server | undefined;

  constructor(options: StoreDockerOptions) {
    this.#options = options;
    this.host = `unix://${options.directory}/d.sock`;
  }

  /** Known once it was started. */
  get version(): Version {
    return this.#version!;
  }

  /** Starts dockerd and waits until it answers. Also after `stop` and `kill`. */
  async start(): Promise<void> {
    mkdirSync(join(this.#options.directory, 'cli'), { recursive: true, mode: 0o700 });
    this.#version ??= await this.#askVersion();
    writeFileSync(this.#path('daemon.json'), this.#configuration());
    rmSync(this.#path('docker.pid'), { force: true }); // after a kill
    const [command, args] = this.#options.place.command('dockerd', this.#arguments());
    this.#server = startServer(command, args, this.#path('dockerd.log'));
    await waitReady(this.#server, 'dockerd', async () => (await this.try('version')).status === 0);
  }

  async #askVersion(): Promise<Version> {
    const [command, args] = this.#options.place.command('dockerd', ['--version']);
    return parseVersion(await run(command, args))!;
  }

  #configuration(): string {
    const text = dockerConfig(null, this.version, '');
    const { snapshotter } = this.#options;
    return snapshotter === undefined ? text : JSON.stringify({ ...JSON.parse(text), 'storage-driver': snapshotter });
  }

  #arguments(): string[] {
    const { directory, containerd, namespace = 'moby' } = this.#options;
    const files = ['--config-file', this.#path('daemon.json'), '--pidfile', this.#path('docker.pid')];
    const folders = ['--data-root', join(directory, 'data'), '--exec-root', join(directory, 'exec')];
    const network = ['--bridge=none', '--iptables=false', '--ip6tables=false', '--ip-forward=false', '--userland-proxy=false'];
    const reach = ['-H', this.host, '-G', 'root', '--containerd', containerd.address, '--cgroup-parent', `/${containerd.cgroup}`];
    const names = ['--containerd-namespace', namespace, '--containerd-plugins-namespace', `${namespace}-plugins`];
    return [...files, ...folders, ...network, ...reach, ...names];
  }

  #path(name: string): string {
    return join(this.#options.directory, name);
  }

  /** Arguments with which the docker command reaches this engine. */
  command(...args: string[]): string[] {
    const [command, words] = this.#options.place.command('docker', ['--config', this.#path('cli'), '-H', this.host, ...args]);
    return [command, ...words];
  }

  /** Runs `docker …`; throws if it fails. */
  docker(...args: string[]): Promise<string> {
    return this.dockerWith({}, ...args);
  }

  async dockerWith(options: RunOptions, ...args: string[]): Promise<string> {
    const [program, ...rest] = this.command(...args);
    return (await run(program!, rest, options)).trimEnd();
  }

  /** Runs `docker …` and returns its exit status and output. */
  try(...args: string[]): Promise<RunResult> {
    const [program, ...rest] = this.command(...args);
    return tryRun(program!, rest);
  }

  log(): string {
    return logTail(this.#path('dockerd.log'));
  }

  get versionText(): string {
    return formatVersion(this.version);
  }

  async stop(): Promise<void> {
    await this.#server?.stop(60_000);
    this.#server = undefined;
  }

  /** Ends dockerd as a crash would. */
  async kill(): Promise<void> {
    await this.#server?.kill();
    this.#server = undefined;
  }

  /** Ends dockerd and takes away its mounts; its containers are ended with their containerd. */
  async end(): Promise<void> {
    await this.stop();
    await unmountBelow(this.#options.directory);
  }
}
