/**
 * Lines for standard error, from wherever something goes wrong: a layer's lock may be held, and nothing may be thrown.
 *
 * Standard error may be a pipe whose reader is behind, so that it is full, and which does not wait: whoever else has it may
 * have set O_NONBLOCK, as Node does. The line then waits a moment, and is lost if that does not help: that is better than to
 * hold a request up, and much better than to end the process.
 */
import { writeSync } from 'node:fs';

const TRIES_MAX = 10;
const WAIT_MS = 1;
const bell = new Int32Array(new SharedArrayBuffer(4));

/** Writes `lcfs: ` and a text to standard error. Never throws. */
export function complain(text: string): void {
  let rest = Buffer.from(`lcfs: ${text}\n`);
  for (let tries = 0; tries < TRIES_MAX && rest.length > 0; tries++) rest = rest.subarray(tryWrite(rest));
}

/** Returns how many bytes were written; none after a moment if there is no room, all if there is nobody to read them. */
function tryWrite(bytes: Uint8Array): number {
  try {
    return writeSync(2, bytes);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return bytes.length;
    Atomics.wait(bell, 0, 0, WAIT_MS);
    return 0;
  }
}
