/** Who uses a mounted file system. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

export interface User {
  readonly pid: number;
  /** Name of its program, up to 15 bytes. */
  readonly command: string;
  /** What it has open, or where it stands. */
  readonly path: string;
}

/** A directory as the kernel shows it; nothing for a process that has ended meanwhile. */
function entries(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

/** Reading these links does not touch the file system they lead to. */
function target(link: string): string | undefined {
  try {
    return readlinkSync(link);
  } catch {
    return undefined;
  }
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return 'ended';
  }
}

/** The path at or below `mountpoint` through which a process holds the file system, if it does. */
function pathHeld(pid: string, mountpoint: string): string | undefined {
  const links = ['cwd', 'root', 'exe', ...entries(`/proc/${pid}/fd`).map((fd) => `fd/${fd}`)];
  const maps = entries(`/proc/${pid}/map_files`).map((map) => `map_files/${map}`);
  return [...links, ...maps]
    .map((link) => target(`/proc/${pid}/${link}`))
    .find((path) => path === mountpoint || path?.startsWith(`${mountpoint}/`));
}

/** Processes that hold a file or directory at or below `mountpoint`, as far as this process may see. */
export function usersOf(mountpoint: string): User[] {
  return entries('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      const path = pathHeld(pid, mountpoint);
      return path === undefined ? [] : [{ pid: Number(pid), command: commandOf(pid), path }];
    });
}
