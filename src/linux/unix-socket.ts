/**
 * Unix sockets that listen without anybody who accepts yet. Node's own servers begin to accept as soon as they listen; a
 * descriptor that listens and is handed on lets clients wait until somebody serves it.
 */
import { getSystemErrorName } from 'node:util';
import koffi from 'koffi';
import { close, errno } from './libc.js';

const libc = koffi.load('libc.so.6');
const socket = libc.func('socket', 'int', ['int', 'int', 'int']) as (family: number, type: number, protocol: number) => number;
const bind = libc.func('bind', 'int', ['int', 'void *', 'uint']) as (fd: number, address: Uint8Array, bytes: number) => number;
const listen = libc.func('listen', 'int', ['int', 'int']) as (fd: number, backlog: number) => number;

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;
/** As many as Node asks for; the kernel has a limit of its own (net.core.somaxconn). */
const BACKLOG = 511;
/** sockaddr_un: the family, and a path with a zero behind it. */
const PATH_AT = 2;
const PATH_BYTES_MAX = 107;

/** Returns a descriptor on which connections to `path` queue up. Throws an error with the system's `code`. */
export function listenOn(path: string): number {
  const address = addressOfPath(path);
  const fd = must(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), 'socket', path);
  try {
    must(bind(fd, address, address.length), 'bind', path);
    must(listen(fd, BACKLOG), 'listen', path);
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

function addressOfPath(path: string): Uint8Array {
  const bytes = Buffer.from(path);
  if (bytes.length > PATH_BYTES_MAX) throw failure('ENAMETOOLONG', 'bind', path);
  const address = new Uint8Array(PATH_AT + bytes.length + 1);
  address[0] = AF_UNIX;
  address.set(bytes, PATH_AT);
  return address;
}

function must(result: number, call: string, path: string): number {
  if (result >= 0) return result;
  throw failure(getSystemErrorName(-errno()), call, path);
}

function failure(code: string, call: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${call} ${path}`), { code });
}
