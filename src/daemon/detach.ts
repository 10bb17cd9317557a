/**
 * `lcfs daemon --detach`: starts the same command again in a session of its own and returns when the volume is mounted.
 *
 * The child says how its start went with one line of JSON on the descriptor that LCFS_READY_FD names, and closes it:
 * {"ready":{"pid":…,"mountpoint":…}} or {"failure":{…}}. If it dies before, the descriptor closes without a line. Its log
 * goes to a file, because a background process that holds on to the terminal or a pipe keeps others waiting.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, writeSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { LcfsError, type ErrorCode } from '../engine/errors.js';
import { makeFolders } from '../linux/folders.js';
import type { DaemonOptions } from './options.js';
import { failureOf, type Failure } from './protocol.js';
import { HEAP_FLAG } from './program.js';
import { mountId } from './sockets.js';

const READY_FD = 'LCFS_READY_FD';

interface Ready {
  pid: number;
  mountpoint: string;
}

type StartReport = { ready: Ready } | { failure: Failure };

/** Where the log of a daemon in the background goes unless told. */
export function defaultLogFile(mountpoint: string): string {
  return join('/var/log/lcfs', `${mountId(mountpoint)}.log`);
}

/** Starts the daemon in the background; throws what its start failed with. */
export async function detach(options: DaemonOptions): Promise<void> {
  const log = resolve(options.log ?? defaultLogFile(options.mountpoint));
  const child = startChild(log);
  const report = await readReport(child, log);
  if ('failure' in report) throw new LcfsError(report.failure.code as ErrorCode, report.failure.message);
  child.unref();
  process.stdout.write(`mounted on ${report.ready.mountpoint} (pid ${report.ready.pid}, log in ${log})\n`);
}

function startChild(log: string): ChildProcess {
  makeFolders(dirname(log), 0o700);
  const fd = openSync(log, 'a', 0o600);
  const args = process.argv.slice(1).filter((arg) => arg !== '--detach');
  const env = { ...process.env, [READY_FD]: '3' };
  try {
    return spawn(process.execPath, [...process.execArgv, HEAP_FLAG, ...args], { detached: true, stdio: ['ignore', fd, fd, 'pipe'], env });
  } finally {
    closeSync(fd);
  }
}

async function readReport(child: ChildProcess, log: string): Promise<StartReport> {
  const exited = new Promise<string>((settle) => {
    child.once('exit', (code, signal) => settle(signal ?? `exit code ${code}`));
    child.once('error', (error) => settle(error.message));
  });
  let text = '';
  for await (const chunk of child.stdio[3] as Readable) text += String(chunk);
  if (text !== '') return JSON.parse(text) as StartReport;
  return { failure: { code: 'internal', message: `the daemon ended while it started (${await exited}); its log is in ${log}` } };
}

/** In the child: tells the parent, if there is one that waits. Only the first report counts. */
function sendReport(report: StartReport): void {
  const fd = process.env[READY_FD];
  if (fd === undefined) return;
  delete process.env[READY_FD];
  try {
    writeSync(Number(fd), JSON.stringify(report));
    closeSync(Number(fd));
  } catch {
    // The parent was ended; the daemon serves all the same.
  }
}

export function reportReady(mountpoint: string): void {
  sendReport({ ready: { pid: process.pid, mountpoint } });
}

/** Tells the parent why the start failed. Returns false if no parent waits. */
export function reportFailure(error: unknown): boolean {
  const waits = process.env[READY_FD] !== undefined;
  sendReport({ failure: failureOf(error) });
  return waits;
}
