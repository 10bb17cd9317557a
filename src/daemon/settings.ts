/** Turns what a daemon was started with into what it works with: absolute paths, a mountpoint that can be mounted on. */
import { openSync, readdirSync, realpathSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { LcfsError } from '../engine/errors.js';
import { makeFolders } from '../linux/folders.js';
import { unmount } from '../linux/mount.js';
import type { LogShape } from './log.js';
import type { DaemonOptions } from './options.js';
import { SOCKET_DIRECTORY, defaultSocket, makeSocketDirectory } from './sockets.js';

export const STDERR = 2;

export interface Settings extends DaemonOptions {
  control: string;
  logShape: LogShape;
}

/** Settles paths while the working directory is still the caller's. Throws LcfsError. */
export function settleOptions(options: DaemonOptions): Settings {
  const path = resolve(options.mountpoint);
  // The last part is not looked at: a mount whose daemon died answers nothing.
  const mountpoint = join(realFolder(dirname(path)), basename(path));
  return {
    ...options,
    device: resolve(options.device),
    mountpoint,
    control: options.control === null ? defaultSocket(mountpoint) : resolve(options.control),
    containerd: options.containerd === null ? null : resolve(options.containerd),
    containerdAddress: resolve(options.containerdAddress),
    docker: options.docker === null ? null : resolve(options.docker),
    logShape: { fd: options.log === null ? STDERR : openSync(options.log, 'a', 0o600), level: options.logLevel },
  };
}

/** Makes a folder, readable for all like any mountpoint. Returns it without symbolic links. */
function realFolder(path: string): string {
  try {
    makeFolders(path, 0o755);
    return realpathSync(path);
  } catch (error) {
    throw new LcfsError('invalid', `folder ${path} cannot be made or reached: ${(error as Error).message}`);
  }
}

/** Makes sure that there is a folder to mount on; takes away a mount whose daemon died. Throws LcfsError. */
export function prepareMountpoint(mountpoint: string, warn: (text: string) => void): void {
  if (isDead(mountpoint)) {
    unmount(mountpoint, true);
    warn(`took away the mount on ${mountpoint}, whose daemon had died`);
  }
  realFolder(mountpoint);
}

function isDead(mountpoint: string): boolean {
  try {
    readdirSync(mountpoint);
    return false;
  } catch (error) {
    return ['ENOTCONN', 'ECONNABORTED'].includes((error as NodeJS.ErrnoException).code ?? '');
  }
}

export function prepareSocketFolder(control: string): void {
  if (dirname(control) === SOCKET_DIRECTORY) makeSocketDirectory();
  else realFolder(dirname(control));
}
