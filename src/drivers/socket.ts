/**
 * The socket of a driver. It is made in a folder that only root can enter and moved to its place when its permissions
 * are right, so that there is no moment at which another user could connect; the move also replaces the socket that a
 * crashed daemon left behind.
 */
import { chmodSync, lstatSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import { LcfsError } from '../engine/errors.js';
import { makeFolders } from '../linux/folders.js';

/** Lets `server` listen on the unix socket `path`. Throws LcfsError `busy` if another process answers there. */
export async function listenPrivately(server: Server, path: string): Promise<void> {
  if (await answers(path)) throw new LcfsError('busy', `socket ${path} is served by another process: stop it or name another socket`);
  const directory = dirname(path);
  makeFolders(directory, 0o700);
  const closed = mkdtempSync(join(directory, '.new-')); // mkdtemp makes it 0700
  try {
    const temporary = join(closed, 's');
    await listen(server, temporary);
    chmodSync(temporary, 0o600);
    renameSync(temporary, path);
  } finally {
    rmSync(closed, { recursive: true, force: true });
  }
}

/** Takes the socket away, unless another process has put its own there since. */
export function removeSocket(path: string, inode: number): void {
  if (socketInode(path) === inode) rmSync(path, { force: true });
}

export function socketInode(path: string): number {
  return lstatSync(path, { throwIfNoEntry: false })?.ino ?? 0;
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = connect(path);
    connection.once('connect', () => {
      connection.destroy();
      resolve(true);
    });
    connection.once('error', () => resolve(false));
  });
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
}
