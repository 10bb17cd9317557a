/**
 * Makes a daemon record what it does to its volume: loaded before the program (`node --import`), in each of its threads, it
 * puts itself between the engine and the system calls that write, flush and discard, and appends each of them to a file. The
 * daemon itself is the one that users run. LCFS_RECORD names the file, LCFS_RECORD_VOLUME the volume.
 *
 * Nothing is claimed to be durable that is not: a write is noted when it has returned, a flush when it begins and when it
 * has ended, and what it makes durable is what was noted before it began. Each record is one write to the end of the file,
 * so those of several threads do not mix.
 *
 *   record:  kind u32, bytes of data u32, offset in the volume f64 (flushes: number of the flush), data of a write
 */
import { closeSync, fstatSync, openSync, statSync } from 'node:fs';
import koffi from 'koffi';

export const RECORD_BYTES = 16;
export const WRITE = 1;
export const FLUSH_BEGINS = 2;
export const FLUSH_ENDS = 3;
export const DISCARD = 4;

type Call = (...args: number[]) => number;

function install(file: string, volume: string): void {
  const { ino, dev } = statSync(volume);
  const fd = openSync(file, 'a');
  const { load } = koffi;
  const libc = load('libc.so.6');
  const writev = libc.func('writev', 'long', ['int', 'uint64_t', 'int']) as Call;
  const memcpy = libc.func('memcpy', 'uint64_t', ['void *', 'void *', 'size_t']) as (to: object, from: object, bytes: number) => unknown;
  const header = Buffer.alloc(4096).subarray(0, RECORD_BYTES);
  const vector = new BigUint64Array(4);
  const addressOf = (view: object): bigint => BigInt(memcpy(view, view, 0) as number);
  const thread = Math.floor(Math.random() * 2 ** 20) * 2 ** 31;
  let flushes = 0;

  const note = (kind: number, offset: number, address: number, bytes: number, noted = bytes): void => {
    header.writeUInt32LE(kind, 0);
    header.writeUInt32LE(noted, 4);
    header.writeDoubleLE(offset, 8);
    vector.set([addressOf(header), BigInt(RECORD_BYTES), BigInt(address), BigInt(bytes)]);
    if (writev(fd, Number(addressOf(vector)), bytes > 0 ? 2 : 1) !== RECORD_BYTES + bytes) throw new Error(`${file} cannot be written`);
  };
  const isVolume = (of: number): boolean => {
    const stat = fstatSync(of);
    return stat.ino === ino && stat.dev === dev;
  };

  const wrappers: Record<string, (real: Call) => Call> = {
    pwrite: (real) => (of, address, bytes, offset) => {
      const written = real(of!, address!, bytes!, offset!);
      if (written > 0 && isVolume(of!)) note(WRITE, offset!, address!, written);
      return written;
    },
    fdatasync: (real) => (of) => {
      if (!isVolume(of!)) return real(of!);
      const flush = thread + flushes++;
      note(FLUSH_BEGINS, flush, 0, 0);
      const result = real(of!);
      if (result === 0) note(FLUSH_ENDS, flush, 0, 0);
      return result;
    },
    fallocate: (real) => (of, mode, offset, bytes) => {
      const result = real(of!, mode!, offset!, bytes!);
      if (isVolume(of!)) note(DISCARD, offset!, 0, 0, bytes!);
      return result;
    },
  };
  koffi.load = ((...args: Parameters<typeof load>) => {
    const library = load(...args);
    const func = library.func.bind(library) as (...args: unknown[]) => Call;
    const wrapped = (...args: unknown[]): Call => {
      const real = func(...args);
      return wrappers[String(args[0])]?.(real) ?? real;
    };
    return new Proxy(library, { get: (target, name) => (name === 'func' ? wrapped : Reflect.get(target, name)) });
  }) as typeof load;
  process.once('exit', () => closeSync(fd));
}

const { LCFS_RECORD, LCFS_RECORD_VOLUME } = process.env;
if (LCFS_RECORD !== undefined && LCFS_RECORD_VOLUME !== undefined) install(LCFS_RECORD, LCFS_RECORD_VOLUME);
