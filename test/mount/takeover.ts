/**
 * Kills of the process that serves a mount, whose descriptors and memories another one holds. Programs that keep a journal
 * (test/torture/client.ts) and programs that read what containers share (takeover-client.ts) work meanwhile. They must notice
 * nothing: no error, nothing lost, nothing done twice.
 */
import assert from 'node:assert/strict';
import { fork, spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { mkdir, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { within } from '../../scripts/lib/limits.js';
import { createLogMemory } from '../../src/engine/log-memory.js';
import { formatVolume } from '../../src/engine/volume.js';
import { dropServing, letGoOfMount, prepareServing, servingDescriptors, type ServingState } from '../../src/fuse/serving.js';
import { QUEUE_ENTRIES } from '../../src/fuse/ring-plan.js';
import type { Transport } from '../../src/fuse/session.js';
import { onlineCpus } from '../../src/linux/affinity.js';
import { close } from '../../src/linux/libc.js';
import { Random } from '../support/volume.js';
import { Client } from '../torture/clients.js';
import { FILES, contentsOf } from './takeover-client.js';
import type { Handover, Question, Reply } from './takeover-server.js';

const SERVER = fileURLToPath(new URL('./takeover-server.js', import.meta.url));
const READER = fileURLToPath(new URL('./takeover-client.js', import.meta.url));
const VOLUME_BYTES = 256 << 20;
const CLIENTS = 3;
const READERS = 2;
const LOAD_MS_MAX = 700;
/** What is asked of the mount, or of who serves it, is answered long before. */
export const ANSWER_MS = 30_000;
/** A file without a name goes with its last FORGET, which comes by itself, but not at once. */
const FORGET_MS = 10_000;

export interface SurviveOptions {
  readonly transport: Transport;
  readonly passthrough: 'auto' | 'off';
  readonly kills: number;
  readonly seed: number;
}

export interface Survived {
  readonly kills: number;
  /** Milliseconds from each kill until the first answer. */
  readonly recoveryMs: readonly number[];
  readonly changes: number;
  readonly bytesVerified: number;
}

/** What the process that serves leaves to the next one, and the process. */
export class Served {
  readonly folder = mkdtempSync(join(tmpdir(), 'lcfs-takeover-'));
  readonly mountpoint = join(this.folder, 'mnt');
  private readonly volume = join(this.folder, 'volume');
  private readonly log = createLogMemory();
  private state: ServingState;
  private child!: ChildProcess;
  private waiting: ((reply: Reply) => void)[] = [];

  constructor(transport: Transport, passthrough: 'auto' | 'off') {
    chmodSync(this.folder, 0o755);
    mkdirSync(this.mountpoint);
    formatVolume(this.volume, { bytes: VOLUME_BYTES });
    this.state = prepareServing({ mountpoint: this.mountpoint, source: this.volume, transport, passthrough });
    assert.equal(this.state.transport, transport);
  }

  get passthrough(): boolean {
    return this.state.contents !== null;
  }

  /** Starts a process that serves, and waits until it does. */
  async serve(takeover: boolean): Promise<void> {
    const handover: Handover = { volume: this.volume, state: this.state, log: this.log, takeover };
    const numbers = [...servingDescriptors(this.state), this.log.fd];
    const stdio: StdioOptions = ['ignore', 'inherit', 'inherit'];
    for (const fd of numbers) stdio[fd] = fd;
    for (let fd = 3; fd < stdio.length; fd++) stdio[fd] ??= 'ignore';
    stdio[stdio.length] = 'ipc';
    this.child = spawn(process.execPath, [SERVER, JSON.stringify(handover)], { stdio });
    this.child.on('message', (reply: Reply) => this.waiting.shift()?.(reply));
    this.child.once('exit', (code, signal) => this.fail(`the process that serves ended with ${code ?? signal}`));
    await this.reply();
    this.state = letGoOfMount(this.state);
  }

  private fail(failed: string): void {
    for (const wake of this.waiting.splice(0)) wake({ failed });
  }

  private async reply(): Promise<Reply> {
    const reply = await within(new Promise<Reply>((resolve) => this.waiting.push(resolve)), ANSWER_MS, 'an answer of who serves');
    if (reply.failed !== undefined) throw new Error(reply.failed);
    return reply;
  }

  ask(question: Question): Promise<Reply> {
    const reply = this.reply();
    this.child.send(question);
    return reply;
  }

  signal(name: NodeJS.Signals): void {
    this.child.kill(name);
  }

  /** Kills who serves, and waits for its end. */
  async die(): Promise<void> {
    const ended = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await ended;
  }

  /** Kills who serves. Returns how many milliseconds later the mount answers again. */
  async kill(): Promise<number> {
    const began = performance.now();
    await this.die();
    await this.serve(true);
    await within(
      stat(join(this.mountpoint, 'layers', 'home0', 'no such file')).catch(() => undefined),
      ANSWER_MS,
      'the mount',
    );
    return performance.now() - began;
  }

  /** Halts who serves, in the midst of whatever it does, until it is killed. Resolves when all of its threads have come to rest. */
  async halt(): Promise<void> {
    this.child.kill('SIGSTOP');
    const tasks = `/proc/${this.child.pid}/task`;
    const isAtRest = (task: string): boolean => / T /.test(readFileSync(join(tasks, task, 'stat'), 'latin1'));
    while (!readdirSync(tasks).every(isAtRest)) await delay(5);
  }

  /** Resolves when somebody waits for an answer. */
  async isAsked(): Promise<void> {
    const waiting = `/sys/fs/fuse/connections/${this.state.volume.number}/waiting`;
    while (Number(readFileSync(waiting, 'latin1')) === 0) await delay(5);
  }

  async stop(): Promise<void> {
    const ended = once(this.child, 'exit');
    await this.ask({ ask: 'stop' });
    await ended;
  }

  end(): void {
    this.child?.kill('SIGKILL');
    dropServing(this.state);
    close(this.log.fd);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A program that reads (takeover-client.ts). */
class ReaderProcess {
  private readonly child: ChildProcess;
  private failed: string | null = null;

  constructor(folders: readonly string[], seed: number) {
    this.child = fork(READER, [...folders, String(seed)], { stdio: 'inherit' });
    this.child.once('exit', (code, signal) => (this.failed = `a reader ended with ${code ?? signal}`));
  }

  prove(): void {
    if (this.failed !== null) throw new Error(this.failed);
  }

  /** Lets it end. */
  async end(): Promise<void> {
    this.prove();
    const answer = once(this.child, 'message');
    this.child.send('end');
    const [{ steps }] = (await within(answer, ANSWER_MS, 'the end of a reader')) as [{ steps: number }];
    assert.ok(steps > 0);
  }

  kill(): void {
    this.child.kill('SIGKILL');
  }
}

/** Kills again and again; throws at the first thing that must not be. */
class Survival {
  private readonly served: Served;
  private readonly chance: Random;
  private readonly options: SurviveOptions;
  private readonly clients: Client[] = [];
  private readonly readers: ReaderProcess[] = [];
  private changes = 0;
  private bytesVerified = 0;

  constructor(options: SurviveOptions) {
    this.options = options;
    this.chance = new Random(options.seed);
    this.served = new Served(options.transport, options.passthrough);
  }

  async run(): Promise<Survived> {
    const recoveryMs: number[] = [];
    try {
      await this.begin();
      for (let kill = 0; kill < this.options.kills; kill++) recoveryMs.push(await this.round());
      await this.finish();
      const { changes, bytesVerified } = this;
      return { kills: recoveryMs.length, recoveryMs, changes, bytesVerified };
    } finally {
      for (const reader of this.readers) reader.kill();
      await Promise.all(this.clients.map((client) => client.end()));
      this.served.end();
    }
  }

  private layer(name: string): string {
    return join(this.served.mountpoint, 'layers', name);
  }

  private async begin(): Promise<void> {
    const { served } = this;
    await served.serve(false);
    assert.equal(served.passthrough, this.options.passthrough === 'auto');
    await served.ask({ ask: 'create', name: 'image', parent: null });
    for (let i = 0; i < FILES; i++) await writeFile(join(this.layer('image'), `file${i}`), contentsOf(i));
    await served.ask({ ask: 'seal', name: 'image' });
    for (const name of ['home0', 'home1']) await served.ask({ ask: 'create', name, parent: 'image' });
    for (let i = 0; i < CLIENTS; i++) {
      const folder = join(this.layer(`home${i % 2}`), `client${i}`);
      await mkdir(folder);
      this.clients.push(new Client(folder, this.options.seed + i));
    }
    for (let i = 0; i < READERS; i++)
      this.readers.push(new ReaderProcess([this.layer('home0'), this.layer('home1')], this.options.seed + i));
  }

  private async round(): Promise<number> {
    await Promise.all(this.clients.map((client) => client.go(false)));
    if (this.chance.below(3) === 0) await this.served.ask({ ask: 'cool' });
    await delay(this.chance.below(LOAD_MS_MAX));
    const recoveryMs = await this.served.kill();
    await Promise.all(this.clients.map((client) => client.rest()));
    await this.verify();
    for (const reader of this.readers) reader.prove();
    return recoveryMs;
  }

  private async verify(): Promise<void> {
    for (const client of this.clients) {
      assert.equal(client.breakage, '');
      const { changes, bytes, lost } = await client.verify(false);
      assert.equal(lost, 0, 'changes are lost');
      this.changes += changes;
      this.bytesVerified += bytes;
    }
  }

  /** Nothing is left behind: no file that is taken for open, none without a name, no damage. */
  private async finish(): Promise<void> {
    await Promise.all(this.clients.map((client) => client.letGo()));
    for (const reader of this.readers) await reader.end();
    if (this.served.passthrough) await this.proveOneCopy();
    await this.awaitNothingOpen();
    const { errors } = await this.served.ask({ ask: 'check' });
    assert.deepEqual(errors, []);
    await this.served.stop();
  }

  /** What one layer has read another does not read again. */
  private async proveOneCopy(): Promise<void> {
    const read = async (name: string): Promise<void> => {
      const child = spawn('cat', [join(this.layer(name), 'file1')], { stdio: 'ignore' });
      const [code] = (await within(once(child, 'exit'), ANSWER_MS, 'cat')) as [number];
      assert.equal(code, 0);
    };
    await read('home0');
    const { reads } = await this.served.ask({ ask: 'count' });
    await read('home1');
    assert.equal((await this.served.ask({ ask: 'count' })).reads, reads);
  }

  private async awaitNothingOpen(): Promise<void> {
    const until = performance.now() + FORGET_MS;
    for (;;) {
      const { sharedFiles, orphans } = await this.served.ask({ ask: 'count' });
      if (sharedFiles === 0 && orphans === 0) return;
      assert.ok(performance.now() < until, `${sharedFiles} shared files are open and ${orphans} files have no name`);
      await delay(50);
    }
  }
}

export function survive(options: SurviveOptions): Promise<Survived> {
  return new Survival(options).run();
}

/**
 * What comes to a queue while nobody serves must not have to wait for another request there: asks on every CPU once after a
 * death, when each entry of the ring has had a request before.
 */
export async function surviveQuietly(transport: Transport): Promise<void> {
  const served = new Served(transport, 'auto');
  try {
    await served.serve(false);
    for (let round = 0; round < ROUNDS; round++) {
      served.signal('SIGSTOP');
      const many = onlineCpus().flatMap((cpu) => Array.from({ length: QUEUE_ENTRIES + 2 }, () => ask(served.mountpoint, cpu)));
      await delay(QUEUED_MS);
      served.signal('SIGCONT');
      await within(Promise.all(many), ANSWER_MS, 'the answers before a death');
      await served.die();
      // Until then the kernel may still hand over to the dead process.
      await delay(QUEUED_MS);
      const few = onlineCpus().map((cpu) => ask(served.mountpoint, cpu));
      await delay(QUEUED_MS);
      await served.serve(true);
      await within(Promise.all(few), ANSWER_MS, 'the answers after a death');
    }
    await served.stop();
  } finally {
    served.end();
  }
}

const ROUNDS = 2;
/** Until a program that was started has made its request. */
const QUEUED_MS = 300;

/** Has a program ask the mount on one CPU for what the kernel never keeps. Returns whether it was answered. */
async function ask(mountpoint: string, cpu: number): Promise<boolean> {
  const child = spawn('taskset', ['--cpu-list', String(cpu), 'stat', '--file-system', '--format=', mountpoint], { stdio: 'ignore' });
  const [code] = (await once(child, 'exit')) as [number];
  return code === 0;
}

/** `takeover.js TRANSPORT auto|off KILLS SEED` runs long, and prints what came of it. */
async function main(): Promise<void> {
  const [transport, passthrough, kills, seed] = process.argv.slice(2) as [Transport, 'auto' | 'off', string, string];
  const { recoveryMs, ...figures } = await survive({ transport, passthrough, kills: Number(kills), seed: Number(seed) });
  const sorted = recoveryMs.toSorted((a, b) => a - b);
  const at = (share: number): number => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!);
  process.stdout.write(`${JSON.stringify({ transport, passthrough, ...figures, p50: at(0.5), p99: at(0.99) })}\n`);
}

if (process.argv[1] === import.meta.filename) await main();
