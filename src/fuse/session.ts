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
 * Where the kernel has passthrough, a second mount is served beside it, which holds the contents that layers share
 * (sharing.ts, content-session.ts): it is there before the first file can be opened, and ends after the mount.
 *
 * The connection ends when the last mount of it goes, by `stop` or from outside. All threads then end, and `ended`
 * resolves; closing the volume is left to the caller.
 */
import { realpathSync, statSync, statfsSync } from 'node:fs';
import { LcfsError } from '../engine/errors.js';
import { reapLeftOrphans } from '../engine/maintenance.js';
import type { VolumeHandle } from '../engine/volume.js';
import { EBUSY } from '../linux/errno.js';
import { close } from '../linux/libc.js';
import { abortConnection, attachMount, findMount, listMounts, unmount } from '../linux/mount.js';
import type { LayerIndex } from '../layout/constants.js';
import { closeIdle, refusesBacking } from './backing.js';
import { Threads, answerInit, openConnection, rolesFor, setReadAhead, type Told } from './connection.js';
import { startContents, type ContentSession } from './content-session.js';
import { closeDevice } from './device.js';
import { reapIfForgotten } from './forget.js';
import { announceAttributes, announceContents, announceLayer, announceLayerList } from './notify.js';
import { newOpenCounters } from './open-files.js';
import { allowUring } from './ring-plan.js';
import { backingTable, idleTable, newSharingMemory, sharedHolders, type Behind } from './sharing.js';

export type Transport = 'uring' | 'devfuse';

export interface FuseOptions {
  /** A directory. */
  readonly mountpoint: string;
  /** What `mount` shows as the source: the path of the volume. */
  readonly source: string;
  /** `auto`, the default: io_uring where the kernel has it. */
  readonly transport?: Transport | 'auto';
  /** `auto`, the default: files that layers share pass through to one copy in the page cache, where the kernel can do that. */
  readonly passthrough?: 'auto' | 'off';
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
  /** Whether files that layers share have one copy in the page cache. */
  readonly passthrough: boolean;
  /** Number of the connection: its directory in /sys/fs/fuse/connections. */
  readonly connection: number;
  /** Descriptor through which any thread of the process may announce changes (notify.ts). */
  readonly device: number;
  /** Resolves when the connection has ended and all threads are gone. */
  readonly ended: Promise<void>;
  /** To be called after a layer was created, renamed (both names) or removed. */
  invalidateLayer(name: string): void;
  /** How many shared files are open now; 0 without passthrough. */
  sharedFiles(): number;
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
  setReadAhead(minor, READ_AHEAD_KIB, log);
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
  /** Resolves when the connection and its content mount have ended. */
  readonly ended: Promise<void>;
  /** Memory in which shared files are counted; undefined without passthrough. */
  readonly sharing: SharedArrayBuffer | undefined;
  /** Ends a connection that was not attached. */
  drop(): Promise<void>;
}

async function connect(handle: VolumeHandle, options: FuseOptions, log: (line: string) => void): Promise<Connection> {
  const wanted = options.transport ?? 'auto';
  if (wanted !== 'devfuse') {
    const reason = allowUring(log) ?? (await tryConnect(handle, options, true, log));
    if (typeof reason !== 'string') return reason;
    if (wanted === 'uring') throw new LcfsError('io', `FUSE over io_uring is not to be had: ${reason}`);
    log(`FUSE over io_uring is not to be had (${reason}), using /dev/fuse`);
  }
  const connection = await tryConnect(handle, options, false, log);
  if (typeof connection === 'string') throw new LcfsError('io', `cannot serve FUSE: ${connection}`);
  return connection;
}

/** Connects and starts the threads; a string says why the transport can't be used. */
async function tryConnect(
  handle: VolumeHandle,
  options: FuseOptions,
  uring: boolean,
  log: (line: string) => void,
): Promise<Connection | string> {
  const { device, mount } = openConnection({ source: options.source, subtype: SUBTYPE });
  const agreed = answerInit(device, { uring, passthrough: options.passthrough !== 'off', content: false });
  if (uring && !agreed.uring) {
    close(mount);
    closeDevice(device);
    return 'the kernel does not offer it';
  }
  const memory = newSharingMemory();
  const isHeld = sharedHolders(memory);
  const removed = (layer: LayerIndex): void => closeIdle(idleTable(memory), device, layer);
  const contents = agreed.passthrough ? await tryContents(handle, options.source, device, uring, log, removed) : undefined;
  const sharing = contents === undefined ? null : { contents: contents.mount, memory };
  const task = { handle, device, negotiated: agreed, openCounters: newOpenCounters(), service: 'volume', sharing } as const;
  const threads = new Threads(task, (message) => announce(device, message, isHeld));
  const ended = threads.ended.then(() => closeDevice(device)).then(() => contents?.end());
  const drop = async (): Promise<void> => {
    close(mount);
    await ended;
  };
  const refused = await threads.start(rolesFor(uring));
  if (refused !== undefined) {
    await drop();
    return refused;
  }
  return { transport: uring ? 'uring' : 'devfuse', device, mount, ended, sharing: sharing?.memory, drop };
}

/** Starts the content mount; without it, or the right to use it, no files are shared. */
async function tryContents(
  handle: VolumeHandle,
  source: string,
  device: number,
  uring: boolean,
  log: (line: string) => void,
  removed: (layer: LayerIndex) => void,
): Promise<ContentSession | undefined> {
  const contents = await startContents(handle, source, uring, log, removed);
  if (typeof contents === 'string') {
    log(`containers do not share cached files: ${contents}`);
    return undefined;
  }
  const refused = refusesBacking(device, contents.mount);
  if (refused === 0) return contents;
  log(`containers do not share cached files: the kernel refuses FUSE passthrough (error ${refused})`);
  await contents.end();
  return undefined;
}

type Holders = ReturnType<typeof sharedHolders>;

/** Does what a thread left to this one: tells the kernel of what it does not know, mostly. */
function announce(device: number, message: Told, isHeld: Holders): void {
  if (message.kind === 'listed') announceLayerList(device);
  else if (message.kind === 'behind') catchUp(device, message, isHeld);
}

function catchUp(device: number, { what, layer, ino }: Behind, isHeld: Holders): void {
  if (what === 'contents') announceContents(device, layer, ino);
  else if (what === 'attributes') announceAttributes(device, layer, ino);
  else reapIfForgotten(device, layer, ino, isHeld);
}

function session(connection: Connection, mountpoint: string, minor: number): FuseSession {
  const { transport, device, ended, sharing } = connection;
  const backings = sharing === undefined ? undefined : backingTable(sharing);
  return {
    mountpoint,
    transport,
    passthrough: sharing !== undefined,
    connection: minor,
    device,
    ended,
    sharedFiles: () => backings?.keys() ?? 0,
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
