/** Beginning to write out what the kernel holds back for a file. */
import koffi from 'koffi';

const SYNC_FILE_RANGE_WRITE = 2;
const syncFileRange = koffi.load('libc.so.6').func('sync_file_range', 'int', ['int', 'long', 'long', 'uint']) as (
  fd: number,
  offset: number,
  bytes: number,
  flags: number,
) => number;

/** How much to write between two calls of `startWriteOut`: the device has something to do, while the processor goes on. */
const WRITE_OUT_BYTES = 16 << 20;

/** Begins to write out whenever enough has been written, so that the flush at the end of a long stream is a short one. */
export class WriteOut {
  readonly #fd: number;
  #held = 0;

  constructor(fd: number) {
    this.#fd = fd;
  }

  written(bytes: number): void {
    this.#held += bytes;
    if (this.#held < WRITE_OUT_BYTES) return;
    this.#held = 0;
    startWriteOut(this.#fd);
  }
}

/**
 * Lets the kernel begin to write the file's dirty pages, and does not wait for them, unless the device has more to do than
 * it queues. Nothing is durable by it; a later flush has less to do. It does not matter if it fails.
 */
function startWriteOut(fd: number): void {
  syncFileRange(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}
