/** The thread of a task pool: attaches to the volume and runs one task after the other. */
import { parentPort, workerData } from 'node:worker_threads';
import { BlockError, LcfsError } from '../engine/errors.js';
import { panic } from '../engine/operation.js';
import { attachVolume, type VolumeHandle } from '../engine/volume.js';
import { announcer } from './announce.js';
import { TaskChannel, type TaskStart } from './channel.js';
import { contentTasks } from './content-tasks.js';
import { failureOf } from './protocol.js';
import { volumeTasks } from './volume-tasks.js';

export interface TaskWorkerData {
  handle: VolumeHandle;
  /** Number of the /dev/fuse descriptor. */
  device: number;
}

/** What a task does; its result is the answer. It may wait, and throws LcfsError for what it refuses. */
export type Task = (args: never, channel: TaskChannel) => unknown;

const { handle, device } = workerData as TaskWorkerData;
const announce = announcer(device);
const TASKS: Readonly<Record<string, Task>> = { ...volumeTasks(announce), ...contentTasks(announce) };

async function perform(start: TaskStart): Promise<void> {
  const channel = new TaskChannel(start.port, start.signal);
  try {
    channel.finish({ result: (await TASKS[start.task]!(start.args as never, channel)) ?? null });
  } catch (error) {
    // Anything but a refusal may have left shared state half-changed.
    if (!(error instanceof LcfsError || error instanceof BlockError)) panic(error);
    channel.finish({ failure: failureOf(error) });
  } finally {
    start.port.close();
  }
}

attachVolume(handle);
parentPort!.on('message', (start: TaskStart) => void perform(start));
