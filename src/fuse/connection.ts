/**
 * The threads that serve a connection to the kernel, for the mount and for its content mount alike.
 *
 * With io_uring one for each CPU, pinned, which serves the queue of its CPU, and one for /dev/fuse; without it one for each
 * CPU, at least two, each with a descriptor of its own. Two, because the thread that handles FORGET may wait in the kernel for
 * an inode whose last pages are just being written back, by another thread.
 *
 * A thread gets its task in a message, so it may be begun before there is one: starting a thread and loading what it needs takes
 * longer than everything else that a takeover does.
 */
import { Worker } from 'node:worker_threads';
import { panic } from '../engine/operation.js';
import type { WorkerRole } from './ring-plan.js';
import type { WorkerMessage, WorkerTask } from './worker.js';

/** What threads say while they serve. */
export type Told = Exclude<WorkerMessage, { kind: 'begun' } | { kind: 'ready' } | { kind: 'unavailable' }>;

/** Begins a thread, which will wait for its task. */
function beginThread(): Worker {
  const worker = new Worker(new URL('./worker.js', import.meta.url));
  worker.on('error', panic);
  return worker;
}

/** Begins threads for later use. Settles when they wait for their tasks. */
export async function beginThreads(count: number): Promise<Worker[]> {
  const workers = Array.from({ length: count }, beginThread);
  await Promise.all(workers.map((worker) => new Promise((begun) => worker.once('message', begun))));
  return workers;
}

/** Whether somebody waits for what the thread serves. */
export const isAwaited = (role: WorkerRole): boolean => role.kind === 'ring' || !role.beside;

/** The threads of one connection. */
export class Threads {
  /** Resolves when all threads have ended. */
  readonly ended: Promise<void>;
  private readonly resolveEnded: () => void;
  private readonly task: Omit<WorkerTask, 'role'>;
  private readonly onTold: (message: Told) => void;
  private readonly spares: Worker[];
  private running = 0;

  /** `told` takes what threads say while they serve. `spares` were begun before, and are for roles that are awaited. */
  constructor(task: Omit<WorkerTask, 'role'>, told: (message: Told) => void, spares: readonly Worker[] = []) {
    let resolve = (): void => undefined;
    this.ended = new Promise((done) => (resolve = done));
    this.resolveEnded = resolve;
    this.task = task;
    this.onTold = told;
    this.spares = [...spares];
  }

  /**
   * Starts one thread for each role, and returns when those serve for which somebody waits; a string says why one of them can't
   * do its work.
   */
  async start(roles: readonly WorkerRole[]): Promise<string | undefined> {
    const started = roles.map((role) => ({ role, answer: this.startOne(role) }));
    const answers = await Promise.all(started.filter(({ role }) => isAwaited(role)).map(({ answer }) => answer));
    return answers.find((answer) => answer !== undefined);
  }

  /** Resolves when no thread runs, also if none was started. */
  allEnded(): Promise<void> {
    return this.running === 0 ? Promise.resolve() : this.ended;
  }

  private startOne(role: WorkerRole): Promise<string | undefined> {
    const task: WorkerTask = { ...this.task, role };
    const worker = (isAwaited(role) ? this.spares.pop() : undefined) ?? beginThread();
    this.running++;
    worker.postMessage(task);
    worker.on('exit', () => {
      if (--this.running === 0) this.resolveEnded();
    });
    return new Promise((resolve) => worker.on('message', (message: WorkerMessage) => this.hear(message, resolve)));
  }

  private hear(message: WorkerMessage, started: (refused: string | undefined) => void): void {
    if (message.kind === 'begun') return;
    if (message.kind === 'ready') started(undefined);
    else if (message.kind === 'unavailable') started(message.reason);
    else this.onTold(message);
  }
}
