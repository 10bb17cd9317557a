/**
 * The threads of the differ. They are started when they are first needed and stay: the memory that a thread has in the arena
 * is given out once. Tasks beyond their number wait in line.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { VolumeHandle } from '../../engine/volume.js';
import type { DiffTask, Result } from './diff-work.js';
import type { DiffAnswer, DiffOrder, DiffWorkerData } from './diff-worker.js';
import { CallFailure } from './failure.js';

export class DiffPool {
  readonly #handle: VolumeHandle;
  readonly #threadsMax: number;
  readonly #threads: DiffThread[] = [];
  readonly #idle: DiffThread[] = [];
  readonly #waiting: ((thread: DiffThread) => void)[] = [];

  constructor(handle: VolumeHandle, threadsMax: number) {
    this.#handle = handle;
    this.#threadsMax = threadsMax;
  }

  /** Throws CallFailure. When `signal` fires, the task is given up, which takes it until its next chunk. */
  async run(task: DiffTask, signal: AbortSignal): Promise<Result> {
    const thread = await this.#take();
    const cancel = (): void => thread.cancel();
    try {
      const result = thread.run(task);
      if (signal.aborted) cancel();
      else signal.addEventListener('abort', cancel);
      return await result;
    } finally {
      signal.removeEventListener('abort', cancel);
      this.#giveBack(thread);
    }
  }

  /** Gives up the tasks under way and ends the threads. */
  async close(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.stop()));
  }

  async #take(): Promise<DiffThread> {
    const thread = this.#idle.pop() ?? this.#start();
    return thread ?? new Promise((resolve) => this.#waiting.push(resolve));
  }

  #giveBack(thread: DiffThread): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#idle.push(thread);
    else next(thread);
  }

  #start(): DiffThread | null {
    if (this.#threads.length >= this.#threadsMax) return null;
    const thread = new DiffThread(this.#handle);
    this.#threads.push(thread);
    return thread;
  }
}

class DiffThread {
  readonly #worker: Worker;
  readonly #flag = new Int32Array(new SharedArrayBuffer(4));

  constructor(handle: VolumeHandle) {
    const workerData = { handle, flag: this.#flag } satisfies DiffWorkerData;
    this.#worker = new Worker(new URL('./diff-worker.js', import.meta.url), { workerData, name: 'differ' });
    // What a thread of the differ does not expect, nobody does: the process ends.
    this.#worker.on('error', (error) => {
      throw error;
    });
  }

  async run(task: DiffTask): Promise<Result> {
    Atomics.store(this.#flag, 0, 0);
    this.#send({ task });
    const [answer] = (await once(this.#worker, 'message')) as [DiffAnswer];
    if ('failure' in answer) throw new CallFailure(answer.failure.code, answer.failure.message);
    return answer.result;
  }

  cancel(): void {
    Atomics.store(this.#flag, 0, 1);
    this.#send({ cancel: true });
  }

  async stop(): Promise<void> {
    this.cancel();
    this.#send({ stop: true });
    if (this.#worker.threadId !== -1) await once(this.#worker, 'exit');
  }

  #send(order: DiffOrder): void {
    this.#worker.postMessage(order);
  }
}
