/** A daemon on a volume of its own in a temporary folder, for one part of the benchmark. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from '../../scripts/lib/run.js';
import type { Status } from '../../src/daemon/protocol.js';

const COMMAND = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

export class BenchDaemon {
  readonly #folder: string;
  readonly mountpoint: string;
  pid = 0;

  private constructor(folder: string) {
    this.#folder = folder;
    this.mountpoint = join(folder, 'mnt');
  }

  /** Formats a volume of `size` and mounts it. */
  static async start(size: string, ...args: string[]): Promise<BenchDaemon> {
    const daemon = new BenchDaemon(mkdtempSync(join(tmpdir(), 'lcfs-bench-')));
    try {
      await daemon.lcfs(
        'daemon',
        join(daemon.#folder, 'volume'),
        daemon.mountpoint,
        '--detach',
        '--format',
        '--size',
        size,
        '--log',
        join(daemon.#folder, 'log'),
        ...args,
      );
      daemon.pid = (JSON.parse(await daemon.lcfs('status', '--json')) as Status).pid;
      return daemon;
    } catch (error) {
      await daemon.end();
      throw error;
    }
  }

  get global(): string {
    return join(this.mountpoint, 'global');
  }

  /** Runs `lcfs …` with a folder for control sockets of its own. */
  lcfs(...args: string[]): Promise<string> {
    return run(process.execPath, [COMMAND, ...args], { env: { ...process.env, LCFS_RUN_DIR: join(this.#folder, 'run') } });
  }

  /** Resident memory in MiB: all of it, and the part that is not shared with the file of the program. */
  memory(): { all: number; anonymous: number } {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    const field = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)![1]) / 1024;
    return { all: field('VmRSS'), anonymous: field('RssAnon') };
  }

  /** How long its threads have been running, in user and kernel mode, by the scheduler's clock. */
  cpuMicroseconds(): number {
    const tasks = `/proc/${this.pid}/task`;
    const times = readdirSync(tasks).map((id) => Number(readFileSync(`${tasks}/${id}/schedstat`, 'utf8').split(' ')[0]));
    return times.reduce((sum, nanoseconds) => sum + nanoseconds, 0) / 1000;
  }

  async end(): Promise<void> {
    if (this.pid !== 0) await this.lcfs('stop', '--force', this.mountpoint);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
