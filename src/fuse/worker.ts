/**
 * A thread that serves FUSE requests. It attaches to the volume, makes its queue, says that it is ready, and from then on
 * waits within system calls: it never comes back to its event loop before the connection has ended.
 *
 * It must never touch a path on the mount that it serves: that would be a request to itself.
 *
 * An exception while it serves is a bug, after which the state in memory is not to be trusted: the process ends at once.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { panic } from '../engine/operation.js';
import { attachVolume, type VolumeHandle } from '../engine/volume.js';
import type { LayerIndex } from '../layout/constants.js';
import { pinThread } from '../linux/affinity.js';
import { giveWay } from '../linux/cpu-group.js';
import { becomeIoFlusher, setNice } from '../linux/thread.js';
import { whenLayerSeen } from './content.js';
import { cloneDevice, closeDevice } from './device.js';
import { DeviceQueue, serveDevice } from './device-queue.js';
import { serveContents } from './dispatch.js';
import { useDevice } from './forget.js';
import type { Negotiated } from './init.js';
import { useOpenCounters } from './open-files.js';
import { useSharing, type Behind, type SharingTask } from './sharing.js';
import { RingQueues, type QueueShare } from './ring-queue.js';
import { whenListed } from './synthetic.js';
import { useExtendedSetxattr } from './xattrs.js';
import { UringUnavailable, Uring } from '../linux/uring.js';

/** How a thread gets its requests. */
export type WorkerRole =
  /**
   * From /dev/fuse, through the connection's own descriptor or another one of the same connection. `beside` rings, for what
   * nobody waits for.
   */
  | { readonly kind: 'device'; readonly clone: boolean; readonly beside: boolean }
  /** From the ring queues named, on the CPUs named. */
  | { readonly kind: 'ring'; readonly shares: readonly QueueShare[]; readonly cpus: readonly number[] };

export interface WorkerTask {
  readonly handle: VolumeHandle;
  readonly device: number;
  readonly negotiated: Negotiated;
  readonly openCounters: SharedArrayBuffer;
  readonly role: WorkerRole;
  /** The mount, or its content mount (content.ts). */
  readonly service: 'volume' | 'content';
  /** How shared files are opened; null: there are none. */
  readonly sharing: SharingTask | null;
}

/** What a thread tells the session. */
export type WorkerMessage =
  | { readonly kind: 'ready' }
  /** There is no such queue on this kernel; the thread ends. */
  | { readonly kind: 'unavailable'; readonly reason: string }
  /** The directory `layers` was listed. */
  | { readonly kind: 'listed' }
  /** The kernel got to know the directory of a layer on the content mount. */
  | { readonly kind: 'layer'; readonly layer: LayerIndex }
  /** Something changed of which the kernel must be told. */
  | ({ readonly kind: 'behind' } & Behind);

/**
 * For a thread that cannot give way to whom it wakes (linux/cpu-group.ts). A request is served while its caller waits, on the
 * same CPU if it came through the ring. With other work on that CPU a request took 20 µs at nice 0 and 16 µs at nice -10
 * (io_uring, GETATTR), and now and then 60 µs.
 */
const NICE = -10;

const task = workerData as WorkerTask;

function tell(message: WorkerMessage): void {
  parentPort!.postMessage(message);
}

function serveDeviceRole(clone: boolean, beside: boolean): void {
  const device = clone ? cloneDevice(task.device) : task.device;
  const queue = new DeviceQueue(device);
  tell({ kind: 'ready' });
  serveDevice(queue, beside);
  if (clone) closeDevice(device);
}

/** The number of submissions at once is a power of two. An entry may have several reads under way. */
function ringSize(shares: readonly QueueShare[]): number {
  const entries = shares.reduce((sum, share) => sum + share.entries, 0);
  return 2 ** Math.ceil(Math.log2(entries * 4));
}

function serveRingRole(shares: readonly QueueShare[], cpus: readonly number[]): void {
  pinThread(cpus);
  const ring = new Uring(ringSize(shares));
  const queues = new RingQueues(ring, task.device, shares);
  queues.register();
  tell({ kind: 'ready' });
  queues.run();
  ring.close();
}

function prepareVolume(): void {
  useDevice(task.device);
  useOpenCounters(task.openCounters);
  useExtendedSetxattr(task.negotiated.setxattrExtended);
  whenListed(() => tell({ kind: 'listed' }));
  if (task.sharing !== null) useSharing(task.sharing, task.device, (behind) => tell({ kind: 'behind', ...behind }));
}

function prepareContent(): void {
  serveContents();
  whenLayerSeen((layer) => tell({ kind: 'layer', layer }));
}

function main(): void {
  // Only a thread of the ring is on the CPU of its callers.
  if (task.role.kind === 'device' || !giveWay()) setNice(NICE);
  becomeIoFlusher();
  attachVolume(task.handle);
  if (task.service === 'volume') prepareVolume();
  else prepareContent();
  if (task.role.kind === 'device') serveDeviceRole(task.role.clone, task.role.beside);
  else serveRingRole(task.role.shares, task.role.cpus);
}

try {
  main();
} catch (error) {
  if (!(error instanceof UringUnavailable)) panic(error);
  else tell({ kind: 'unavailable', reason: error.message });
}
