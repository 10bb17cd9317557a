/**
 * A serving process: what belongs to the process rather than to the volume. Its supervisor starts it as `lcfs serve`, or before
 * it is needed, as `lcfs standby`.
 */
import { writeFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import type { Worker } from 'node:worker_threads';
import { beginThreads } from '../fuse/connection.js';
import { sparesFor } from '../fuse/session.js';
import { exitNow } from '../linux/libc.js';
import { levelGroup } from '../linux/cpu-group.js';
import { keepMallocSmall } from '../linux/malloc.js';
import { Daemon, RingRefused } from './daemon.js';
import { takeHandover, type Handover } from './handover.js';
import { Line } from './line.js';
import { failureOf } from './protocol.js';

/**
 * Young generations of JavaScript heaps stay at 1 MiB rather than growing to 16: what the daemon makes is garbage at once,
 * and memory is for the page cache. The first is for the threads still to come, the second for this one.
 */
const HEAP_FLAGS = ['--max-semi-space-size=1', '--semi-space-growth-factor=1'];
/**
 * V8 compiles well what has run long enough: so many bytes of code, so often since something new was seen in it. Its defaults, eight
 * and ten times these, suit programs that end soon. What serves for weeks is better compiled early (docs/DESIGN.md, *Serving*).
 * Starting would take longer, so this comes after it.
 */
const COMPILER_FLAGS = ['--interrupt-budget=8000', '--minimum-invocations-after-ic-update=50'];
/** From -1000 (never) to 1000 (first of all). */
const OOM_SCORE_ADJUSTMENT = -900;
/**
 * Threads that a waiting process has begun, which take some 13 MiB each: those of the mount with two CPUs. With more CPUs the
 * others begin at the same time, when they are needed.
 */
const SPARES_MAX = 2;

/** What a process is to serve, and threads that it has begun for that. */
interface Turn {
  readonly handover: Handover;
  readonly spares: readonly Worker[];
}

/** Runs until the volume is closed again or handed over. Ends the process. */
export function runServing(): Promise<void> {
  const line = beginProcess();
  return serve(line, async () => ({ handover: takeHandover(), spares: [] }));
}

/** `lcfs standby`: does beforehand what does not depend on the volume, and waits until it is to take over. */
export function runStandby(): Promise<void> {
  const line = beginProcess();
  line.onGone = () => process.exit(0);
  setOomScore(0);
  return serve(line, () => waitForTurn(line));
}

function beginProcess(): Line {
  for (const flag of HEAP_FLAGS) setFlagsFromString(flag);
  keepMallocSmall();
  return new Line();
}

/** Nothing is opened, mapped or asked before: all of that may change until the process is needed. */
async function waitForTurn(line: Line): Promise<Turn> {
  const { serving } = takeHandover();
  const spares = await beginThreads(Math.min(sparesFor(serving), SPARES_MAX));
  line.send({ kind: 'waiting' });
  const handover = await line.turn;
  line.send({ kind: 'taking-over' });
  // So far it was `lcfs standby` for those who look at processes.
  process.title = `lcfs serve ${handover.settings.device} ${handover.settings.mountpoint}`;
  return { handover, spares };
}

async function serve(line: Line, turn: () => Promise<Turn>): Promise<void> {
  let daemon: Daemon | undefined;
  try {
    const { handover, spares } = await turn();
    setOomScore(OOM_SCORE_ADJUSTMENT);
    levelGroup();
    line.onGone = () => daemon?.orphaned();
    daemon = await Daemon.start(handover, line, spares);
  } catch (error) {
    line.send({ kind: 'failure', failure: failureOf(error), withoutRing: error instanceof RingRefused });
    // Not as Node does it: that would wait for threads, of which some may wait for requests already.
    exitNow(1);
    throw error;
  }
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => void daemon.stopOnSignal(signal));
  line.send({ kind: 'ready' });
  for (const flag of COMPILER_FLAGS) setFlagsFromString(flag);
  process.exitCode = await daemon.ended;
  process.exit();
}

/** When memory runs out, others go before a process that serves, as all containers hang on it; one that waits is like any other. */
function setOomScore(adjustment: number): void {
  try {
    writeFileSync('/proc/self/oom_score_adj', String(adjustment));
  } catch {
    // Not allowed in every container; nothing depends on it.
  }
}
