/**
 * What the kernel has still to be told of changes (sharing.ts), in memory that outlives the process: who makes a change notes
 * it here, the session tells the kernel and strikes it off. After a death all that is left is told once more; telling
 * twice does no harm.
 *
 * Record: state (0 free, 1 being written, 2 noted), what, layer, inode number.
 */
import type { Ino, LayerIndex } from '../layout/constants.js';

const RECORDS = 1024;
const RECORD_WORDS = 4;
export const BEHIND_BYTES = RECORDS * RECORD_WORDS * 4;

const FREE = 0;
const TAKEN = 1;
const NOTED = 2;

/** The order is part of what is in memory. */
const KINDS = ['contents', 'attributes', 'released'] as const;

/** What the session has to do, as it takes a thread that handles no request. */
export interface Behind {
  /**
   * `contents` or names changed through the shared inode, `attributes` through either: the kernel must be told. `released`:
   * the last who had an inode without names open as the shared one is gone, so it may be freed.
   */
  readonly what: (typeof KINDS)[number];
  readonly layer: LayerIndex;
  readonly ino: Ino;
}

export class BehindTable {
  private readonly words: Int32Array;
  private next = 0;

  constructor(memory: SharedArrayBuffer, at: number) {
    this.words = new Int32Array(memory, at, BEHIND_BYTES / 4);
  }

  /** Notes something; returns the number under which to strike it off, -1 if there is no room: a death would then lose it. */
  note({ what, layer, ino }: Behind): number {
    for (let tries = 0; tries < RECORDS; tries++) {
      const at = this.next * RECORD_WORDS;
      this.next = (this.next + 1) % RECORDS;
      if (Atomics.compareExchange(this.words, at, FREE, TAKEN) !== FREE) continue;
      this.words[at + 1] = KINDS.indexOf(what);
      this.words[at + 2] = layer;
      this.words[at + 3] = ino;
      Atomics.store(this.words, at, NOTED);
      return at / RECORD_WORDS;
    }
    return -1;
  }

  strike(number: number): void {
    if (number >= 0) Atomics.store(this.words, number * RECORD_WORDS, FREE);
  }

  /** After a death: all that was noted, each with its number. Who was just writing had not answered his request, which is served again. */
  recover(): { readonly number: number; readonly behind: Behind }[] {
    const { words } = this;
    const left: { number: number; behind: Behind }[] = [];
    for (let number = 0; number < RECORDS; number++) {
      const at = number * RECORD_WORDS;
      if (words[at] !== NOTED) words[at] = FREE;
      else left.push({ number, behind: { what: KINDS[words[at + 1]!]!, layer: words[at + 2]! >>> 0, ino: words[at + 3]! >>> 0 } });
    }
    return left;
  }
}
