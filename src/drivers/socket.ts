/**
 * The socket of a service. It is made in a folder that only root can enter and moved to its place when its permissions
 * are right, so that there is no moment at which another user could connect; the move also replaces the socket that a
 * crashed daemon left behind.
 */
import { once } from 'node:events';
import { chmodSync, lstatSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import { LcfsError } from '../engine/errors.js';
import { makeFolders } from '../linux/folders.js';
import { listenOn } from '../linux/unix-socket.js';

/** What sockaddr_un has room for. */
const PATH_BYTES_MAX = 107;

/**
 * Makes the unix socket `path`, on which connections queue up until somebody serves it, and returns its descriptor. Throws
 * LcfsError `busy` if another process answers there, `invalid` for a path that is too long for a socket.
 */
export async function makeSocket(path: string): Promise<number> {
  if (Buffer.byteLength(path) > PATH_BYTES_MAX)
    throw new LcfsError('invalid', `socket path ${path} is longer than ${PATH_BYTES_MAX} bytes: choose a shorter one`);
  if (await answers(path)) throw new LcfsError('busy', `socket ${path} is served by another process: stop it or name another socket`);
  const directory = dirname(path);
  makeFolders(directory, 0o700);
  const closed = mkdtempSync(join(directory, '.new-')); // mkdtemp makes it 0700
  try {
    const temporary = join(closed, 's');
    const fd = listenOn(temporary);
    chmodSync(temporary, 0o600);
    renameSync(temporary, path);
    return fd;
  } finally {
    rmSync(closed, { recursive: true, force: true });
  }
}

/** Lets `server` accept what connects to a listening descriptor, which it closes when it is closed. */
export async function serveSocket(server: Server, fd: number): Promise<void> {
  server.listen({ fd });
  await once(server, 'listening');
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
