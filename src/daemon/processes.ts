/** Other processes of the machine. */
import { readFileSync, readdirSync } from 'node:fs';

/** A zombie (state Z, after the name in parentheses) has ended; its parent has not asked for its exit code yet. */
export function isRunning(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}

/**
 * Whether a process has ended but for threads that wait for a FUSE mount, as killed ones do whose request somebody has taken. They
 * do nothing more than that, so whoever serves the mount may do so while they are there. False also if the kernel does not tell.
 */
export function waitsForMount(pid: number): boolean {
  if (isRunning(pid)) return false;
  try {
    const left = readdirSync(`/proc/${pid}/task`)
      .map((tid) => `/proc/${pid}/task/${tid}`)
      .filter((thread) => !/\) [ZX] /.test(readFileSync(`${thread}/stat`, 'latin1')));
    return left.length > 0 && left.every((thread) => readFileSync(`${thread}/wchan`, 'latin1') === 'request_wait_answer');
  } catch {
    return false; // a thread ended meanwhile
  }
}
