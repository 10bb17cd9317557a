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
  private readonly reports: Report[] = [];
  private wake = (): void => undefined;

  /** Starts the server; `ready` waits for it. */
  constructor(transport: Transport | 'auto', bytes = VOLUME_BYTES, passthrough: 'auto' | 'off' = 'auto') {
    chmodSync(this.folder, 0o755);
    mkdirSync(this.mountpoint);
    this.server = fork(SERVER, [join(this.folder, 'volume'), this.mountpoint, transport, String(bytes), passthrough]);
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
