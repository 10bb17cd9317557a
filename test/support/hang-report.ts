/**
 * What a hung test leaves to be seen: its processes with what each of their threads waits for, the FUSE connections that they serve
 * and how many requests wait there, and the ends of their logs. A process belongs to a test if it has MARK in its environment, which
 * daemons that went into the background keep.
 *
 * Nothing here asks a mount for anything, or it would hang as well.
 */
import { closeSync, fstatSync, openSync, readFileSync, readSync, readdirSync, readlinkSync } from 'node:fs';
import { abortConnection } from '../../src/linux/mount.js';

/** Variable of the environment by which the processes of a test are known. */
export const MARK = 'LCFS_TEST_MARK';

/** Where threads wait that have nothing to do. */
const IDLE: ReadonlySet<string> = new Set(['do_epoll_wait', 'futex_do_wait', 'io_cqring_wait', 'fuse_dev_do_read', 'do_wait', 'do_poll']);
const LOG_BYTES = 6000;
const CONNECTIONS = '/sys/fs/fuse/connections';

function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1').trim();
  } catch {
    return ''; // it ended meanwhile, or there is no such file on this kernel
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** Processes with that mark, this one excepted. */
export function markedProcesses(mark: string): number[] {
  const wanted = `${MARK}=${mark}`;
  const pids = namesIn('/proc')
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && pid !== process.pid);
  return pids.filter((pid) => textOf(`/proc/${pid}/environ`).split('\0').includes(wanted));
}

/** Processes of which only threads are left that cannot end have no environment any more; their parents are marked. */
export function withChildren(pids: readonly number[]): number[] {
  const all = new Set(pids);
  for (const pid of pids)
    for (const tid of namesIn(`/proc/${pid}/task`))
      for (const child of textOf(`/proc/${pid}/task/${tid}/children`).split(' ')) if (child !== '') all.add(Number(child));
  all.delete(process.pid);
  return [...all];
}

/** A line of `status`: `State`, `PPid` … */
function field(status: string, name: string): string {
  return new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1] ?? '?';
}

function describeThread(folder: string): string {
  const status = textOf(`${folder}/status`);
  const state = `${field(status, 'State')}, CPUs ${field(status, 'Cpus_allowed_list')}`;
  const call = textOf(`${folder}/syscall`).split(' ').slice(0, 5).join(' ');
  const place = textOf(`${folder}/wchan`) || '-';
  const stack = textOf(`${folder}/stack`).replaceAll('\n', ' < ').replaceAll('[<0>] ', '');
  const line = `    ${folder.split('/').at(-1)} ${textOf(`${folder}/comm`)}: ${state}, in ${place}, call ${call}`;
  return IDLE.has(place) ? line : `${line}\n      ${stack}`;
}

function describe(pid: number): string {
  const status = textOf(`/proc/${pid}/status`);
  const command = textOf(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').slice(0, 300);
  const threads = namesIn(`/proc/${pid}/task`).map((tid) => describeThread(`/proc/${pid}/task/${tid}`));
  return `  ${pid} (child of ${field(status, 'PPid')}, ${field(status, 'State')}) ${command}\n${threads.join('\n')}`;
}

/** Connections of which a process has a descriptor, by the number that the kernel gives them in `fdinfo`. */
function heldBy(pid: number): number[] {
  const infos = namesIn(`/proc/${pid}/fdinfo`).map((fd) => textOf(`/proc/${pid}/fdinfo/${fd}`));
  const numbers = infos.map((info) => /^fuse_connection:\s*(\d+)/m.exec(info)?.[1]).filter((number) => number !== undefined);
  return numbers.map(Number);
}

function connectionsOf(pids: readonly number[]): number[] {
  return [...new Set(pids.flatMap(heldBy))];
}

/** Regular files that are the standard output or error of a process. */
function logsOf(pids: readonly number[]): string[] {
  const paths = pids.flatMap((pid) => ['1', '2'].map((fd) => linkOf(`/proc/${pid}/fd/${fd}`)));
  return [...new Set(paths)].filter((path) => path.startsWith('/') && !path.startsWith('/dev/'));
}

/** What a symbolic link leads to; empty if there is none, or none any more. */
export function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

function endOf(path: string): string {
  try {
    const fd = openSync(path, 'r');
    const { size } = fstatSync(fd);
    const bytes = Buffer.alloc(Math.min(size, LOG_BYTES));
    const length = readSync(fd, bytes, 0, bytes.length, size - bytes.length);
    closeSync(fd);
    return bytes.toString('utf8', 0, length);
  } catch (error) {
    return String(error);
  }
}

/** All of it, as text of several lines. */
export function reportHang(pids: readonly number[]): string {
  const connections = connectionsOf(pids).map(
    (number) => `  ${number}: ${textOf(`${CONNECTIONS}/${number}/waiting`) || '?'} requests wait`,
  );
  const mounts = textOf('/proc/self/mountinfo')
    .split('\n')
    .filter((line) => line.includes(' - fuse'));
  return [
    `load ${textOf('/proc/loadavg')}; processes:`,
    ...pids.map(describe),
    'FUSE connections:',
    ...connections,
    'FUSE mounts:',
    ...mounts.map((line) => `  ${line}`),
    ...logsOf(pids).map((path) => `the end of ${path}:\n${endOf(path)}`),
  ].join('\n');
}

/**
 * Ends the connections that the processes serve, and those who hold them, as a request that was handed over to a thread which
 * does not run ends only with it. Whoever waits there gets an error.
 */
export function abortConnections(pids: readonly number[]): void {
  const holders = pids.filter((pid) => heldBy(pid).length > 0);
  for (const number of connectionsOf(pids)) {
    try {
      abortConnection(number);
    } catch {
      // It ended by itself.
    }
  }
  for (const pid of holders) kill(pid);
}

/** Ends a process, unless it did so by itself. */
export function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It did.
  }
}
