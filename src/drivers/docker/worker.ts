/**
 * The thread that serves Docker: attached to the arena like every other, it calls the engine directly, so that an import
 * never delays a container's I/O.
 *
 * Messages to it: DriverRequest. Messages from it: DriverMessage. An exception that the thread ends with means that shared
 * state may be half-changed: the process has to end.
 */
import { basename } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { NEXT_LAYER } from '../../engine/arena.js';
import { attachVolume, type VolumeHandle } from '../../engine/volume.js';
import { MappedWrites, type MappedMount } from '../../fuse/mapped-writes.js';
import { announceLayer } from '../../fuse/notify.js';
import { W } from '../../layout/memory.js';
import { duplicate } from '../../linux/descriptors.js';
import { close } from '../../linux/libc.js';
import { WriteOut } from '../../linux/writeout.js';
import { durableBy } from '../durable.js';
import { listenToDaemon, type DriverMessage } from '../thread.js';
import { type DriverContext, GraphDriver } from './driver.js';
import { type DriverServer, type Log, makeServer } from './server.js';
import { serveSocket } from '../socket.js';

export interface DockerWorkerData {
  handle: VolumeHandle;
  /** Where the volume is mounted already. */
  mountpoint: string;
  /** Memory file for what outlives the process (notes.ts). */
  notes: number;
  /** Path of the socket. */
  socket: string;
  /** The listening plugin socket, usually /run/docker/plugins/lcfs.sock. */
  listener: number;
  /** Name of the FUSE transport, shown by `docker info`. */
  transport: string;
  /** A /dev/fuse descriptor of the mount's connection. */
  device: number;
  mapped: MappedMount;
}

const data = workerData as DockerWorkerData;
/** Of our own, because the mount goes, and closes its descriptor, before this thread ends. */
const device = duplicate(data.device);

const mapped = new MappedWrites(data.mapped);

const post = (message: DriverMessage): void => parentPort!.postMessage(message);
const log: Log = (level, message) => post({ kind: 'log', level, message });

function makeContext(): DriverContext {
  return {
    mountpoint: data.mountpoint,
    name: basename(data.socket, '.sock'),
    transport: data.transport,
    firstNewLayer: W[NEXT_LAYER]!,
    notes: data.notes,
    bringIn: (layer) => mapped.bringIn(layer),
    ...durableBy(data.handle),
    written: (bytes) => writeOut.written(bytes),
    announce: (name) => announceLayer(device, name),
  };
}

const writeOut = new WriteOut(data.handle.fd);
async function start(): Promise<void> {
  attachVolume(data.handle);
  const driver = new GraphDriver(makeContext());
  const server = makeServer(driver, log);
  await serveSocket(server.http, data.listener);
  listenToDaemon(parentPort!, driver, (graceMs) => void stop(server, graceMs));
  post({ kind: 'ready' });
}

async function stop(server: DriverServer, graceMs: number): Promise<void> {
  await server.close(graceMs);
  end();
}

/** Without its port the thread has nothing left to wait for. */
function end(): void {
  close(device);
  parentPort!.close();
}

await start();
