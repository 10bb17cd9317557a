/**
 * Everything of a mount that must outlive the process that serves it: descriptors, and memory behind descriptors.
 *
 *   const state = prepareServing({ mountpoint: '/lcfs', source: '/dev/sdb' });     // in the process that holds on
 *   // hand servingDescriptors(state) over under the same numbers, and the state as JSON; then, in the one that serves:
 *   const session = await serveFuse(handle, state, { takeover: false });           // session.ts
 *   // and back in the first one, once that has been done for the first time:
 *   state = letGoOfMount(state);
 *   …
 *   dropServing(state);                                                            // when nobody serves it any more
 *
 * `prepareServing` makes the connections to the kernel and agrees with it on their use (INIT), makes the mounts, attached
 * nowhere, and the memories. It needs no engine and no threads. Whoever uses the mount before it is served waits. It is the
 * serving process that attaches the mount, once it can serve.
 *
 * The kernel holds what it must not forget:
 *  V1  A connection lives as long as one of its descriptors is open, in whatever process.
 *  V2  A request that was read through a descriptor of /dev/fuse, and not answered, ends with that descriptor. So each
 *      thread's own (a clone) belongs to the state, and RESEND brings the request again.
 *  V3  A request that came through the ring is answered with its commit id, from any process that has the same memory at the
 *      same addresses (ring-memory.ts).
 *  V4  A mount that hangs nowhere lives as long as its descriptor: that of the content mount is kept to the end. That of the
 *      attached mount must not be kept, or `umount` would not end it.
 */
import { realpathSync, statSync, statfsSync, writeFileSync } from 'node:fs';
import { LcfsError } from '../engine/errors.js';
import { BLOCK_BYTES } from '../layout/constants.js';
import { onlineCpus, possibleCpus } from '../linux/affinity.js';
import { close, errno, ioBuffer, read, write } from '../linux/libc.js';
import { createLoop } from '../linux/loop.js';
import { createMemoryFile } from '../linux/memory-file.js';
import {
  abortConnection,
  createMount,
  deviceOfMount,
  deviceText,
  findMount,
  isBlock,
  unmountByForce,
  type MountOptions,
} from '../linux/mount.js';
import { cloneDevice, cloneWithoutWaiting, closeDevice, openDevice, refusesBacking } from './device.js';
import { WRITE_BYTES_MAX, negotiate, negotiated, type Negotiated, type Wishes } from './init.js';
import * as P from './protocol.js';
import { Request, opcodeOf, uniqueHigh, uniqueLow, wordsOf } from './request.js';
import { entriesBytes } from './ring-memory.js';
import { SERVE_ALL, allowUring, entriesOf, ringRoles, type RingNeeds, type WorkerRole } from './ring-plan.js';
import { createTables } from './tables.js';

export type Transport = 'uring' | 'devfuse';

export interface ServingOptions {
  /** A directory. */
  readonly mountpoint: string;
  /** What `mount` shows as the source: the path of the volume. */
  readonly source: string;
  /** `auto`, the default: io_uring where the kernel has it. */
  readonly transport?: Transport | 'auto';
  /** `auto`, the default: files that layers share pass through to one copy in the page cache, where the kernel can do that. */
  readonly passthrough?: 'auto' | 'off';
  /** Programs that call sync(2) or syncfs(2) wait for the device, as with fsync(2), where the kernel tells of them (Linux 6.18). */
  readonly hearsSync?: boolean;
  /** Takes lines for the log; standard error by default. */
  readonly log?: (line: string) => void;
}

/** One connection to the kernel. All numbers of descriptors are those of the process that has the state. */
export interface ServedConnection {
  /** Descriptors of /dev/fuse; the first is the one that the mount was made with. */
  readonly devices: readonly number[];
  /** Descriptor of the mount; -1 once it was let go. */
  readonly mount: number;
  /** Number of the connection, its directory in /sys/fs/fuse/connections; also that of the mount's device. */
  readonly number: number;
  readonly negotiated: Negotiated;
  /** What each thread has to do. */
  readonly roles: readonly WorkerRole[];
}

/** A mount that can be served. Plain data: it survives JSON and structured cloning. */
export interface ServingState {
  /** Raised with every change of this structure or of the memories. */
  readonly version: number;
  readonly mountpoint: string;
  readonly source: string;
  readonly transport: Transport;
  readonly volume: ServedConnection;
  /** The content mount (content.ts); null: layers share no cached files. */
  readonly contents: ServedConnection | null;
  /** Descriptor of the shared tables (tables.ts). */
  readonly tables: number;
  /** Descriptor of the memory of the ring entries, -1 without a ring, and how many there are. */
  readonly entries: number;
  readonly entryCount: number;
  /** When the mount was made, in seconds since 1970. */
  readonly created: number;
}

export const SERVING_VERSION = 2;
const SUBTYPE = 'lcfs';
/** The types that `mount` shows. */
const TYPES: ReadonlySet<string> = new Set([`fuse.${SUBTYPE}`, `fuseblk.${SUBTYPE}`]);
const CONTENT_SUBTYPE = 'lcfs-contents';
/** Reads ahead are as long as the longest request, 1 MiB: the default of 128 KiB makes eight requests of it. */
const READ_AHEAD_KIB = 1024;
/**
 * What is read in order has up to two requests of 1 MiB under way before it is asked for. A page that is touched in a mapping
 * brings as much of what lies around it, so that most libraries come whole: with 512 KiB programs that start read the device
 * a third to three times more often, for a tenth to a third fewer bytes.
 */
const CONTENT_READ_AHEAD_KIB = 2048;
/** Threads for /dev/fuse; more than a few only contend for its one queue. */
const DEVICE_THREADS_MAX = 8;
/**
 * Requests of a CPU at once: reads ahead of several programs that start, of up to 1 MiB each. What comes here was not in the
 * page cache, so beyond eight threads another one for each CPU would save little against its 12 MiB.
 */
const CONTENT_NEEDS: RingNeeds = { entries: 4, threads: 8 };

type Log = (line: string) => void;

export const toStandardError: Log = (line) => void process.stderr.write(`lcfs: ${line}\n`);

/** Makes a mount, attached nowhere. Throws LcfsError: `busy` if the mount point is taken, `invalid` if it can't be one, `io` if the kernel refuses. */
export function prepareServing(options: ServingOptions): ServingState {
  const log = options.log ?? toStandardError;
  const mountpoint = checkMountpoint(options.mountpoint);
  const open: number[] = [];
  try {
    return prepare({ ...options, mountpoint }, log, open);
  } catch (error) {
    for (const fd of open) close(fd);
    throw error instanceof LcfsError ? error : new LcfsError('io', `cannot make a FUSE mount: ${(error as Error).message}`);
  }
}

/** Descriptors that are opened go to `open`. */
function prepare(options: ServingOptions, log: Log, open: number[]): ServingState {
  const { mountpoint, source } = options;
  const volume = prepareVolume(options, log, open);
  const { uring, passthrough } = volume.negotiated;
  const entries = volume.roles.reduce((sum, role) => sum + entriesOf(role), 0);
  const contents = passthrough ? prepareContents(source, uring, entries, volume.devices[0]!, log, open) : null;
  const entryCount = entries + (contents?.roles.reduce((sum, role) => sum + entriesOf(role), 0) ?? 0);
  const tables = keep(open, createTables());
  return {
    version: SERVING_VERSION,
    mountpoint,
    source,
    transport: uring ? 'uring' : 'devfuse',
    volume,
    contents,
    tables,
    entries: uring ? keep(open, createMemoryFile('lcfs-entries', entriesBytes(entryCount))) : -1,
    entryCount,
    created: Math.floor(Date.now() / 1000),
  };
}

function keep(open: number[], fd: number): number {
  open.push(fd);
  return fd;
}

function prepareVolume(options: ServingOptions, log: Log, open: number[]): ServedConnection {
  const wanted = options.transport ?? 'auto';
  const reason = wanted === 'devfuse' ? '' : allowUring(log);
  const wishes = { uring: reason === undefined, passthrough: options.passthrough !== 'off', content: false };
  const connection = connectVolume(options, wishes, log, open);
  setReadAhead(connection.number, READ_AHEAD_KIB, log);
  const { uring } = connection.negotiated;
  if (!uring && wanted !== 'devfuse') {
    const why = reason ?? 'the kernel does not offer it';
    if (wanted === 'uring') throw new LcfsError('io', `FUSE over io_uring is not to be had: ${why}`);
    log(`FUSE over io_uring is not to be had (${why}), using /dev/fuse`);
  }
  return withThreads(connection, uring ? ringRoles(possibleCpus(), onlineCpus(), SERVE_ALL) : deviceRoles(), open);
}

/** Without the content mount, or the right to use it, no files are shared. */
function prepareContents(
  source: string,
  uring: boolean,
  firstEntry: number,
  device: number,
  log: Log,
  open: number[],
): ServedConnection | null {
  const opened: number[] = [];
  const connection = connect({ source, subtype: CONTENT_SUBTYPE, readOnly: true }, { uring, passthrough: false, content: true }, opened);
  const refused = refusesBacking(device, connection.mount);
  if (refused !== 0) {
    for (const fd of opened) close(fd);
    log(`containers do not share cached files: the kernel refuses FUSE passthrough (error ${refused})`);
    return null;
  }
  open.push(...opened);
  setReadAhead(connection.number, CONTENT_READ_AHEAD_KIB, log);
  if (!connection.negotiated.uring) return withThreads(connection, deviceRoles(), open);
  const roles = ringRoles(possibleCpus(), onlineCpus(), CONTENT_NEEDS, firstEntry).filter(({ kind }) => kind === 'ring');
  // Nothing comes over /dev/fuse that waits for an answer, so no thread waits for it: the session looks now and then.
  const beside = keep(open, cloneWithoutWaiting(connection.devices[0]!));
  return { ...connection, devices: [...connection.devices, beside], roles };
}

function deviceRoles(): WorkerRole[] {
  const count = Math.min(Math.max(onlineCpus().length, 2), DEVICE_THREADS_MAX);
  return Array.from({ length: count }, (_, descriptor) => ({ kind: 'device', descriptor, beside: false }));
}

/** Gives each thread that reads /dev/fuse a descriptor. */
function withThreads(connection: ServedConnection, roles: readonly WorkerRole[], open: number[]): ServedConnection {
  const [device] = connection.devices as [number];
  const count = roles.filter(({ kind }) => kind === 'device').length;
  const clones = Array.from({ length: count - 1 }, () => keep(open, cloneDevice(device)));
  return { ...connection, devices: [device, ...clones], roles };
}

function connectVolume(options: ServingOptions, wishes: Wishes, log: Log, open: number[]): ServedConnection {
  const plain = { source: options.source, subtype: SUBTYPE };
  if (options.hearsSync !== true) return connect(plain, wishes, open);
  try {
    return connectOverBlock(wishes, open);
  } catch (error) {
    log(`sync(2) promises no more than --fsync=relaxed does: ${(error as Error).message}`);
    return connect(plain, wishes, open);
  }
}

/** The block device is an empty one of our own: it is there only because the kernel wants one, and goes with the mount. */
function connectOverBlock(wishes: Wishes, open: number[]): ServedConnection {
  const opened: number[] = [];
  const memory = createMemoryFile('lcfs-nothing', BLOCK_BYTES);
  let loop = -1;
  try {
    const { path, fd } = createLoop(memory);
    loop = fd;
    const connection = connect({ source: path, subtype: SUBTYPE, block: true }, wishes, opened);
    open.push(...opened);
    return connection;
  } catch (error) {
    for (const fd of opened) close(fd);
    throw error;
  } finally {
    for (const fd of [memory, loop]) if (fd >= 0) close(fd);
  }
}

function connect(options: Omit<MountOptions, 'device'>, wishes: Wishes, open: number[]): ServedConnection {
  const device = keep(open, openDevice());
  const mount = keep(open, createMount({ ...options, device }));
  return { devices: [device], mount, number: deviceOfMount(mount), negotiated: answerInit(device, wishes), roles: [] };
}

/** Answers the first request of a connection, which the kernel queues as soon as the mount is created. */
function answerInit(device: number, wishes: Wishes): Negotiated {
  const r = initRequest();
  const received = read(device, r.io.address + r.head * 4, WRITE_BYTES_MAX + INIT_REPLY);
  if (received < P.IN_HEADER_BYTES || opcodeOf(r) !== P.INIT)
    throw new LcfsError('io', `the kernel did not begin with INIT (${received < 0 ? -errno() : received})`);
  r.payloadBytes = received - (r.payload - r.head * 4);
  const result = negotiate(r, wishes);
  const out = (r.reply - P.OUT_HEADER_BYTES) / 4;
  const bytes = P.OUT_HEADER_BYTES + Math.max(result, 0);
  r.words.set([bytes, Math.min(result, 0), uniqueLow(r), uniqueHigh(r)], out);
  const sent = write(device, r.io.address + out * 4, bytes);
  if (result < 0) throw new LcfsError('io', 'the FUSE protocol of this kernel is too old: LCFS needs Linux 5.2 or later');
  if (sent < 0) throw new LcfsError('io', `the kernel refused the reply to INIT (error ${errno()})`);
  return negotiated(r);
}

/** Where the body of the reply lies; the header before it, the request behind it. */
const INIT_REPLY = 1024;
const INIT_REQUEST = 4096;

function initRequest(): Request {
  // The kernel insists on room for the largest request.
  const io = ioBuffer(INIT_REQUEST + WRITE_BYTES_MAX + INIT_REPLY);
  const args = INIT_REQUEST + P.IN_HEADER_BYTES;
  return new Request(io, wordsOf(io), {
    head: INIT_REQUEST / 4,
    args: args / 4,
    payload: args + P.ARGUMENTS_BYTES[P.INIT]!,
    reply: INIT_REPLY,
    replyBytes: INIT_REQUEST - INIT_REPLY,
    scratch: 0,
  });
}

/** Raises the read-ahead of a mount; without it everything works, only slower. */
function setReadAhead(device: number, kibibytes: number, log: Log): void {
  try {
    writeFileSync(`/sys/class/bdi/${deviceText(device)}${isBlock(device) ? '-fuseblk' : ''}/read_ahead_kb`, String(kibibytes));
  } catch (error) {
    log(`cannot raise the read-ahead of the mount: ${(error as Error).message}`);
  }
}

/** All descriptors of a state, to be handed over. */
export function servingDescriptors(state: ServingState): number[] {
  const connections = state.contents === null ? [state.volume] : [state.volume, state.contents];
  const all = [...connections.flatMap(({ devices }) => devices), ...connections.map(({ mount }) => mount), state.tables, state.entries];
  return all.filter((fd) => fd >= 0);
}

/** V4: closes the descriptor of the mount, which is attached by now. Returns what is left. */
export function letGoOfMount(state: ServingState): ServingState {
  if (state.volume.mount >= 0) close(state.volume.mount);
  return { ...state, volume: { ...state.volume, mount: -1 } };
}

/** Gives up a mount: whoever still uses it gets errors. Closes all descriptors. */
export function dropServing(state: ServingState): void {
  abortServing(state);
  closeDescriptors(state);
}

/** Ends the connections of a mount, and takes it from its place. */
export function abortServing(state: ServingState): void {
  const isAttached = findMount(state.mountpoint)?.device === state.volume.number;
  // The number is that of our mount as long as its descriptor or a place of it is there.
  if (state.volume.mount >= 0 || isAttached) abortQuietly(state.volume.number);
  if (isAttached) unmountByForce(state.mountpoint);
  if (state.contents !== null) abortQuietly(state.contents.number);
}

/** Ends a connection, unless somebody else did so before. */
export function abortQuietly(connection: number): void {
  try {
    abortConnection(connection);
  } catch {
    // There is no such connection any more.
  }
}

export function closeDescriptors(state: ServingState): void {
  for (const fd of servingDescriptors(state)) closeDevice(fd);
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
  if (present === undefined || !TYPES.has(present.type)) return path;
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
