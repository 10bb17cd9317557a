/**
 * Processor time in milliseconds: how long all processors together were busy, and the part of it that some processes had,
 * with those of their children that have ended. As the kernel tells it (proc_pid_stat(5), proc_stat(5)), in steps of 10.
 */
import { readFileSync } from 'node:fs';

/** What /proc calls a tick is 1/100 s, whatever the kernel's own is. */
const TICK_MS = 10;

/** Time that the host of a virtual machine gave to others (steal) is not counted. */
export function busyMs(): number {
  const [user, nice, system, , , irq, softirq] = readFileSync('/proc/stat', 'latin1').split('\n', 1)[0]!.split(/\s+/).slice(1).map(Number);
  return (user! + nice! + system! + irq! + softirq!) * TICK_MS;
}

/** A process that has ended counts nothing, its children neither. */
export function processorMs(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + ticksOf(pid), 0) * TICK_MS;
}

/** utime, stime, cutime and cstime are the fields 14 to 17; the second is a name in parentheses, which may have blanks. */
function ticksOf(pid: number): number {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0);
  } catch {
    return 0;
  }
}
