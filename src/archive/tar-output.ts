/**
 * What an archive is gathered in on its way out: bytes, and contents of files that the engine reads straight to their place,
 * in chunks of up to 256 KiB. Methods are generators of the chunks that became full.
 */
import { LcfsError } from '../engine/errors.js';
import { read } from '../engine/file.js';
import { BLOCK_BYTES, type Ino, type LayerIndex } from '../layout/constants.js';
import type { IoBuffer } from '../linux/libc.js';
import { causeOf } from './archive-error.js';
import { giveIoBuffer, takeIoBuffer } from './file-content.js';

/** Smaller than the buffer it is gathered in: what consumers hold on to adds up. */
const CHUNK_BYTES = 1 << 18;

export class TarOutput {
  readonly #layer: LayerIndex;
  readonly #out: IoBuffer = takeIoBuffer();
  #filled = 0;

  constructor(layer: LayerIndex) {
    this.#layer = layer;
  }

  /** Gives the buffer back. */
  release(): void {
    giveIoBuffer(this.#out);
  }

  *put(bytes: Uint8Array): Generator<Buffer> {
    for (let at = 0; at < bytes.length;) {
      if (this.#room() === 0) yield this.#take();
      const piece = bytes.subarray(at, at + this.#room());
      this.#out.bytes.set(piece, this.#filled);
      this.#filled += piece.length;
      at += piece.length;
    }
  }

  /** `length` bytes of a file from `offset` on; zeros from where it ends. Throws LcfsError. */
  *file(ino: Ino, offset: number, length: number): Generator<Buffer> {
    const end = offset + length;
    while (offset < end) {
      if (this.#room() < BLOCK_BYTES) yield this.#take();
      offset += this.#read(ino, offset, end - offset);
    }
  }

  /** Reads into the buffer, up to a whole block: so the engine reads without a copy. */
  #read(ino: Ino, offset: number, left: number): number {
    const wanted = Math.min(left, roundDown(this.#room()));
    const room = Math.min(this.#room(), roundDown(wanted + BLOCK_BYTES - 1));
    const got = Math.min(checked(read(this.#layer, ino, offset, room, this.#out, this.#filled), ino), wanted);
    if (got < wanted) this.#out.bytes.fill(0, this.#filled + got, this.#filled + wanted);
    this.#filled += wanted;
    return wanted;
  }

  /** What is left. */
  *end(): Generator<Buffer> {
    if (this.#filled > 0) yield this.#take();
  }

  #room(): number {
    return CHUNK_BYTES - this.#filled;
  }

  /** What is in the buffer, as a copy: the consumer may keep it, and streams don't take shared memory. */
  #take(): Buffer {
    const chunk = Buffer.from(this.#out.bytes.subarray(0, this.#filled));
    this.#filled = 0;
    return chunk;
  }
}

function checked(result: number, ino: Ino): number {
  if (result >= 0) return result;
  const [code, cause] = causeOf(result);
  throw new LcfsError(code, `export of inode ${ino}: ${cause}`);
}

function roundDown(bytes: number): number {
  return bytes - (bytes % BLOCK_BYTES);
}
