/**
 * Look-ups on the content mount by another program, before a thread that serves opens what it finds there.
 *
 * The content mount is served by threads of the same process. A thread that waited for them while the process is killed could
 * not end: the one that had its request is gone, and the descriptors through which another process might answer, or the
 * kernel notice that nobody does, close only when all threads have ended. So a shell asks, one for each thread, on its CPU. The
 * kernel then knows the names for good, and opening asks nobody. Killed meanwhile, the thread ends at once; its shell ends when its
 * look-up is answered or refused, and the pipe from the thread is closed.
 *
 * Without a shell the thread asks by itself.
 */
import { spawn } from 'node:child_process';
import { close, read, write } from '../linux/libc.js';
import { makePipe } from '../linux/pipe.js';

/** Descriptor of the content mount in the shell. */
const MOUNT = 3;
/** A line with a path for a line that says nothing. Testing a path looks it up, and nothing else. */
const SCRIPT = `while read -r path; do [ -e "/proc/self/fd/${MOUNT}/$path" ]; echo; done`;
const PIPE_BYTES = 4096;

/** -1: there is no shell. */
let toShell = -1;
let fromShell = -1;
let isTried = false;

/** Has the line of `bytes` bytes at `address`, a path on the content mount, looked up. The byte behind it is overwritten. */
export function scout(contents: number, address: number, bytes: number): void {
  if (!isTried && contents >= 0) begin(contents);
  if (toShell < 0) return;
  if (write(toShell, address, bytes) !== bytes || read(fromShell, address + bytes, 1) !== 1) endScout();
}

/** A shell that could not be started, or ends, is noticed by the next path: this thread does not look at events. */
function begin(contents: number): void {
  isTried = true;
  const ends: number[] = [];
  try {
    const [shellReads, threadWrites] = makePipe(PIPE_BYTES);
    ends.push(shellReads);
    toShell = threadWrites;
    const [threadReads, shellWrites] = makePipe(PIPE_BYTES);
    ends.push(shellWrites);
    fromShell = threadReads;
    const shell = spawn('/bin/sh', ['-c', SCRIPT], { stdio: [shellReads, shellWrites, 'ignore', contents], env: {} });
    shell.on('error', () => undefined).unref();
  } catch {
    endScout(); // no memory, or no descriptors
  }
  for (const end of ends) close(end);
}

/** Ends the shell of this thread. */
export function endScout(): void {
  for (const end of [toShell, fromShell]) if (end >= 0) close(end);
  toShell = fromShell = -1;
}
