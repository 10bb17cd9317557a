/**
 * A device in memory that remembers what it was told, so that every state that a power cut could have left can be made.
 *
 * `Disk` is what the engine works on: writes take effect at once, where reads see them, and go into a log with the flushes
 * and discards. `Cuts` plays a log again: for the cut behind any entry it makes images of what the medium may hold then.
 * Everything that was flushed is there; of what came after, each write arrived whole, not at all, or as some of its sectors
 * of 512 bytes, in the order of the log or in any other. What was discarded may read as anything.
 *
 * Images are made on one disk, over and over: a cut costs what was written since the last flush, and by whoever opened the
 * image of the cut before.
 */
import koffi from 'koffi';
import type { Device } from '../../src/engine/device.js';
import { ioBuffer, type IoBuffer } from '../../src/linux/libc.js';
import type { Random } from '../support/volume.js';

const SECTOR_BYTES = 512;
/** What reads as anything reads as this; nothing that the engine writes looks like it. */
export const GARBAGE = 0xdb;

const copyMemory = koffi.load('libc.so.6').func('memcpy', 'uint64_t', ['uint64_t', 'uint64_t', 'size_t']) as (
  to: number,
  from: number,
  bytes: number,
) => unknown;

/** A write or a discard (`data` is null), or null for a flush. */
export type Entry = { readonly offset: number; readonly data: Buffer | null; readonly bytes: number } | null;

export class Disk implements Device {
  log: Entry[] = [];
  /** Called at the start of each flush, before it is noted. */
  onFlush: () => void = () => undefined;
  readonly #memory: IoBuffer;

  constructor(readonly bytes: number) {
    this.#memory = ioBuffer(bytes);
  }

  get image(): Uint8Array {
    return this.#memory.bytes;
  }

  /** Takes contents that count as durable, and forgets what was noted. */
  load(image: Uint8Array): void {
    this.#memory.bytes.set(image);
    this.log = [];
    this.onFlush = () => undefined;
  }

  read(address: number, bytes: number, offset: number): number {
    const count = Math.max(0, Math.min(bytes, this.bytes - offset));
    copyMemory(address, this.#memory.address + offset, count);
    return count;
  }

  write(address: number, bytes: number, offset: number): number {
    copyMemory(this.#memory.address + offset, address, bytes);
    this.log.push({ offset, data: Buffer.from(this.#memory.bytes.subarray(offset, offset + bytes)), bytes });
    return bytes;
  }

  flush(): number {
    this.onFlush();
    this.log.push(null);
    return 0;
  }

  discard(offset: number, bytes: number): void {
    this.#memory.bytes.fill(GARBAGE, offset, offset + bytes);
    this.log.push({ offset, data: null, bytes });
  }
}

/** What becomes of the writes that were not flushed: one of these for each cut, so that extremes are met often. */
const MOODS = ['nothing', 'everything', 'the first of them', 'any of them', 'parts of them', 'any of them, in any order'] as const;
export type Mood = (typeof MOODS)[number];

/** A part of an entry, from one byte of its data to another, that reached the medium without having been flushed. */
export interface Piece {
  readonly entry: Exclude<Entry, null>;
  readonly from: number;
  readonly to: number;
}

/**
 * All images that cuts of one log may leave, made one after the other on a disk. Only what differs between one and the next
 * is copied. Positions must not go back.
 */
export class Cuts {
  readonly #log: readonly Entry[];
  readonly #durable: Uint8Array;
  readonly #disk: Disk;
  #flushed = 0;
  /** What the disk has beyond what is durable. */
  #pieces: Piece[] = [];

  /** `base` is what was durable when the log began. */
  constructor(base: Uint8Array, log: readonly Entry[], disk: Disk) {
    this.#durable = Uint8Array.from(base);
    this.#log = log;
    this.#disk = disk;
    disk.load(base);
  }

  get count(): number {
    return this.#log.length;
  }

  /** Makes the disk what it may be after a cut behind the first `position` entries. Returns what survived, in words. */
  make(position: number, random: Random): Mood {
    this.#takeBack();
    const flush = position === 0 ? -1 : this.#log.lastIndexOf(null, position - 1);
    for (; this.#flushed <= flush; this.#flushed++) this.#flush(this.#log[this.#flushed]!);
    const mood = randomMood(random);
    this.#pieces = survivors(this.#log.slice(this.#flushed, position), random, mood);
    for (const piece of this.#pieces) apply(piece, this.#disk.image);
    return mood;
  }

  /** The image that `make` made last, whatever happened to the disk since. */
  again(): Uint8Array {
    const image = Uint8Array.from(this.#durable);
    for (const piece of this.#pieces) apply(piece, image);
    return image;
  }

  /** Gives the disk back what is durable, in all places that were written since. */
  #takeBack(): void {
    const restore = (offset: number, bytes: number): void => this.#disk.image.set(this.#durable.subarray(offset, offset + bytes), offset);
    for (const { entry } of this.#pieces) restore(entry.offset, entry.bytes);
    for (const entry of this.#disk.log) if (entry !== null) restore(entry.offset, entry.bytes);
    this.#disk.log = [];
  }

  #flush(entry: Entry): void {
    if (entry === null) return;
    apply(whole(entry), this.#durable);
    apply(whole(entry), this.#disk.image);
  }
}

export function randomMood(random: Random): Mood {
  return random.pick(MOODS);
}

/** What survives of writes that were not flushed, in the order in which it reaches the medium. */
export function survivors(pending: readonly Entry[], random: Random, mood: Mood): Piece[] {
  if (mood === 'nothing') return [];
  const entries = (mood === 'any of them, in any order' ? shuffled(pending, random) : pending).filter((entry) => entry !== null);
  const count = mood === 'the first of them' ? random.below(entries.length + 1) : entries.length;
  return entries.slice(0, count).flatMap((entry) => survivorsOf(entry, random, mood));
}

function survivorsOf(entry: Exclude<Entry, null>, random: Random, mood: Mood): Piece[] {
  const isWhole = mood === 'everything' || mood === 'the first of them';
  const fate = isWhole ? 0 : random.below(mood === 'parts of them' ? 6 : 4);
  if (fate === 1) return [];
  if (fate < 3) return [whole(entry)];
  const pieces: Piece[] = [];
  for (let from = 0; from < entry.bytes; from += SECTOR_BYTES) {
    if (random.below(2) === 0) pieces.push({ entry, from, to: Math.min(entry.bytes, from + SECTOR_BYTES) });
  }
  return pieces;
}

function whole(entry: Exclude<Entry, null>): Piece {
  return { entry, from: 0, to: entry.bytes };
}

function apply({ entry, from, to }: Piece, image: Uint8Array): void {
  if (entry.data === null) image.fill(GARBAGE, entry.offset + from, entry.offset + to);
  else image.set(entry.data.subarray(from, to), entry.offset + from);
}

function shuffled(entries: readonly Entry[], random: Random): Entry[] {
  const mixed = [...entries];
  for (let i = mixed.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [mixed[i], mixed[j]] = [mixed[j]!, mixed[i]!];
  }
  return mixed;
}
