/**
 * A thread for the differ's streams: attaches to the volume and performs one task after the other.
 *
 * Messages to it: DiffOrder. Messages from it: DiffAnswer. An exception that is no refusal ends the thread: shared state may
 * be half-changed, and the process has to end.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { attachVolume, type VolumeHandle } from '../../engine/volume.js';
import { perform, type DiffTask, type Result } from './diff-work.js';
import { failureOf } from './failure.js';

export type DiffOrder = { task: DiffTask } | { cancel: true } | { stop: true };
export type DiffAnswer = { result: Result } | { failure: { code: number; message: string } };

let current = new AbortController();
let done: Promise<void> = Promise.resolve();

async function work(task: DiffTask): Promise<DiffAnswer> {
  try {
    return { result: await perform(task, current.signal) };
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
  current = new AbortController();
  done = answer(order.task);
}

attachVolume((workerData as { handle: VolumeHandle }).handle);
parentPort!.on('message', obey);
