/**
 * Power cuts under a container engine. The engine does random real work, two things at a time, on a daemon that records what
 * it does to its volume (record.ts). Then the power is cut at random moments of that: the volume is what was flushed and an
 * arbitrary part of the rest. On each such volume
 *
 *   1. `lcfs check` finds nothing wrong;
 *   2. LCFS and the engine start;
 *   3. every image that the engine lists is complete, and every container that it lists starts;
 *   4. once the engine has removed all of that, `lcfs gc` finds the layers that nobody knows any more, and none is left but those
 *      that are in the engine's database still, which are complete.
 *
 * The engine keeps its own files either on the volume (its global layer), so that they are cut at the same moment, or beside
 * it. Then the engine is stopped for a moment while these files are copied, which is a moment at which power may be cut, too:
 * the volume may have lost all that was not flushed, while the engine has lost nothing of what it noted.
 */
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { GcReport, Layer } from '../../src/daemon/protocol.js';
import { makeFolder } from '../../scripts/lib/folders.js';
import { LcfsDaemon } from '../../scripts/lib/lcfs.js';
import { MOMENT_MS, within } from '../../scripts/lib/limits.js';
import { unmountBelow } from '../../scripts/lib/mounts.js';
import { run } from '../../scripts/lib/run.js';
import type { Random } from '../support/volume.js';
import { addFigures, noFigures, randomOf, violation, type Budget, type Figures } from './part.js';
import { Recording, recordingTo } from './recording.js';

/** Where an engine keeps its files. */
export type Place = 'on the volume' | 'beside it';

/** What an engine is told about the place where it is to work. */
export interface Site {
  /** A folder of its own; sockets and logs lie there. */
  readonly folder: string;
  readonly mountpoint: string;
  /** Name of the graph driver, and of whatever else needs one. */
  readonly name: string;
  readonly place: Place;
}

/** An engine that is put to work and cut. */
export interface Engine {
  /** More options for `lcfs daemon`. */
  readonly daemonArgs: readonly string[];
  /** Folders with all that it keeps, if they lie beside the volume. */
  readonly folders: readonly string[];
  /** More options for `lcfs gc`. */
  readonly gcArgs: readonly string[];
  /** Starts it. Also after `stop` and `cutPower`. */
  start(): Promise<void>;
  /** Brings in what the work begins with. */
  prepare(): Promise<void>;
  /** Does something that may be refused: somebody else may have removed what it is about. */
  work(random: Random): Promise<void>;
  /** Processes that change its files, the one that begins first. */
  pids(): number[];
  /** Ends it and its containers without warning, and takes away what was in memory only. */
  cutPower(): Promise<void>;
  /** Proves images and containers. Returns how many bytes were compared. Throws if something is not as it must be. */
  verify(): Promise<number>;
  /** Removes all that it lists. */
  removeAll(): Promise<void>;
  /** Names of layers that its database has after that. Throws if one is not complete. */
  remains(): Promise<readonly string[]>;
  stop(): Promise<void>;
  log(): string;
}

/** What is recorded at a time, and how often that is cut. */
export interface Extent {
  readonly workMs: number;
  readonly cuts: number;
}

/** A moment at which the power may be cut: how far the recording was, and copies of the engine's folders if they lie beside. */
interface Moment {
  readonly position: number;
  readonly copies: readonly string[];
}

const LONG: Extent = { workMs: 15_000, cuts: 5 };
const VOLUME_SIZE = '512M';
const STOP_POLL_MS = 2;

class EngineCuts {
  readonly figures: Figures = noFigures();
  readonly #budget: Budget;
  readonly #place: Place;
  readonly #extent: Extent;
  readonly #random: Random;
  readonly #folder = makeFolder('lcfs-p-');
  readonly #name = `lcfs-cut-${process.pid}`;
  readonly #recording: Recording;
  readonly #engine: Engine;
  #lcfs: LcfsDaemon;
  /** What is being done, for messages. */
  #doing = 'starting';

  constructor(budget: Budget, place: Place, extent: Extent, makeEngine: (site: Site) => Engine) {
    this.#budget = budget;
    this.#extent = extent;
    this.#place = place;
    this.#random = randomOf(budget.seed);
    mkdirSync(this.#path('e'));
    this.#recording = new Recording(this.#path('log'), this.#path('base.img'));
    this.#engine = makeEngine({ folder: this.#path('e'), mountpoint: this.#path('l/mnt'), name: this.#name, place });
    this.#lcfs = this.#daemon(this.#path('volume.img'), true);
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }

  #daemon(volume: string, records: boolean): LcfsDaemon {
    const env = records ? recordingTo(this.#path('log'), volume) : {};
    const args = ['--cache', '32M', ...this.#engine.daemonArgs];
    return new LcfsDaemon({ directory: this.#path('l'), driver: this.#name, volume, args, env });
  }

  async run(cutsMost: number): Promise<Figures> {
    try {
      const moments = await this.#work();
      for (const moment of moments.slice(0, cutsMost)) {
        if (performance.now() >= this.#budget.until && this.figures.cuts > 0) break;
        await this.#cut(moment);
      }
      return this.figures;
    } catch (error) {
      throw this.#violation(error);
    } finally {
      await this.#takeDown();
    }
  }

  /** Keeps the volume as it was before it was opened, the recording, and the logs. */
  #violation(error: unknown): Error {
    const folder = join(this.#budget.evidence, `engine-${this.#budget.seed}`);
    const logs = { 'lcfs.log': this.#lcfs.log(), 'engine.log': this.#engine.log() };
    const text = error instanceof Error ? error.stack! : String(error);
    const found = violation(folder, `the engine's files ${this.#place}, ${this.#doing}: ${text}`, logs);
    for (const name of ['before.img', 'log', 'base.img']) if (existsSync(this.#path(name))) cpSync(this.#path(name), join(folder, name));
    return found;
  }

  // Work

  async #work(): Promise<Moment[]> {
    const { volume } = this.#lcfs;
    await run(process.execPath, this.#lcfs.command('format', volume, '--size', VOLUME_SIZE).slice(1));
    cpSync(volume, this.#path('base.img'));
    await this.#lcfs.start();
    await this.#engine.start();
    await this.#engine.prepare();
    await this.#lcfs.lcfs('commit');
    const moments = await this.#workAndFreeze(this.#recording.length);
    await this.#engine.cutPower();
    await this.#lcfs.kill();
    await unmountBelow(this.#lcfs.mountpoint);
    return moments;
  }

  /** Works for a while. Returns moments for cuts; `begun`: length of the recording before. */
  async #workAndFreeze(begun: number): Promise<Moment[]> {
    this.#doing = 'at work';
    const { workMs, cuts } = this.#extent;
    const until = performance.now() + workMs;
    const workers = [this.#worker(until), this.#worker(until)];
    const frozen: Moment[] = [];
    for (let i = 0; i < cuts && this.#place === 'beside it'; i++) {
      await delay((workMs / cuts) * (0.3 + (this.#random.below(1000) / 1000) * 0.6));
      frozen.push(await this.#freeze(i));
    }
    await Promise.all(workers);
    if (this.#place === 'beside it') return frozen;
    const length = this.#recording.length - begun;
    return Array.from({ length: cuts }, () => ({
      position: begun + Math.floor((length * this.#random.below(1_000_000)) / 1_000_000),
      copies: [],
    }));
  }

  async #worker(until: number): Promise<void> {
    while (performance.now() < until) {
      await this.#engine.work(this.#random);
      this.figures.operations++;
    }
  }

  /**
   * Copies the engine's files while nobody can change them. LCFS goes on: the engine learns nothing of it, and there may be
   * mounts of ours among the files.
   */
  async #freeze(number: number): Promise<Moment> {
    const pids = this.#engine.pids();
    const copies = this.#engine.folders.map((folder) => this.#path(`copy-${number}-${basename(folder)}`));
    for (const pid of pids) process.kill(pid, 'SIGSTOP');
    try {
      for (const pid of pids) await within(stopped(pid), MOMENT_MS, `the stop of process ${pid}`);
      for (const [i, folder] of this.#engine.folders.entries()) await run('cp', ['-ax', folder, copies[i]!], { timeoutMs: 60_000 });
      return { position: this.#recording.length, copies };
    } finally {
      for (const pid of pids.toReversed()) process.kill(pid, 'SIGCONT');
    }
  }

  // Cuts

  async #cut(moment: Moment): Promise<void> {
    const image = this.#path('cut.img');
    const mood = this.#recording.cut(moment.position, image, this.#random);
    this.#doing = `cut ${this.figures.cuts + 1} at ${moment.position} of the recording (${mood} survived)`;
    this.#budget.log(`seed ${this.#budget.seed}: ${this.#doing}`);
    cpSync(image, this.#path('before.img'));
    this.#restore(moment);
    this.#lcfs = this.#daemon(image, false);
    await this.#prove('before it was opened');
    await this.#lcfs.start();
    await this.#engine.start();
    this.figures.bytesVerified += await this.#engine.verify();
    await this.#engine.removeAll();
    await this.#collect();
    await this.#engine.stop();
    await within(this.#lcfs.stop(), MOMENT_MS, 'lcfs stop');
    await this.#prove('after everything was removed');
    this.figures.cuts++;
  }

  async #prove(when: string): Promise<void> {
    const { status, stdout, stderr } = await this.#lcfs.check();
    if (status !== 0) throw new Error(`check ${when}: ${stdout}${stderr}`);
  }

  #restore({ copies }: Moment): void {
    for (const [i, copy] of copies.entries()) {
      rmSync(this.#engine.folders[i]!, { recursive: true, force: true });
      renameSync(copy, this.#engine.folders[i]!);
    }
  }

  /** Removes the layers that nobody knows any more. */
  async #collect(): Promise<void> {
    const report = await this.#lcfs.json<GcReport>('gc', '--remove', '--older-than', '0s', ...this.#engine.gcArgs);
    const known = await this.#engine.remains();
    const names = (await this.#lcfs.json<Layer[]>('layer', 'ls')).map(({ name }) => name);
    const lost = names.filter((name) => !known.includes(name));
    if (lost.length > 0) throw new Error(`layers are left that nobody knows: ${lost.join(', ')}; gc: ${JSON.stringify(report)}`);
  }

  async #takeDown(): Promise<void> {
    await this.#engine.cutPower();
    await this.#engine.stop();
    await this.#lcfs.end();
    await unmountBelow(this.#folder);
    rmSync(this.#folder, { recursive: true, force: true });
    rmSync(this.#lcfs.socket, { force: true });
  }
}

/** Settles when all threads of a process that got SIGSTOP stand still: each first ends the system call that it is in. */
async function stopped(pid: number): Promise<void> {
  const threads = (): string[] => readdirSync(`/proc/${pid}/task`);
  while (!threads().every((thread) => isStopped(`/proc/${pid}/task/${thread}/stat`))) await delay(STOP_POLL_MS);
}

/** A thread that has ended changes nothing either. */
function isStopped(stat: string): boolean {
  try {
    const text = readFileSync(stat, 'utf8');
    return 'TtZX'.includes(text[text.lastIndexOf(')') + 2]!);
  } catch {
    return true;
  }
}

/** Cuts the power under engines until the budget is used up; their files in one place and in the other by turns. */
export async function engineCuts(budget: Budget, makeEngine: (site: Site) => Engine, extent = LONG): Promise<Figures> {
  const all = noFigures();
  for (let round = 0; round === 0 || (performance.now() < budget.until && all.cuts < budget.most); round++) {
    const place = round % 2 === 0 ? 'on the volume' : 'beside it';
    addFigures(all, await new EngineCuts({ ...budget, seed: budget.seed + round }, place, extent, makeEngine).run(budget.most - all.cuts));
  }
  return all;
}
