/** For tests of the containerd driver: a client of it, and a containerd that has nothing but contents and leases. */
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Client, credentials, Metadata, Server, ServerCredentials, status, type MethodDefinition } from '@grpc/grpc-js';
import { CONTENT_METHODS } from '../../src/drivers/containerd/content-store.js';
import { WRITE_COMMIT, WRITE_STAT, type WriteRequest } from '../../src/drivers/containerd/messages.js';

/** Calls methods of a server on a unix socket. */
export class TestClient {
  readonly #client: Client;
  readonly metadata = new Metadata();

  constructor(socket: string, namespace = 'test') {
    this.#client = new Client(`unix:${socket}`, credentials.createInsecure());
    this.metadata.set('containerd-namespace', namespace);
  }

  close(): void {
    this.#client.close();
  }

  /** Rejects with a ServiceError. */
  call<A, B>(method: MethodDefinition<A, B>, request: A, signal?: AbortSignal): Promise<B> {
    const { path, requestSerialize, responseDeserialize } = method;
    return new Promise((resolve, reject) => {
      const call = this.#client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, this.metadata, (error, value) => {
        if (error === null) resolve(value!);
        else reject(error);
      });
      signal?.addEventListener('abort', () => call.cancel());
    });
  }

  async collect<A, B>(method: MethodDefinition<A, B>, request: A): Promise<B[]> {
    const { path, requestSerialize, responseDeserialize } = method;
    const call = this.#client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, this.metadata);
    const all: B[] = [];
    for await (const message of call) all.push(message as B);
    return all;
  }
}

interface Blob {
  bytes: Buffer;
  labels: Record<string, string>;
}

export const digestOf = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

/** Serves contents on a socket. */
export class FakeContainerd {
  readonly blobs = new Map<string, Blob>();
  /** Writes that were begun and not completed. */
  readonly open = new Map<string, Buffer>();
  readonly leases: string[] = [];
  /** Headers of the last write. */
  headers = new Metadata();
  /** Folder in which blobs lie as files; empty: containerd tells of none. */
  root = '';
  /** Namespaces that calls were made in. */
  readonly namespaces = new Set<string>();
  /** Blobs that were asked for. */
  asked = 0;
  /** Reading stops after so many bytes, and goes on when the caller cancels. */
  stallAfter = Infinity;
  /** Reading fails after so many bytes. */
  breakAfter = Infinity;
  readonly #server = new Server();

  async listen(socket: string): Promise<void> {
    const methods = Object.entries(CONTENT_METHODS);
    this.#server.addService(Object.fromEntries(methods), {
      info: (call: never, answer: never) => this.#answer(call, answer, ({ digest }) => (this.asked++, { info: this.#info(digest!) })),
      update: (call: never, answer: never) => this.#answer(call, answer, ({ info }) => ({ info: this.#update(info!) })),
      plugins: (call: never, answer: never) => this.#answer(call, answer, () => ({ plugins: this.#plugins() })),
      createLease: (call: never, answer: never) => this.#answer(call, answer, ({ id }) => (this.leases.push(id!), {})),
      abort: (call: never, answer: never) => this.#answer(call, answer, ({ ref }) => (this.open.delete(ref!), {})),
      read: (call: ReadCall) => this.#read(call),
      write: (call: WriteCall) => this.#write(call),
    } as never);
    await new Promise<void>((resolve, reject) =>
      this.#server.bindAsync(`unix:${socket}`, ServerCredentials.createInsecure(), (error) => (error === null ? resolve() : reject(error))),
    );
  }

  stop(): void {
    this.#server.forceShutdown();
  }

  /** Adds a blob; returns its digest. */
  add(bytes: Buffer): string {
    const digest = digestOf(bytes);
    this.blobs.set(digest, { bytes, labels: {} });
    if (this.root !== '') {
      const path = join(this.root, 'blobs', ...digest.split(':'));
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, bytes);
    }
    return digest;
  }

  #plugins(): object[] {
    return this.root === '' ? [] : [{ type: 'io.containerd.content.v1', id: 'content', exports: { root: this.root } }];
  }

  #info(digest: string): object {
    const blob = this.blobs.get(digest);
    if (blob === undefined) throw Object.assign(new Error(), { code: status.NOT_FOUND, details: `content ${digest}: not found` });
    return { digest, size: blob.bytes.length, labels: blob.labels };
  }

  #update({ digest, labels }: { digest: string; labels: Record<string, string> }): object {
    this.#info(digest);
    Object.assign(this.blobs.get(digest)!.labels, labels);
    return this.#info(digest);
  }

  #answer(call: Call, answer: (error: unknown, value?: object) => void, work: (request: Record<string, never>) => object): void {
    this.namespaces.add(String(call.metadata.get('containerd-namespace')[0] ?? ''));
    try {
      answer(null, work(call.request));
    } catch (error) {
      answer(error);
    }
  }

  #read(call: ReadCall): void {
    const blob = this.blobs.get(call.request.digest);
    if (blob === undefined) return void call.emit('error', { code: status.NOT_FOUND, details: 'content: not found' });
    for (let at = 0; at < blob.bytes.length; at += 65_536) {
      if (at >= this.stallAfter) return;
      if (at >= this.breakAfter) return void call.emit('error', { code: status.UNAVAILABLE, details: 'going down' });
      call.write({ offset: at, data: blob.bytes.subarray(at, at + 65_536) });
    }
    call.end();
  }

  #write(call: WriteCall): void {
    this.headers = call.metadata;
    let ref = '';
    let data = Buffer.alloc(0);
    call.on('data', (request) => {
      if (request.action === WRITE_STAT) ({ ref } = request);
      else data = Buffer.concat([request.offset === 0 ? Buffer.alloc(0) : data, request.data]);
      this.open.set(ref, data);
      if (request.action === WRITE_COMMIT && !this.#commit(call, ref, data, request)) return;
      call.write({ action: request.action, offset: data.length, digest: digestOf(data) });
      if (request.action === WRITE_COMMIT) call.end();
    });
    call.on('end', () => call.end());
  }

  #commit(call: WriteCall, ref: string, bytes: Buffer, { expected, total, labels }: WriteRequest): boolean {
    this.open.delete(ref);
    if (this.blobs.has(expected)) call.emit('error', { code: status.ALREADY_EXISTS, details: 'exists' });
    else if (digestOf(bytes) !== expected || bytes.length !== total)
      call.emit('error', { code: status.FAILED_PRECONDITION, details: `${bytes.length} bytes are ${digestOf(bytes)}` });
    else {
      this.blobs.set(expected, { bytes, labels: { ...labels } });
      return true;
    }
    return false;
  }
}

interface Call {
  metadata: Metadata;
  request: Record<string, never>;
}

interface ReadCall {
  request: { digest: string };
  write: (message: object) => void;
  end: () => void;
  emit: (event: string, error: object) => void;
}

interface WriteCall {
  metadata: Metadata;
  on: (event: 'data' | 'end', listener: (request: WriteRequest) => void) => void;
  write: (message: object) => void;
  end: () => void;
  emit: (event: string, error: object) => void;
}
