/**
 * A private Docker Engine: its own dockerd and containerd with data root, exec root, sockets and configuration in one
 * folder, so that a Docker that the machine has already is never touched, nor its network (no bridge, no iptables).
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { unmountBelow } from './mounts.js';
import { type DockerPrograms, needDocker } from './packages.js';
import {
  killWithChildren,
  logTail,
  processesUsing,
  run,
  type RunOptions,
  type RunResult,
  type Server,
  socketAnswers,
  startServer,
  tryRun,
  waitReady,
} from './run.js';

export interface DockerOptions {
  /** Folder for sockets, state and logs; keep it short, a socket's path has at most 107 bytes. */
  directory: string;
  /** `overlay2`, or the name of a graph driver plugin. */
  driver: string;
  /** Where images and containers are kept; `directory`/data unless told. */
  dataRoot?: string;
  /** Where containerd keeps what outlives it; `directory`/containerd unless told. */
  containerdRoot?: string;
  /** More options for dockerd. */
  args?: readonly string[];
}

export class PrivateDocker {
  readonly host: string;
  readonly dataRoot: string;
  readonly #options: DockerOptions;
  #programs: DockerPrograms | undefined;
  #containerd: Server | undefined;
  #dockerd: Server | undefined;
  #ended = false;

  constructor(options: DockerOptions) {
    this.#options = options;
    this.host = `unix://${options.directory}/docker.sock`;
    this.dataRoot = options.dataRoot ?? join(options.directory, 'data');
  }

  get version(): string {
    return this.#programs?.version ?? '';
  }

  /** Processes of the engine in the order in which they are to be ended. */
  pids(): number[] {
    return [this.#dockerd, this.#containerd].flatMap((server) => (server === undefined ? [] : [server.pid]));
  }

  /** Starts containerd and dockerd and waits until Docker answers. */
  async start(): Promise<void> {
    this.#ended = false;
    this.#programs = await needDocker();
    mkdirSync(join(this.#options.directory, 'cli'), { recursive: true, mode: 0o700 });
    await this.#startContainerd();
    await this.startDockerd();
  }

  async #startContainerd(): Promise<void> {
    this.#requireLife();
    const address = this.#path('containerd.sock');
    const config = this.#path('containerd.toml');
    writeFileSync(config, containerdConfig(this.#options, address));
    this.#containerd = startServer(this.#programs!.containerd, ['--config', config], this.#path('containerd.log'), this.#environment());
    await waitReady(this.#containerd, 'containerd', () => socketAnswers(address));
  }

  /** Starts dockerd alone, after `stopDockerd` or `killDockerd`. */
  async startDockerd(): Promise<void> {
    this.#requireLife();
    writeFileSync(this.#path('daemon.json'), '{}');
    rmSync(this.#path('docker.pid'), { force: true }); // after a kill
    const args = [...this.#dockerdArgs(), ...(this.#options.args ?? [])];
    this.#dockerd = startServer(this.#programs!.dockerd, args, this.#path('dockerd.log'), this.#environment());
    await waitReady(this.#dockerd, 'dockerd', async () => (await this.try('version')).status === 0);
  }

  /** A start that is under way when everything ends, as on Ctrl-C, must leave nothing behind. */
  #requireLife(): void {
    if (this.#ended) throw new Error('the Docker Engine was ended while it started');
  }

  #dockerdArgs(): string[] {
    const { driver } = this.#options;
    // Without --config-file the machine's /etc/docker/daemon.json would be read.
    const files = ['--config-file', this.#path('daemon.json'), '--pidfile', this.#path('docker.pid'), '--exec-root', this.#path('exec')];
    const network = ['--bridge=none', '--iptables=false', '--ip-forward=false', '--userland-proxy=false'];
    const reach = ['-H', this.host, '-G', 'root', '--containerd', this.#path('containerd.sock')];
    return ['--experimental', '-s', driver, '--data-root', this.dataRoot, ...files, ...network, ...reach];
  }

  #path(name: string): string {
    return join(this.#options.directory, name);
  }

  #environment(): NodeJS.ProcessEnv {
    const path = `${this.#programs!.path}:/usr/bin:/usr/sbin:/bin:/sbin:${process.env['PATH'] ?? ''}`;
    return { ...process.env, PATH: path, DOCKERD_DEPRECATED_GRAPHDRIVER_PLUGINS: '1' }; // 27.x asks for the last one
  }

  /** Environment and arguments with which the docker command reaches this engine. */
  command(...args: string[]): string[] {
    return [this.#programs!.docker, '--config', this.#path('cli'), '-H', this.host, ...args];
  }

  /** Runs `docker …`; throws if it fails. */
  async docker(...args: string[]): Promise<string> {
    return (await this.dockerWith({}, ...args)).trimEnd();
  }

  async dockerWith(options: RunOptions, ...args: string[]): Promise<string> {
    const [program, ...rest] = this.command(...args);
    return run(program!, rest, this.#clientOptions(options));
  }

  /** Runs `docker …` and returns its exit status and output. */
  try(...args: string[]): Promise<RunResult> {
    return this.tryWith({}, ...args);
  }

  tryWith(options: RunOptions, ...args: string[]): Promise<RunResult> {
    const [program, ...rest] = this.command(...args);
    return tryRun(program!, rest, this.#clientOptions(options));
  }

  #clientOptions(options: RunOptions): RunOptions {
    const env: NodeJS.ProcessEnv = { ...process.env, ...options.env };
    for (const name of ['DOCKER_HOST', 'DOCKER_CONTEXT', 'DOCKER_TLS_VERIFY', 'DOCKER_CONFIG']) delete env[name];
    return { ...options, env };
  }

  /** Last lines of dockerd's log, for messages about failures. */
  log(): string {
    return logTail(this.#path('dockerd.log'));
  }

  async stopDockerd(): Promise<void> {
    await this.#dockerd?.stop(60_000);
    this.#dockerd = undefined;
  }

  /** Ends dockerd as a crash would; containerd and the containers stay. */
  async killDockerd(): Promise<void> {
    await this.#dockerd?.kill();
    this.#dockerd = undefined;
  }

  /** Ends the engine and its containers as a power cut would, and takes away what was in memory only. It can be started again. */
  async cutPower(): Promise<void> {
    await Promise.all([this.killDockerd(), this.#containerd?.kill()]);
    this.#containerd = undefined;
    killWithChildren(processesUsing(this.#options.directory, 'containerd-shim'));
    for (const folder of [this.#options.directory, this.dataRoot]) await unmountBelow(folder);
    for (const name of ['exec', 'containerd-state', 'docker.pid']) rmSync(this.#path(name), { recursive: true, force: true });
  }

  /** Lets the script end while the engine goes on. */
  release(): void {
    this.#dockerd?.release();
    this.#containerd?.release();
  }

  /** Ends everything this engine started, whatever state it is in, and takes away its mounts. */
  async stop(): Promise<void> {
    this.#ended = true;
    await this.stopDockerd();
    await this.#containerd?.stop();
    this.#containerd = undefined;
    killWithChildren(processesUsing(this.#options.directory, 'containerd-shim')); // of containers that a killed dockerd left
    await unmountBelow(this.#options.directory);
  }
}

function containerdConfig({ directory, containerdRoot }: DockerOptions, address: string): string {
  return `version = 2
root = "${containerdRoot ?? join(directory, 'containerd')}"
state = "${directory}/containerd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "${address}"
`;
}
