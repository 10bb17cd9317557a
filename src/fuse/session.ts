/**
 * A volume mounted: starts the threads that serve a mount and takes all of it down again.
 *
 *   const session = await startFuse(handle, { mountpoint: '/lcfs', source: '/dev/sdb' });
 *   …
 *   await session.stop();          // unmounts; refused while somebody uses the mount
 *
 * Steps of starting: make the connections to the kernel and the mounts, attached nowhere (serving.ts); start the threads and
 * wait until all are ready; attach the mount. So nobody sees a mount that is not served, and whatever fails on the way leaves
 * nothing behind. `serveFuse` leaves the first step to another process, which holds what that step makes; then this one may
 * die, and another one serve in its place (`takeover`): users of the mount wait meanwhile, and notice nothing else.
 *
 * Steps of a takeover: repair what is counted for openings (takeover.ts); make the kernel send again what was read from /dev/fuse;
 * start the threads, which answer first what the dead process had from the ring (ring-queue.ts); wake the queues; tell the
 * kernel what it had still to be told. The volume was opened with `takeover` before.
 *
 * Where the kernel has passthrough, a second mount is served beside it, which holds the contents that layers share
 * (sharing.ts, content-session.ts): it is there before the first file can be opened, and ends after the mount.
 *
 * The connection ends when the last mount of it goes, by `stop` or from outside. All threads then end, and `ended`
 * resolves; closing the volume is left to the caller.
 */
import type { Worker } from 'node:worker_threads';
import { LcfsError } from '../engine/errors.js';
import { reapLeftOrphans } from '../engine/maintenance.js';
import type { VolumeHandle } from '../engine/volume.js';
import { EBUSY } from '../linux/errno.js';
import { abortConnection, attachMount, findMount, listMounts, unmount } from '../linux/mount.js';
import type { LayerIndex } from '../layout/constants.js';
import { closeIdle } from './backing.js';
import { BehindTable, type Behind } from './behind.js';
import { Threads, isAwaited, type Told } from './connection.js';
import { contentSession } from './content-session.js';
import { reapIfForgotten } from './forget.js';
import { NOTHING_HELD, heldFiles, type HeldFiles } from './held.js';
import { announceAttributes, announceContents, announceLayer, announceLayerList, askAgain } from './notify.js';
import type { MappedMount } from './mapped-writes.js';
import { mapEntries, unmapEntries } from './ring-memory.js';
import {
  SERVING_VERSION,
  abortServing,
  closeDescriptors,
  letGoOfMount,
  prepareServing,
  toStandardError,
  type ServingOptions,
  type ServingState,
  type Transport,
} from './serving.js';
import { backingTable, idleTable, sharedHolders, useSharing } from './sharing.js';
import { BEHIND_AT, mapTables, type Tables } from './tables.js';
import { Waker, listLeft, reapForgotten, repairTables, type Left, type Noted } from './takeover.js';

export type { Transport } from './serving.js';
export type FuseOptions = ServingOptions;

export interface ServeOptions {
  /** Whether another process served this state before, and is dead. The volume must have been opened so, too. */
  readonly takeover: boolean;
  /** Takes lines for the log; standard error by default. */
  readonly log?: (line: string) => void;
  /** Threads that were begun before (`beginThreads`), as many as `sparesFor` says at most. */
  readonly spares?: readonly Worker[];
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
  /** For bringing in what programs wrote through mappings (mapped-writes.ts). */
  readonly mapped: MappedMount;
  /** Resolves when the connection has ended and all threads are gone. */
  readonly ended: Promise<void>;
  /** To be called after a layer was created, renamed (both names) or removed. */
  invalidateLayer(name: string): void;
  /** How many shared files are open now; 0 without passthrough. */
  sharedFiles(): number;
  /** What is held for open files now. */
  held(): HeldFiles;
  /** Unmounts and waits for `ended`. Throws LcfsError `busy` naming the users, if there are any. */
  stop(options?: StopOptions): Promise<void>;
}

const STOP_TIMEOUT_MS = 10_000;
/** After a takeover, until what the kernel does not know any more is let go. */
const REAP_AFTER_MS = 5000;
/** How often that is looked at again which may still be open. */
const REAP_AGAIN_MS = 30_000;

/** Mounts the volume. Throws LcfsError: `busy` if the mount point is taken, `invalid` if it can't be one, `io` if the kernel refuses. */
export async function startFuse(handle: VolumeHandle, options: FuseOptions): Promise<FuseSession> {
  const log = options.log ?? toStandardError;
  const wanted = options.transport ?? 'auto';
  const state = prepareServing(options);
  const result = await tryServing(handle, state, { takeover: false, log });
  if (typeof result !== 'string') return result;
  if (state.transport === 'devfuse' || wanted === 'uring')
    throw new LcfsError('io', `cannot serve FUSE over ${state.transport}: ${result}`);
  log(`FUSE over io_uring is not to be had (${result}), using /dev/fuse`);
  return startFuse(handle, { ...options, transport: 'devfuse' });
}

/**
 * Serves a mount that this or another process has made, and attaches it if that has not been done. The session ends with the
 * mount, and closes the descriptors of this process. Throws LcfsError `io` if the threads can't serve, `state` if the state is
 * that of another version; the process should end then.
 */
export async function serveFuse(handle: VolumeHandle, state: ServingState, options: ServeOptions): Promise<FuseSession> {
  const serving = new Serving(handle, state, options);
  const refused = await serving.start();
  if (refused !== undefined) throw new LcfsError('io', `cannot serve FUSE over ${state.transport}: ${refused}`);
  return serving.session();
}

/** Serves a mount of this process. If that can't be, a string says why, and nothing is left of the mount. */
async function tryServing(handle: VolumeHandle, state: ServingState, options: ServeOptions): Promise<FuseSession | string> {
  const serving = new Serving(handle, state, options);
  try {
    const refused = await serving.start();
    if (refused === undefined) return serving.session();
    await serving.drop();
    return refused;
  } catch (error) {
    await serving.drop();
    throw error;
  }
}

/** How many threads begun before are of use to who serves this state. */
export function sparesFor(state: ServingState): number {
  return state.volume.roles.filter(isAwaited).length;
}

/** What runs while a mount is served. */
class Serving {
  #state: ServingState;
  readonly #takeover: boolean;
  readonly #log: (line: string) => void;
  readonly #orphansMayBeOpen: boolean;
  readonly #tables: Tables;
  readonly #noted: readonly Noted[];
  readonly #behind: BehindTable;
  readonly #isHeld: ReturnType<typeof sharedHolders>;
  readonly #contents: ReturnType<typeof contentSession> | undefined;
  readonly #threads: Threads;
  readonly #device: number;
  readonly #left: Left | undefined;
  readonly #waker: Waker;
  #reaping: NodeJS.Timeout | undefined;
  #ended: Promise<void> | undefined;
  #hasEnded = false;

  constructor(handle: VolumeHandle, state: ServingState, { takeover, log, spares }: ServeOptions) {
    if (state.version !== SERVING_VERSION)
      throw new LcfsError('state', `the mount at ${state.mountpoint} was made by another version of lcfs: stop it and start it again`);
    this.#state = state;
    this.#takeover = takeover;
    this.#log = log ?? toStandardError;
    this.#orphansMayBeOpen = takeover || handle.readOnly;
    this.#device = state.volume.devices[0]!;
    this.#waker = new Waker(() => placeOf(state));
    this.#tables = mapTables(state.tables);
    if (state.entries >= 0) mapEntries(state.entries, state.entryCount);
    this.#noted = takeover ? repairTables(this.#tables, this.#device) : [];
    this.#left = takeover ? listLeft() : undefined;
    this.#behind = new BehindTable(this.#tables.memory, this.#tables.at + BEHIND_AT);
    this.#isHeld = sharedHolders(this.#tables);
    const task = { handle, tables: this.#tables, takeover, entryCount: state.entryCount, created: state.created };
    const idle = idleTable(this.#tables);
    const kept = { layers: () => idle.layers(), close: (layer: LayerIndex) => closeIdle(idle, this.#device, layer) };
    this.#contents = state.contents === null ? undefined : contentSession(state.contents, task, kept);
    const sharing = state.contents === null ? null : { contents: state.contents.mount };
    // Openings may be ended here, too.
    if (takeover && sharing !== null) useSharing(sharing, this.#tables, this.#device, (behind, number) => this.#tell(number, behind));
    const { devices, negotiated } = state.volume;
    this.#threads = new Threads({ ...task, devices, negotiated, service: 'volume', sharing }, (message) => this.#hear(message), spares);
  }

  /** A string says why the threads can't serve. */
  async start(): Promise<string | undefined> {
    this.#reapOrphans();
    // Both at once: threads of the mount that already need a content file wait for it as anybody does.
    const answers = await Promise.all([this.#startMount(), this.#contents?.start()]);
    const refused = answers.find((answer) => answer !== undefined);
    if (refused !== undefined) return refused;
    this.#attach();
    this.#ended = this.#threads.ended.then(() => this.#end());
    return undefined;
  }

  #reapOrphans(): void {
    const orphans = this.#orphansMayBeOpen ? 0 : reapLeftOrphans();
    if (orphans > 0) this.#log(`freed ${orphans} files that had been unlinked while they were open`);
  }

  /** After a takeover the mount has users, who wait. */
  async #startMount(): Promise<string | undefined> {
    if (this.#takeover) askAgain(this.#device);
    const refused = await this.#threads.start(this.#state.volume.roles);
    if (refused !== undefined || !this.#takeover) return refused;
    this.#attach();
    this.#catchUp();
    return undefined;
  }

  #attach(): void {
    const { mountpoint, volume } = this.#state;
    if (volume.mount < 0) return;
    // Who died may have done it, and told nobody.
    if (findMount(mountpoint)?.device !== volume.number) attachMount(volume.mount, mountpoint);
    this.#state = letGoOfMount(this.#state);
  }

  #catchUp(): void {
    if (this.#state.entries >= 0) this.#waker.start();
    for (const { number, behind } of this.#noted) this.#tell(number, behind);
    announceLayerList(this.#device);
    this.#reapAfter(REAP_AFTER_MS, this.#left!);
  }

  #reapAfter(milliseconds: number, left: Left): void {
    this.#reaping = setTimeout(() => {
      const last = reapForgotten(this.#tables, this.#device, left);
      if (last.openings.length > 0) this.#reapAfter(REAP_AGAIN_MS, last);
    }, milliseconds).unref();
  }

  async #end(): Promise<void> {
    this.#hasEnded = true;
    clearTimeout(this.#reaping);
    await this.#waker.stop();
    await this.#contents?.end();
    this.#release();
  }

  #release(): void {
    const { entries, entryCount } = this.#state;
    if (entries >= 0) unmapEntries(entryCount);
    closeDescriptors(this.#state);
  }

  /** Ends a mount of this process that can't be served, and is not attached. */
  async drop(): Promise<void> {
    abortServing(this.#state);
    await this.#threads.allEnded();
    await this.#contents?.end();
    this.#release();
  }

  /** Does what a thread left to this one: tells the kernel of what it does not know, mostly. */
  #hear(message: Told): void {
    if (message.kind === 'listed') announceLayerList(this.#device);
    else if (message.kind === 'behind') this.#tell(message.number, message.behind);
  }

  #tell(number: number, { what, layer, ino }: Behind): void {
    if (what === 'contents') announceContents(this.#device, layer, ino);
    else if (what === 'attributes') announceAttributes(this.#device, layer, ino);
    else reapIfForgotten(this.#device, layer, ino, this.#isHeld);
    this.#behind.strike(number);
  }

  session(): FuseSession {
    const { mountpoint, transport, volume, contents } = this.#state;
    const backings = backingTable(this.#tables);
    const ended = this.#ended!;
    return {
      mountpoint,
      transport,
      passthrough: contents !== null,
      connection: volume.number,
      device: this.#device,
      mapped: { mountpoint, device: volume.number, tables: this.#tables },
      ended,
      sharedFiles: () => (this.#hasEnded ? 0 : backings.keys()),
      held: () => (this.#hasEnded ? NOTHING_HELD : heldFiles(this.#tables)),
      invalidateLayer: (name) => announceLayer(this.#device, name),
      stop: async (options = {}) => {
        const wakesAgain = await this.#waker.stop(); // what it has sent must not keep the mount busy
        await stop(mountpoint, volume.number, ended, options).catch((error: unknown) => {
          if (wakesAgain) this.#waker.start();
          throw error;
        });
      },
    };
  }
}

/** Where the mount can be reached: at its mount point, or where a part of it is bound once it was taken from there. */
function placeOf({ mountpoint, volume }: ServingState): string | undefined {
  if (findMount(mountpoint)?.device === volume.number) return mountpoint;
  return listMounts().find(({ device, type }) => device === volume.number && type.startsWith('fuse'))?.mountpoint;
}

async function stop(mountpoint: string, connection: number, ended: Promise<void>, options: StopOptions): Promise<void> {
  const lazy = options.lazy ?? false;
  if (!lazy) refuseIfBound(mountpoint, connection);
  const result = unmount(mountpoint, lazy);
  if (result === -EBUSY) throw busy(mountpoint, 'a process has a file open or its working directory there');
  if (await endsWithin(ended, options.timeoutMs ?? STOP_TIMEOUT_MS)) return;
  if (!lazy) throw busy(mountpoint, 'a mount of it lives on in another mount namespace, such as that of a container');
  abortConnection(connection);
  await ended;
}

/** Parts of the mount may be bound elsewhere, as the roots of containers are. */
function refuseIfBound(mountpoint: string, device: number): void {
  const bound = listMounts().filter((entry) => entry.device === device && entry.type.startsWith('fuse') && entry.mountpoint !== mountpoint);
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
