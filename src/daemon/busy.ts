/**
 * Who uses a mount: processes with an open file, a mapped file, a working or root directory on it, and mounts that stand on
 * it or show parts of it elsewhere. Asked before an unmount, because the kernel's EBUSY tells neither who nor anything
 * about the mount namespaces of containers.
 *
 * Looking follows links of /proc to files on any file system, and asks none of them: one that hangs must not hold us up.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { deviceText, findMount, listMounts, type MountEntry } from '../linux/mount.js';
import { deviceOf } from '../linux/stat.js';

/** Users that a message names before it says how many more there are. */
const SHOWN_MAX = 8;

export interface User {
  pid: number;
  /** Name of the program. */
  name: string;
  /** What it has on the mount, e.g. `working directory`. */
  what: string;
}

/** Mounts that show the file system of `mount` elsewhere or stand on top of it. */
export function mountsOn(mount: MountEntry, mounts: readonly MountEntry[]): string[] {
  return mounts
    .filter((entry) => entry.mountpoint !== mount.mountpoint)
    .filter((entry) => entry.device === mount.device || entry.mountpoint.startsWith(`${mount.mountpoint}/`))
    .map((entry) => entry.mountpoint);
}

/** Processes that use a file of the device (`major:minor`), this one excepted. */
export function processesOn(device: string): User[] {
  const users: User[] = [];
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const what = useOf(pid, device);
    if (what !== undefined) users.push({ pid, name: programName(pid), what });
  }
  return users;
}

function useOf(pid: number, device: string): string | undefined {
  if (deviceOf(`/proc/${pid}/root`) === device) return 'root directory';
  if (deviceOf(`/proc/${pid}/cwd`) === device) return 'working directory';
  if (anyLiesOn(`/proc/${pid}/fd`, device)) return 'open file';
  if (anyLiesOn(`/proc/${pid}/map_files`, device)) return 'mapped file';
  return undefined;
}

function anyLiesOn(folder: string, device: string): boolean {
  try {
    return readdirSync(folder).some((name) => deviceOf(`${folder}/${name}`) === device);
  } catch {
    // The process ended, or is a kernel thread.
    return false;
  }
}

function programName(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return '?';
  }
}

/** A part of a sentence, as in `pid 812 (bash, working directory), mount /a`. Empty when nobody uses the mount. */
export function describeUsers(mountpoint: string): string {
  const mount = findMount(mountpoint);
  if (mount === undefined) return '';
  const processes = processesOn(deviceText(mount.device)).map((user) => `pid ${user.pid} (${user.name}, ${user.what})`);
  const all = [...processes, ...mountsOn(mount, listMounts()).map((path) => `mount ${path}`)];
  const shown = all.slice(0, SHOWN_MAX).join(', ');
  return all.length > SHOWN_MAX ? `${shown} and ${all.length - SHOWN_MAX} more` : shown;
}
