/**
 * Maps of sparse files: which stretches of a file the archive holds data for. Everything between them is a hole.
 *
 * Four notations exist (old GNU in the header and blocks behind it, pax 0.0 and 0.1 in records, pax 1.0 as text in front
 * of the data); all become a list of offset and length in turn.
 */
import { TarFormatError } from './pax.js';
import { SPARSE_NUMBER_BYTES, parseNumber } from './tar-format.js';

/** A map of more stretches is refused: 2^18 of them take 4 MiB. */
const STRETCHES_MAX = 1 << 18;
const DIGITS_MAX = 20;

export class SparseMap {
  /** Offset and length of each stretch in turn. */
  readonly numbers: number[] = [];

  add(offset: number, length: number): void {
    if (this.numbers.length >= 2 * STRETCHES_MAX)
      throw new TarFormatError(`the map of the sparse file has more than ${STRETCHES_MAX} parts`);
    this.numbers.push(offset, length);
  }

  /** Takes the pairs of an old GNU header or extension block. Unused ones start with a zero byte. */
  addPairs(block: Uint8Array, at: number, pairs: number): void {
    for (let i = 0; i < pairs; i++) {
      const pairAt = at + i * 2 * SPARSE_NUMBER_BYTES;
      if (block[pairAt] === 0) return;
      const offset = parseNumber(block, pairAt, { at: 0, bytes: SPARSE_NUMBER_BYTES });
      this.add(offset, parseNumber(block, pairAt, { at: SPARSE_NUMBER_BYTES, bytes: SPARSE_NUMBER_BYTES }));
    }
  }

  addAll(numbers: readonly number[]): void {
    if (numbers.length % 2 !== 0) throw new TarFormatError('the map of the sparse file has an offset without length');
    for (let i = 0; i < numbers.length; i += 2) this.add(numbers[i]!, numbers[i + 1]!);
  }

  /** Fails unless the stretches ascend, don't overlap, end within `size` and hold `stored` bytes together. */
  validate(size: number, stored: number): void {
    let end = 0;
    let sum = 0;
    for (let i = 0; i < this.numbers.length; i += 2) {
      const offset = this.numbers[i]!;
      const length = this.numbers[i + 1]!;
      // Comparisons are written so that NaN fails them.
      if (!(offset >= end && length >= 0 && offset + length <= size))
        throw new TarFormatError('the map of the sparse file is not in order');
      end = offset + length;
      sum += length;
    }
    if (sum !== stored) throw new TarFormatError(`the map of the sparse file names ${sum} bytes of data, but ${stored} are stored`);
  }
}

/**
 * Reads the map of pax 1.0 as it comes, block by block: decimal numbers, each ended by a line feed; the first is the
 * number of stretches, then follow their offsets and lengths. The rest of the last block is padding.
 */
export class SparseMapText {
  readonly map = new SparseMap();
  #stretches = -1;
  #offset = -1;
  #value = 0;
  #digits = 0;

  /** Takes one block; true when the map is complete. */
  push(block: Uint8Array, at: number, length: number): boolean {
    for (let i = at; i < at + length && !this.#isComplete(); i++) this.#byte(block[i]!);
    return this.#isComplete();
  }

  #isComplete(): boolean {
    return this.#stretches >= 0 && this.map.numbers.length === 2 * this.#stretches;
  }

  #byte(byte: number): void {
    const isEnd = byte === 0x0a;
    if (isEnd ? this.#digits === 0 : byte < 0x30 || byte > 0x39 || ++this.#digits > DIGITS_MAX) {
      throw new TarFormatError('the map of the sparse file is not made of numbers');
    }
    if (isEnd) this.#number();
    else this.#value = this.#value * 10 + (byte - 0x30);
  }

  #number(): void {
    if (this.#stretches < 0) this.#stretches = this.#value;
    else if (this.#offset < 0) this.#offset = this.#value;
    else this.#stretch();
    this.#value = 0;
    this.#digits = 0;
  }

  #stretch(): void {
    this.map.add(this.#offset, this.#value);
    this.#offset = -1;
  }
}
