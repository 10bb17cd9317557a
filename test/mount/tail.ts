/** A worker that reads a file while somebody else appends to it, as `tail -f` does: every byte must be the one for its place. */
import { closeSync, openSync, readSync } from 'node:fs';
import { isMainThread, workerData } from 'node:worker_threads';

export interface TailTask {
  readonly path: string;
  /** Ends when it has read so many bytes. */
  readonly bytes: number;
}

/** What is to be at an offset: never zero, and no two pages are alike. */
export const byteAt = (offset: number): number => 1 + ((offset + (offset >>> 12)) % 251);

function tail({ path, bytes }: TailTask): void {
  const fd = openSync(path, 'r');
  const piece = Buffer.alloc(10_000);
  for (let offset = 0; offset < bytes;) {
    const length = readSync(fd, piece, 0, piece.length, offset);
    for (let i = 0; i < length; i++) {
      if (piece[i] !== byteAt(offset + i)) throw new Error(`byte ${offset + i} is ${piece[i]} instead of ${byteAt(offset + i)}`);
    }
    offset += length;
  }
  closeSync(fd);
}

if (!isMainThread) tail(workerData as TailTask);
