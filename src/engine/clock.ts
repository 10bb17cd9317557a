/** The time for inodes, without an object: seconds and nanoseconds of CLOCK_REALTIME since 1970. */
import { I, W } from '../layout/memory.js';
import { clockGettime } from '../linux/libc.js';
import { addressOfWord, scratchAt } from './arena.js';

/** Seconds, low and (signed) high word, and nanoseconds of the last `readClock`. */
export let nowLo = 0;
export let nowHi = 0;
export let nowNsec = 0;

/** Words at the start of the thread's scratch: a struct timespec. */
export function readClock(): void {
  clockGettime(0, addressOfWord(scratchAt));
  nowLo = W[scratchAt]!;
  nowHi = I[scratchAt + 1]!;
  nowNsec = W[scratchAt + 2]!;
}

/** Makes it the time of something that is done again. */
export function setClock(lo: number, hi: number, nsec: number): void {
  nowLo = lo;
  nowHi = hi;
  nowNsec = nsec;
}
