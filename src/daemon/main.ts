/** Runs a daemon in this process: what belongs to the process rather than to the volume. */
import { writeFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { levelGroup } from '../linux/cpu-group.js';
import { dup2 } from '../linux/libc.js';
import { keepMallocSmall } from '../linux/malloc.js';
import { Daemon } from './daemon.js';
import { reportFailure, reportReady } from './detach.js';
import type { DaemonOptions } from './options.js';
import { STDERR, settleOptions, type Settings } from './settings.js';

/**
 * Young generations of JavaScript heaps stay at 1 MiB rather than growing to 16: what the daemon makes is garbage at once,
 * and memory is for the page cache. The first is for the threads still to come, the second for this one.
 */
const HEAP_FLAGS = ['--max-semi-space-size=1', '--semi-space-growth-factor=1'];
/** From -1000 (never) to 1000 (first of all). */
const OOM_SCORE_ADJUSTMENT = -900;

/** Runs until the volume is closed again. Throws LcfsError if it can't be opened or mounted. */
export async function runDaemon(options: DaemonOptions): Promise<void> {
  let daemon: Daemon;
  for (const flag of HEAP_FLAGS) setFlagsFromString(flag);
  keepMallocSmall();
  spareFromOom();
  levelGroup();
  try {
    const settings = settleOptions(options);
    daemon = await Daemon.start(settings);
    keepLogTogether(settings);
  } catch (error) {
    if (reportFailure(error)) process.exit(1);
    throw error;
  }
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => void daemon.stopOnSignal(signal));
  reportReady(daemon.mountpoint);
  process.exitCode = await daemon.ended;
  process.exit();
}

/**
 * The engine tells what it finds damaged on stderr, as its threads know of no log; Node does so when it dies. From now on
 * there is nobody at the terminal who waits for an answer, so that goes where the log goes.
 */
function keepLogTogether({ log, logShape }: Settings): void {
  if (log !== null) dup2(logShape.fd, STDERR);
}

/** When memory runs out, others go first: all containers hang on this process. */
function spareFromOom(): void {
  try {
    writeFileSync('/proc/self/oom_score_adj', String(OOM_SCORE_ADJUSTMENT));
  } catch {
    // Not allowed in every container; nothing depends on it.
  }
}
