/**
 * The sockets of a daemon: made by the supervisor before anybody serves them, and handed over to each serving process. So a
 * client that connects while none serves waits until one does. They are taken away by the serving process when it stops in
 * order, and by the supervisor when nobody is left to do that.
 */
import { makeSocket, removeSocket, socketInode } from '../drivers/socket.js';
import { LcfsError } from '../engine/errors.js';
import { close } from '../linux/libc.js';
import type { Listeners, SocketFile } from './handover.js';
import type { Settings } from './settings.js';
import { defaultSocket, linkDefaultSocket } from './sockets.js';

type Service = SocketFile['service'];

const TITLES: Readonly<Record<Service, string>> = {
  control: 'the control socket',
  containerd: 'containerd',
  docker: 'the Docker graph driver',
};

/** Makes them all, or none. Throws LcfsError that names the one that can't be had. */
export async function makeListeners(settings: Settings): Promise<Listeners> {
  const files: SocketFile[] = [];
  const descriptors: number[] = [];
  const make = async (service: Service, path: string): Promise<number> => {
    const fd = await makeNamed(service, path);
    descriptors.push(fd);
    files.push({ service, path, inode: socketInode(path) });
    return fd;
  };
  try {
    const control = await make('control', settings.control);
    const containerd = settings.containerd === null ? null : await make('containerd', settings.containerd);
    const docker = settings.docker === null ? null : await make('docker', settings.docker);
    files.push(...(await linkFor(settings)));
    return { control, containerd, docker, files };
  } catch (error) {
    removeSocketFiles(files);
    for (const fd of descriptors) close(fd);
    throw error;
  }
}

async function makeNamed(service: Service, path: string): Promise<number> {
  try {
    return await makeSocket(path);
  } catch (error) {
    const code = error instanceof LcfsError ? error.code : 'io';
    throw new LcfsError(code, `${TITLES[service]} cannot be served on ${path}: ${(error as Error).message}`);
  }
}

/** The mountpoint leads to a control socket that lies elsewhere. */
async function linkFor({ mountpoint, control }: Settings): Promise<SocketFile[]> {
  if (control === defaultSocket(mountpoint)) return [];
  const path = await linkDefaultSocket(mountpoint, control);
  return [{ service: 'control', path, inode: socketInode(path) }];
}

/** Who still waits to be served gets errors. */
export function closeListeners({ control, containerd, docker }: Listeners): void {
  for (const fd of [control, containerd, docker]) if (fd !== null) close(fd);
}

/** Takes sockets away, unless other processes have put their own there since. */
export function removeSocketFiles(files: readonly SocketFile[]): void {
  for (const { path, inode } of files) removeSocket(path, inode);
}
