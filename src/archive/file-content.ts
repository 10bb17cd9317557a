/**
 * Writes the contents of one file after another from pieces of any size.
 *
 * Pieces are gathered in a page-aligned buffer of 1 MiB and go to the engine when it is full, the file ends, or a hole
 * comes: few large writes, each of whole blocks. Most files of an image are smaller than the buffer and take one.
 */
import { write } from '../engine/file.js';
import type { Ino, LayerIndex } from '../layout/constants.js';
import { ioBuffer, type IoBuffer } from '../linux/libc.js';
import { check } from './refusal.js';

const BUFFER_BYTES = 1 << 20;
/** Buffers of finished work; making one costs more than a small archive. */
const spare: IoBuffer[] = [];
const SPARE_MAX = 2;

export function takeIoBuffer(): IoBuffer {
  return spare.pop() ?? ioBuffer(BUFFER_BYTES);
}

export function giveIoBuffer(io: IoBuffer): void {
  if (spare.length < SPARE_MAX) spare.push(io);
}

export class FileContent {
  readonly #layer: LayerIndex;
  #io: IoBuffer | null = takeIoBuffer();
  #ino: Ino = 0;
  /** Offset in the file of the buffer's first byte. */
  #offset = 0;
  #filled = 0;

  constructor(layer: LayerIndex) {
    this.#layer = layer;
  }

  open(ino: Ino): void {
    this.#ino = ino;
    this.#offset = 0;
    this.#filled = 0;
  }

  /** Takes bytes of the file; offsets ascend. */
  add(bytes: Uint8Array, at: number, length: number, offset: number): void {
    if (offset !== this.#offset + this.#filled) this.#jump(offset);
    for (let done = 0; done < length;) {
      const piece = Math.min(length - done, BUFFER_BYTES - this.#filled);
      this.#io!.bytes.set(bytes.subarray(at + done, at + done + piece), this.#filled);
      this.#filled += piece;
      done += piece;
      if (this.#filled === BUFFER_BYTES) this.#flush();
    }
  }

  #jump(offset: number): void {
    this.#flush();
    this.#offset = offset;
  }

  #flush(): void {
    for (let at = 0; at < this.#filled;) {
      at += check(write(this.#layer, this.#ino, this.#offset + at, this.#filled - at, this.#io!, at, 0));
    }
    this.#offset += this.#filled;
    this.#filled = 0;
  }

  /** All bytes came. Returns where the last of them ends. */
  close(): number {
    this.#flush();
    return this.#offset;
  }

  /** Gives the buffer back. */
  release(): void {
    if (this.#io !== null) giveIoBuffer(this.#io);
    this.#io = null;
  }
}
