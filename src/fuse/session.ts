/**
 * A volume mounted: connects to the kernel, starts the threads that serve it and takes all of it down again.
 *
 *   const session = await startFuse(handle, { mountpoint: '/lcfs', source: '/dev/sdb' });
 *   …
 *   await session.stop();          // unmounts; refused while somebody uses the mount
 *
 * Steps of starting: open /dev/fuse; create the mount, attached nowhere; answer INIT; start the threads and wait until all
 * are ready; attach the mount. So nobody sees a mount that is not served, and whatever fails on the way leaves nothing
 * behind.
 *
 * Threads: with io_uring one for each CPU, pinned, which serves the queue of its CPU, and one for /dev/fuse; without it
 * one for each CPU, at least two, each with a descriptor of its own. Two, because the thread that handles FORGET may wait
 * in the kernel for an inode whose last pages are just being written back, by another thread.
 *
 * The connection ends when the last mount of it goes, by `stop` or from outside. All threads then end, and `ended`
 * resolves; closing the volume is left to the caller.
 */
import { realpathSync, statSync, statfsSync, writeFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { LcfsError } from '../engine/errors.js';
import { reapLeftOrphans } from '../engine/maintenance.js';
import { panic } from '../engine/operation.js';
import type { VolumeHandle } from '../engine/volume.js';
import { onlineCpus, possibleCpus } from '../linux/affinity.js';
import { EBUSY } from '../linux/errno.js';
import { close } from '../linux/libc.js';
import { abortConnection, attachMount, createMount, findMount, listMounts, unmount } from '../linux/mount.js';
import { closeDevice, openDevice } from './device.js';
import { DeviceQueue } from './device-queue.js';
import { negotiate, negotiated, type Negotiated } from './init.js';
import { announceLayer, announceLayerList } from './notify.js';
import { newOpenCounters } from './open-files.js';
import * as P from './protocol.js';
import { opcodeOf } from './request.js';
import { allowUring, ringRoles } from './ring-plan.js';
import type { WorkerMessage, WorkerRole, WorkerTask } from './worker.js';

export type Transport = 'uring' | 'devfuse';

export interface FuseOptions {
  /** A directory. */
  readonly mountpoint: string;
  /** What `mount` shows as the source: the path of the volume. */
  readonly source: string;
  /** `auto`, the default: io_uring where the kernel has it. */
  readonly transport?: Transport | 'auto';
  /** Takes lines for the log; standard error by default. */
  readonly log?: (line: string) => void;
}

export interface StopOptions {
  /** Takes the mount away even while it is in use; who still uses it gets errors after `timeoutMs`. */
  readonly lazy?: boolean;
  /** How long to wait for the last user after unmounting. Default 10,000. */
  readonly timeoutMs?: number;
}

export interface FuseSession {
  readonly mountpoint: string;
  readonly transport: Transport;
  /** Number of the connection: its directory in /sys/fs/fuse/connections. */
  readonly connection: number;
  /** Descriptor through which any thread of the process may announce changes (notify.ts). */
  readonly device: number;
  /** Resolves when the connection has ended and all threads are gone. */
  readonly ended: Promise<void>;
  /** To be called after a layer was created, renamed (both names) or removed. */
  invalidateLayer(name: string): void;
  /** Unmounts and waits for `ended`. Throws LcfsError `busy` naming the users, if there are any. */
  stop(options?: StopOptions): Promise<void>;
}

/** `mount` shows the type fuse.lcfs. */
const SUBTYPE = 'lcfs';
/**
 * Reads ahead are as long as the longest request, 1 MiB: the default of 128 KiB makes eight requests of it.
 */
const READ_AHEAD_KIB = 1024;
const STOP_TIMEOUT_MS = 10_000;
/** Threads for /dev/fuse; more than a few only contend for its one queue. */
const DEVICE_THREADS_MAX = 8;

/** Mounts the volume. Throws LcfsError: `busy` if the mount point is taken, `invalid` if it can't be one, `io` if the kernel refuses. */
export async function startFuse(handle: VolumeHandle, options: FuseOptions): Promise<FuseSession> {
  const log = options.log ?? ((line: string) => process.stderr.write(`lcfs: ${line}\n`));
  const mountpoint = checkMountpoint(options.mountpoint);
  const orphans = handle.readOnly ? 0 : reapLeftOrphans();
  if (orphans > 0) log(`freed ${orphans} files that had been unlinked while they were open`);
  const connection = await connect(handle, options, log);
  try {
    attachMount(connection.mount, mountpoint);
  } catch (error) {
    await connection.drop();
    throw new LcfsError('io', (error as Error).message);
  }
  close(connection.mount);
  const minor = findMount(mountpoint)!.minor;
  readAhead(minor, log);
  return session(connection, mountpoint, minor);
}

/** The real path of a mount point that is a directory, reachable, and not an LCFS mount yet. */
function checkMountpoint(mountpoint: string): string {
  let path: string;
  try {
    path = realpathSync(mountpoint);
    if (!statSync(path).isDirectory()) throw new LcfsError('invalid', `mount point ${mountpoint} is not a directory`);
    // The attributes of a dead mount's root may still be cached; its space never is.
    statfsSync(path);
  } catch (error) {
    throw mountpointError(mountpoint, error as NodeJS.ErrnoException);
  }
  const present = findMount(path);
  if (present?.type !== `fuse.${SUBTYPE}`) return path;
  throw new LcfsError(
    'busy',
    `mount point ${path} already has LCFS volume ${present.source} mounted: stop that daemon first (lcfs stop ${path})`,
  );
}

function mountpointError(mountpoint: string, error: NodeJS.ErrnoException): Error {
  if (error instanceof LcfsError) return error;
  if (error.code === 'ENOTCONN' || error.code === 'ECONNABORTED') {
    return new LcfsError(
      'busy',
      `mount point ${mountpoint} holds a dead FUSE mount whose daemon is gone: remove it with "umount -l ${mountpoint}"`,
    );
  }
  if (error.code === 'ENOENT') return new LcfsError('not-found', `mount point ${mountpoint} does not exist: create the directory first`);
  return new LcfsError('invalid', `mount point ${mountpoint} cannot be used: ${error.message}`);
}

/** A connection whose threads are ready, not attached anywhere yet. */
interface Connection {
  readonly transport: Transport;
  readonly device: number;
  readonly mount: number;
  readonly ended: Promise<void>;
  /** Ends a connection that was not attached. */
  drop(): Promise<void>;
}

async function connect(handle: VolumeHandle, options: FuseOptions, log: (line: string) => void): Promise<Connection> {
  const wanted = options.transport ?? 'auto';
  if (wanted !== 'devfuse') {
    const reason = allowUring(log) ?? (await tryConnect(handle, options, true));
    if (typeof reason !== 'string') return reason;
    if (wanted === 'uring') throw new LcfsError('io', `FUSE over io_uring is not to be had: ${reason}`);
    log(`FUSE over io_uring is not to be had (${reason}), using /dev/fuse`);
  }
  const connection = await tryConnect(handle, options, false);
  if (typeof connection === 'string') throw new LcfsError('io', `cannot serve FUSE: ${connection}`);
  return connection;
}

/** Connects and starts the threads; a string says why the transport can't be used. */
async function tryConnect(handle: VolumeHandle, options: FuseOptions, uring: boolean): Promise<Connection | string> {
  const { device, mount } = openConnection(options.source);
  const agreed = answerInit(device, uring);
  if (uring && !agreed.uring) {
    close(mount);
    closeDevice(device);
    return 'the kernel does not offer it';
  }
  const threads = new Threads(handle, device, agreed);
  const ended = threads.ended.then(() => closeDevice(device));
  const drop = async (): Promise<void> => {
    close(mount);
    await ended;
  };
  const refused = await threads.start(uring ? ringRoles(possibleCpus(), onlineCpus()) : deviceRoles());
  if (refused === undefined) return { transport: uring ? 'uring' : 'devfuse', device, mount, ended, drop };
  await drop();
  return refused;
}

function openConnection(source: string): { device: number; mount: number } {
  let device = -1;
  try {
    device = openDevice();
    return { device, mount: createMount({ device, source, subtype: SUBTYPE }) };
  } catch (error) {
    if (device >= 0) closeDevice(device);
    throw new LcfsError('io', `cannot create a FUSE mount: ${(error as Error).message}`);
  }
}

/** Answers the first request of a connection, which the kernel queues as soon as the mount is created. */
function answerInit(device: number, uring: boolean): Negotiated {
  const queue = new DeviceQueue(device);
  const received = queue.receive();
  if (received <= 0 || opcodeOf(queue.request) !== P.INIT) throw new LcfsError('io', `the kernel did not begin with INIT (${received})`);
  const result = negotiate(queue.request, uring);
  const sent = queue.answer(result);
  if (result < 0) throw new LcfsError('io', 'the FUSE protocol of this kernel is too old: LCFS needs Linux 5.2 or later');
  if (sent < 0) throw new LcfsError('io', `the kernel refused the reply to INIT (error ${-sent})`);
  return negotiated(queue.request);
}

function deviceRoles(): WorkerRole[] {
  const count = Math.min(Math.max(onlineCpus().length, 2), DEVICE_THREADS_MAX);
  return Array.from({ length: count }, (_, index) => ({ kind: 'device', clone: index > 0 }));
}

/** The threads of one connection. */
class Threads {
  /** Resolves when all threads have ended. */
  readonly ended: Promise<void>;
  private readonly resolveEnded: () => void;
  private readonly handle: VolumeHandle;
  private readonly device: number;
  private readonly agreed: Negotiated;
  private readonly openCounters = newOpenCounters();
  private running = 0;

  constructor(handle: VolumeHandle, device: number, agreed: Negotiated) {
    let resolve = (): void => undefined;
    this.ended = new Promise((done) => (resolve = done));
    this.resolveEnded = resolve;
    this.handle = handle;
    this.device = device;
    this.agreed = agreed;
  }

  /** Starts one thread for each role; a string says why one of them can't do its work. */
  async start(roles: readonly WorkerRole[]): Promise<string | undefined> {
    const answers = await Promise.all(roles.map((role) => this.startOne(role)));
    return answers.find((answer) => answer !== undefined);
  }

  private startOne(role: WorkerRole): Promise<string | undefined> {
    const { handle, device, agreed: negotiated, openCounters } = this;
    const task: WorkerTask = { handle, device, negotiated, openCounters, role };
    const worker = new Worker(new URL('./worker.js', import.meta.url), { workerData: task, name: `fuse-${role.kind}` });
    this.running++;
    worker.on('error', panic);
    worker.on('exit', () => {
      if (--this.running === 0) this.resolveEnded();
    });
    return new Promise((resolve) => worker.on('message', (message: WorkerMessage) => this.hear(message, resolve)));
  }

  private hear(message: WorkerMessage, started: (refused: string | undefined) => void): void {
    if (message.kind === 'ready') started(undefined);
    else if (message.kind === 'unavailable') started(message.reason);
    else announceLayerList(this.device);
  }
}

/** Raises the read-ahead of the mount; without it everything works, only slower. */
function readAhead(minor: number, log: (line: string) => void): void {
  try {
    writeFileSync(`/sys/class/bdi/0:${minor}/read_ahead_kb`, String(READ_AHEAD_KIB));
  } catch (error) {
    log(`cannot raise the read-ahead of the mount: ${(error as Error).message}`);
  }
}

function session(connection: Connection, mountpoint: string, minor: number): FuseSession {
  const { transport, device, ended } = connection;
  return {
    mountpoint,
    transport,
    connection: minor,
    device,
    ended,
    invalidateLayer: (name) => announceLayer(device, name),
    stop: (options = {}) => stop(mountpoint, minor, ended, options),
  };
}

async function stop(mountpoint: string, minor: number, ended: Promise<void>, options: StopOptions): Promise<void> {
  const lazy = options.lazy ?? false;
  if (!lazy) refuseIfBound(mountpoint, minor);
  const result = unmount(mountpoint, lazy);
  if (result === -EBUSY) throw busy(mountpoint, 'a process has a file open or its working directory there');
  if (await endsWithin(ended, options.timeoutMs ?? STOP_TIMEOUT_MS)) return;
  if (!lazy) throw busy(mountpoint, 'a mount of it lives on in another mount namespace, such as that of a container');
  abortConnection(minor);
  await ended;
}

/** Parts of the mount may be bound elsewhere, as the roots of containers are. */
function refuseIfBound(mountpoint: string, minor: number): void {
  const bound = listMounts().filter((entry) => entry.minor === minor && entry.type.startsWith('fuse') && entry.mountpoint !== mountpoint);
  if (bound.length > 0) throw busy(mountpoint, `mounted also at ${bound.map((entry) => entry.mountpoint).join(', ')}`);
}

function busy(mountpoint: string, cause: string): LcfsError {
  return new LcfsError('busy', `${mountpoint} is in use: ${cause}. Stop what uses it, or unmount it by force`);
}

async function endsWithin(ended: Promise<void>, timeoutMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<boolean>((resolve) => (timer = setTimeout(() => resolve(false), timeoutMs)));
  const result = await Promise.race([ended.then(() => true), timeout]);
  clearTimeout(timer);
  return result;
}
