/**
 * Pools of threads for what the control server asks of the engine, so that the main thread never waits: one for tasks that
 * take long or read at their client's pace (import, export, diff, check), and one for those that are done soon. Threads are
 * started when they are first needed and kept, because a thread that has attached to the arena can't leave it.
 */
import { MessageChannel, type Worker } from 'node:worker_threads';
import { LcfsError } from '../engine/errors.js';
import { MainChannel, makeSignal, type TaskStart, type TaskStreams } from './channel.js';

export class TaskPool {
  readonly #start: () => Worker;
  readonly #idle: Worker[] = [];
  readonly #waiting: ((worker: Worker) => void)[] = [];
  readonly #running = new Map<AbortController, Promise<unknown>>();
  readonly #threadsMax: number;
  #threads = 0;
  #closed = false;

  /** At most `threadsMax` tasks run at once; more wait for their turn. */
  constructor(start: () => Worker, threadsMax: number) {
    this.#start = start;
    this.#threadsMax = threadsMax;
  }

  /** Runs a task of task-worker.ts. Rejects with the LcfsError that it ended with. An abort of `signal` ends it early. */
  async run<T>(task: string, args: unknown, streams: TaskStreams = {}, signal?: AbortSignal): Promise<T> {
    if (this.#closed || signal?.aborted === true) throw givenUp();
    const cancel = new AbortController();
    const forward = (): void => cancel.abort();
    signal?.addEventListener('abort', forward);
    const running = this.#runNext<T>(task, args, streams, cancel.signal);
    this.#running.set(cancel, running);
    try {
      return await running;
    } finally {
      signal?.removeEventListener('abort', forward);
      this.#running.delete(cancel);
    }
  }

  async #runNext<T>(task: string, args: unknown, streams: TaskStreams, signal: AbortSignal): Promise<T> {
    const worker = await this.#take();
    try {
      if (signal.aborted) throw givenUp();
      return await runOn<T>(worker, task, args, streams, signal);
    } finally {
      this.#give(worker);
    }
  }

  #take(): Promise<Worker> | Worker {
    const idle = this.#idle.pop();
    if (idle !== undefined) return idle;
    if (this.#threads === this.#threadsMax) return new Promise((settle) => this.#waiting.push(settle));
    this.#threads++;
    return this.#start();
  }

  #give(worker: Worker): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#idle.push(worker);
    else next(worker);
  }

  /** Cancels what runs, waits for its end – a thread must not be ended inside the engine – and ends the threads. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const cancel of this.#running.keys()) cancel.abort();
    await Promise.allSettled(this.#running.values());
    await Promise.all(this.#idle.map((worker) => worker.terminate()));
  }
}

function givenUp(): LcfsError {
  return new LcfsError('state', 'the request was given up: the client went away or the volume is being closed');
}

async function runOn<T>(worker: Worker, task: string, args: unknown, streams: TaskStreams, signal: AbortSignal): Promise<T> {
  const { port1, port2 } = new MessageChannel();
  const shared = makeSignal();
  const channel = new MainChannel(port1, shared, streams);
  const cancel = (): void => channel.cancel();
  signal.addEventListener('abort', cancel);
  worker.postMessage({ task, args, port: port2, signal: shared } satisfies TaskStart, [port2]);
  try {
    return await channel.result<T>();
  } finally {
    signal.removeEventListener('abort', cancel);
  }
}
