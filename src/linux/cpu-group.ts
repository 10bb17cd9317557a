/**
 * How Linux shares the CPUs between this process and those that it serves.
 *
 * A reply wakes its caller, and Linux looks for an idle CPU for whoever is woken. The one on which the reply is given is not
 * idle, so a caller would move to another CPU with each request, and wait each time for that to wake up: 10 to 30 µs on a
 * virtual machine, more than all the rest. But a CPU counts as idle if nothing runs there but tasks of the policy SCHED_IDLE.
 * Threads that serve have it, and so their callers stay where they are.
 *
 * The policy's price is a weight of 3 instead of 1,024, which counts within a *group* of tasks: a cgroup with the CPU
 * controller or, in the root cgroup, a session (sched_autogroup). What a group as a whole gets does not depend on the weights
 * in it. So the policy is used only in a group that has no other program in it, all other threads there have the least
 * weight of the ordinary policy (nice 19: 15), and the group gets more than others instead: a session by its nice value, a
 * cgroup by CPUWeight of its unit.
 *
 * Both values would also say how urgent I/O is, so that is set to what is usual.
 */
import { existsSync, readFileSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import koffi from 'koffi';

const libc = koffi.load('libc.so.6');
const schedSetscheduler = libc.func('sched_setscheduler', 'int', ['int', 'int', 'void *']) as (
  thread: number,
  policy: number,
  parameters: Int32Array,
) => number;
const setpriority = libc.func('setpriority', 'int', ['int', 'uint', 'int']) as (which: number, who: number, nice: number) => number;
const syscall = libc.func('syscall', 'long', ['long', 'int', 'int', 'int']) as (
  n: number,
  which: number,
  who: number,
  value: number,
) => number;

const SCHED_OTHER = 0;
const SCHED_IDLE = 5;
const PRIO_PROCESS = 0;
const NICE_LEAST = 19;
/** Three times the weight of nice 0. */
const GROUP_NICE = -5;
/** Number of the system call ioprio_set. */
const IOPRIO_SET: Partial<Record<NodeJS.Architecture, number>> = { x64: 251, arm64: 30 };
const IOPRIO_WHO_PROCESS = 1;
/** Best effort, the middle of eight levels: what a thread of nice 0 has. */
const IOPRIO_USUAL = (2 << 13) | 4;

const CGROUPS = '/sys/fs/cgroup';

function text(path: string): string {
  try {
    return readFileSync(path, 'latin1').trim();
  } catch {
    return '';
  }
}

/** The session's group, as in `/autogroup-25`. */
const sessionGroup = (pid: number | string): string => text(`/proc/${pid}/autogroup`).split(' ')[0]!;

const isSameProgram = (pid: number | string): boolean => program(pid) === program('self');

function program(pid: number | string): string {
  try {
    return readlinkSync(`/proc/${pid}/exe`);
  } catch {
    return '';
  }
}

/** The process that started this one; 0 if there is none. */
const parentOf = (pid: number | string): number => Number(/^PPid:\s*(\d+)/m.exec(text(`/proc/${pid}/status`))?.[1] ?? 0);

/** Whether the session has no other programs: it begins with this process, or an ancestor that runs the same program. */
function isSessionOurs(): boolean {
  const group = sessionGroup('self');
  if (group === '' || text('/proc/sys/kernel/sched_autogroup_enabled') !== '1') return false;
  let pid = parentOf('self');
  while (sessionGroup(pid) === group && isSameProgram(pid)) pid = parentOf(pid);
  return sessionGroup(pid) !== group;
}

/**
 * Folder of the innermost cgroup with the CPU controller that this process is in; '' if that is the root cgroup. undefined
 * where it lies in a hierarchy of cgroup version 1, whose mounts differ too much.
 */
function cpuCgroup(): string | undefined {
  const lines = text('/proc/self/cgroup')
    .split('\n')
    .map((line) => line.split(':'));
  const own = lines.find(([, controllers]) => controllers!.split(',').includes('cpu'));
  if (own !== undefined) return own[2] === '/' ? '' : undefined;
  const path = lines.find(([id]) => id === '0')?.[2] ?? '/';
  for (let folder = CGROUPS + path; folder.startsWith(CGROUPS); folder = folder.slice(0, folder.lastIndexOf('/'))) {
    if (existsSync(`${folder}/cpu.weight`)) return folder;
  }
  return '';
}

/**
 * Whether no other program has its CPU time from the group of this process. No thread should then have a better nice value
 * than `levelGroup` gave it: as long as it ran, hardly anything of the group's time would be left for those that serve on
 * other CPUs.
 */
export function isGroupOurs(): boolean {
  const folder = cpuCgroup();
  if (folder === undefined || IOPRIO_SET[process.arch] === undefined) return false;
  if (folder === '') return isSessionOurs();
  const members = text(`${folder}/cgroup.procs`).split('\n');
  return members.includes(String(process.pid)) && members.every(isSameProgram);
}

/** Sets the I/O priority of a thread; 0 is the calling one. */
function setUsualIoPriority(thread: number): void {
  syscall(IOPRIO_SET[process.arch]!, IOPRIO_WHO_PROCESS, thread, IOPRIO_USUAL);
}

/**
 * Makes all threads of the process, and those that they start, light within its group, and the group as a whole heavier.
 * Nothing changes if other programs are in it. Returns whether it was done.
 */
export function levelGroup(): boolean {
  if (!isGroupOurs()) return false;
  for (const thread of readdirSync('/proc/self/task').map(Number)) {
    setpriority(PRIO_PROCESS, thread, NICE_LEAST);
    setUsualIoPriority(thread);
  }
  try {
    writeFileSync('/proc/self/autogroup', String(GROUP_NICE));
  } catch {
    // Without the right to it the group is as heavy as any other.
  }
  return true;
}

/**
 * Makes a process give way to every other one that wants its CPU, or be like any other again. Threads that it starts are as it
 * is. Its session still has its share of the CPUs, or it would never get anywhere on a machine that always has something to do.
 */
export function setPatience(pid: number, isPatient: boolean): void {
  try {
    for (const thread of readdirSync(`/proc/${pid}/task`).map(Number))
      schedSetscheduler(thread, isPatient ? SCHED_IDLE : SCHED_OTHER, new Int32Array(1));
  } catch {
    // It has ended.
  }
}

/**
 * Lets Linux leave those whom the calling thread wakes on its CPU. Returns false, and does nothing, if other programs are in
 * the group of this process.
 */
export function giveWay(): boolean {
  if (!isGroupOurs()) return false;
  setUsualIoPriority(0);
  return schedSetscheduler(0, SCHED_IDLE, new Int32Array(1)) === 0;
}
