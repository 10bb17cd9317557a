/**
 * The threads that serve a connection to the kernel, for the mount and for its content mount alike.
 *
 * With io_uring one for each CPU, pinned, which serves the queue of its CPU, and one for /dev/fuse; without it one for each
 * CPU, at least two, each with a descriptor of its own. Two, because the thread that handles FORGET may wait in the kernel for
 * an inode whose last pages are just being written back, by another thread.
 */
import { Worker } from 'node:worker_threads';
import { panic } from '../engine/operation.js';
import type { WorkerRole } from './ring-plan.js';
import type { WorkerMessage, WorkerTask } from './worker.js';

/** What threads say while they serve. */
export type Told = Exclude<WorkerMessage, { kind: 'ready' } | { kind: 'unavailable' }>;

/** The threads of one connection. */
export class Threads {
  /** Resolves when all threads have ended. */
  readonly ended: Promise<void>;
  private readonly resolveEnded: () => void;
  private readonly task: Omit<WorkerTask, 'role'>;
  private readonly onTold: (message: Told) => void;
  private running = 0;

  /** `told` takes what threads say while they serve. */
  constructor(task: Omit<WorkerTask, 'role'>, told: (message: Told) => void) {
    let resolve = (): void => undefined;
    this.ended = new Promise((done) => (resolve = done));
    this.resolveEnded = resolve;
    this.task = task;
    this.onTold = told;
  }

  /** Starts one thread for each role; a string says why one of them can't do its work. */
  async start(roles: readonly WorkerRole[]): Promise<string | undefined> {
    const answers = await Promise.all(roles.map((role) => this.startOne(role)));
    return answers.find((answer) => answer !== undefined);
  }

  /** Resolves when no thread runs, also if none was started. */
  allEnded(): Promise<void> {
    return this.running === 0 ? Promise.resolve() : this.ended;
  }

  private startOne(role: WorkerRole): Promise<string | undefined> {
    const task: WorkerTask = { ...this.task, role };
    const worker = new Worker(new URL('./worker.js', import.meta.url), { workerData: task, name: `${task.service}-${role.kind}` });
    this.running++;
    worker.on('error', panic);
    worker.on('exit', () => {
      if (--this.running === 0) this.resolveEnded();
    });
    return new Promise((resolve) => worker.on('message', (message: WorkerMessage) => this.hear(message, resolve)));
  }

  private hear(message: WorkerMessage, started: (refused: string | undefined) => void): void {
    if (message.kind === 'ready') started(undefined);
    else if (message.kind === 'unavailable') started(message.reason);
    else this.onTold(message);
  }
}
