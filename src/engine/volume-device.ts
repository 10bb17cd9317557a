/**
 * The device of a volume: opening it, and the lock that keeps others away.
 *
 * Locks are those of fcntl(2): they belong to a process and go with it. A process that uses a volume alone locks all of the
 * device. Where a supervisor starts the serving process again after its death, each of the two has a part, so that nobody
 * else gets the volume in between:
 *
 *   byte 0         the serving process
 *   bytes 1 to end the supervisor, from before the serving process begins until it has ended for good
 *
 * Nothing is stored at these places on account of that; the numbers only name locks.
 */
import { closeSync, constants, openSync, statSync } from 'node:fs';
import { EACCES, EAGAIN } from '../linux/errno.js';
import { addressOf, errno, fcntl } from '../linux/libc.js';
import { LcfsError } from './errors.js';

const F_GETLK = 5;
const F_SETLK = 6;
const READ = 0;
const WRITE = 1;
const UNLOCK = 2;

/** First byte and length; a length of 0 reaches to the end. */
type Part = readonly [start: number, length: number];

const WHOLE: Part = [0, 0];
const SERVING: Part = [0, 1];
const SUPERVISING: Part = [1, 0];

/** struct flock: type, whence (i16 each), padding, start, length (i64 each), pid (i32). */
function flockOf(type: number, [start, length]: Part): Int32Array {
  const lock = new Int32Array(8);
  lock[0] = type;
  lock[2] = start;
  lock[4] = length;
  return lock;
}

function tryLock(fd: number, path: string, type: number, part: Part): boolean {
  if (fcntl(fd, F_SETLK, addressOf(flockOf(type, part))) === 0) return true;
  if (errno() === EAGAIN || errno() === EACCES) return false;
  throw new LcfsError('io', `volume ${path} cannot be locked (errno ${errno()})`);
}

/** The process that keeps us from a lock: the supervisor rather than its child, as it is the one to be stopped. */
function holderOf(fd: number): number {
  return holderIn(fd, SUPERVISING) || holderIn(fd, WHOLE);
}

/** The process that keeps us from a lock on that part; 0 if none does. */
function holderIn(fd: number, part: Part): number {
  const lock = flockOf(WRITE, part);
  fcntl(fd, F_GETLK, addressOf(lock));
  return (lock[0]! & 0xffff) === UNLOCK ? 0 : lock[6]!;
}

/** Takes the lock of the serving process, which was opened `beside` another one. False as long as that is not gone. */
export function lockServing(fd: number): boolean {
  return tryLock(fd, 'that is served', WRITE, SERVING);
}

/** Throws LcfsError `busy` that names the holder. */
function lock(fd: number, path: string, type: number, part: Part): void {
  if (tryLock(fd, path, type, part)) return;
  throw new LcfsError('busy', `volume ${path} is in use by pid ${holderOf(fd)}; stop it first (lcfs stop MOUNTPOINT)`);
}

export interface DeviceUse {
  readonly readOnly: boolean;
  /** A supervisor has its part of the lock: only the rest is taken. */
  readonly supervised?: boolean;
  /** A process that has ended, but holds its lock until it is gone: it keeps nobody away, and the lock is to be taken later (`lockServing`). */
  readonly beside?: number | null;
}

/** Opens and locks a device. Throws LcfsError: 'busy', 'not-found', 'invalid', 'io'. */
export function openDevice(path: string, { readOnly, supervised = false, beside = null }: DeviceUse): number {
  const fd = open(path, readOnly, !readOnly && !supervised);
  try {
    if (beside !== null && holderIn(fd, SERVING) === beside) return fd;
    lock(fd, path, readOnly ? READ : WRITE, supervised ? SERVING : WHOLE);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function open(path: string, readOnly: boolean, alone: boolean): number {
  try {
    const stat = statSync(path);
    if (!stat.isFile() && !stat.isBlockDevice()) throw new LcfsError('invalid', `${path} is neither a block device nor a file`);
    const exclusive = stat.isBlockDevice() && alone ? constants.O_EXCL : 0;
    return openSync(path, (readOnly ? constants.O_RDONLY : constants.O_RDWR) | exclusive);
  } catch (error) {
    if (error instanceof LcfsError) throw error;
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT') throw new LcfsError('not-found', `there is no ${path}; make a volume with: lcfs format ${path} --size 20G`);
    if (code === 'EBUSY') throw new LcfsError('busy', `${path} is in use: it is mounted or belongs to another device; unmount it first`);
    throw new LcfsError('io', `${path} cannot be opened: ${(error as Error).message}`);
  }
}

/**
 * Takes the supervisor's part of the lock, for as long as this process lives: it must not open the device a second time, as
 * closing any descriptor of a file gives up all locks on it. `serving` says that its child has the volume open already.
 * Throws LcfsError like `openDevice`.
 */
export function claimDevice(path: string, serving: boolean): void {
  const fd = open(path, false, !serving);
  try {
    lock(fd, path, WRITE, serving ? SUPERVISING : WHOLE);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  if (!serving) tryLock(fd, path, UNLOCK, SERVING);
}
