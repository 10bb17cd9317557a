/**
 * Mounting a FUSE file system with the mount API of Linux 5.2 (fsopen, fsconfig, fsmount, move_mount), and unmounting.
 *
 * A mount is made in two steps, so that nobody can see the file system before its threads are ready: `createMount` sets
 * the connection up and returns a mount that hangs nowhere; `attachMount` puts it in its place.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import koffi from 'koffi';
import { addressOf, close, errno, read } from './libc.js';

const libc = koffi.load('libc.so.6');
const syscallOpen = libc.func('syscall', 'long', ['long', 'str', 'uint']) as (n: number, name: string, flags: number) => number;
const syscallConfig = libc.func('syscall', 'long', ['long', 'int', 'uint', 'str', 'str', 'int']) as (
  n: number,
  fd: number,
  command: number,
  key: string | null,
  value: string | null,
  extra: number,
) => number;
const syscallMount = libc.func('syscall', 'long', ['long', 'int', 'uint', 'uint']) as (
  n: number,
  fd: number,
  flags: number,
  attributes: number,
) => number;
const syscallMove = libc.func('syscall', 'long', ['long', 'int', 'str', 'int', 'str', 'uint']) as (
  n: number,
  fromDirectory: number,
  from: string,
  toDirectory: number,
  to: string,
  flags: number,
) => number;
const statx = libc.func('statx', 'int', ['int', 'str', 'int', 'uint', 'void *']) as (
  directory: number,
  path: string,
  flags: number,
  mask: number,
  attributes: Uint32Array,
) => number;
const umount2 = libc.func('umount2', 'int', ['str', 'int']) as (path: string, flags: number) => number;

// The numbers are the same on all architectures.
const SYS_MOVE_MOUNT = 429;
const SYS_FSOPEN = 430;
const SYS_FSCONFIG = 431;
const SYS_FSMOUNT = 432;

const CLOEXEC = 1;
const ATTRIBUTE_READ_ONLY = 1;
const ATTRIBUTE_NOATIME = 0x10;
const CONFIG_FLAG = 0;
const CONFIG_STRING = 1;
const CONFIG_CREATE = 6;
const MOVE_EMPTY_PATH = 4;
const EMPTY_PATH = 0x1000;
const STATX_DONT_SYNC = 0x4000;
/** struct statx: 256 bytes. */
const STATX_WORDS = 64;
const STATX_DEV_MAJOR = 34;
const STATX_DEV_MINOR = 35;
const AT_FDCWD = -100;
const MNT_FORCE = 1;
const MNT_DETACH = 2;

/** Mode of the root in octal: a directory. */
const ROOT_MODE = '40000';

export interface MountOptions {
  /** Number of an open /dev/fuse. */
  readonly device: number;
  /** What `mount` and `df` show as the source. */
  readonly source: string;
  /** The type shown is fuse.<subtype>, or fuseblk.<subtype>. */
  readonly subtype: string;
  /**
   * `source` is a block device that nobody else uses, and the type is fuseblk. The kernel never reads it; but of sync(2) and
   * syncfs(2) it tells only those who serve such a mount (SYNCFS, since Linux 6.18). An unmount waits for the server (DESTROY).
   */
  readonly block?: boolean;
  /** Nothing on it can be opened for writing. */
  readonly readOnly?: boolean;
}

/** A step of mounting failed; `errno` says why, the message also what the kernel had to say. */
export class MountError extends Error {
  readonly errno: number;
  constructor(message: string, error: number) {
    super(message);
    this.name = 'MountError';
    this.errno = error;
  }
}

/** Messages that the kernel left in a file system context, such as `e fuse: Bad value for 'fd'`. */
function diagnostics(context: number): string {
  const bytes = new Uint8Array(new SharedArrayBuffer(1024));
  const lines: string[] = [];
  for (;;) {
    const length = context < 0 ? -1 : read(context, addressOf(bytes), bytes.length);
    if (length <= 0) return lines.length === 0 ? '' : `: ${lines.join('; ')}`;
    lines.push(Buffer.from(bytes.slice(0, length)).toString().trim());
  }
}

function must(result: number, step: string, context = -1): number {
  if (result >= 0) return result;
  const error = errno();
  throw new MountError(`${step} failed (error ${error})${diagnostics(context)}`, error);
}

function configure(context: number, options: MountOptions): void {
  const string = (key: string, value: string): number =>
    must(syscallConfig(SYS_FSCONFIG, context, CONFIG_STRING, key, value, 0), `setting mount option ${key}`, context);
  const flag = (key: string): number =>
    must(syscallConfig(SYS_FSCONFIG, context, CONFIG_FLAG, key, null, 0), `setting mount option ${key}`, context);
  string('source', options.source);
  string('subtype', options.subtype);
  string('fd', String(options.device));
  string('rootmode', ROOT_MODE);
  string('user_id', '0');
  string('group_id', '0');
  flag('allow_other');
  flag('default_permissions');
  if (options.readOnly === true) flag('ro');
  must(syscallConfig(SYS_FSCONFIG, context, CONFIG_CREATE, null, null, 0), 'creating the file system', context);
}

/**
 * Sets up the connection of `device` (its INIT request can be read at once) and returns the descriptor of a mount that is
 * attached nowhere; closing that ends the connection. Device nodes and set-user-ID programs work on it; reading a file does
 * not change its access time, as the kernel leaves that to the server of a FUSE file system. Throws MountError.
 */
export function createMount(options: MountOptions): number {
  const type = options.block === true ? 'fuseblk' : 'fuse';
  const context = must(syscallOpen(SYS_FSOPEN, type, CLOEXEC), `fsopen of ${type}`);
  try {
    configure(context, options);
    const attributes = ATTRIBUTE_NOATIME | (options.readOnly === true ? ATTRIBUTE_READ_ONLY : 0);
    return must(syscallMount(SYS_FSMOUNT, context, CLOEXEC, attributes), 'fsmount', context);
  } finally {
    close(context);
  }
}

/** Number of the device of a mount, for FUSE also that of its connection. Asks nobody who serves it. */
export function deviceOfMount(mount: number): number {
  const attributes = new Uint32Array(STATX_WORDS);
  must(statx(mount, '', EMPTY_PATH | STATX_DONT_SYNC, 0, attributes), 'statx of a mount');
  return deviceNumber(attributes[STATX_DEV_MAJOR]!, attributes[STATX_DEV_MINOR]!);
}

/** A device as the kernel numbers it inside, and FUSE its connections: 12 bits of major, 20 of minor number. */
const deviceNumber = (major: number, minor: number): number => major * MINORS + minor;
const MINORS = 2 ** 20;

/** Whether that is the device of a mount with `block`: others have none, and major number 0. */
export const isBlock = (device: number): boolean => device >= MINORS;

/** The form `major:minor`, as in mountinfo. */
export const deviceText = (device: number): string => `${Math.floor(device / MINORS)}:${device % MINORS}`;

/** Attaches a mount at `mountpoint`. Throws MountError. */
export function attachMount(mount: number, mountpoint: string): void {
  const moved = syscallMove(SYS_MOVE_MOUNT, mount, '', AT_FDCWD, mountpoint, MOVE_EMPTY_PATH);
  must(moved, `mounting at ${mountpoint}`);
}

/** Unmounts; `lazy` leaves it to the last user. Returns 0 or a negative error number (-EBUSY: in use). */
export function unmount(mountpoint: string, lazy = false): number {
  return umount2(mountpoint, lazy ? MNT_DETACH : 0) < 0 ? -errno() : 0;
}

/** Unmounts a FUSE file system whether or not its server still answers: open files fail from now on. */
export function unmountByForce(mountpoint: string): number {
  return umount2(mountpoint, MNT_FORCE | MNT_DETACH) < 0 ? -errno() : 0;
}

/**
 * Ends a FUSE connection at once: whoever waits for it, or still uses the mount, gets errors. Works through a fusectl file
 * system of its own, as none needs to be mounted. Throws MountError or the error of the write if there is no such connection.
 */
export function abortConnection(connection: number): void {
  const context = must(syscallOpen(SYS_FSOPEN, 'fusectl', CLOEXEC), 'fsopen of fusectl');
  let control = -1;
  try {
    must(syscallConfig(SYS_FSCONFIG, context, CONFIG_CREATE, null, null, 0), 'creating fusectl', context);
    control = must(syscallMount(SYS_FSMOUNT, context, CLOEXEC, 0), 'fsmount of fusectl', context);
    writeFileSync(`/proc/self/fd/${control}/${connection}/abort`, '1');
  } finally {
    close(context);
    if (control >= 0) close(control);
  }
}

export interface MountEntry {
  readonly mountpoint: string;
  readonly type: string;
  readonly source: string;
  /** Number of the file system's device (`deviceText`); for FUSE also that of its connection. */
  readonly device: number;
  /** The directory of the file system that is its root; other than `/` for bind mounts of a part. */
  readonly root: string;
}

const unescape = (text: string): string => text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));

function parseMount(line: string): MountEntry | undefined {
  const [before, after] = line.split(' - ');
  const fields = before!.split(' ');
  const [type, source] = (after ?? '').split(' ');
  if (fields.length < 5 || type === undefined) return undefined;
  const [major, minor] = fields[2]!.split(':').map(Number);
  return {
    device: deviceNumber(major!, minor!),
    root: unescape(fields[3]!),
    mountpoint: unescape(fields[4]!),
    type,
    source: unescape(source ?? ''),
  };
}

/** Everything mounted in the mount namespace of this process, in the order of mounting. */
export function listMounts(): MountEntry[] {
  const lines = readFileSync('/proc/self/mountinfo', 'latin1').split('\n');
  return lines.map(parseMount).filter((entry) => entry !== undefined);
}

/** What is mounted at `mountpoint`, the uppermost if several are; an absolute path without links. */
export function findMount(mountpoint: string): MountEntry | undefined {
  // The file holds bytes; latin1 keeps them apart, and so must the path be.
  const path = Buffer.from(mountpoint).toString('latin1');
  return listMounts().findLast((entry) => entry.mountpoint === path);
}
