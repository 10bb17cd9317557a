/**
 * The two processes of a daemon: a supervisor, and its child that serves the volume. What only ends the child is survived;
 * a crash of the machine ends both.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { describeProcess, MOMENT_MS, waitUntil } from './limits.js';
import { isRunning } from '../../src/daemon/processes.js';

/** Pid of the serving process; undefined while there is none. */
export function servingProcess(supervisor: number): number | undefined {
  return children(supervisor).find((pid) => isRunning(pid) && !isStandby(pid));
}

/** Pid of the process that waits to take over, or is about to; undefined while there is none. */
export function standbyProcess(supervisor: number): number | undefined {
  return children(supervisor).find((pid) => isRunning(pid) && isStandby(pid));
}

function children(parent: number): number[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && parentOf(name) === parent);
  return pids.map(Number);
}

/** One that has taken over calls itself otherwise. */
function isStandby(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0').includes('standby');
  } catch {
    return false; // it ended meanwhile
  }
}

/** The parent's pid stands behind the name, which is in parentheses, and the state. */
function parentOf(pid: string): number {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return 0; // it ended meanwhile
  }
}

/** Ends only the process that serves, as a bug in it would. Returns its pid. */
export async function killServing(supervisor: number): Promise<number> {
  const pid = servingProcess(supervisor);
  if (pid === undefined) throw new Error(`supervisor ${supervisor} has no serving process`);
  await killProcess(pid);
  return pid;
}

/** Ends both, the supervisor first, as a crash of the machine would. */
export async function crashDaemon(supervisor: number): Promise<void> {
  const serving = servingProcess(supervisor);
  await killProcess(supervisor);
  if (serving !== undefined) await killProcess(serving);
}

/** Ends a process that may have ended already, and waits until it has. Throws if it cannot be ended. */
export async function killProcess(pid: number): Promise<void> {
  if (isRunning(pid)) process.kill(pid, 'SIGKILL');
  const hasEnded = async (): Promise<boolean> => !isRunning(pid);
  await waitUntil(`the end of process ${pid}, which was killed`, hasEnded, MOMENT_MS, 5).catch((error: Error) => {
    throw new Error(`${error.message}; ${describeProcess(pid)}`);
  });
}
