/**
 * The thread for what the control server asks of the engine, so that the main thread never waits. Tasks whose streams set
 * the pace (import, export, lists) take turns in it, piece by piece. One thread is enough: what blocks it for long, a check
 * or a checkpoint, holds locks that the other tasks would wait for anyway.
 */
import { MessageChannel, type Worker } from 'node:worker_threads';
import { LcfsError } from '../engine/errors.js';
import { MainChannel, makeSlots, type TaskStreams } from './channel.js';
import type { TaskStart } from './task-worker.js';

const NO_SLOTS = new SharedArrayBuffer(0);

function hasStreams(streams: TaskStreams): boolean {
  return streams.input !== undefined || streams.output !== undefined;
}

export class TaskThread {
  readonly #start: () => Worker;
  readonly #running = new Map<AbortController, Promise<unknown>>();
  #worker: Worker | undefined;
  #closed = false;

  /** The thread is started when it is first needed: many daemons never get to see a control request. */
  constructor(start: () => Worker) {
    this.#start = start;
  }

  /** Runs a task of task-worker.ts. Rejects with the LcfsError that it ended with. An abort of `signal` ends it early. */
  async run<T>(task: string, args: unknown, streams: TaskStreams = {}, signal?: AbortSignal): Promise<T> {
    if (this.#closed || signal?.aborted === true) throw new LcfsError('state', 'the volume is being closed');
    const cancel = new AbortController();
    const forward = (): void => cancel.abort();
    signal?.addEventListener('abort', forward);
    const running = this.#runOnThread<T>({ task, args }, streams, cancel.signal);
    this.#running.set(cancel, running);
    try {
      return await running;
    } finally {
      signal?.removeEventListener('abort', forward);
      this.#running.delete(cancel);
    }
  }

  async #runOnThread<T>(request: { task: string; args: unknown }, streams: TaskStreams, signal: AbortSignal): Promise<T> {
    this.#worker ??= this.#start();
    const { port1, port2 } = new MessageChannel();
    const slots = hasStreams(streams) ? makeSlots() : NO_SLOTS;
    const channel = new MainChannel(port1, slots, streams);
    signal.addEventListener('abort', () => channel.cancel());
    this.#worker.postMessage({ ...request, port: port2, slots } satisfies TaskStart, [port2]);
    return channel.result<T>();
  }

  /** Waits until nothing runs, `graceMs` at most. */
  async drain(graceMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise((settle) => (timer = setTimeout(settle, graceMs)));
    await Promise.race([patience, Promise.allSettled(this.#running.values())]);
    clearTimeout(timer);
  }

  /** Cancels what runs, waits for its end – a thread must not be ended inside the engine – and ends the thread. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const cancel of this.#running.keys()) cancel.abort();
    await Promise.allSettled(this.#running.values());
    await this.#worker?.terminate();
  }
}
