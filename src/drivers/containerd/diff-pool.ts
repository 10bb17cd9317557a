/**
 * The threads of the differ. They are started when they are first needed and stay: the memory that a thread has in the arena
 * is given out once. Tasks beyond their number wait in line.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { VolumeHandle } from '../../engine/volume.js';
import type { DiffTask, Result } from './diff-work.js';
import type { DiffAnswer, DiffOrder } from './diff-worker.js';
import { CallFailure } from './failure.js';

export class DiffPool {
  readonly #handle: VolumeHandle;
  readonly #threadsMax: number;
  readonly #threads: Worker[] = [];
  readonly #idle: Worker[] = [];
  readonly #waiting: ((worker: Worker) => void)[] = [];

  constructor(handle: VolumeHandle, threadsMax: number) {
    this.#handle = handle;
    this.#threadsMax = threadsMax;
  }

  /** Throws CallFailure. When `signal` fires, the task is given up, which takes it until its next chunk. */
  async run(task: DiffTask, signal: AbortSignal): Promise<Result> {
    const worker = await this.#take();
    const cancel = (): void => worker.postMessage({ cancel: true } satisfies DiffOrder);
    try {
      worker.postMessage({ task } satisfies DiffOrder);
      if (signal.aborted) cancel();
      else signal.addEventListener('abort', cancel);
      const [answer] = (await once(worker, 'message')) as [DiffAnswer];
      if ('failure' in answer) throw new CallFailure(answer.failure.code, answer.failure.message);
      return answer.result;
    } finally {
      signal.removeEventListener('abort', cancel);
      this.#giveBack(worker);
    }
  }

  /** Gives up the tasks under way and ends the threads. */
  async close(): Promise<void> {
    await Promise.all(this.#threads.map((worker) => stop(worker)));
  }

  async #take(): Promise<Worker> {
    const idle = this.#idle.pop() ?? this.#start();
    return idle ?? new Promise((resolve) => this.#waiting.push(resolve));
  }

  #giveBack(worker: Worker): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#idle.push(worker);
    else next(worker);
  }

  #start(): Worker | null {
    if (this.#threads.length >= this.#threadsMax) return null;
    const worker = new Worker(new URL('./diff-worker.js', import.meta.url), { workerData: { handle: this.#handle }, name: 'differ' });
    this.#threads.push(worker);
    return worker;
  }
}

async function stop(worker: Worker): Promise<void> {
  worker.postMessage({ stop: true } satisfies DiffOrder);
  if (worker.threadId !== -1) await once(worker, 'exit');
}
