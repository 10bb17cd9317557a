/**
 * Kills under load. Programs that keep a journal (client.ts) work in a mounted volume, layers come and go (churn.ts), and
 * the process that serves the mount is killed at random moments. After each kill:
 *
 *   1. the time until the mount answers again is taken;
 *   2. every program compares its directory with its journal, and every committed layer is read and compared;
 *   3. now and then the volume is checked before it is opened again.
 *
 * Where a supervisor lives on and another process takes over, nothing that was answered may be lost or done twice, and nothing is
 * refused.
 * Where the mount ends with its daemon, what was not acknowledged may be missing, from the end only. What comes after that runs
 * half of the time with `--fsync=strict`, where every fsync is such an acknowledgement, and half of the time over /dev/fuse.
 *
 * In the end everything is removed again, and what the volume and the daemon have in use is what they had in the beginning.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { makeFolder } from '../../scripts/lib/folders.js';
import { LcfsDaemon } from '../../scripts/lib/lcfs.js';
import { MOMENT_MS, within } from '../../scripts/lib/limits.js';
import { processesUsing } from '../../scripts/lib/run.js';
import type { Status } from '../../src/daemon/protocol.js';
import type { Random } from '../support/volume.js';
import { Churn } from './churn.js';
import { Client } from './clients.js';
import { BusyCores, MemoryLimit } from './hardship.js';
import { closeKernelIds } from './kernel-ids.js';
import { noFigures, randomOf, violation, type Budget, type Figures } from './part.js';
import { Readers } from './readers.js';
import { MemoryTrail, fuseMounts, leaks, residentBytes, usageOf, type Usage } from './usage.js';

export interface Hardship {
  /** Of the volume, as for `--size`. */
  readonly size: string;
  /** Bytes of the volume that are left free in the beginning, the reserve included, so that it is nearly full; 0: all of it. */
  readonly leaveBytes: number;
  /** Load before a kill, in milliseconds: at least, and at most so many more. */
  readonly loadMs: readonly [number, number];
  /** Whether other programs keep all cores busy. */
  readonly busy: boolean;
  /** Memory of the daemon, its cache of the volume included; 0: no limit. */
  readonly memoryBytes: number;
}

const PLAIN: Hardship = { size: '256M', leaveBytes: 0, loadMs: [0, 2500], busy: false, memoryBytes: 0 };
const HARD: Hardship = { size: '160M', leaveBytes: 7 << 20, loadMs: [20_000, 0], busy: true, memoryBytes: 400 << 20 };

const CLIENTS = 3;
const LAYERS = 2;
/** A check of the whole volume comes before one of so many starts. */
const KILLS_PER_CHECK = 8;
/** How requests come from the kernel: as the daemon chooses, or without io_uring. */
const TRANSPORTS = ['auto', 'devfuse'] as const;
/** More deaths within a minute than a supervisor takes for bad luck. */
const DEATHS_PER_MINUTE = 2;
/** A RELEASE comes a while after close(2) has returned. */
const HELD_PATIENCE_MS = 10_000;

export class Kills {
  readonly figures: Figures = noFigures();
  /** The longest time whose changes a kill took along. */
  lostMsMax = 0;
  readonly #folder = makeFolder('lcfs-k-');
  readonly #budget: Budget;
  readonly #hardship: Hardship;
  readonly #random: Random;
  readonly #clients: Client[] = [];
  readonly #busy: BusyCores;
  readonly #limit: MemoryLimit;
  #lcfs: LcfsDaemon;
  #churn!: Churn;
  #readers!: Readers;
  #before!: Usage;
  #mountsBefore = '';
  readonly #servingMemory = new MemoryTrail();
  readonly #supervisorMemory = new MemoryTrail();
  /** Fewest free blocks that were seen. */
  #freeMin = Infinity;
  /** How the daemon that runs was started. */
  #isStrict = false;
  #transport: (typeof TRANSPORTS)[number] = 'auto';
  /** Whether a supervisor survives its serving process; known after the first death. */
  #survives = true;
  /** When serving processes were killed, for the limit of deaths. */
  #deaths: number[] = [];
  #probes = 0;

  constructor(budget: Budget, hardship: Hardship) {
    this.#budget = budget;
    this.#hardship = hardship;
    this.#random = randomOf(budget.seed);
    this.#busy = new BusyCores(hardship.busy);
    this.#limit = new MemoryLimit(hardship.memoryBytes);
    this.#lcfs = this.#daemon();
  }

  #daemon(): LcfsDaemon {
    const args = ['--cache', '16M', '--fsync', this.#isStrict ? 'strict' : 'relaxed', '--transport', this.#transport];
    return new LcfsDaemon({ directory: join(this.#folder, 'l'), driver: `lcfs-torture-${process.pid}`, size: this.#hardship.size, args });
  }

  get #done(): boolean {
    return this.figures.kills >= this.#budget.most || performance.now() >= this.#budget.until;
  }

  async run(): Promise<Figures> {
    try {
      await this.#begin();
      while (!this.#done) await this.#round();
      await this.#end();
      return this.figures;
    } catch (error) {
      throw this.#violation(error);
    } finally {
      await this.#takeDown();
    }
  }

  #violation(error: unknown): Error {
    const text = error instanceof Error ? error.stack! : String(error);
    const found = this.#clients.find((client) => client.violation !== null)?.violation ?? text;
    const { seed, evidence } = this.#budget;
    return violation(join(evidence, `kills-${seed}`), `seed ${seed}, kill ${this.figures.kills}: ${found}`, {
      'lcfs.log': this.#lcfs.log(),
      'usage.json': JSON.stringify(this.figures.usage ?? {}),
    });
  }

  async #begin(): Promise<void> {
    await this.#start();
    this.#before = await usageOf(this.#lcfs);
    this.#mountsBefore = fuseMounts();
    if (this.#hardship.leaveBytes > 0) await this.#fill();
    for (let i = 0; i < LAYERS; i++) await this.#lcfs.lcfs('layer', 'create', `home${i}`);
    for (let i = 0; i < CLIENTS; i++) this.#clients.push(new Client(this.#home(i), this.#budget.seed + i));
    this.#readers = new Readers(join(this.#lcfs.mountpoint, 'layers'), this.#random);
    this.#churn = new Churn(this.#lcfs.control, this.#random, this.#readers);
    await this.#commit();
    this.#busy.start();
  }

  async #start(): Promise<void> {
    this.#lcfs = this.#daemon();
    await this.#lcfs.start();
    this.#limit.apply([this.#lcfs.pid, ...processesUsing(this.#folder)]);
  }

  async #fill(): Promise<void> {
    const { blocks, blockBytes } = await this.#lcfs.json<Status>('status');
    writeFileSync(this.#ballast, Buffer.alloc(blocks.free * blockBytes - this.#hardship.leaveBytes, 'ballast'));
  }

  get #ballast(): string {
    return join(this.#lcfs.mountpoint, 'global', 'ballast');
  }

  #home(client: number): string {
    return join(this.#lcfs.mountpoint, 'layers', `home${client % LAYERS}`, `client${client}`);
  }

  /** Makes durable what the clients have done so far, and lets them know. */
  async #commit(): Promise<void> {
    const resting = await Promise.all(this.#clients.map((client) => client.rest()));
    await this.#lcfs.lcfs('commit');
    for (const [i, client] of this.#clients.entries()) client.acknowledged(resting[i]!.changes);
  }

  async #round(): Promise<void> {
    this.#budget.log(`seed ${this.#budget.seed}: kill ${this.figures.kills}`);
    await Promise.all(this.#clients.map((client) => client.go(this.#isStrict)));
    this.#churn.go();
    const [least, more] = this.#hardship.loadMs;
    await delay(least + this.#random.below(more + 1));
    await this.#verify(await this.#kill());
  }

  /** Returns whether the mount was lost along with the process. */
  async #kill(): Promise<boolean> {
    this.#servingMemory.add(residentBytes(this.#lcfs.servingPid));
    this.#supervisorMemory.add(residentBytes(this.#lcfs.pid));
    const began = performance.now();
    const survived = this.#maySurvive(began) && (await this.#killServing());
    if (!survived) await this.#killAll();
    await within(this.#firstAnswer(), MOMENT_MS, 'the first answer');
    if (survived) this.figures.takeoverMs.push(performance.now() - began);
    else this.figures.restartMs.push(performance.now() - this.#startedAt);
    this.figures.kills++;
    if (survived) await this.#restAll();
    return !survived;
  }

  #startedAt = 0;

  #maySurvive(now: number): boolean {
    this.#deaths = this.#deaths.filter((at) => now - at < 60_000);
    return this.#survives && this.#deaths.length < DEATHS_PER_MINUTE;
  }

  /** Kills the process that serves. Returns whether another one takes over. */
  async #killServing(): Promise<boolean> {
    this.#deaths.push(performance.now());
    await this.#lcfs.killServing();
    for (let tries = 0; tries < 20 && this.#lcfs.running; tries++) await delay(50);
    return (this.#survives = this.#lcfs.running);
  }

  /** Ends the daemon as a whole, and starts it again. */
  async #killAll(): Promise<void> {
    await this.#lcfs.kill();
    await this.#restAll();
    if (this.figures.kills % KILLS_PER_CHECK === 0) await this.#check();
    this.#isStrict = this.#random.below(2) === 0;
    this.#transport = this.#random.pick(TRANSPORTS);
    this.#deaths = [];
    this.#startedAt = performance.now();
    await this.#start();
  }

  /** A name that nobody has asked for, so that the kernel cannot know the answer. */
  async #firstAnswer(): Promise<void> {
    const path = join(this.#lcfs.mountpoint, 'layers', 'home0', `probe${this.#probes++}`);
    const code = await lstat(path).then(
      () => '',
      (error: NodeJS.ErrnoException) => error.code,
    );
    if (code !== 'ENOENT') throw new Error(`${path}: ${code}`);
  }

  async #restAll(): Promise<void> {
    await within(
      Promise.all([this.#churn.rest(), ...this.#clients.map((client) => client.rest())]),
      MOMENT_MS,
      'the end of what was under way',
    );
  }

  async #check(): Promise<void> {
    const { status, stdout, stderr } = await this.#lcfs.check();
    if (status !== 0) throw new Error(`check: ${stdout}${stderr}`);
  }

  async #verify(lost: boolean): Promise<void> {
    for (const client of this.#clients) {
      if (!lost && client.broken) throw new Error(`a request was given up: ${client.breakage}`);
      const { bytes, changes, lost: missing, lostMs } = await client.verify(lost || client.broken);
      if (!lost && missing > 0) throw new Error(`${missing} changes are missing although another process took over`);
      this.figures.bytesVerified += bytes;
      this.figures.operations += changes;
      this.lostMsMax = Math.max(this.lostMsMax, lostMs);
    }
    const before = this.#bytesOfLayers;
    await within(this.#churn.verify(), MOMENT_MS, 'comparing layers');
    await within(this.#readers.verify(), MOMENT_MS, 'comparing open files');
    this.figures.bytesVerified += this.#bytesOfLayers - before;
    await this.#commit();
    await this.#proveHeld();
  }

  get #bytesOfLayers(): number {
    return this.#churn.bytesVerified + this.#readers.bytesVerified;
  }

  /** While nobody opens or closes, each content file that records of openings name has one backing id, and no other has. */
  async #proveHeld(): Promise<void> {
    for (const until = performance.now() + HELD_PATIENCE_MS; ; await delay(100)) {
      const { files, blocks } = await this.#lcfs.json<Status>('status');
      this.#freeMin = Math.min(this.#freeMin, blocks.free);
      if (files.backings === files.passing) return;
      if (performance.now() > until) throw new Error(`${files.backings} backing ids are counted for ${files.passing} files that are open`);
    }
  }

  /** An end in order loses nothing, and nothing is left behind. */
  async #end(): Promise<void> {
    this.#busy.end();
    await this.#readers.close();
    await this.#churn.clear();
    await Promise.all(this.#clients.map((client) => client.letGo()));
    for (let i = 0; i < LAYERS; i++) await this.#lcfs.lcfs('layer', 'rm', `home${i}`);
    rmSync(this.#ballast, { force: true });
    const after = await usageOf(this.#lcfs);
    const kernelIds = closeKernelIds(this.#lcfs.servingPid);
    this.#tell(after, kernelIds);
    const left = leaks(this.#before, after, fuseMounts() === this.#mountsBefore);
    if (left !== '') throw new Error(`after everything was removed: ${left}`);
    if (kernelIds > after.backings) throw new Error(`the kernel has ${kernelIds} backing ids, and the daemon knows of ${after.backings}`);
    const grown = [this.#servingMemory.growth('processes that serve'), this.#supervisorMemory.growth('supervisors')].join('');
    if (grown !== '') throw new Error(grown);
    await within(this.#lcfs.stop(), MOMENT_MS, 'lcfs stop');
    await this.#check();
  }

  /** What was in use, for the report. */
  #tell(after: Usage, kernelIds: number): void {
    this.figures.usage = {
      before: this.#before,
      after,
      kernelIds,
      filesHeldOpen: this.#readers.opened,
      freeBlocksMin: this.#freeMin,
      isMemoryLimited: this.#limit.isInForce,
      servingMemory: this.#servingMemory.thirds(),
      supervisorMemory: this.#supervisorMemory.thirds(),
    };
  }

  async #takeDown(): Promise<void> {
    this.#busy.end();
    await Promise.all(this.#clients.map((client) => client.end()));
    await this.#lcfs.end();
    this.#limit.end();
    rmSync(this.#folder, { recursive: true, force: true });
    rmSync(this.#lcfs.socket, { force: true });
  }
}

export function kills(budget: Budget): Promise<Figures> {
  return new Kills(budget, PLAIN).run();
}

/** Much that is hard at once: all cores busy, little memory, a volume nearly full, and a kill every 20 s. */
export function abuse(budget: Budget): Promise<Figures> {
  return new Kills(budget, HARD).run();
}
