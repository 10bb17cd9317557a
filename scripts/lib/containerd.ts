/**
 * A private containerd: its own root, state, sockets and configuration in one folder, on the machine itself or in a suite,
 * with LCFS among its snapshotters if wanted. A containerd that the machine has already is never touched.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { containerdConfig, withImport } from '../../src/cli/setup/containerd-config.js';
import { withCri } from '../../src/cli/setup/cri-config.js';
import { platform } from '../../src/cli/setup/machine.js';
import { formatVersion, parseVersion, type Version } from '../../src/cli/setup/version.js';
import { PATIENCE_MS } from './limits.js';
import { unmountBelow } from './mounts.js';
import { logTail, processesUsing, run, type RunResult, type Server, socketAnswers, startServer, tryRun, waitReady } from './run.js';
import { HOST, type Place } from './suites.js';

export interface ContainerdOptions {
  /** Folder for root, state, sockets and logs; keep it short, a socket's path has at most 107 bytes. */
  directory: string;
  place?: Place;
  /** Where it keeps what outlives it; `directory`/root unless told. */
  root?: string;
  /** Where LCFS answers; without it, containerd has only its own snapshotters. */
  lcfs?: { socket: string; mountpoint: string };
}

/** Namespace of containerd that is used unless told. */
export const NAMESPACE = 'test';

export class PrivateContainerd {
  readonly address: string;
  /** Whether it serves Kubernetes (CRI), from its next start on. */
  servesKubernetes = false;
  readonly #options: ContainerdOptions;
  readonly #place: Place;
  #version: Version | undefined;
  #server: Server | undefined;

  constructor(options: ContainerdOptions) {
    this.#options = options;
    this.#place = options.place ?? HOST;
    this.address = join(options.directory, 'c.sock');
  }

  get pid(): number {
    return this.#server!.pid;
  }

  /** Known once it was started. */
  get version(): Version {
    return this.#version!;
  }

  get versionText(): string {
    return formatVersion(this.version);
  }

  /** Starts it and waits until it answers. Also after `stop` and `kill`. */
  async start(): Promise<void> {
    mkdirSync(this.#options.directory, { recursive: true, mode: 0o700 });
    this.#version ??= await this.#askVersion();
    this.#configure();
    const [command, args] = this.#place.command('containerd', ['--config', this.#path('config.toml')]);
    this.#server = startServer(command, args, this.#path('containerd.log'));
    await waitReady(this.#server, 'containerd', () => this.#answers());
  }

  async #askVersion(): Promise<Version> {
    const [command, args] = this.#place.command('containerd', ['--version']);
    return parseVersion(await run(command, args, { timeoutMs: PATIENCE_MS }))!;
  }

  /** The socket is there before the services behind it are. */
  async #answers(): Promise<boolean> {
    return (await socketAnswers(this.address)) && (await this.try('version')).status === 0;
  }

  /** Writes the configuration: our part as `lcfs setup` would, in a file of its own. */
  #configure(): void {
    const main = mainConfig(this.#options, this.address, this.servesKubernetes);
    const { lcfs } = this.#options;
    if (lcfs === undefined) return writeFileSync(this.#path('config.toml'), main);
    const target = { version: this.version, configVersion: 2, platform: platform(), ...lcfs };
    writeFileSync(this.#path('lcfs.toml'), containerdConfig(target));
    const imported = withImport(main, this.#path('lcfs.toml'));
    writeFileSync(this.#path('config.toml'), this.servesKubernetes ? withCri(imported, 2, this.version) : imported);
  }

  #path(name: string): string {
    return join(this.#options.directory, name);
  }

  /** How a person would call `ctr` for this containerd. */
  command(...args: string[]): string[] {
    const [command, words] = this.#place.command('ctr', ['--address', this.address, ...args]);
    return [command, ...words];
  }

  /** Runs `ctr …` in a namespace of containerd; throws if it fails. */
  ctr(...args: string[]): Promise<string> {
    return this.ctrIn(NAMESPACE, ...args);
  }

  async ctrIn(namespace: string, ...args: string[]): Promise<string> {
    const [program, ...rest] = this.command('--namespace', namespace, ...args);
    return (await run(program!, rest, { timeoutMs: PATIENCE_MS })).trimEnd();
  }

  /** Runs `ctr …` and returns its exit status and output; throws if it does not end. */
  try(...args: string[]): Promise<RunResult> {
    const [program, ...rest] = this.command('--namespace', NAMESPACE, ...args);
    return tryRun(program!, rest, { timeoutMs: PATIENCE_MS });
  }

  /** Lets the garbage collector run, and waits for it: a lease whose removal is synchronous does that. */
  async collectGarbage(): Promise<void> {
    await this.ctr('leases', 'create', '--id', 'garbage');
    await this.ctr('leases', 'rm', '--sync', 'garbage');
  }

  log(): string {
    return logTail(this.#path('containerd.log'));
  }

  /** Ends containerd; containers and their shims go on. */
  async stop(): Promise<void> {
    await this.#server?.stop();
    this.#server = undefined;
  }

  /** Ends containerd as a crash would. */
  async kill(): Promise<void> {
    await this.#server?.kill();
    this.#server = undefined;
  }

  /** Ends everything as a power cut would, and takes away what was in memory only. It can be started again. */
  async cutPower(): Promise<void> {
    await this.kill();
    for (const pid of processesUsing(this.#options.directory, 'containerd-shim')) endProcess(pid);
    for (const pid of processesInCgroup(this.cgroup)) endProcess(pid);
    await unmountBelow(this.#options.directory);
    rmSync(this.#path('state'), { recursive: true, force: true });
  }

  /** Lets the script end while containerd goes on. */
  release(): void {
    this.#server?.release();
  }

  /** Ends everything this containerd started, whatever state it is in, and takes away its mounts. */
  async end(): Promise<void> {
    await this.stop();
    for (const pid of processesUsing(this.#options.directory, 'containerd-shim')) endProcess(pid);
    for (const pid of processesInCgroup(this.cgroup)) endProcess(pid); // what the shims left
    await unmountBelow(this.#options.directory);
  }

  /** Cgroup that containers are to be put in, so that their processes can be found. */
  get cgroup(): string {
    return `lcfs-${this.#options.directory.replace(/\W+/g, '-')}`;
  }
}

/** Processes in the cgroups of that name, in either version of cgroups. */
function processesInCgroup(name: string): number[] {
  const pids = readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number);
  return pids.filter((pid) => processFile(pid, 'cgroup').includes(`/${name}/`));
}

function processFile(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    return ''; // it ended meanwhile
  }
}

function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended on its own.
  }
}

/** Kubernetes' part of containerd looks for networks of the machine, unless told that they are elsewhere. */
function mainConfig({ directory, root }: ContainerdOptions, address: string, kubernetes: boolean): string {
  const cri = ['io.containerd.grpc.v1.cri', 'io.containerd.cri.v1.images', 'io.containerd.cri.v1.runtime'];
  const disabled = ['io.containerd.nri.v1.nri', ...(kubernetes ? [] : cri)];
  const networks = `[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "${directory}/cni"
  conf_dir = "${directory}/cni"
`;
  return `version = 2
root = "${root ?? join(directory, 'root')}"
state = "${directory}/state"
disabled_plugins = ${JSON.stringify(disabled)}
[grpc]
  address = "${address}"
[plugins."io.containerd.internal.v1.opt"]
  path = "${directory}/opt"
${kubernetes ? networks : ''}`;
}
