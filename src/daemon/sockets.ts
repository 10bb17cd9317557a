/**
 * Where control sockets lie and how a daemon is found: `/run/lcfs/<id>.sock`, where the id is the mountpoint with `-` for
 * `/`. A daemon whose socket lies elsewhere (`--control`) leaves a symbolic link under that name, so that its mountpoint
 * still leads to it.
 *
 * The folder is root's alone (0700): who reaches a socket may do everything.
 */
import { createHash } from 'node:crypto';
import { chmodSync, lstatSync, readdirSync, realpathSync, symlinkSync, unlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { join, resolve } from 'node:path';
import { makeFolders } from '../linux/folders.js';

/** Overridden by tests, so that they never meet a real daemon. */
export const SOCKET_DIRECTORY = process.env['LCFS_RUN_DIR'] ?? '/run/lcfs';

/** sockaddr_un takes 108 bytes with the terminating one; what is longer is cut and told apart by a hash. */
const ID_LENGTH_MAX = 60;

/** Absolute path without symbolic links. A mountpoint whose daemon died can't be looked at; its name is taken as it is. */
export function realMountpoint(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return resolve(path);
  }
}

/** `/srv/my lcfs` -> `srv-my%20lcfs`. Different mountpoints have different ids. */
export function mountId(mountpoint: string): string {
  const id = realMountpoint(mountpoint).slice(1).split('/').map(escape).join('-') || 'root';
  if (id.length <= ID_LENGTH_MAX) return id;
  return `${id.slice(0, ID_LENGTH_MAX - 9)}-${createHash('sha256').update(id).digest('hex').slice(0, 8)}`;
}

function escape(part: string): string {
  return encodeURIComponent(part).replaceAll('-', '%2D');
}

export function defaultSocket(mountpoint: string): string {
  return join(SOCKET_DIRECTORY, `${mountId(mountpoint)}.sock`);
}

export function makeSocketDirectory(): void {
  makeFolders(SOCKET_DIRECTORY, 0o700);
  chmodSync(SOCKET_DIRECTORY, 0o700);
}

/** Whether somebody listens on the socket. */
export function isAlive(socket: string): Promise<boolean> {
  return new Promise((settle) => {
    const connection = connect(socket);
    connection.once('connect', () => {
      connection.destroy();
      settle(true);
    });
    // A full backlog (EAGAIN) or missing rights are no proof of death.
    connection.once('error', (error: NodeJS.ErrnoException) => settle(!['ECONNREFUSED', 'ENOENT', 'ENOTSOCK'].includes(error.code ?? '')));
  });
}

/** Removes a socket (or link to one) that nobody listens on. True if the name is free now. */
export async function removeIfStale(socket: string): Promise<boolean> {
  const before = inodeOf(socket);
  if (before === undefined) return true;
  if (await isAlive(socket)) return false;
  // Between the question and now a new daemon may have put its own socket there.
  if (inodeOf(socket) === before) unlinkSync(socket);
  return true;
}

function inodeOf(path: string): number | undefined {
  return lstatSync(path, { throwIfNoEntry: false })?.ino;
}

/** Sockets of the daemons that run. Those of dead ones are removed. */
export async function liveSockets(): Promise<string[]> {
  const live: string[] = [];
  for (const name of socketNames()) {
    const socket = join(SOCKET_DIRECTORY, name);
    if (!(await removeIfStale(socket))) live.push(socket);
  }
  return live;
}

function socketNames(): string[] {
  try {
    return readdirSync(SOCKET_DIRECTORY)
      .filter((name) => name.endsWith('.sock'))
      .toSorted();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Makes the default name lead to a socket that lies elsewhere. Returns the link. */
export async function linkDefaultSocket(mountpoint: string, socket: string): Promise<string> {
  const link = defaultSocket(mountpoint);
  makeSocketDirectory();
  await removeIfStale(link);
  symlinkSync(resolve(socket), link);
  return link;
}
