/**
 * Power cuts in memory. Lives of a small volume are recorded on an emulated device (disk.ts); then the power is cut after
 * every write of the record, and of what was not flushed an arbitrary part survives. For each cut:
 *
 *   1. the volume opens, and check finds nothing wrong, contents included;
 *   2. it holds exactly one of the states that the life went through, so what is missing is missing from the end (the prefix
 *      property): no operation in part, none without those before it;
 *   3. that state is no older than the last one that was acknowledged as durable before the cut, by the log or a checkpoint;
 *   4. what was left behind – nameless files, removed layers – can be cleaned away, and the volume is sound after that.
 *
 * One of the cuts is where the next life begins, so that cuts of volumes that were cut before are met, too, and cuts while
 * a volume is being opened after one.
 *
 * A seed gives the same lives each time: the hash key of the volume is taken from it as well.
 */
import crypto from 'node:crypto';
import { closeSync, ftruncateSync, openSync, readFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { checkpoint } from '../../src/engine/checkpoint.js';
import { checkVolume } from '../../src/engine/check.js';
import { makeDurable } from '../../src/engine/durability.js';
import { reapLeftOrphans, reclaimAll } from '../../src/engine/maintenance.js';
import { abandonVolume, formatVolume, openVolume, volumeInfo } from '../../src/engine/volume.js';
import { digestVolume, digestedBytes } from '../support/digest.js';
import { oneIn } from '../support/files.js';
import { MIB, withFolder, type Random } from '../support/volume.js';
import { Cuts, Disk } from './disk.js';
import { Life } from './life.js';
import { noFigures, randomOf, violation, type Budget, type Figures, type Violation } from './part.js';

const CACHE = { cacheBytes: 4 * MIB };
/** Room enough for a life, and small enough to be full now and then. */
const VOLUME_BYTES = 8 * MIB;
/** Operations of one life. */
const STEPS = 80;
/** Lives on one volume, each from a cut of the one before. */
const LIVES = 4;

/** A state that a life went through. */
interface State {
  readonly digest: string;
  /** Length of the device's log when the operation that led to it began. */
  readonly begun: number;
}

/** What a life went through, and what of it was acknowledged when. */
class Chronicle {
  readonly states: State[] = [];
  /** `position`: length of the log when it was acknowledged that the state is durable. */
  readonly acknowledged: { state: number; position: number }[] = [];
  readonly #disk: Disk;

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  get last(): number {
    return this.states.length - 1;
  }

  /** Notes the present state, unless it is the last one. `begun`: when its operation began. */
  note(begun: number): void {
    const digest = digestVolume();
    if (this.states.at(-1)?.digest !== digest) this.states.push({ digest, begun });
  }

  acknowledge(state: number): void {
    this.acknowledged.push({ state, position: this.#disk.log.length });
  }

  /** The first state that may be there after a cut: the last one that was acknowledged. */
  floor(position: number): number {
    return this.acknowledged.findLast((each) => each.position <= position)?.state ?? 0;
  }

  /** Whether a state may be there after a cut. */
  allows(digest: string, position: number): boolean {
    const floor = this.floor(position);
    return this.states.some((state, index) => state.digest === digest && index >= floor && state.begun <= position);
  }

  /** What is wrong with a state that may not be there. */
  complaint(digest: string, position: number): string {
    const index = this.states.findLastIndex((state) => state.digest === digest);
    const floor = this.floor(position);
    if (index < 0) return `is in a state that never was; the one before the cut is at least number ${floor}`;
    return index < floor ? `is in state ${index}, but ${floor} was acknowledged` : `is in state ${index}, which had not begun yet`;
  }
}

/** Records lives, cuts them and compares. One at a time in a process: the engine has one volume open. */
export class PowerCuts {
  readonly figures: Figures = noFigures();
  readonly #budget: Budget;
  readonly #path: string;
  readonly #disk = new Disk(VOLUME_BYTES);
  readonly #cut = new Disk(VOLUME_BYTES);
  #seed = 0;

  /** `path`: a file as large as the volume, which the engine locks; nothing of it is read. */
  constructor(budget: Budget, path: string) {
    this.#budget = budget;
    this.#path = path;
  }

  get #done(): boolean {
    return this.figures.cuts >= this.#budget.most || performance.now() >= this.#budget.until;
  }

  /** Goes through volumes until the budget is used up. Throws a Violation. */
  run(): Figures {
    for (let run = 0; !this.#done; run++) this.#volume(this.#budget.seed + run);
    return this.figures;
  }

  /** Some lives of one volume. */
  #volume(seed: number): void {
    const random = randomOf(seed);
    this.#seed = seed;
    this.#budget.log(`seed ${seed}`);
    let base: Uint8Array = emptyVolume(this.#path, seed);
    for (let life = 0; life < LIVES && !this.#done; life++) base = this.#life(base, random, life);
  }

  /** One life and all of its cuts. Returns what one of them left. */
  #life(base: Uint8Array, random: Random, life: number): Uint8Array {
    this.#disk.load(base);
    const chronicle = this.#record(random);
    const cuts = new Cuts(base, this.#disk.log, this.#cut);
    const chosen = random.below(cuts.count + 1);
    let next = base;
    for (let position = 0; position <= cuts.count && !this.#done; position++) {
      const mood = cuts.make(position, random);
      if (position === chosen) next = Uint8Array.from(this.#cut.image);
      const where = `seed ${this.#seed}, life ${life}, cut behind entry ${position} of ${cuts.count} (${mood} survived)`;
      const complaint = this.#examine(chronicle, position, oneIn(random, 4));
      if (complaint !== '') throw this.#violation(`after ${where} the volume ${complaint}`, cuts.again());
      this.figures.cuts++;
    }
    return next;
  }

  /** Lives on the volume of the disk until it is cut at the latest. */
  #record(random: Random): Chronicle {
    const disk = this.#disk;
    const chronicle = new Chronicle(disk);
    openVolume(this.#path, { ...CACHE, device: disk });
    try {
      chronicle.note(0);
      chronicle.acknowledge(0);
      new Recorder(disk, chronicle, random).live(STEPS);
    } finally {
      abandonVolume();
    }
    this.figures.operations += STEPS;
    return chronicle;
  }

  #violation(message: string, image: Uint8Array): Violation {
    return violation(join(this.#budget.evidence, `power-${this.#seed}`), message, { 'volume.img': image });
  }

  /** Opens what a cut left and compares it with what it may be. Returns what is wrong; nothing if it is as it may be. */
  #examine(chronicle: Chronicle, position: number, cleans: boolean): string {
    try {
      return this.#open(chronicle, position, cleans);
    } catch (error) {
      return `fails: ${error instanceof Error ? error.stack! : String(error)}`;
    }
  }

  #open(chronicle: Chronicle, position: number, cleans: boolean): string {
    openVolume(this.#path, { ...CACHE, device: this.#cut });
    try {
      const errors = checkErrors();
      if (errors !== '') return errors;
      const before = digestedBytes;
      const digest = digestVolume();
      this.figures.bytesVerified += digestedBytes - before;
      if (!chronicle.allows(digest, position))
        return `${chronicle.complaint(digest, position)} (opened at ${volumeInfo().openedGeneration})`;
      return cleans ? cleanAway(digest) : '';
    } finally {
      abandonVolume();
    }
  }
}

function checkErrors(): string {
  const { errors } = checkVolume({ data: true });
  return errors.length === 0 ? '' : `is damaged: ${errors.slice(0, 5).join('; ')}`;
}

/** Frees what nobody can reach any more. Returns what went wrong. */
function cleanAway(digest: string): string {
  reapLeftOrphans();
  reclaimAll();
  checkpoint();
  const errors = checkErrors();
  if (errors !== '') return `was sound, but after cleaning up it ${errors}`;
  return digestVolume() === digest ? '' : 'has other contents after cleaning up';
}

/** Lets a life happen and writes its chronicle. */
class Recorder {
  readonly #disk: Disk;
  readonly #chronicle: Chronicle;
  readonly #random: Random;
  readonly #life: Life;
  /** State that the checkpoint under way makes durable; -1 if it has not got so far, or has nothing to do. */
  #closed = -1;
  /** Length of the log when the operation under way began. */
  #begun = 0;
  /** A checkpoint that the life asked for, so that no operation is half-way while the device is flushed. */
  #betweenOperations = false;

  constructor(disk: Disk, chronicle: Chronicle, random: Random) {
    this.#disk = disk;
    this.#chronicle = chronicle;
    this.#random = random;
    this.#life = new Life(random, (work) => this.#acknowledged(work));
    disk.onFlush = () => this.#flushing();
  }

  live(steps: number): void {
    for (let step = 0; step < steps; step++) {
      this.#act(true);
      if (oneIn(this.#random, 12)) this.#acknowledged(checkpoint);
      else if (oneIn(this.#random, 4)) this.#acknowledged(makeDurable);
    }
  }

  #act(mayCommit: boolean): void {
    const outer = this.#begun;
    this.#begun = this.#disk.log.length;
    this.#life.act(mayCommit);
    this.#chronicle.note(this.#begun);
    this.#begun = outer;
  }

  /** Does what is durable, up to the state that its checkpoint closed, when it returns. */
  #acknowledged(work: () => void): void {
    this.#closed = -1;
    this.#betweenOperations = true;
    try {
      work();
    } finally {
      this.#betweenOperations = false;
    }
    this.#chronicle.acknowledge(this.#closed < 0 ? this.#chronicle.last : this.#closed);
  }

  /**
   * At the first flush of a checkpoint the state is that which it closed. Between that and the end of the checkpoint life
   * goes on, as it does on other threads, unless the volume is so full that an operation would wait for this very checkpoint.
   */
  #flushing(): void {
    if (this.#closed < 0) {
      this.#chronicle.note(this.#begun);
      this.#closed = this.#chronicle.last;
    }
    if (!this.#betweenOperations) this.#closed = -1;
    else if (hasRoom()) for (let left = this.#random.below(3); left > 0; left--) this.#act(false);
  }
}

function hasRoom(): boolean {
  const { total, free } = volumeInfo().blocks;
  return free > total / 2;
}

/** An empty volume whose hash key, and so the shape of whose trees, follows from the seed. */
function emptyVolume(path: string, seed: number): Buffer {
  const { randomFillSync } = crypto;
  const random = randomOf(seed);
  crypto.randomFillSync = ((buffer: Uint32Array) => buffer.map((_, i) => (buffer[i] = random.next()))) as never;
  syncBuiltinESMExports();
  try {
    formatVolume(path, { bytes: VOLUME_BYTES, force: true });
  } finally {
    crypto.randomFillSync = randomFillSync;
    syncBuiltinESMExports();
  }
  return readFileSync(path);
}

/** Cuts the power of volumes in memory until the budget is used up. */
export function powerCuts(budget: Budget): Promise<Figures> {
  return withFolder((folder) => {
    const path = join(folder, 'volume');
    const fd = openSync(path, 'w', 0o600);
    ftruncateSync(fd, VOLUME_BYTES);
    closeSync(fd);
    return new PowerCuts(budget, path).run();
  });
}
