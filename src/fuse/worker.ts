/**
 * A thread that serves FUSE requests. It attaches to the volume, makes its queue, says that it is ready, and from then on
 * waits within system calls: it never comes back to its event loop before the connection has ended.
 *
 * It must never touch a path on the mount that it serves: that would be a request to itself.
 *
 * An exception while it serves is a bug, after which the state in memory is not to be trusted: the process ends at once.
 */
import { parentPort } from 'node:worker_threads';
import { panic } from '../engine/operation.js';
import { attachVolume, type VolumeHandle } from '../engine/volume.js';
import type { LayerIndex } from '../layout/constants.js';
import { pinThread } from '../linux/affinity.js';
import { giveWay, isGroupOurs } from '../linux/cpu-group.js';
import { becomeIoFlusher, setNice } from '../linux/thread.js';
import { whenLayerSeen } from './content.js';
import { endScout } from './content-scout.js';
import type { Behind } from './behind.js';
import { DeviceQueue, serveDevice } from './device-queue.js';
import { serveContents } from './dispatch.js';
import { useDevice } from './forget.js';
import type { Negotiated } from './init.js';
import { useOpenFiles } from './open-files.js';
import { entriesOf, type WorkerRole } from './ring-plan.js';
import { RingQueues } from './ring-queue.js';
import { useSharing, type SharingTask } from './sharing.js';
import { showCreated, whenListed } from './synthetic.js';
import type { Tables } from './tables.js';
import { useExtendedSetxattr } from './xattrs.js';
import { UringUnavailable, Uring } from '../linux/uring.js';

export interface WorkerTask {
  readonly handle: VolumeHandle;
  /** Descriptors of the connection. */
  readonly devices: readonly number[];
  readonly negotiated: Negotiated;
  readonly tables: Tables;
  readonly role: WorkerRole;
  /** Whether another process served before, and died. */
  readonly takeover: boolean;
  /** Ring entries whose memory is mapped. */
  readonly entryCount: number;
  /** When the mount was made, in seconds since 1970. */
  readonly created: number;
  /** The mount, or its content mount (content.ts). */
  readonly service: 'volume' | 'content';
  /** How shared files are opened; null: there are none. */
  readonly sharing: SharingTask | null;
}

/** What a thread tells the session. */
export type WorkerMessage =
  /** It waits for its task. */
  | { readonly kind: 'begun' }
  | { readonly kind: 'ready' }
  /** There is no such queue on this kernel; the thread ends. */
  | { readonly kind: 'unavailable'; readonly reason: string }
  /** The directory `layers` was listed. */
  | { readonly kind: 'listed' }
  /** The kernel got to know the directory of a layer on the content mount. */
  | { readonly kind: 'layer'; readonly layer: LayerIndex }
  /** Something changed of which the kernel must be told, and what number that has in the table of such. */
  | { readonly kind: 'behind'; readonly behind: Behind; readonly number: number };

/**
 * For a thread that cannot give way to whom it wakes (linux/cpu-group.ts). A request is served while its caller waits, on the
 * same CPU if it came through the ring. With other work on that CPU a request took 20 µs at nice 0 and 16 µs at nice -10
 * (io_uring, GETATTR), and now and then 60 µs.
 */
const NICE = -10;

/** Places of requests (engine/origins.ts): a ring entry's is its number, of which there are fewer; those of the threads of /dev/fuse follow. */
const DEVICE_ORIGINS = 4000;

let task: WorkerTask;

function tell(message: WorkerMessage): void {
  parentPort!.postMessage(message);
}

function serveDeviceRole(descriptor: number, beside: boolean): void {
  const queue = new DeviceQueue(task.devices[descriptor]!);
  queue.request.origin = DEVICE_ORIGINS + descriptor;
  tell({ kind: 'ready' });
  serveDevice(queue, beside);
}

/** The number of submissions at once is a power of two. An entry may have several reads under way. */
function ringSize(entries: number): number {
  return 2 ** Math.ceil(Math.log2(entries * 4));
}

function serveRingRole(role: WorkerRole & { kind: 'ring' }): void {
  pinThread(role.cpus);
  const ring = new Uring(ringSize(entriesOf(role)));
  const queues = new RingQueues(ring, task.devices[0]!, role.shares, role.firstEntry, task.entryCount);
  queues.register(task.takeover);
  tell({ kind: 'ready' });
  queues.run();
  ring.close();
}

function prepareVolume(): void {
  useDevice(task.devices[0]!);
  useOpenFiles(task.tables, task.takeover);
  useExtendedSetxattr(task.negotiated.setxattrExtended);
  showCreated(task.created);
  whenListed(() => tell({ kind: 'listed' }));
  if (task.sharing === null) return;
  useSharing(task.sharing, task.tables, task.devices[0]!, (behind, number) => tell({ kind: 'behind', behind, number }));
}

function prepareContent(): void {
  serveContents();
  whenLayerSeen((layer) => tell({ kind: 'layer', layer }));
}

/**
 * Only a thread of the ring is on the CPU of its callers. Who reads contents in order goes on while more is read ahead: that has
 * to be asked of the device before he comes to its end and waits.
 */
function takePlace(): void {
  if (!isGroupOurs()) setNice(NICE);
  else if (task.role.kind === 'ring' && task.service === 'volume') giveWay();
}

function main(): void {
  takePlace();
  becomeIoFlusher();
  attachVolume(task.handle);
  if (task.service === 'volume') prepareVolume();
  else prepareContent();
  if (task.role.kind === 'device') serveDeviceRole(task.role.descriptor, task.role.beside);
  else serveRingRole(task.role);
  endScout();
}

parentPort!.once('message', (given: WorkerTask) => {
  task = given;
  try {
    main();
  } catch (error) {
    if (!(error instanceof UringUnavailable)) panic(error);
    else tell({ kind: 'unavailable', reason: error.message });
  }
});
tell({ kind: 'begun' });
