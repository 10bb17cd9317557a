/**
 * Threads of the daemon. Each serves the same memory, so one that ends with an exception leaves state that nobody may use
 * any more: the process ends with EXIT_BUG, and its supervisor starts another one.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { exitNow } from '../linux/libc.js';
import { EXIT_BUG } from './handover.js';
import type { Logger } from './log.js';

/** Logs what went wrong and ends the process, without giving any other thread time to make it worse. */
export function endWithBug(log: Logger, what: string, error: unknown): never {
  log.fatal({ err: error instanceof Error ? error : new Error(String(error)) }, what);
  exitNow(EXIT_BUG);
  throw error;
}

/** Starts a thread whose exception ends the process. */
export function startThread(module: URL, name: string, data: unknown, log: Logger): Worker {
  const worker = new Worker(module, { workerData: data, name });
  worker.on('error', (error) => endWithBug(log, `thread ${name} failed`, error));
  log.debug(`thread ${name} started`);
  return worker;
}

/** Returns when a thread has ended by itself. */
export async function joinThread(worker: Worker): Promise<void> {
  if (worker.threadId !== -1) await once(worker, 'exit');
}

/** Exceptions that nobody catches in the main thread. */
export function endOnUncaught(log: Logger): void {
  process.on('uncaughtException', (error) => endWithBug(log, 'unexpected exception', error));
  process.on('unhandledRejection', (error) => endWithBug(log, 'unexpected rejection', error));
}
