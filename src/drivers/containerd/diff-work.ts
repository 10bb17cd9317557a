/**
 * What the differ does with streams: a blob of containerd's content store into a layer, the difference of two layers into
 * a blob. It runs in threads of its own (diff-worker.ts), so that nobody waits behind it. Streams set the pace: of a blob of
 * any size, a few chunks are in memory.
 */
import { createHash, randomUUID, type Hash } from 'node:crypto';
import { readSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { exportLayer } from '../../archive/export.js';
import { LayerImport } from '../../archive/import.js';
import type { LayerIndex } from '../../layout/constants.js';
import { WriteOut } from '../../linux/writeout.js';
import { decompress, decompressFile, gzip, zstd, type FromProgram } from './compression.js';
import { ContentClient, type BlobWriter, type ContentClientOptions } from './content-store.js';
import { CallFailure, Code, unimplemented } from './failure.js';
import { TAR, TAR_GZIP, TAR_ZSTD } from './messages.js';

/** Label of a compressed blob: the digest of what is in it. */
const UNCOMPRESSED_LABEL = 'containerd.io/uncompressed';
/** How long a new blob is protected, if the client has no lease: it takes no longer until an image refers to it. */
const LEASE_SECONDS = 3600;
const READ_BYTES = 1 << 20;
const WRITE_BYTES = 1 << 20;

export interface ApplyTask {
  readonly kind: 'apply';
  /** An empty clone that nobody else changes. If the task fails, it holds a part of the blob. */
  readonly layer: LayerIndex;
  readonly digest: string;
  /** Length of the blob in bytes; 0: not known. */
  readonly size: number;
  readonly store: ContentClientOptions;
}

export interface CompareTask {
  readonly kind: 'compare';
  readonly layer: string;
  /** The layer to compare with, an ancestor; null: everything. */
  readonly base: string | null;
  readonly mediaType: string;
  readonly ref: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly store: ContentClientOptions;
}

export type DiffTask = ApplyTask | CompareTask;

export interface Result {
  readonly digest: string;
  readonly size: number;
}

/** How a task learns that nobody waits for it any more. */
export class Cancellation {
  /** Word 0 is 1 from then on, for tasks that leave no time for events. */
  readonly #flag: Int32Array;
  readonly #controller = new AbortController();

  constructor(flag: Int32Array) {
    this.#flag = flag;
  }

  /** For tasks that wait for events; whoever cancels also sets the flag. */
  abort(): void {
    this.#controller.abort();
  }

  onAbort(work: () => void): void {
    this.#controller.signal.addEventListener('abort', work);
  }

  /** Throws CallFailure if the task is cancelled. */
  check(): void {
    if (Atomics.load(this.#flag, 0) === 1) throw new CallFailure(Code.CANCELLED, 'the caller does not wait any more');
  }
}

/** Throws CallFailure or LcfsError. `fd` is the volume's: what a large blob leaves to be written out is begun meanwhile. */
export function perform(task: DiffTask, cancellation: Cancellation, fd: number): Promise<Result> {
  return task.kind === 'apply' ? apply(task, cancellation, fd) : compare(task, cancellation);
}

function connect(task: DiffTask, cancellation: Cancellation): ContentClient {
  const store = new ContentClient(task.store);
  cancellation.onAbort(() => store.close());
  return store;
}

/** Returns digest and length of the uncompressed tar. */
async function apply(task: ApplyTask, cancellation: Cancellation, fd: number): Promise<Result> {
  const store = connect(task, cancellation);
  const sink = new LayerSink(task.layer, cancellation, fd);
  try {
    // Asking for the size tells whether the client may see the blob.
    const [path] = await Promise.all([store.fileOf(task.digest), store.sizeOf(task.digest)]);
    const file = await openFile(path);
    if (file !== null) await applyFile(file, task, sink);
    else await applyStream(store.read(task.digest), task, sink);
    return sink.finish();
  } finally {
    sink.abort();
    store.close();
  }
}

/** Null: there is none. */
async function openFile(path: string | null): Promise<FileHandle | null> {
  return path === null ? null : open(path).catch(() => null);
}

async function applyFile(file: FileHandle, task: ApplyTask, sink: LayerSink): Promise<void> {
  try {
    const quick = decompressFile(file.fd, task.size);
    if (quick === null) await applyStream(file.createReadStream({ start: 0, autoClose: false, highWaterMark: READ_BYTES }), task, sink);
    else {
      await takeAll(quick, sink);
      checkFile(file.fd, task);
    }
  } finally {
    await file.close();
  }
}

async function takeAll(source: FromProgram, sink: LayerSink): Promise<void> {
  try {
    for (const chunk of source.chunks) sink.write(chunk);
    await source.end();
  } finally {
    source.stop();
  }
}

async function applyStream(stream: AsyncIterable<Uint8Array>, task: ApplyTask, sink: LayerSink): Promise<void> {
  const check = new BlobCheck(task);
  for await (const chunk of decompress(check.watch(stream), task.size)) sink.write(chunk);
  check.finish();
}

/** Takes a tar apart into a layer and digests it. */
class LayerSink {
  readonly #import: LayerImport;
  readonly #cancellation: Cancellation;
  readonly #writeOut: WriteOut;
  readonly #tar = new Measure();

  constructor(layer: LayerIndex, cancellation: Cancellation, fd: number) {
    this.#import = new LayerImport(layer);
    this.#cancellation = cancellation;
    this.#writeOut = new WriteOut(fd);
  }

  write(chunk: Uint8Array): void {
    this.#cancellation.check();
    this.#tar.add(chunk);
    this.#import.write(chunk);
    this.#writeOut.written(chunk.length);
  }

  finish(): Result {
    this.#import.finish();
    return this.#tar.result();
  }

  /** Gives back what it has in memory. */
  abort(): void {
    this.#import.abort();
  }
}

/** Counts and digests bytes. */
class Measure {
  readonly #algorithm: string;
  readonly #hash: Hash;
  #size = 0;

  constructor(algorithm = 'sha256') {
    this.#algorithm = algorithm;
    this.#hash = createHash(algorithm);
  }

  add(bytes: Uint8Array): void {
    this.#hash.update(bytes);
    this.#size += bytes.length;
  }

  /** Measures what passes. */
  async *watch(bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of bytes) {
      this.add(chunk);
      yield chunk;
    }
  }

  /** To be called once, at the end. */
  result(): Result {
    return { digest: `${this.#algorithm}:${this.#hash.digest('hex')}`, size: this.#size };
  }
}

/** Compares a blob's digest and length with what is promised. */
class BlobCheck extends Measure {
  readonly #promised: ApplyTask;

  constructor(promised: ApplyTask) {
    super(promised.digest.split(':')[0]);
    this.#promised = promised;
  }

  /** Throws CallFailure. */
  finish(): void {
    const { digest, size } = this.#promised;
    const found = this.result();
    if (size > 0 && found.size !== size) throw damaged(digest, `it has ${found.size} bytes instead of ${size}`);
    if (found.digest !== digest) throw damaged(digest, `its digest is ${found.digest}`);
  }
}

function checkFile(fd: number, task: ApplyTask): void {
  const check = new BlobCheck(task);
  const chunk = Buffer.allocUnsafeSlow(READ_BYTES);
  let at = 0;
  for (let bytes = readSync(fd, chunk, 0, chunk.length, at); bytes > 0; bytes = readSync(fd, chunk, 0, chunk.length, at)) {
    check.add(chunk.subarray(0, bytes));
    at += bytes;
  }
  check.finish();
}

function damaged(digest: string, cause: string): CallFailure {
  return new CallFailure(Code.DATA_LOSS, `blob ${digest} in containerd's content store is not what it should be: ${cause}`);
}

/** Returns digest and length of the blob. */
async function compare(task: CompareTask, cancellation: Cancellation): Promise<Result> {
  const store = connect(task, cancellation);
  try {
    const tar = new Measure();
    const blob = compressed(tar.watch(exportLayer(task.layer, task.base)), task.mediaType);
    if (task.store.lease === '') await store.takeLease(`lcfs-diff-${randomUUID()}`, LEASE_SECONDS);
    const writer = await store.write(task.ref === '' ? `lcfs-diff-${randomUUID()}` : task.ref);
    return await send(store, writer, { tar, blob, labels: task.labels }, cancellation);
  } finally {
    store.close();
  }
}

interface NewBlob {
  /** Measures the tar while the blob is taken. */
  tar: Measure;
  blob: AsyncIterable<Uint8Array>;
  labels: Readonly<Record<string, string>>;
}

async function send(store: ContentClient, writer: BlobWriter, { tar, blob, labels }: NewBlob, cancellation: Cancellation): Promise<Result> {
  const whole = new Measure();
  try {
    for await (const chunk of inLargePieces(whole.watch(blob))) {
      cancellation.check();
      await writer.append(chunk);
    }
    const result = whole.result();
    const diffId = tar.result().digest;
    await writer.commit(result.digest, { ...labels, [UNCOMPRESSED_LABEL]: diffId });
    // A blob that was there before may lack the label.
    await store.label(result.digest, UNCOMPRESSED_LABEL, diffId);
    return result;
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

/** The same bytes in pieces of WRITE_BYTES or a little more: each is answered before the next is sent. */
async function* inLargePieces(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of bytes) {
    chunks.push(chunk);
    length += chunk.length;
    if (length < WRITE_BYTES) continue;
    yield Buffer.concat(chunks);
    chunks = [];
    length = 0;
  }
  if (length > 0) yield Buffer.concat(chunks);
}

/** Throws CallFailure Unimplemented if this kind of layer cannot be made. */
function compressed(tar: AsyncIterable<Uint8Array>, mediaType: string): AsyncIterable<Uint8Array> {
  const stream = mediaType === TAR ? tar : mediaType === TAR_GZIP ? gzip(tar) : mediaType === TAR_ZSTD ? zstd(tar) : null;
  if (stream === null) throw unimplemented(`layers of the type "${mediaType.slice(0, 100)}" cannot be made here`);
  return stream;
}
