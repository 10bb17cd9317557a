/**
 * containerd's content store, as a client of containerd's own socket: blobs by digest, in the namespace of whoever the
 * differ works for. A connection serves one task.
 *
 * Where blobs lie as files, containerd tells if asked; whoever reads a file finds out by its digest whether it is the right
 * one. If there is no such file here, blobs are read through the socket. Writing takes messages in turn, each answered; if
 * anything fails, what was written so far is taken away.
 */
import { join } from 'node:path';
import { GrpcClient, type Exchange } from './client.js';
import { CallFailure, Code } from './failure.js';
import * as M from './messages.js';
import { method } from './method.js';

const content = (name: string): string => `/containerd.services.content.v1.Content/${name}`;

export const CONTENT_METHODS = {
  info: method(content('Info'), M.ContentInfoRequest, M.ContentInfoResponse),
  update: method(content('Update'), M.ContentUpdateRequest, M.ContentInfoResponse),
  read: method(content('Read'), M.ReadRequest, M.ReadResponse, 'server-stream'),
  write: method(content('Write'), M.WriteRequest, M.WriteResponse, 'both-streams'),
  abort: method(content('Abort'), M.AbortRequest, M.Empty),
  plugins: method('/containerd.services.introspection.v1.Introspection/Plugins', M.PluginsRequest, M.PluginsResponse),
  createLease: method('/containerd.services.leases.v1.Leases/Create', M.LeaseRequest, M.Empty),
};

export interface ContentClientOptions {
  /** Path of containerd's socket. */
  readonly address: string;
  readonly namespace: string;
  /** Lease that protects what is written from containerd's garbage collector; empty: none. */
  readonly lease: string;
}

/** Folder of the content store by containerd's socket; empty: there is none. A wrong one is as good as none. */
const roots = new Map<string, string>();

/** All methods throw CallFailure. */
export class ContentClient {
  readonly #address: string;
  readonly #client: GrpcClient;

  constructor({ address, namespace, lease }: ContentClientOptions) {
    this.#address = address;
    this.#client = new GrpcClient(address);
    this.#client.headers['containerd-namespace'] = namespace;
    if (lease !== '') this.#client.headers['containerd-lease'] = lease;
  }

  /** Ends what is under way. */
  close(): void {
    this.#client.close();
  }

  /** Works under a new lease from now on, which ends by itself after `seconds`. */
  async takeLease(id: string, seconds: number): Promise<void> {
    const expires = new Date(Date.now() + seconds * 1000).toISOString();
    await this.#client.call(CONTENT_METHODS.createLease, { id, labels: { 'containerd.io/gc.expire': expires } });
    this.#client.headers['containerd-lease'] = id;
  }

  /** Length of a blob in bytes. */
  async sizeOf(digest: string): Promise<number> {
    const { info } = await this.#client.call(CONTENT_METHODS.info, { digest });
    return info?.size ?? 0;
  }

  /** Where a blob would lie as a file, if containerd's content store is its usual one; null: it is not. */
  async fileOf(digest: string): Promise<string | null> {
    const root = roots.get(this.#address) ?? (await this.#askForRoot());
    return root === '' ? null : join(root, 'blobs', ...digest.split(':'));
  }

  async #askForRoot(): Promise<string> {
    const { plugins } = await this.#client.call(CONTENT_METHODS.plugins, { filters: ['type==io.containerd.content.v1,id==content'] });
    const root = plugins[0]?.exports?.['root'] ?? '';
    roots.set(this.#address, root);
    return root;
  }

  /** The bytes of a blob, as fast as they are taken. */
  async *read(digest: string): AsyncGenerator<Uint8Array> {
    for await (const { data } of this.#client.stream(CONTENT_METHODS.read, { digest })) yield data;
  }

  /** Sets a label of a blob. */
  async label(digest: string, key: string, value: string): Promise<void> {
    await this.#client.call(CONTENT_METHODS.update, {
      info: { digest, labels: { [key]: value } },
      updateMask: { paths: [`labels.${key}`] },
    });
  }

  /** Begins to write a blob under `ref`; what an earlier attempt left there is overwritten. */
  async write(ref: string): Promise<BlobWriter> {
    const writer = new BlobWriter(this.#client.open(CONTENT_METHODS.write), () => this.#abort(ref));
    await writer.exchange({ action: M.WRITE_STAT, ref });
    return writer;
  }

  async #abort(ref: string): Promise<void> {
    try {
      await this.#client.call(CONTENT_METHODS.abort, { ref });
    } catch (error) {
      if (!(error instanceof CallFailure)) throw error; // containerd is gone, or has cleaned up itself
    }
  }
}

/** A blob that is being written. All methods throw CallFailure. */
export class BlobWriter {
  readonly #exchange: Exchange<Partial<M.WriteRequest>, M.WriteResponse>;
  readonly #takeAway: () => Promise<void>;
  #offset = 0;

  constructor(exchange: Exchange<Partial<M.WriteRequest>, M.WriteResponse>, takeAway: () => Promise<void>) {
    this.#exchange = exchange;
    this.#takeAway = takeAway;
  }

  /** Sends a message and waits for its answer. */
  async exchange(request: Partial<M.WriteRequest>): Promise<void> {
    this.#exchange.send(request);
    const answer = await this.#exchange.answers.next();
    if (answer.done === true) throw new CallFailure(Code.UNAVAILABLE, 'containerd ended the writing of a blob');
  }

  async append(data: Uint8Array): Promise<void> {
    await this.exchange({ action: M.WRITE_DATA, offset: this.#offset, data });
    this.#offset += data.length;
  }

  /** Completes the blob. That it exists already is as good. */
  async commit(digest: string, labels: Readonly<Record<string, string>>): Promise<void> {
    try {
      await this.exchange({ action: M.WRITE_COMMIT, offset: this.#offset, total: this.#offset, expected: digest, labels });
    } catch (error) {
      if (!(error instanceof CallFailure && error.code === Code.ALREADY_EXISTS)) throw error;
    }
    this.#exchange.close();
  }

  /** Gives up. */
  async abort(): Promise<void> {
    this.#exchange.close();
    await this.#takeAway();
  }
}
