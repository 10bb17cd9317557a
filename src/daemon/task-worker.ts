/** A task thread: attaches to the volume and runs the tasks that it is sent. */
import { parentPort, workerData, type MessagePort } from 'node:worker_threads';
import { BlockError, LcfsError } from '../engine/errors.js';
import { panic } from '../engine/operation.js';
import { attachVolume, type VolumeHandle } from '../engine/volume.js';
import { MappedWrites, type MappedMount } from '../fuse/mapped-writes.js';
import { announcer } from './announce.js';
import { TaskChannel } from './channel.js';
import { contentTasks } from './content-tasks.js';
import { failureOf } from './protocol.js';
import { volumeTasks } from './volume-tasks.js';

export interface TaskWorkerData {
  handle: VolumeHandle;
  /** Number of a /dev/fuse descriptor of the mount's connection. */
  device: number;
  mapped: MappedMount;
}

export interface TaskStart {
  /** Name of a task. */
  task: string;
  args: unknown;
  /** For its streams and its result (channel.ts). */
  port: MessagePort;
  slots: SharedArrayBuffer;
}

/** What a task does; what it returns is the answer. Throws LcfsError for what it refuses. */
type Task = (args: never, channel: TaskChannel) => unknown;

const { handle, device, mapped } = workerData as TaskWorkerData;
const announce = announcer(device);
const mappedWrites = new MappedWrites(mapped);
const TASKS: Readonly<Record<string, Task>> = { ...volumeTasks(announce, mappedWrites), ...contentTasks(announce, mappedWrites) };

async function perform(start: TaskStart): Promise<void> {
  const channel = new TaskChannel(start.port, start.slots);
  try {
    channel.finish({ result: (await TASKS[start.task]!(start.args as never, channel)) ?? null });
  } catch (error) {
    // Anything but a refusal may have left shared state half-changed.
    if (!(error instanceof LcfsError || error instanceof BlockError)) panic(error);
    channel.finish({ failure: failureOf(error) });
  }
}

attachVolume(handle);
parentPort!.on('message', (start: TaskStart) => void perform(start));
