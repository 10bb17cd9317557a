/** A serving process: what belongs to the process rather than to the volume. Its supervisor starts it as `lcfs serve`. */
import { writeFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { exitNow } from '../linux/libc.js';
import { levelGroup } from '../linux/cpu-group.js';
import { keepMallocSmall } from '../linux/malloc.js';
import { Daemon, RingRefused } from './daemon.js';
import { takeHandover } from './handover.js';
import { Line } from './line.js';
import { failureOf } from './protocol.js';

/**
 * Young generations of JavaScript heaps stay at 1 MiB rather than growing to 16: what the daemon makes is garbage at once,
 * and memory is for the page cache. The first is for the threads still to come, the second for this one.
 */
const HEAP_FLAGS = ['--max-semi-space-size=1', '--semi-space-growth-factor=1'];
/** From -1000 (never) to 1000 (first of all). */
const OOM_SCORE_ADJUSTMENT = -900;

/** Runs until the volume is closed again or handed over. Ends the process. */
export async function runServing(): Promise<void> {
  for (const flag of HEAP_FLAGS) setFlagsFromString(flag);
  keepMallocSmall();
  spareFromOom();
  levelGroup();
  let daemon: Daemon | undefined;
  const line = new Line(() => daemon?.orphaned());
  try {
    daemon = await Daemon.start(takeHandover(), line);
  } catch (error) {
    line.send({ kind: 'failure', failure: failureOf(error), withoutRing: error instanceof RingRefused });
    // Not as Node does it: that would wait for threads, of which some may wait for requests already.
    exitNow(1);
    throw error;
  }
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => void daemon.stopOnSignal(signal));
  line.send({ kind: 'ready' });
  process.exitCode = await daemon.ended;
  process.exit();
}

/** When memory runs out, others go first: all containers hang on this process. */
function spareFromOom(): void {
  try {
    writeFileSync('/proc/self/oom_score_adj', String(OOM_SCORE_ADJUSTMENT));
  } catch {
    // Not allowed in every container; nothing depends on it.
  }
}
