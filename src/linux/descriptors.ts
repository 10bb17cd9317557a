/** File descriptors as such: copies of them, and what becomes of them in programs that are started. */
import { errno, fcntl } from './libc.js';

/** Flags of open(2) and its kin. */
export const O_PATH = 0o10000000;
export const O_CLOEXEC = 0o2000000;

const F_SETFD = 2;
const F_DUPFD_CLOEXEC = 1030;
const FD_CLOEXEC = 1;

/** Another number for an open file, which programs that are started do not get. */
export function duplicate(fd: number): number {
  return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

/** Keeps a descriptor that was inherited from being inherited further. Throws if it is none. */
export function closeOnExec(fd: number): void {
  if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) throw new Error(`descriptor ${fd} was not handed over (errno ${errno()})`);
}
