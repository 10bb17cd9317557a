/**
 * The thread that serves containerd: attached to the arena like every other, it calls the engine directly.
 *
 * Messages to it: DriverRequest. Messages from it: DriverMessage. An exception that the thread ends with means that shared
 * state may be half-changed: the process has to end.
 */
import { fdatasync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { promisify } from 'node:util';
import { parentPort, workerData } from 'node:worker_threads';
import { attachVolume, type VolumeHandle } from '../../engine/volume.js';
import { MappedWrites, type MappedMount } from '../../fuse/mapped-writes.js';
import { announceLayer } from '../../fuse/notify.js';
import { duplicate } from '../../linux/descriptors.js';
import { close } from '../../linux/libc.js';
import { durableBy } from '../durable.js';
import { listenToDaemon, type DriverMessage } from '../thread.js';
import { DiffPool } from './diff-pool.js';
import { addDiffs } from './diff-service.js';
import type { DiffTask, Result } from './diff-work.js';
import { Differ } from './differ.js';
import { Service, type Log } from './rpc.js';
import { serve, type RunningServer } from './server.js';
import { SnapshotClaims } from './snapshot-claims.js';
import { addSnapshots } from './snapshots-service.js';
import { Snapshotter } from './snapshotter.js';

export interface ContainerdWorkerData {
  handle: VolumeHandle;
  /** Where the volume is mounted already. */
  mountpoint: string;
  /** Path of the socket. */
  socket: string;
  /** The listening socket that containerd's configuration names. */
  listener: number;
  /** Containerd's own socket. */
  address: string;
  /** A /dev/fuse descriptor of the mount's connection. */
  device: number;
  mapped: MappedMount;
}

/** Diffs at the same time; more of them would not be faster. */
const DIFF_THREADS_MAX = 4;

const data = workerData as ContainerdWorkerData;
/** Of our own, because the mount goes, and closes its descriptor, before this thread ends. */
const device = duplicate(data.device);

const post = (message: DriverMessage): void => parentPort!.postMessage(message);
const log: Log = (level, message) => post({ kind: 'log', level, message });
const flush = promisify(fdatasync);
const pool = new DiffPool(data.handle, Math.min(DIFF_THREADS_MAX, availableParallelism()));

const run = (task: DiffTask, signal: AbortSignal): Promise<Result> => pool.run(task, signal);
const mapped = new MappedWrites(data.mapped);
const bringIn = (layer: string): Promise<void> => mapped.bringIn(layer);
/** What fails here fails again, and is reported, when it is waited for. */
const startFlush = (): void => void flush(data.handle.fd).catch(() => {});

async function start(): Promise<void> {
  attachVolume(data.handle);
  const { mountpoint, address } = data;
  const { checkpoint, durable } = durableBy(data.handle);
  const snapshotter = new Snapshotter({ mountpoint, bringIn, checkpoint, durable, announce: (name) => announceLayer(device, name) });
  const service = new Service(log);
  addSnapshots(service, snapshotter);
  addDiffs(service, new Differ({ mountpoint, address, snapshotter, run, bringIn, startFlush, checkpoint }));
  const server = await serve(service, data.listener);
  const claims = new SnapshotClaims(snapshotter, { socket: data.socket, address });
  listenToDaemon(parentPort!, claims, (graceMs) => void stop(server, graceMs));
  post({ kind: 'ready' });
}

async function stop(server: RunningServer, graceMs: number): Promise<void> {
  await server.stop(graceMs);
  await pool.close();
  end();
}

/** Without its port the thread has nothing left to wait for. */
function end(): void {
  close(device);
  parentPort!.close();
}

await start();
