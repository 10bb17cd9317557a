/**
 * A connection to the kernel and the threads that serve it, for the mount and for its content mount alike.
 *
 * Threads: with io_uring one for each CPU, pinned, which serves the queue of its CPU, and one for /dev/fuse; without it
 * one for each CPU, at least two, each with a descriptor of its own. Two, because the thread that handles FORGET may wait
 * in the kernel for an inode whose last pages are just being written back, by another thread.
 */
import { writeFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { LcfsError } from '../engine/errors.js';
import { panic } from '../engine/operation.js';
import { onlineCpus, possibleCpus } from '../linux/affinity.js';
import { createMount, type MountOptions } from '../linux/mount.js';
import { closeDevice, openDevice } from './device.js';
import { DeviceQueue } from './device-queue.js';
import { negotiate, negotiated, type Negotiated, type Wishes } from './init.js';
import * as P from './protocol.js';
import { opcodeOf } from './request.js';
import { SERVE_ALL, ringRoles } from './ring-plan.js';
import type { WorkerMessage, WorkerRole, WorkerTask } from './worker.js';

/** Threads for /dev/fuse; more than a few only contend for its one queue. */
const DEVICE_THREADS_MAX = 8;

/** Opens /dev/fuse and creates a mount with it, attached nowhere. Throws LcfsError `io`. */
export function openConnection(options: Omit<MountOptions, 'device'>): { device: number; mount: number } {
  let device = -1;
  try {
    device = openDevice();
    return { device, mount: createMount({ ...options, device }) };
  } catch (error) {
    if (device >= 0) closeDevice(device);
    throw new LcfsError('io', `cannot create a FUSE mount: ${(error as Error).message}`);
  }
}

/** Answers the first request of a connection, which the kernel queues as soon as the mount is created. */
export function answerInit(device: number, wishes: Wishes): Negotiated {
  const queue = new DeviceQueue(device);
  const received = queue.receive();
  if (received <= 0 || opcodeOf(queue.request) !== P.INIT) throw new LcfsError('io', `the kernel did not begin with INIT (${received})`);
  const result = negotiate(queue.request, wishes);
  const sent = queue.answer(result);
  if (result < 0) throw new LcfsError('io', 'the FUSE protocol of this kernel is too old: LCFS needs Linux 5.2 or later');
  if (sent < 0) throw new LcfsError('io', `the kernel refused the reply to INIT (error ${-sent})`);
  return negotiated(queue.request);
}

/** What the threads of a connection have to do. */
export function rolesFor(uring: boolean, needs = SERVE_ALL): WorkerRole[] {
  if (uring) return ringRoles(possibleCpus(), onlineCpus(), needs);
  const count = Math.min(Math.max(onlineCpus().length, 2), DEVICE_THREADS_MAX);
  return Array.from({ length: count }, (_, index) => ({ kind: 'device', clone: index > 0, beside: false }));
}

/** Raises the read-ahead of a mount; without it everything works, only slower. */
export function setReadAhead(minor: number, kibibytes: number, log: (line: string) => void): void {
  try {
    writeFileSync(`/sys/class/bdi/0:${minor}/read_ahead_kb`, String(kibibytes));
  } catch (error) {
    log(`cannot raise the read-ahead of the mount: ${(error as Error).message}`);
  }
}

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
