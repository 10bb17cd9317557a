/** A mounted volume for tests, served by a process of its own, so that a test that goes wrong can't hang on itself. */
import assert from 'node:assert/strict';
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Transport } from '../../src/fuse/session.js';
import { findMount, unmountByForce } from '../../src/linux/mount.js';
import type { Order, Report } from './server.js';

const SERVER = fileURLToPath(new URL('./server.js', import.meta.url));
const VOLUME_BYTES = 1 << 30;
const CACHE_BYTES = 32 << 20;

export interface MountedOptions {
  /** Size of the volume. */
  readonly bytes?: number;
  /** Memory for tree pages. */
  readonly cacheBytes?: number;
  /** Whether layers may share what is cached of their files. */
  readonly passthrough?: 'auto' | 'off';
  /** A device to use instead of a new file. */
  readonly volume?: string;
}

/** Both transports; the kernel must have the first. */
export const TRANSPORTS: readonly Transport[] = ['uring', 'devfuse'];

/** Why nothing can be mounted here; false if it can. */
export const cannotMount: string | false =
  process.getuid!() !== 0 ? 'mounting needs root' : existsSync('/dev/fuse') ? false : 'there is no /dev/fuse';

export class Mounted {
  readonly folder = mkdtempSync(join(tmpdir(), 'lcfs-mount-'));
  readonly mountpoint = join(this.folder, 'mnt');
  /** The global layer. */
  readonly global = join(this.mountpoint, 'global');
  readonly layers = join(this.mountpoint, 'layers');
  transport: Transport = 'devfuse';
  connection = 0;
  /** Whether layers share what is cached of their files. */
  passthrough = false;
  readonly server: ChildProcess;
  /** What the server had to say. */
  log = '';
  readonly volume: string;
  private readonly reports: Report[] = [];
  private wake = (): void => undefined;

  /** Starts the server; `ready` waits for it. */
  constructor(transport: Transport | 'auto', options: MountedOptions = {}) {
    this.volume = options.volume ?? join(this.folder, 'volume');
    const bytes = options.bytes ?? VOLUME_BYTES;
    const cache = options.cacheBytes ?? CACHE_BYTES;
    chmodSync(this.folder, 0o755);
    mkdirSync(this.mountpoint);
    const stdio = ['ignore', 'inherit', 'pipe', 'ipc'] as const;
    this.server = fork(SERVER, [this.volume, this.mountpoint, transport, String(bytes), String(cache), options.passthrough ?? 'auto'], {
      stdio: [...stdio],
    });
    this.server.stderr!.on('data', (data: Buffer) => {
      this.log += data.toString();
      process.stderr.write(data);
    });
    this.server.on('message', (report: Report) => this.take(report));
    this.server.on('exit', (code, signal) => this.take({ kind: 'ended', message: `the server ended with ${code ?? signal}` }));
  }

  private take(report: Report): void {
    this.reports.push(report);
    this.wake();
  }

  /** Waits for the next report of one of these kinds; others before it are dropped. */
  async report(...kinds: readonly Report['kind'][]): Promise<Report> {
    for (;;) {
      const report = this.reports.shift();
      if (report !== undefined && kinds.includes(report.kind)) return report;
      if (report === undefined) await new Promise<void>((resolve) => (this.wake = resolve));
    }
  }

  async ready(): Promise<this> {
    const report = await this.report('ready', 'ended');
    if (report.kind === 'ended') throw new Error(report.message);
    this.transport = report.transport!;
    this.connection = report.connection!;
    this.passthrough = report.passthrough!;
    return this;
  }

  /** Takes the mount away and makes it anew; the volume stays open. */
  async remount(): Promise<void> {
    await this.must({ order: 'stop', options: {} });
    this.server.send({ order: 'start' } satisfies Order);
    const { connection } = await this.report('ready');
    this.connection = connection!;
    await this.report('done');
  }

  /** Sends an order and waits for what became of it. */
  async order(order: Order): Promise<Report> {
    this.server.send(order);
    return this.report('done', 'failed');
  }

  /** Sends an order that must succeed. */
  async must(order: Order): Promise<Report> {
    const report = await this.order(order);
    assert.equal(report.kind, 'done', report.message);
    return report;
  }

  /** Fails with everything that check finds wrong. */
  async prove(): Promise<void> {
    const { errors } = await this.must({ order: 'check' });
    assert.deepEqual(errors, []);
  }

  /** Takes everything away, whatever state the test left it in. */
  async end(): Promise<void> {
    const running = this.server.exitCode === null && this.server.signalCode === null;
    if (running && this.server.connected) {
      this.server.disconnect();
      await once(this.server, 'exit');
    }
    if (findMount(this.mountpoint) !== undefined) unmountByForce(this.mountpoint);
    rmSync(this.folder, { recursive: true, force: true });
  }
}
