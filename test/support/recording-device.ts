/**
 * A device that remembers what it was told, so that a test can look at every state that a power cut could have left.
 *
 * Writes go to the file at once, where reads see them, and into a log. `images` then plays the log again and yields what the
 * medium may hold after a cut behind each entry: everything that was flushed, and of what was written since an arbitrary
 * part – whole, torn between sectors, or not at all, in any order.
 */
import { readFileSync, readSync } from 'node:fs';
import type { Device } from '../../src/engine/device.js';
import { pread, pwrite } from '../../src/linux/libc.js';
import type { Random } from './volume.js';

interface Write {
  offset: number;
  data: Buffer;
}

const SECTOR_BYTES = 512;

export class RecordingDevice implements Device {
  /** Writes, and null for a flush. */
  readonly log: (Write | null)[] = [];
  readonly #fd: number;
  readonly #base: Buffer;

  /** `path` and `fd` are the same file, whose present contents count as durable. */
  constructor(path: string, fd: number) {
    this.#fd = fd;
    this.#base = readFileSync(path);
  }

  read(address: number, bytes: number, offset: number): number {
    return pread(this.#fd, address, bytes, offset);
  }

  write(address: number, bytes: number, offset: number): number {
    const written = pwrite(this.#fd, address, bytes, offset);
    const data = Buffer.alloc(written);
    readSync(this.#fd, data, 0, written, offset);
    this.log.push({ offset, data });
    return written;
  }

  flush(): number {
    this.log.push(null);
    return 0;
  }

  discard(): void {
    // What was discarded reads as anything; here it stays what it was.
  }

  /** Yields the log position of every cut and an image that it may have left. The buffer is reused. */
  *images(random: Random): Generator<{ position: number; image: Buffer }> {
    const durable = Buffer.from(this.#base);
    const image = Buffer.alloc(durable.length);
    let pending: Write[] = [];
    for (const [position, entry] of this.log.entries()) {
      if (entry === null) {
        for (const write of pending) write.data.copy(durable, write.offset);
        pending = [];
      } else pending.push(entry);
      durable.copy(image);
      loseSome(pending, image, random);
      yield { position: position + 1, image };
    }
  }
}

/** Applies an arbitrary part of the unflushed writes, in arbitrary order. */
function loseSome(pending: Write[], image: Buffer, random: Random): void {
  const mood = random.below(4);
  const order = pending.map((write) => ({ write, rank: mood === 0 ? 0 : random.next() })).sort((a, b) => a.rank - b.rank);
  for (const { write } of order) {
    const fate = mood === 1 ? 0 : random.below(4);
    if (fate === 1) continue;
    if (fate !== 2) write.data.copy(image, write.offset);
    else
      for (let at = 0; at < write.data.length; at += SECTOR_BYTES)
        if (random.below(2) === 0) write.data.copy(image, write.offset + at, at, at + SECTOR_BYTES);
  }
}
