/**
 * What the differ does with streams: a blob of containerd's content store into a layer, the difference of two layers into
 * a blob. It runs in threads of its own (diff-worker.ts), so that nobody waits behind it. Streams set the pace: of a blob of
 * any size, a few chunks are in memory.
 */
import { createHash, randomUUID } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import { exportLayer } from '../../archive/export.js';
import { LayerImport } from '../../archive/import.js';
import type { LayerIndex } from '../../layout/constants.js';
import { decompress, gzip, zstd } from './compression.js';
import { ContentClient, type BlobWriter, type ContentClientOptions } from './content-store.js';
import { CallFailure, unimplemented } from './failure.js';
import { TAR, TAR_GZIP, TAR_ZSTD } from './messages.js';

/** Label of a compressed blob: the digest of what is in it. */
const UNCOMPRESSED_LABEL = 'containerd.io/uncompressed';
/** How long a new blob is protected, if the client has no lease: it takes no longer until an image refers to it. */
const LEASE_SECONDS = 3600;

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

/** Throws CallFailure or LcfsError. */
export function perform(task: DiffTask, signal: AbortSignal): Promise<Result> {
  return task.kind === 'apply' ? apply(task, signal) : compare(task, signal);
}

/** Returns digest and length of the uncompressed tar. */
async function apply(task: ApplyTask, signal: AbortSignal): Promise<Result> {
  const store = new ContentClient(task.store);
  try {
    const blob = new CheckedBlob(store.read(task.digest, signal), task);
    const tar = new Measured(decompress(blob, task.size));
    await importTar(tar, task.layer, signal);
    blob.check();
    return tar.result();
  } finally {
    store.close();
  }
}

async function importTar(tar: AsyncIterable<Uint8Array>, layer: LayerIndex, signal: AbortSignal): Promise<void> {
  const work = new LayerImport(layer);
  try {
    for await (const chunk of tar) {
      refuseIfCancelled(signal);
      work.write(chunk);
    }
    work.finish();
  } finally {
    work.abort();
  }
}

function refuseIfCancelled(signal: AbortSignal): void {
  if (signal.aborted) throw new CallFailure(status.CANCELLED, 'the caller does not wait any more');
}

/** Counts and digests what passes. */
class Measured {
  readonly #bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
  readonly #hash = createHash('sha256');
  #size = 0;

  constructor(bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>) {
    this.#bytes = bytes;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for await (const chunk of this.#bytes) {
      this.#hash.update(chunk);
      this.#size += chunk.length;
      yield chunk;
    }
  }

  /** To be called once, at the end. */
  result(): Result {
    return { digest: `sha256:${this.#hash.digest('hex')}`, size: this.#size };
  }
}

/** A blob whose digest and length are compared with what is promised. */
class CheckedBlob {
  readonly #bytes: AsyncIterable<Uint8Array>;
  readonly #promised: ApplyTask;
  readonly #hash;
  #size = 0;

  constructor(bytes: AsyncIterable<Uint8Array>, promised: ApplyTask) {
    this.#bytes = bytes;
    this.#promised = promised;
    this.#hash = createHash(algorithmOf(promised.digest));
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for await (const chunk of this.#bytes) {
      this.#hash.update(chunk);
      this.#size += chunk.length;
      yield chunk;
    }
  }

  /** To be called once, at the end. Throws CallFailure. */
  check(): void {
    const { digest, size } = this.#promised;
    if (size > 0 && this.#size !== size) throw damaged(digest, `it has ${this.#size} bytes instead of ${size}`);
    const found = `${algorithmOf(digest)}:${this.#hash.digest('hex')}`;
    if (found !== digest) throw damaged(digest, `its digest is ${found}`);
  }
}

function damaged(digest: string, cause: string): CallFailure {
  return new CallFailure(status.DATA_LOSS, `blob ${digest} in containerd's content store is not what it should be: ${cause}`);
}

function algorithmOf(digest: string): string {
  const algorithm = digest.split(':')[0]!;
  if (!['sha256', 'sha384', 'sha512'].includes(algorithm))
    throw unimplemented(`digests of the form "${digest.slice(0, 100)}" are not known`);
  return algorithm;
}

/** Returns digest and length of the blob. */
async function compare(task: CompareTask, signal: AbortSignal): Promise<Result> {
  const store = new ContentClient(task.store);
  try {
    if (task.store.lease === '') await store.takeLease(`lcfs-diff-${randomUUID()}`, LEASE_SECONDS);
    const tar = new Measured(exportLayer(task.layer, task.base));
    const blob = new Measured(compressed(tar, task.mediaType));
    const writer = await store.write(task.ref === '' ? `lcfs-diff-${randomUUID()}` : task.ref);
    return await send(store, writer, { tar, blob, labels: task.labels }, signal);
  } finally {
    store.close();
  }
}

interface NewBlob {
  tar: Measured;
  blob: Measured;
  labels: Readonly<Record<string, string>>;
}

async function send(store: ContentClient, writer: BlobWriter, { tar, blob, labels }: NewBlob, signal: AbortSignal): Promise<Result> {
  try {
    for await (const chunk of blob) {
      refuseIfCancelled(signal);
      await writer.append(chunk);
    }
    const result = blob.result();
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

/** Throws CallFailure Unimplemented if this kind of layer cannot be made. */
function compressed(tar: AsyncIterable<Uint8Array>, mediaType: string): AsyncIterable<Uint8Array> {
  const stream = mediaType === TAR ? tar : mediaType === TAR_GZIP ? gzip(tar) : mediaType === TAR_ZSTD ? zstd(tar) : null;
  if (stream === null) throw unimplemented(`layers of the type "${mediaType.slice(0, 100)}" cannot be made here`);
  return stream;
}
