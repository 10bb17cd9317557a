/** Layers that are mounted somewhere: containers have theirs in mount namespaces of their own, which only /proc shows. */
import { readFile, readdir, readlink } from 'node:fs/promises';
import { deviceText, findMount } from '../linux/mount.js';

/** As the kernel writes a path into mountinfo: blanks and the like as octal numbers. */
const ESCAPED = /\\([0-7]{3})/g;

/** Names of the layers of the volume mounted on `mountpoint` that have mounts, in whatever namespace. */
export async function mountedLayers(mountpoint: string): Promise<Set<string>> {
  const mount = findMount(mountpoint);
  const names = new Set<string>();
  if (mount === undefined) return names;
  const seen = new Set<string>();
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const namespace = await unlessGone(readlink(`/proc/${pid}/ns/mnt`));
    if (namespace === null || seen.has(namespace)) continue;
    seen.add(namespace);
    for (const name of layersIn((await unlessGone(readFile(`/proc/${pid}/mountinfo`))) ?? Buffer.alloc(0), deviceText(mount.device)))
      names.add(name);
  }
  return names;
}

/** Layers whose directories, or parts of them, are mounted, by the text of a mountinfo and our device as `major:minor`. */
export function layersIn(mountinfo: Buffer, device: string): string[] {
  const names: string[] = [];
  for (const line of mountinfo.toString('latin1').split('\n')) {
    const [, , ofMount, root = ''] = line.split(' ');
    const name = /^\/layers\/([^/]+)/.exec(root)?.[1];
    if (ofMount === device && name !== undefined) names.push(unescape(name));
  }
  return names;
}

function unescape(name: string): string {
  const bytes = name.replace(ESCAPED, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
  return Buffer.from(bytes, 'latin1').toString();
}

/** Processes end while one looks. */
async function unlessGone<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch {
    return null;
  }
}
