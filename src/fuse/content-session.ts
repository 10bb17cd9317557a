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
import { LAYER_COUNT, NEXT_LAYER } from '../engine/arena.js';
import { getInode } from '../engine/inode.js';
import { layerIndices } from '../engine/layers.js';
import { ROOT_INO, type LayerIndex } from '../layout/constants.js';
import { W } from '../layout/memory.js';
import { EIO } from '../linux/errno.js';
import { Threads, type Told } from './connection.js';
import { DeviceQueue } from './device-queue.js';
import { announceContentLayer, askAgain } from './notify.js';
import { BATCH_FORGET, FORGET, INTERRUPT } from './protocol.js';
import { opcodeOf } from './request.js';
import { abortQuietly, type ServedConnection } from './serving.js';
import { Waker } from './takeover.js';
import type { WorkerTask } from './worker.js';

export interface ContentSession {
  /** Resolves when nothing is served any more; a string says why it can't begin. */
  start(): Promise<string | undefined>;
  /** Ends the mount: what still reads from it gets errors. The descriptors stay open. */
  end(): Promise<void>;
}

const SWEEP_MS = 5000;
/** Requests that get no reply. */
const SILENT: ReadonlySet<number> = new Set([FORGET, BATCH_FORGET, INTERRUPT]);
/** As many layers may have gone unnoticed when another process died. */
const GONE_MAX = 1024;
const LAYER_BATCH = 1000;

/** Backing ids that are kept of layers. */
export interface KeptIds {
  layers(): Iterable<LayerIndex>;
  /** Closes those of a layer. */
  close(layer: LayerIndex): void;
}

/** Serves the content mount of an open volume. `kept` are closed when their layer is gone, before its contents are dropped. */
export function contentSession(
  connection: ServedConnection,
  task: Omit<WorkerTask, 'role' | 'devices' | 'negotiated' | 'service' | 'sharing'>,
  kept: KeptIds,
): ContentSession {
  const { devices, negotiated, mount, number, roles } = connection;
  const sweeper = new Sweeper(connection, kept);
  const waker = new Waker(() => `/proc/${process.pid}/fd/${mount}`);
  const threads = new Threads({ ...task, devices, negotiated, service: 'content', sharing: null }, (message) => sweeper.hear(message));
  return {
    async start() {
      if (task.takeover) askAgain(devices[0]!);
      const refused = await threads.start(roles);
      if (refused !== undefined) return refused;
      // Not together with the mount's: its threads may wait for a content file before they are ready.
      if (task.takeover && negotiated.uring) waker.start();
      sweeper.start(task.takeover);
      return undefined;
    },
    async end() {
      sweeper.stop();
      const quiet = waker.stop();
      // The number is that of our mount as long as its descriptor is open.
      abortQuietly(number);
      await Promise.all([quiet, threads.allEnded()]);
    },
  };
}

/** What is done now and then. */
class Sweeper {
  private readonly device: number;
  private readonly kept: KeptIds;
  /** Layers whose directories the kernel may know. */
  private readonly layers = new Set<LayerIndex>();
  private layersGone = layersGone();
  /** Another descriptor of the connection, to read what comes beside the ring; -1 without a ring. */
  private readonly beside: number;
  private timer: NodeJS.Timeout | undefined;

  constructor({ devices, negotiated }: ServedConnection, kept: KeptIds) {
    this.device = devices[0]!;
    this.beside = negotiated.uring ? devices[1]! : -1;
    this.kept = kept;
  }

  start(takeover: boolean): void {
    const queue = this.beside >= 0 ? new DeviceQueue(this.beside) : undefined;
    this.timer = setInterval(() => this.sweep(queue), SWEEP_MS).unref();
    if (takeover) this.catchUp();
  }

  stop(): void {
    clearInterval(this.timer);
  }

  /** Another process knew which layers the kernel has seen, and may have died before it noticed that one is gone. */
  private catchUp(): void {
    let known = 0;
    for (let from = 1; ; from = known + 1) {
      const layers = layerIndices(from, LAYER_BATCH);
      for (const layer of layers) this.layers.add(layer);
      if (layers.length < LAYER_BATCH) break;
      known = layers.at(-1)!;
    }
    for (let layer = Math.max(1, W[NEXT_LAYER]! - GONE_MAX); layer < W[NEXT_LAYER]!; layer++)
      if (!this.layers.has(layer)) this.forget(layer);
  }

  hear(message: Told): void {
    if (message.kind === 'layer') this.layers.add(message.layer);
  }

  private sweep(queue: DeviceQueue | undefined): void {
    if (queue !== undefined) drain(queue);
    this.closeLate();
    if (this.layersGone === layersGone()) return;
    this.layersGone = layersGone();
    for (const layer of this.layers) if (getInode(layer, ROOT_INO) < 0) this.forget(layer);
  }

  /** A file may be closed, and its id kept, long after its layer was removed. */
  private closeLate(): void {
    for (const layer of this.kept.layers()) if (!this.layers.has(layer) && getInode(layer, ROOT_INO) < 0) this.kept.close(layer);
  }

  private forget(layer: LayerIndex): void {
    this.layers.delete(layer);
    this.kept.close(layer);
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
