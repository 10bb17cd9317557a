/**
 * A place of its own for one test: a folder for volumes, mountpoints and control sockets, and the command `lcfs` as users
 * run it. `end` takes everything away, whatever state the test left it in.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isRunning } from '../../src/daemon/processes.js';
import { findMount, unmountByForce } from '../../src/linux/mount.js';

const COMMAND = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

export interface Result {
  status: number;
  stdout: string;
  stderr: string;
}

export class Sandbox {
  readonly directory = mkdtempSync(join(tmpdir(), 'lcfs-cli-'));
  readonly image = join(this.directory, 'volume.img');
  readonly mountpoint = join(this.directory, 'mnt');
  #environment: NodeJS.ProcessEnv = { ...process.env, LCFS_RUN_DIR: join(this.directory, 'run') };
  readonly #pids = new Set<number>();
  readonly #mountpoints = new Set<string>();

  path(...parts: string[]): string {
    return join(this.directory, ...parts);
  }

  /** A path below the mountpoint. */
  mounted(...parts: string[]): string {
    return join(this.mountpoint, ...parts);
  }

  /** Sets variables of the environment of commands. */
  set(variables: NodeJS.ProcessEnv): void {
    this.#environment = { ...this.#environment, ...variables };
  }

  /** Runs `lcfs …` to its end. */
  run(...args: string[]): Promise<Result> {
    return this.runWith(COMMAND, ...args);
  }

  /** The same with another installation of LCFS. */
  runWith(command: string, ...args: string[]): Promise<Result> {
    return new Promise((settle) => {
      const options = { env: this.#environment, timeout: 120_000, maxBuffer: 1 << 28 };
      const child = execFile(process.execPath, [command, ...args], options, (error, stdout, stderr) => {
        settle({ status: error === null ? 0 : ((error.code as unknown as number | undefined) ?? 128), stdout, stderr });
      });
      child.stdin!.end();
    });
  }

  /** Runs `lcfs …`, which must succeed, and returns what it printed. */
  async ok(...args: string[]): Promise<string> {
    return this.okWith(COMMAND, ...args);
  }

  async okWith(command: string, ...args: string[]): Promise<string> {
    const { status, stdout, stderr } = await this.runWith(command, ...args);
    if (status !== 0) throw new Error(`lcfs ${args.join(' ')} ended with ${status}: ${stderr}${this.#logs()}`);
    return stdout;
  }

  async json<T>(...args: string[]): Promise<T> {
    return JSON.parse(await this.ok(...args, '--json')) as T;
  }

  /** Runs `lcfs …`, which must fail with exit code `status` and a message that matches. */
  async fails(status: number, message: RegExp, ...args: string[]): Promise<void> {
    const result = await this.run(...args);
    if (result.status !== status || !message.test(result.stderr)) {
      throw new Error(`lcfs ${args.join(' ')} ended with ${result.status}, not ${status} and ${message}: ${result.stderr}${result.stdout}`);
    }
  }

  /** Starts `lcfs …` with a pipe for its input. */
  spawn(...args: string[]): ChildProcess {
    return spawn(process.execPath, [COMMAND, ...args], { env: this.#environment });
  }

  /** Starts a daemon in the background on a volume of 256 MiB, made if it is not there. Returns its pid. */
  async start(...args: string[]): Promise<number> {
    return this.startOn(this.image, this.mountpoint, ...args);
  }

  async startOn(image: string, mountpoint: string, ...args: string[]): Promise<number> {
    this.#mountpoints.add(mountpoint);
    const printed = await this.ok(
      'daemon',
      image,
      mountpoint,
      '--detach',
      '--format',
      '--size',
      '256M',
      '--cache',
      '16M',
      '--log',
      this.#log(mountpoint),
      ...args,
    );
    const pid = Number(/pid (\d+)/.exec(printed)?.[1]);
    this.#pids.add(pid);
    return pid;
  }

  /** Starts a daemon in the foreground and waits until it is mounted. */
  async startForeground(...args: string[]): Promise<ChildProcess> {
    this.#mountpoints.add(this.mountpoint);
    mkdirSync(this.mountpoint, { recursive: true });
    const child = this.spawn('daemon', this.image, this.mountpoint, '--format', '--size', '256M', '--cache', '16M', ...args);
    this.#pids.add(child.pid!);
    let log = '';
    for await (const chunk of child.stderr!.iterator({ destroyOnReturn: false })) {
      log += String(chunk);
      if (log.includes('is mounted on')) return child;
    }
    throw new Error(`the daemon did not start: ${log}`);
  }

  #log(mountpoint: string): string {
    return `${mountpoint}.log`;
  }

  #logs(): string {
    return [...this.#mountpoints]
      .filter((mountpoint) => existsSync(this.#log(mountpoint)))
      .map((mountpoint) => `\n${readFileSync(this.#log(mountpoint), 'utf8')}`)
      .join('');
  }

  /** Ends what is left of daemons and mounts, and removes the folder. */
  async end(): Promise<void> {
    for (const mountpoint of this.#mountpoints) if (findMount(mountpoint) !== undefined) await this.run('stop', '--force', mountpoint);
    for (const mountpoint of this.#mountpoints) if (findMount(mountpoint) !== undefined) unmountByForce(mountpoint);
    for (const pid of this.#pids) await endProcess(pid);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Waits until a process that is not our child is gone; kills it if it takes long. */
async function endProcess(pid: number): Promise<void> {
  for (let tries = 0; tries < 100 && isRunning(pid); tries++) {
    if (tries === 50) process.kill(pid, 'SIGKILL');
    await new Promise((wake) => setTimeout(wake, 100));
  }
}

/** Exit code of a child; 128 if a signal ended it. */
export async function exitCode(child: ChildProcess): Promise<number> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode ?? 128;
  const [code] = (await once(child, 'exit')) as [number | null];
  return code ?? 128;
}
