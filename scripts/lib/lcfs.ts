/** A daemon of LCFS with a volume file, mount point, sockets and log in one folder, driven through the command line. */
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { crashDaemon, killProcess, killServing, servingProcess } from './daemon-processes.js';
import { Client } from '../../src/cli/client.js';
import type { Status } from '../../src/daemon/protocol.js';
import { PATIENCE_MS } from './limits.js';
import { unmountBelow } from './mounts.js';
import { logTail, run, type RunOptions, type RunResult, type Server, socketAnswers, startServer, tryRun, waitReady } from './run.js';

/** The command line tool, compiled beside this file. */
const CLI = join(dirname(fileURLToPath(import.meta.url)), '../../src/cli/main.js');

export const PLUGIN_DIRECTORY = '/run/docker/plugins';

export interface LcfsOptions {
  directory: string;
  /** Name under which Docker finds the graph driver, as in `dockerd -s NAME`. */
  driver: string;
  /** Block device or file with the volume; `directory`/volume.img unless told. */
  volume?: string;
  /** Where it is mounted; `directory`/mnt unless told. */
  mountpoint?: string;
  /** Size of the volume file, as in `--size 20G`; not for a block device. */
  size?: string;
  /** More options for `lcfs daemon`. */
  args?: readonly string[];
  /** More environment for it. */
  env?: Readonly<Record<string, string>>;
}

export class LcfsDaemon {
  readonly volume: string;
  readonly mountpoint: string;
  readonly control: string;
  readonly socket: string;
  readonly #options: LcfsOptions;
  #server: Server | undefined;

  constructor(options: LcfsOptions) {
    this.#options = options;
    this.volume = options.volume ?? join(options.directory, 'volume.img');
    this.mountpoint = options.mountpoint ?? join(options.directory, 'mnt');
    this.control = join(options.directory, 'control.sock');
    this.socket = join(PLUGIN_DIRECTORY, `${options.driver}.sock`);
  }

  /** Of the supervisor. */
  get pid(): number {
    return this.#server!.pid;
  }

  /** Of the process that serves. */
  get servingPid(): number {
    const pid = servingProcess(this.pid);
    if (pid === undefined) throw new Error('no process serves');
    return pid;
  }

  get running(): boolean {
    return this.#server?.running() === true;
  }

  /** Starts the daemon, formatting the volume the first time, and waits until Docker could use it. */
  async start(): Promise<void> {
    mkdirSync(this.#options.directory, { recursive: true, mode: 0o711 }); // root of a user namespace has to get through
    const args = [
      CLI,
      'daemon',
      this.volume,
      this.mountpoint,
      '--format',
      ...(this.#options.size === undefined ? [] : ['--size', this.#options.size]),
      '--docker',
      this.socket,
      '--control',
      this.control,
    ];
    const env = { ...process.env, ...this.#options.env };
    this.#server = startServer(process.execPath, [...args, ...(this.#options.args ?? [])], this.logFile, env);
    await waitReady(this.#server, 'lcfs', () => this.#answers());
  }

  /** The sockets take connections before the volume is mounted; what is asked on them is answered afterwards. */
  async #answers(): Promise<boolean> {
    if (!(await socketAnswers(this.socket))) return false;
    const status = new Client(this.control).call<Status>('GET', 'status');
    return status.then(
      () => true,
      () => false,
    );
  }

  get logFile(): string {
    return join(this.#options.directory, 'lcfs.log');
  }

  log(): string {
    return logTail(this.logFile);
  }

  /** How a person would call `lcfs …` for this daemon. */
  command(...args: string[]): string[] {
    return [process.execPath, CLI, ...args];
  }

  /** Runs `lcfs … --control …`; throws if it fails. */
  lcfs(...args: string[]): Promise<string> {
    return this.lcfsWith({}, ...args);
  }

  lcfsWith(options: RunOptions, ...args: string[]): Promise<string> {
    return run(process.execPath, [CLI, ...args, '--control', this.control], { timeoutMs: PATIENCE_MS, ...options });
  }

  async json<T>(...args: string[]): Promise<T> {
    return JSON.parse(await this.lcfs(...args, '--json')) as T;
  }

  /** Stops the daemon with `lcfs stop`; throws if it refuses. */
  async stop(): Promise<void> {
    await run(process.execPath, [CLI, 'stop', this.mountpoint], { timeoutMs: PATIENCE_MS });
    await this.#server?.stop();
    this.#server = undefined;
  }

  /** Proves the volume of a daemon that is not running. */
  check(): Promise<RunResult> {
    return tryRun(process.execPath, [CLI, 'check', this.volume]);
  }

  /** Ends the daemon as a crash of the machine would. */
  async kill(): Promise<void> {
    if (this.running) await crashDaemon(this.pid);
    await this.#server?.kill();
    this.#server = undefined;
  }

  /** Ends only the process that serves, which is survived. Returns its pid. */
  killServing(): Promise<number> {
    return killServing(this.pid);
  }

  release(): void {
    this.#server?.release();
  }

  /** Ends the daemon in whatever state it is and takes its mount away. */
  async end(): Promise<void> {
    const serving = this.running ? servingProcess(this.pid) : undefined;
    await this.#server?.stop();
    if (serving !== undefined) await killProcess(serving);
    this.#server = undefined;
    await unmountBelow(this.mountpoint);
  }
}
