/**
 * Overwriting in place: data blocks change before the checksums in the extents do, and a process that dies in between leaves
 * blocks that no checksum fits. So each thread notes in the memory of the log what it is about to overwrite, and takes the note
 * back when its operation has ended. A takeover sums those blocks up again (replay.ts): they hold some mixture of old and new,
 * as is right for a write that was not answered yet, and is done again.
 *
 * A note: blocks (0: none), layer, inode, first file block.
 */
import type { Ino, LayerIndex } from '../layout/constants.js';
import { I, W } from '../layout/memory.js';
import { LOGGING, THREADS_AT, THREAD_WORDS, scratchAt } from './arena.js';
import { overwriteAt } from './log-memory.js';

let isNoted = false;

/** The note of this thread. */
function ownNote(): number {
  return overwriteAt((scratchAt - THREADS_AT) / THREAD_WORDS);
}

/** Blocks [first, first + count) of a file are about to be overwritten, as far as they may be. */
export function noteOverwrite(layer: LayerIndex, ino: Ino, first: number, count: number): void {
  if (I[LOGGING] === 0) return;
  const at = ownNote();
  W[at + 1] = layer;
  W[at + 2] = ino;
  W[at + 3] = first;
  Atomics.store(I, at, count);
  isNoted = true;
}

/** What was overwritten is as the log says, or the operation was given up. */
export function forgetOverwrite(): void {
  if (!isNoted) return;
  isNoted = false;
  Atomics.store(I, ownNote(), 0);
}
