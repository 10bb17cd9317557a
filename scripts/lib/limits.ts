/**
 * Limits of waits. Whatever is waited for may never come, so every wait has a limit, and whoever reaches it learns what was
 * waited for, and what a process that does not end hangs in.
 *
 * A limit is no expectation: it is many times what the slowest machine needs, since reaching it is always a failure.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

/** For what the system does by itself in moments: the end of a killed process, an umount. */
export const MOMENT_MS = 60_000;
/** For what a server or a command does in seconds. */
export const PATIENCE_MS = 180_000;

/**
 * What `promise` settles with, within `limitMs`. Throws after that; the promise is then nobody's any more.
 * @param what is waited for, or a function that tells it when the time is over
 */
export function within<T>(promise: Promise<T>, limitMs: number, what: string | (() => string)): Promise<T> {
  return raceTime(promise, limitMs, () => overdue(limitMs, typeof what === 'string' ? what : what()));
}

/**
 * Asks until the answer is yes: for states that last, as one that passes may be gone between two questions. Throws when
 * `limitMs` are over, in the middle of a question, too.
 */
export async function waitUntil(what: string, isSo: () => Promise<boolean>, limitMs = PATIENCE_MS, everyMs = 50): Promise<void> {
  const deadline = performance.now() + limitMs;
  const late = (): Error => overdue(limitMs, what);
  while (!(await raceTime(isSo(), deadline - performance.now(), late))) {
    if (performance.now() >= deadline) throw late();
    await delay(everyMs);
  }
}

function raceTime<T>(promise: Promise<T>, limitMs: number, late: () => Error): Promise<T> {
  let timer: NodeJS.Timeout;
  const over = new Promise<never>((_, reject) => (timer = setTimeout(() => reject(late()), Math.max(0, limitMs))));
  return Promise.race([promise, over]).finally(() => clearTimeout(timer));
}

function overdue(limitMs: number, what: string): Error {
  return new Error(`not within ${limitMs / 1000} s: ${what}`);
}

/** What a process is doing, of all its threads, for messages about one that does not end. */
export function describeProcess(pid: number): string {
  const threads = threadsOf(pid).map((tid) => `${stateOf(pid, tid)} in ${procText(pid, tid, 'wchan') || '-'}`);
  return threads.length === 0 ? `process ${pid} has ended` : `process ${pid} has threads in state ${[...new Set(threads)].join(', ')}`;
}

function threadsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return []; // it ended meanwhile
  }
}

/** The letter behind the name, which is in parentheses: D waits and cannot be killed, Z has ended. */
function stateOf(pid: number, tid: string): string {
  const text = procText(pid, tid, 'stat');
  return text.slice(text.lastIndexOf(')') + 2).split(' ')[0]!;
}

function procText(pid: number, tid: string, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/task/${tid}/${name}`, 'latin1').trim();
  } catch {
    return '';
  }
}
