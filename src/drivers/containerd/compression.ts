/**
 * Compressed streams: gzip and zstd, told apart by their first bytes as containerd does, whatever the media type says.
 *
 * The fastest way that the machine offers is taken: for gzip `igzip` (package isal), as a process of its own; otherwise
 * Node's zlib, which works in threads of its own. For zstd Node's own, if it has it, then `zstd`, then fzstd, which is
 * JavaScript and runs in the calling thread. Small blobs are not worth a process.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { accessSync, constants, readSync } from 'node:fs';
import { Readable, Transform, type Duplex, type TransformCallback } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import * as zlib from 'node:zlib';
import { Decompress } from 'fzstd';
import { close } from '../../linux/libc.js';
import { makePipe } from '../../linux/pipe.js';
import { CallFailure, Code } from './failure.js';

/** Chunks that zlib gives: long enough that handing them over costs next to nothing. */
const CHUNK_BYTES = 256 << 10;
/** Starting a process takes a few milliseconds, in which zlib decompresses a megabyte. */
const PROCESS_BYTES_MIN = 1 << 20;
/** What a program may be ahead by, and the most that is read at once. */
const PIPE_BYTES = 1 << 20;
/** What a process says about its failure, at most. */
const COMPLAINT_BYTES_MAX = 500;

const GZIP = Buffer.from([0x1f, 0x8b, 0x08]);
const ZSTD = Buffer.from([0x28, 0xb5, 0x2f, 0xfd]);
const FOLDERS = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

type Bytes = AsyncIterable<Uint8Array>;

/** Bytes that come from a program which reads a file. */
export interface FromProgram {
  /** Each is valid until the next. Waits, without an event loop, while there are none. */
  chunks: Iterable<Uint8Array>;
  /** Settles when the program has ended. Throws CallFailure if it failed. */
  end: () => Promise<void>;
  stop: () => void;
}

/** Node 22.15 and later. */
const { createZstdCompress, createZstdDecompress } = zlib as unknown as {
  createZstdCompress?: (options?: object) => Duplex;
  createZstdDecompress?: (options?: object) => Duplex;
};

/** The uncompressed bytes of a stream of `length` bytes. Throws CallFailure if they are damaged or cut off. */
export async function* decompress(compressed: Bytes, length: number): AsyncGenerator<Uint8Array> {
  const [head, stream] = await peek(compressed, ZSTD.length);
  if (head.subarray(0, GZIP.length).equals(GZIP)) yield* through(gunzipFor(length), stream);
  else if (head.equals(ZSTD)) yield* through(unzstdFor(length), stream);
  else yield* stream;
}

/**
 * The uncompressed bytes of a file, `length` bytes long, by way of a program that reads it: much faster than `decompress`,
 * because nobody carries the compressed bytes about, and the others come in large pieces. Null if there is no such program.
 */
export function decompressFile(fd: number, length: number): FromProgram | null {
  if (length < PROCESS_BYTES_MIN) return null;
  const head = Buffer.alloc(ZSTD.length);
  readSync(fd, head, 0, head.length, 0);
  if (head.subarray(0, GZIP.length).equals(GZIP)) return runOn(fd, find('igzip'), '-dc');
  return head.equals(ZSTD) ? runOn(fd, find('zstd'), '-dcq') : null;
}

function runOn(fd: number, command: string | null, ...args: string[]): FromProgram | null {
  if (command === null) return null;
  const [from, to] = makePipe(PIPE_BYTES);
  const child = spawn(command, args, { stdio: [fd, to, 'pipe'], env: {}, cwd: '/' });
  close(to);
  const done = endOf(command, child);
  done.catch(() => {}); // looked at when all bytes are taken
  return {
    chunks: chunksOf(from),
    end: () => done.catch((error: unknown) => Promise.reject(damaged(error))),
    stop: () => void child.kill('SIGKILL'),
  };
}

/** For one program at a time; tasks of a thread come one after the other. */
const chunk = Buffer.allocUnsafeSlow(PIPE_BYTES);

function* chunksOf(fd: number): Generator<Uint8Array> {
  try {
    for (let bytes = readSync(fd, chunk); bytes > 0; bytes = readSync(fd, chunk)) yield chunk.subarray(0, bytes);
  } finally {
    close(fd);
  }
}

/** The first bytes of a stream, and a stream that still has them. */
async function peek(stream: Bytes, bytes: number): Promise<[Buffer, Bytes]> {
  const chunks = stream[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  while (head.length < bytes) {
    const chunk = await chunks.next();
    if (chunk.done === true) break;
    head = Buffer.concat([head, chunk.value]);
  }
  return [head.subarray(0, bytes), resumed(head, chunks)];
}

async function* resumed(head: Buffer, chunks: AsyncIterator<Uint8Array>): Bytes & AsyncGenerator<Uint8Array> {
  try {
    if (head.length > 0) yield head;
    for (let chunk = await chunks.next(); chunk.done !== true; chunk = await chunks.next()) yield chunk.value;
  } finally {
    await chunks.return?.();
  }
}

/** Something that bytes go through: written to one end, read from the other. `done` settles when it has ended well. */
interface Filter {
  input: NodeJS.WritableStream;
  output: Readable;
  done: Promise<void>;
  stop: () => void;
}

function gunzipFor(length: number): Filter {
  const igzip = length < PROCESS_BYTES_MIN ? null : find('igzip');
  return igzip === null ? within(zlib.createGunzip({ chunkSize: CHUNK_BYTES })) : inProcess(igzip, '-dc');
}

function unzstdFor(length: number): Filter {
  if (createZstdDecompress !== undefined) return within(createZstdDecompress({ chunkSize: CHUNK_BYTES }));
  const zstd = length < PROCESS_BYTES_MIN ? null : find('zstd');
  return zstd === null ? within(new UnzstdStream()) : inProcess(zstd, '-dcq');
}

/**
 * Compresses to gzip. `igzip` makes layers a tenth larger than zlib's usual level would, ten times as fast; without it a
 * level in between is taken.
 */
export async function* gzip(bytes: Bytes): AsyncGenerator<Uint8Array> {
  const [head, stream] = await peek(bytes, PROCESS_BYTES_MIN);
  const igzip = head.length < PROCESS_BYTES_MIN ? null : find('igzip');
  if (igzip !== null) yield* through(inProcess(igzip, '-c', '-3'), stream);
  else yield* through(within(zlib.createGzip({ chunkSize: CHUNK_BYTES, level: 4 })), stream);
}

/** Compresses to zstd; null if the machine cannot. */
export function zstd(bytes: Bytes): AsyncIterable<Uint8Array> | null {
  if (createZstdCompress !== undefined) return through(within(createZstdCompress({ chunkSize: CHUNK_BYTES })), bytes);
  const command = find('zstd');
  return command === null ? null : through(inProcess(command, '-cq'), bytes);
}

function within(stream: Duplex): Filter {
  return { input: stream, output: stream, done: finished(stream), stop: () => void stream.destroy() };
}

function inProcess(command: string, ...args: string[]): Filter {
  const child = spawn(command, args, { stdio: 'pipe', env: {}, cwd: '/' });
  return { input: child.stdin, output: child.stdout, done: endOf(command, child), stop: () => void child.kill('SIGKILL') };
}

function endOf(command: string, child: ChildProcess): Promise<void> {
  let complaint = '';
  child.stderr!.on('data', (text: Buffer) => (complaint = (complaint + text.toString()).slice(0, COMPLAINT_BYTES_MAX)));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(`${command}: ${complaint.trim() || (signal ?? `exit code ${code}`)}`));
    });
  });
}

/** Sends a stream through a filter. */
async function* through(filter: Filter, bytes: Bytes): AsyncGenerator<Uint8Array> {
  filter.done.catch(() => {}); // looked at below
  // A filter that fails closes its end; what it says about that is the better error.
  const fed = pipeline(Readable.from(bytes, { objectMode: false }), filter.input).then(
    () => null,
    (error: unknown) => error,
  );
  try {
    yield* filter.output as AsyncIterable<Uint8Array>;
    await filter.done;
    const failure = await fed;
    if (failure !== null) throw failure;
  } catch (error) {
    throw await reasonFor(error, filter, fed);
  } finally {
    filter.stop();
  }
}

/** Of all that goes wrong when a chain of streams breaks, what it broke from. */
async function reasonFor(error: unknown, filter: Filter, fed: Promise<unknown>): Promise<unknown> {
  filter.stop();
  const source = await fed;
  if (source instanceof CallFailure) return source;
  const own = await filter.done.then(
    () => error,
    (reason: unknown) => reason,
  );
  return damaged(own);
}

function damaged(error: unknown): CallFailure {
  return new CallFailure(Code.DATA_LOSS, `the compressed stream is damaged or cut off: ${(error as Error).message}`);
}

/** zstd in JavaScript. */
class UnzstdStream extends Transform {
  readonly #decoder = new Decompress((chunk) => this.push(chunk));

  override _transform(chunk: Buffer, _: BufferEncoding, done: TransformCallback): void {
    this.#feed(chunk, false, done);
  }

  override _flush(done: TransformCallback): void {
    this.#feed(Buffer.alloc(0), true, done);
  }

  #feed(chunk: Buffer, isLast: boolean, done: TransformCallback): void {
    try {
      this.#decoder.push(chunk, isLast);
      done();
    } catch (error) {
      done(error as Error);
    }
  }
}

const found = new Map<string, string | null>();

/** Path of a command, null if it is not installed. */
function find(name: string): string | null {
  const known = found.get(name);
  if (known !== undefined) return known;
  const path = FOLDERS.map((folder) => `${folder}/${name}`).find(isExecutable) ?? null;
  found.set(name, path);
  return path;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
