/**
 * Notes of a driver that outlive its process: records in a memory file (linux/memory-file.ts) that the supervisor holds. They
 * are gone after a crash of the machine, and so is what they are about.
 *
 * Each record has a place of its own, of NOTE_BYTES: its JSON and zeros behind it. A place is written with one call, within
 * one page of the file, so that a process that is killed leaves the record of before or of after. One thread writes a file.
 */
import { fstatSync, readSync, writeSync } from 'node:fs';

export const NOTE_BYTES = 2048;
const EMPTY = Buffer.alloc(NOTE_BYTES);

export class Notes<T> {
  readonly #fd: number | null;
  readonly #places = new Map<string, number>();
  readonly #free: number[] = [];
  #count = 0;

  /** null: notes that nobody keeps. */
  constructor(fd: number | null) {
    this.#fd = fd;
  }

  /** The notes of earlier processes under their keys. To be called once, before the first is written. */
  read(): Map<string, T> {
    const found = new Map<string, T>();
    this.#count = this.#fd === null ? 0 : Math.ceil(fstatSync(this.#fd).size / NOTE_BYTES);
    for (let place = 0; place < this.#count; place++) {
      const record = this.#readAt(place);
      if (record === null) {
        this.#free.push(place);
        continue;
      }
      this.#places.set(record.key, place);
      found.set(record.key, record.note);
    }
    return found;
  }

  #readAt(place: number): { key: string; note: T } | null {
    const bytes = Buffer.alloc(NOTE_BYTES);
    readSync(this.#fd!, bytes, 0, NOTE_BYTES, place * NOTE_BYTES);
    const end = bytes.indexOf(0);
    return end === 0 ? null : (JSON.parse(bytes.toString('utf8', 0, end < 0 ? NOTE_BYTES : end)) as { key: string; note: T });
  }

  /** Writes a note or replaces it. One that is too long for its place is not kept. */
  put(key: string, note: T): void {
    const bytes = Buffer.alloc(NOTE_BYTES);
    const text = JSON.stringify({ key, note });
    if (Buffer.byteLength(text) > NOTE_BYTES) return this.drop(key);
    bytes.write(text);
    this.#write(this.#placeOf(key), bytes);
  }

  drop(key: string): void {
    const place = this.#places.get(key);
    if (place === undefined) return;
    this.#write(place, EMPTY);
    this.#places.delete(key);
    this.#free.push(place);
  }

  #placeOf(key: string): number {
    const place = this.#places.get(key) ?? this.#free.pop() ?? this.#count++;
    this.#places.set(key, place);
    return place;
  }

  #write(place: number, bytes: Buffer): void {
    if (this.#fd !== null) writeSync(this.#fd, bytes, 0, NOTE_BYTES, place * NOTE_BYTES);
  }
}
