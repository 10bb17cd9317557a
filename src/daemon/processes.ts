/** Other processes of the machine. */
import { readFileSync } from 'node:fs';

/** A zombie (state Z, after the name in parentheses) has ended; its parent has not asked for its exit code yet. */
export function isRunning(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}
