/**
 * Counters by (layer, inode number) in memory that the threads of a connection share. Each counter carries a number that is
 * given when it begins to count and stays the same until it is back at 0 and gone.
 *
 * Layout: BUCKETS buckets of BUCKET_WORDS words. A key has its bucket by hash, and lies in any of its WAYS places.
 *
 *   bucket:  word 0          lock: 1 while a thread is in the bucket
 *            words 4..31     places: layer + 1 (0: free), inode number, the number, count
 *
 * No system call is made while a bucket is locked, so a lock is held for some hundred nanoseconds; who finds it taken
 * tries again, and after a while sleeps a millisecond, in case its holder has lost the CPU.
 */
import type { Ino, LayerIndex } from '../layout/constants.js';

const BUCKET_WORDS = 32;
const PLACES = 4;
const PLACE_WORDS = 4;
const WAYS = (BUCKET_WORDS - PLACES) / PLACE_WORDS;
/** 4,096 buckets of 7: with 10,000 counters in use, one key in 2,000 finds its bucket full. 512 KiB, of which only what is used is backed. */
const BUCKET_BITS = 12;
const BUCKETS = 1 << BUCKET_BITS;

const SPINS = 200;

/** Bytes of a table. */
export const COUNT_TABLE_BYTES = BUCKETS * BUCKET_WORDS * 4;

const INO = 1;
const NUMBER = 2;
const COUNT = 3;

export class CountTable {
  private readonly words: Int32Array;

  /** A view of the table at byte `at` of `memory`, which is all zero at first. */
  constructor(memory: SharedArrayBuffer, at: number) {
    this.words = new Int32Array(memory, at, COUNT_TABLE_BYTES / 4);
  }

  /** Counts one more if the key is counted already. Returns its number, or 0. */
  take(layer: LayerIndex, ino: Ino): number {
    const bucket = this.enter(layer, ino);
    const at = this.find(bucket, layer, ino);
    const number = at < 0 ? 0 : this.countAt(at);
    this.leave(bucket);
    return number;
  }

  /** Counts one more, with `number` if the key was not counted yet. Returns the number that counts; 0 if there is no room. */
  put(layer: LayerIndex, ino: Ino, number: number): number {
    const bucket = this.enter(layer, ino);
    let at = this.find(bucket, layer, ino);
    if (at < 0) at = this.begin(bucket, layer, ino, number);
    const result = at < 0 ? 0 : this.countAt(at);
    this.leave(bucket);
    return result;
  }

  /** Counts one less. Returns the number if that was the last one, otherwise 0. */
  drop(layer: LayerIndex, ino: Ino): number {
    const bucket = this.enter(layer, ino);
    const at = this.find(bucket, layer, ino);
    const number = at < 0 ? 0 : this.uncountAt(at);
    this.leave(bucket);
    return number;
  }

  /** The number of the key; 0 if it is not counted. */
  numberOf(layer: LayerIndex, ino: Ino): number {
    const bucket = this.enter(layer, ino);
    const at = this.find(bucket, layer, ino);
    const number = at < 0 ? 0 : this.words[at + NUMBER]!;
    this.leave(bucket);
    return number;
  }

  /** Forgets everything, whoever was in a bucket. Nobody else may use the table. */
  clear(): void {
    this.words.fill(0);
  }

  /** How many keys are counted. */
  keys(): number {
    let keys = 0;
    for (let bucket = 0; bucket < this.words.length; bucket += BUCKET_WORDS) {
      for (let way = 0; way < WAYS; way++) if (Atomics.load(this.words, bucket + PLACES + way * PLACE_WORDS) !== 0) keys++;
    }
    return keys;
  }

  private enter(layer: LayerIndex, ino: Ino): number {
    const hash = Math.imul(Math.imul(ino, 0x9e37_79b1) ^ Math.imul(layer, 0x85eb_ca6b), 0xc2b2_ae35);
    const bucket = (hash >>> (32 - BUCKET_BITS)) * BUCKET_WORDS;
    for (let spins = 0; Atomics.compareExchange(this.words, bucket, 0, 1) !== 0; spins++) {
      if (spins >= SPINS) Atomics.wait(this.words, bucket, 1, 1);
    }
    return bucket;
  }

  private leave(bucket: number): void {
    Atomics.store(this.words, bucket, 0);
  }

  /** Word index of the place of a key; -1 if it has none. */
  private find(bucket: number, layer: LayerIndex, ino: Ino): number {
    const { words } = this;
    const key = (layer + 1) | 0;
    for (let way = 0; way < WAYS; way++) {
      const at = bucket + PLACES + way * PLACE_WORDS;
      if (words[at] === key && words[at + INO] === ino) return at;
    }
    return -1;
  }

  private begin(bucket: number, layer: LayerIndex, ino: Ino, number: number): number {
    const { words } = this;
    for (let way = 0; way < WAYS; way++) {
      const at = bucket + PLACES + way * PLACE_WORDS;
      if (words[at] !== 0) continue;
      words[at] = (layer + 1) | 0;
      words[at + INO] = ino;
      words[at + NUMBER] = number;
      words[at + COUNT] = 0;
      return at;
    }
    return -1;
  }

  private countAt(at: number): number {
    this.words[at + COUNT]!++;
    return this.words[at + NUMBER]!;
  }

  private uncountAt(at: number): number {
    if (--this.words[at + COUNT]! > 0) return 0;
    this.words[at] = 0;
    return this.words[at + NUMBER]!;
  }
}
