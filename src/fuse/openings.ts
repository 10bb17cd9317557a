/**
 * Openings of files, one record for each that something is counted for: a table that outlives the process. After a death the
 * counts are made anew from it, so they are right whatever was half done.
 *
 * The kernel names an opening by its handle, whose low word holds
 *
 *   bits 0-2      what was counted for it (open-files.ts)
 *   bits 3-22     number of the record + 1, 0: none
 *   bits 23-31    generation of the record, so that a RELEASE that is served again does not end another opening
 *
 * Record, RECORD_WORDS words: flags (0: free; written last, cleared first), generation, unique number of the request that
 * opened (two words; of a free record the first is the next free one + 1), layer, inode number, layer of the contents, backing id.
 *
 * Free records are a stack, whose head holds the number of the first + 1 and above it a count of changes, so that a change by
 * somebody else in between is noticed. What a death leaves neither free nor in use is found by `recover`.
 */
import type { Ino, LayerIndex } from '../layout/constants.js';

const NUMBER_BITS = 20;
/** As many files as can be open at once in a way that has to be known. */
const RECORDS = (1 << NUMBER_BITS) - 1;
const RECORD_WORDS = 8;
const NUMBER_MASK = (1 << NUMBER_BITS) - 1;

const HEAD = 0;
/** Records that were ever used. */
const USED = 1;
/** 1 once an opening had to go without a record. */
const LOST = 2;
const RECORDS_FROM = 8;

export const OPENINGS_BYTES = (RECORDS_FROM + RECORDS * RECORD_WORDS) * 4;

const FLAGS = 0;
const GENERATION = 1;
const UNIQUE = 2;
const LAYER = 4;
const INO = 5;
const CONTENTS = 6;
const BACKING = 7;

const FLAG_MASK = 7;
const NUMBER_SHIFT = 3;
const GENERATION_SHIFT = 23;
const GENERATION_MASK = 511;

/** Bits of a handle: open for reading and writing; passes through to contents; reads and writes through us all the same. */
export const PLAIN = 0;
export const COUNTED = 1;
export const PASSING = 2;
export const DIRECT = 4;

/** What one opening is, while all are gone through. */
export interface Opening {
  readonly flags: number;
  readonly layer: LayerIndex;
  readonly ino: Ino;
  readonly contents: LayerIndex;
  readonly backing: number;
}

/** What a handle says was counted. */
export const flagsOf = (handle: number): number => handle & FLAG_MASK;

export class Openings {
  private readonly words: Int32Array;

  constructor(memory: SharedArrayBuffer, at: number) {
    this.words = new Int32Array(memory, at, OPENINGS_BYTES / 4);
  }

  /** Records an opening by request (`lo`, `hi`). Returns the low word of its handle; 0 if there is no room. */
  add(flags: number, lo: number, hi: number, layer: LayerIndex, ino: Ino, contents: LayerIndex, backing: number): number {
    const number = this.take();
    if (number === 0) return 0;
    const { words } = this;
    const at = atOf(number);
    words[at + UNIQUE] = lo;
    words[at + UNIQUE + 1] = hi;
    words[at + LAYER] = layer;
    words[at + INO] = ino;
    words[at + CONTENTS] = contents;
    words[at + BACKING] = backing;
    const generation = (words[at + GENERATION]! + 1) & GENERATION_MASK;
    words[at + GENERATION] = generation;
    Atomics.store(words, at + FLAGS, flags);
    return (flags | (number << NUMBER_SHIFT) | (generation << GENERATION_SHIFT)) >>> 0;
  }

  /** Whether the opening of a handle has not been ended. One without a record is taken for open. */
  isOpen(handle: number): boolean {
    const number = (handle >>> NUMBER_SHIFT) & NUMBER_MASK;
    if (number === 0) return true;
    const at = atOf(number);
    return Atomics.load(this.words, at + FLAGS) !== 0 && this.words[at + GENERATION] === handle >>> GENERATION_SHIFT;
  }

  /** Ends the opening of a handle that is open. */
  remove(handle: number): void {
    const number = (handle >>> NUMBER_SHIFT) & NUMBER_MASK;
    if (number === 0) return;
    Atomics.store(this.words, atOf(number) + FLAGS, 0);
    this.give(number);
  }

  /** The handle of what request (`lo`, `hi`) opened; 0 if nothing. Goes through all records. */
  handleOf(lo: number, hi: number): number {
    const { words } = this;
    for (let number = 1; number <= this.used(); number++) {
      const at = atOf(number);
      if (words[at + FLAGS] === 0 || words[at + UNIQUE] !== (lo | 0) || words[at + UNIQUE + 1] !== (hi | 0)) continue;
      return this.handle(number);
    }
    return 0;
  }

  /** What a handle that is open and has a record stands for. */
  openingOf(handle: number): Opening {
    return this.read(atOf((handle >>> NUMBER_SHIFT) & NUMBER_MASK));
  }

  /** Notes that an opening goes without a record, so that a death makes its count unknown. */
  lose(): void {
    Atomics.store(this.words, LOST, 1);
  }

  /** Whether there may be openings that have no record. */
  mayBeLost(): boolean {
    return Atomics.load(this.words, LOST) !== 0;
  }

  /** After a death, before anybody uses the table: finds all free records again. Returns the openings. */
  recover(): Opening[] {
    const { words } = this;
    const openings: Opening[] = [];
    words[HEAD] = 0;
    for (let number = this.used(); number > 0; number--) {
      if (words[atOf(number) + FLAGS] === 0) this.give(number);
      else openings.push(this.read(atOf(number)));
    }
    return openings;
  }

  /** The handles of all that is open, and what it is. */
  *all(): Generator<readonly [handle: number, opening: Opening]> {
    const { words } = this;
    for (let number = 1; number <= this.used(); number++) {
      const at = atOf(number);
      if (words[at + FLAGS] !== 0) yield [this.handle(number), this.read(at)];
    }
  }

  /** Files of a layer that are open for reading and writing. */
  writtenIn(layer: LayerIndex): Ino[] {
    const files = new Set<Ino>();
    this.eachWritten((of, ino) => void (of === layer && files.add(ino)));
    return [...files];
  }

  /** Layers that have such files. */
  layersWritten(): LayerIndex[] {
    const layers = new Set<LayerIndex>();
    this.eachWritten((of) => void layers.add(of));
    return [...layers];
  }

  private eachWritten(take: (layer: LayerIndex, ino: Ino) => void): void {
    const { words } = this;
    for (let at = atOf(1); at < atOf(this.used() + 1); at += RECORD_WORDS)
      if ((words[at + FLAGS]! & COUNTED) !== 0) take(words[at + LAYER]! >>> 0, words[at + INO]! >>> 0);
  }

  private handle(number: number): number {
    const at = atOf(number);
    return (this.words[at + FLAGS]! | (number << NUMBER_SHIFT) | (this.words[at + GENERATION]! << GENERATION_SHIFT)) >>> 0;
  }

  private read(at: number): Opening {
    const { words } = this;
    return {
      flags: words[at + FLAGS]!,
      layer: words[at + LAYER]! >>> 0,
      ino: words[at + INO]! >>> 0,
      contents: words[at + CONTENTS]! >>> 0,
      backing: words[at + BACKING]!,
    };
  }

  private used(): number {
    return Math.min(Atomics.load(this.words, USED), RECORDS);
  }

  /** A free record's number; 0 if there is none. */
  private take(): number {
    const { words } = this;
    for (let head = Atomics.load(words, HEAD); (head & NUMBER_MASK) !== 0; head = Atomics.load(words, HEAD)) {
      const number = head & NUMBER_MASK;
      const next = words[atOf(number) + UNIQUE]!;
      if (Atomics.compareExchange(words, HEAD, head, changed(head, next)) === head) return number;
    }
    if (Atomics.load(words, USED) >= RECORDS) return 0;
    const number = Atomics.add(words, USED, 1) + 1;
    return number <= RECORDS ? number : 0;
  }

  private give(number: number): void {
    const { words } = this;
    for (;;) {
      const head = Atomics.load(words, HEAD);
      words[atOf(number) + UNIQUE] = head & NUMBER_MASK;
      if (Atomics.compareExchange(words, HEAD, head, changed(head, number)) === head) return;
    }
  }
}

/** The head of the stack with another first record. */
function changed(head: number, number: number): number {
  return (((head >>> NUMBER_BITS) + 1) << NUMBER_BITS) | number | 0;
}

function atOf(number: number): number {
  return RECORDS_FROM + (number - 1) * RECORD_WORDS;
}
