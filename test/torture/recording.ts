/** What a daemon did to its volume, as record.ts notes it, and the images that a power cut may have left of that. */
import { closeSync, copyFileSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Random } from '../support/volume.js';
import { GARBAGE, randomMood, survivors, type Entry, type Mood, type Piece } from './disk.js';
import { DISCARD, FLUSH_BEGINS, FLUSH_ENDS, RECORD_BYTES, WRITE } from './record.js';

interface Noted {
  readonly kind: number;
  readonly offset: number;
  readonly bytes: number;
  /** Where in the file the data of a write lies, and where the record ends. */
  readonly dataAt: number;
  readonly end: number;
}

const GARBAGE_PIECE = Buffer.alloc(1 << 20, GARBAGE);

/** Environment in which a daemon records what it does to `volume`. */
export function recordingTo(file: string, volume: string): Record<string, string> {
  const preload = fileURLToPath(new URL('./record.js', import.meta.url));
  const options = `${process.env['NODE_OPTIONS'] ?? ''} --import=${preload}`.trim();
  return { LCFS_RECORD: file, LCFS_RECORD_VOLUME: volume, NODE_OPTIONS: options };
}

export class Recording {
  readonly #file: string;
  /** What the volume was when the recording began. */
  readonly #base: string;

  constructor(file: string, base: string) {
    this.#file = file;
    this.#base = base;
  }

  /** Length of the recording so far: a position where it can be cut. */
  get length(): number {
    return statSync(this.#file).size;
  }

  /** Makes the file `image` what a cut at a position leaves. Returns what survived of what was not flushed, in words. */
  cut(position: number, image: string, random: Random): Mood {
    const log = openSync(this.#file, 'r');
    copyFileSync(this.#base, image);
    const to = openSync(image, 'r+');
    try {
      const records = readRecords(log, position);
      const durable = durableCount(records);
      for (const record of records.slice(0, durable)) if (isChange(record)) applyPiece(to, wholeOf(load(log, record)));
      const mood = randomMood(random);
      const pending = records.slice(durable).filter(isChange);
      for (const piece of survivors(
        pending.map((record) => load(log, record)),
        random,
        mood,
      ))
        applyPiece(to, piece);
      return mood;
    } finally {
      closeSync(to);
      closeSync(log);
    }
  }
}

function isChange({ kind }: Noted): boolean {
  return kind === WRITE || kind === DISCARD;
}

/** All records that end before `position`. */
function readRecords(log: number, position: number): Noted[] {
  const records: Noted[] = [];
  const header = Buffer.alloc(RECORD_BYTES);
  for (let at = 0; at + RECORD_BYTES <= position;) {
    readSync(log, header, 0, RECORD_BYTES, at);
    const kind = header.readUInt32LE(0);
    const bytes = header.readUInt32LE(4);
    const end = at + RECORD_BYTES + (kind === WRITE ? bytes : 0);
    if (end > position) break;
    records.push({ kind, bytes, offset: header.readDoubleLE(8), dataAt: at + RECORD_BYTES, end });
    at = end;
  }
  return records;
}

/** So many of the first records are durable: those that were noted before a flush began that has ended. */
function durableCount(records: readonly Noted[]): number {
  const begun = new Map<number, number>();
  let durable = 0;
  for (const [index, { kind, offset }] of records.entries()) {
    if (kind === FLUSH_BEGINS) begun.set(offset, index);
    if (kind === FLUSH_ENDS) durable = Math.max(durable, begun.get(offset) ?? 0);
  }
  return durable;
}

function load(log: number, { kind, offset, bytes, dataAt }: Noted): Exclude<Entry, null> {
  if (kind === DISCARD) return { offset, bytes, data: null };
  const data = Buffer.alloc(bytes);
  readSync(log, data, 0, bytes, dataAt);
  return { offset, bytes, data };
}

function wholeOf(entry: Exclude<Entry, null>): Piece {
  return { entry, from: 0, to: entry.bytes };
}

function applyPiece(fd: number, { entry, from, to }: Piece): void {
  if (entry.data !== null) return void writeSync(fd, entry.data, from, to - from, entry.offset + from);
  for (let at = from; at < to; at += GARBAGE_PIECE.length)
    writeSync(fd, GARBAGE_PIECE, 0, Math.min(GARBAGE_PIECE.length, to - at), entry.offset + at);
}
