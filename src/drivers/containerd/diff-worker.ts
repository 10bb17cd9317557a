/**
 * A thread for the differ's streams: attaches to the volume and performs one task after the other.
 *
 * Messages to it: DiffOrder. Messages from it: DiffAnswer. An exception that is no refusal ends the thread: shared state may
 * be half-changed, and the process has to end.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { attachVolume, type VolumeHandle } from '../../engine/volume.js';
import { Cancellation, perform, type DiffTask, type Result } from './diff-work.js';
import { failureOf } from './failure.js';

export interface DiffWorkerData {
  handle: VolumeHandle;
  /** Set to 1 together with the message `cancel`, and to 0 before a task. */
  flag: Int32Array;
}

export type DiffOrder = { task: DiffTask } | { cancel: true } | { stop: true };
export type DiffAnswer = { result: Result } | { failure: { code: number; message: string } };

const { handle, flag } = workerData as DiffWorkerData;
let current = new Cancellation(flag);
let done: Promise<void> = Promise.resolve();

async function work(task: DiffTask): Promise<DiffAnswer> {
  try {
    return { result: await perform(task, current, handle.fd) };
  } catch (error) {
    const failure = failureOf(error);
    if (failure === null) throw error;
    return { failure: { code: failure.code, message: failure.message } };
  }
}

async function answer(task: DiffTask): Promise<void> {
  parentPort!.postMessage(await work(task));
}

async function stop(): Promise<void> {
  current.abort();
  await done;
  parentPort!.close();
}

function obey(order: DiffOrder): void {
  if ('stop' in order) return void stop();
  if ('cancel' in order) return current.abort();
  current = new Cancellation(flag);
  done = answer(order.task);
}

attachVolume(handle);
parentPort!.on('message', obey);
