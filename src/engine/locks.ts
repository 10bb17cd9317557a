/**
 * Locks are single words of the arena, taken by compare-exchange. A waiter spins briefly – operations are short and
 * there are as many serving threads as CPUs – and then sleeps on the word.
 *
 * Word: bit 31 WRITER, bit 30 WAITING (somebody sleeps, or a writer wants in: new readers stay out), rest = readers.
 *
 * Order in which locks may be taken; a thread never takes one that stands above one it holds:
 *   1. CHECKPOINT_MUTEX   one checkpoint at a time
 *   2. CHECKPOINT_LOCK    shared by every changing operation, exclusive while a generation is closed
 *   3. slot locks         one layer tree each; a parent before its child
 *   4. SLOTS_LOCK         which layer is in which slot
 *   5. CATALOG_LOCK       the catalog tree
 *   6. SPACE_LOCK         bitmaps and windows
 *   7. LOG_LOCK           the end of the intent log
 *   8. pager stripes      one at a time, nothing is taken inside
 * A frame is claimed for eviction without holding a stripe, and nothing but its stripe is taken while it is claimed.
 */
import { I } from '../layout/memory.js';

const WRITER = 0x8000_0000 | 0;
const WAITING = 0x4000_0000;
/** About 5 µs: longer than nearly every critical section, shorter than a sleep and a wake-up. */
const SPINS = 200;

/** Sleeps until the word is no longer `seen`, after marking that somebody waits. */
function sleepOn(at: number, seen: number): void {
  const marked = seen | WAITING;
  if (seen !== marked && Atomics.compareExchange(I, at, seen, marked) !== seen) return;
  Atomics.wait(I, at, marked, 100);
}

export function lockShared(at: number): void {
  for (let spins = 0; ; spins++) {
    const seen = Atomics.load(I, at);
    if ((seen & (WRITER | WAITING)) === 0) {
      if (Atomics.compareExchange(I, at, seen, seen + 1) === seen) return;
    } else if (spins >= SPINS) sleepOn(at, seen);
  }
}

export function unlockShared(at: number): void {
  const seen = Atomics.sub(I, at, 1);
  if (seen === (WAITING | 1)) {
    Atomics.compareExchange(I, at, WAITING, 0);
    Atomics.notify(I, at);
  }
}

export function lockExclusive(at: number): void {
  for (let spins = 0; ; spins++) {
    const seen = Atomics.load(I, at);
    if ((seen & ~WAITING) === 0) {
      if (Atomics.compareExchange(I, at, seen, seen | WRITER) === seen) return;
    } else if (spins >= SPINS) sleepOn(at, seen);
  }
}

export function unlockExclusive(at: number): void {
  const seen = Atomics.exchange(I, at, 0);
  if ((seen & WAITING) !== 0) Atomics.notify(I, at);
}
