/**
 * What a thread that serves a file system asks of the kernel. Each call is for the calling thread alone, and without the
 * right to make it nothing changes, which is no error: things are slower then, or tight memory hurts more.
 */
import koffi from 'koffi';

const libc = koffi.load('libc.so.6');
const setpriority = libc.func('setpriority', 'int', ['int', 'uint', 'int']) as (which: number, who: number, nice: number) => number;
const prctl = libc.func('prctl', 'int', ['int', 'ulong', 'ulong', 'ulong', 'ulong']) as (
  option: number,
  a: number,
  b: number,
  c: number,
  d: number,
) => number;

const PRIO_PROCESS = 0;
const PR_SET_IO_FLUSHER = 57;

/** Lets the thread run before others of the same CPU: -20 (first) to 19 (last). */
export function setNice(nice: number): void {
  // Linux takes 0 for the calling thread, not the whole process.
  setpriority(PRIO_PROCESS, 0, nice);
}

/**
 * Says that memory is freed through this thread: the kernel then neither waits for dirty pages when the thread needs memory
 * (they may be those it is about to write) nor holds its writes back on behalf of others. Needs CAP_SYS_RESOURCE; returns whether it was granted.
 */
export function becomeIoFlusher(): boolean {
  return prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) === 0;
}
