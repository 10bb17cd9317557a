/**
 * The content mount (content.ts) while it is served: started before the mount whose files pass through to it, ended after
 * that.
 *
 * On the ring nothing comes over /dev/fuse that waits for an answer, so it needs no thread: this one reads now and then that
 * the kernel has forgotten something.
 *
 * What a removed layer had in the kernel's caches goes when this thread notices, which looks now and then: nobody can reach
 * it any more, it only takes room.
 *
 * Openings of files that somebody kept, or maps, hold the mount. It is therefore ended by force: nobody is served by then.
 */
import { fstatSync } from 'node:fs';
import { LAYER_COUNT, NEXT_LAYER } from '../engine/arena.js';
import { getInode } from '../engine/inode.js';
import type { VolumeHandle } from '../engine/volume.js';
import { ROOT_INO, type LayerIndex } from '../layout/constants.js';
import { W } from '../layout/memory.js';
import { EIO } from '../linux/errno.js';
import { close } from '../linux/libc.js';
import { abortConnection } from '../linux/mount.js';
import { Threads, answerInit, openConnection, rolesFor, setReadAhead, type Told } from './connection.js';
import { cloneWithoutWaiting, closeDevice } from './device.js';
import { DeviceQueue } from './device-queue.js';
import { announceContentLayer } from './notify.js';
import { newOpenCounters } from './open-files.js';
import { BATCH_FORGET, FORGET, INTERRUPT } from './protocol.js';
import { opcodeOf } from './request.js';
import type { WorkerRole } from './worker.js';

export interface ContentSession {
  /** Descriptor of the mount. */
  readonly mount: number;
  /** Ends the mount: what still reads from it gets errors. */
  end(): Promise<void>;
}

const SUBTYPE = 'lcfs-contents';
/**
 * Requests of a CPU at once: reads ahead of several programs that start, of up to 1 MiB each. What comes here was not in the
 * page cache, so beyond eight threads another one for each CPU would save little against its 12 MiB.
 */
const NEEDS = { entries: 4, threads: 8 };
/**
 * What is read in order has up to two requests of 1 MiB under way before it is asked for. A page that is touched in a mapping
 * brings as much of what lies around it, so that most libraries come whole: with 512 KiB programs that start read the device
 * a third to three times more often, for a tenth to a third fewer bytes.
 */
const READ_AHEAD_KIB = 2048;
const SWEEP_MS = 5000;
/** Requests that get no reply. */
const SILENT: ReadonlySet<number> = new Set([FORGET, BATCH_FORGET, INTERRUPT]);

/**
 * Starts the content mount of an open volume. `removed` is called when a layer is gone, before its contents are dropped. A
 * string says why there can't be a content mount.
 */
export async function startContents(
  handle: VolumeHandle,
  source: string,
  uring: boolean,
  log: (line: string) => void,
  removed: (layer: LayerIndex) => void,
): Promise<ContentSession | string> {
  const { device, mount } = openConnection({ source, subtype: SUBTYPE, readOnly: true });
  const negotiated = answerInit(device, { uring, passthrough: false, content: true });
  const sweeper = new Sweeper(device, removed);
  const task = { handle, device, negotiated, openCounters: newOpenCounters(), service: 'content', sharing: null } as const;
  const threads = new Threads(task, (message) => sweeper.hear(message));
  const ended = threads.ended.then(() => closeDevice(device));
  const refused = await threads.start(roles(negotiated.uring));
  if (refused !== undefined) {
    close(mount);
    await ended;
    return refused;
  }
  const minor = minorOf(mount);
  setReadAhead(minor, READ_AHEAD_KIB, log);
  sweeper.start(negotiated.uring);
  return { mount, end: () => endContents(minor, mount, sweeper, ended) };
}

function roles(uring: boolean): WorkerRole[] {
  const all = rolesFor(uring, NEEDS);
  return uring ? all.filter(({ kind }) => kind === 'ring') : all;
}

function minorOf(mount: number): number {
  const { dev } = fstatSync(mount);
  return (dev & 0xff) | ((dev >>> 12) & ~0xff);
}

async function endContents(minor: number, mount: number, sweeper: Sweeper, ended: Promise<void>): Promise<void> {
  sweeper.stop();
  try {
    // The number is that of our mount as long as its descriptor is open.
    abortConnection(minor);
  } catch {
    // Somebody else ended it before.
  }
  close(mount);
  await ended;
}

/** What is done now and then. */
class Sweeper {
  private readonly device: number;
  private readonly removed: (layer: LayerIndex) => void;
  /** Layers whose directories the kernel may know. */
  private readonly layers = new Set<LayerIndex>();
  private layersGone = layersGone();
  /** Another descriptor of the connection, to read what comes beside the ring. */
  private beside = -1;
  private timer: NodeJS.Timeout | undefined;

  constructor(device: number, removed: (layer: LayerIndex) => void) {
    this.device = device;
    this.removed = removed;
  }

  start(uring: boolean): void {
    if (uring) this.beside = cloneWithoutWaiting(this.device);
    const queue = uring ? new DeviceQueue(this.beside) : undefined;
    this.timer = setInterval(() => this.sweep(queue), SWEEP_MS).unref();
  }

  stop(): void {
    clearInterval(this.timer);
    if (this.beside >= 0) closeDevice(this.beside);
  }

  hear(message: Told): void {
    if (message.kind === 'layer') this.layers.add(message.layer);
  }

  private sweep(queue: DeviceQueue | undefined): void {
    if (queue !== undefined) drain(queue);
    if (this.layersGone === layersGone()) return;
    this.layersGone = layersGone();
    for (const layer of this.layers) if (getInode(layer, ROOT_INO) < 0) this.forget(layer);
  }

  private forget(layer: LayerIndex): void {
    this.layers.delete(layer);
    this.removed(layer);
    announceContentLayer(this.device, layer);
  }
}

/** How many layers there were once. */
function layersGone(): number {
  return W[NEXT_LAYER]! - W[LAYER_COUNT]!;
}

/** Reads what the kernel says beside the ring. */
function drain(queue: DeviceQueue): void {
  while (queue.receive() > 0) if (!SILENT.has(opcodeOf(queue.request))) queue.answer(-EIO);
}
