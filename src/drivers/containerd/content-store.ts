/**
 * containerd's content store, as a client of containerd's own socket: blobs by digest, in the namespace of whoever the
 * differ works for. A connection serves one task, as a restart of containerd would leave a long-lived one waiting.
 *
 * Blobs are read through the socket. Writing takes messages in turn, each answered; if anything fails, what was written so
 * far is taken away.
 */
import { Client, credentials, Metadata, status, type ClientDuplexStream, type ServiceError } from '@grpc/grpc-js';
import { CallFailure } from './failure.js';
import * as M from './messages.js';
import { MESSAGE_BYTES_MAX, method } from './rpc.js';

const content = (name: string): string => `/containerd.services.content.v1.Content/${name}`;

const METHODS = {
  info: method(content('Info'), M.ContentInfoRequest, M.ContentInfoResponse),
  update: method(content('Update'), M.ContentUpdateRequest, M.ContentInfoResponse),
  read: method(content('Read'), M.ReadRequest, M.ReadResponse, 'server-stream'),
  write: method(content('Write'), M.WriteRequest, M.WriteResponse, 'both-streams'),
  abort: method(content('Abort'), M.AbortRequest, M.Empty),
  createLease: method('/containerd.services.leases.v1.Leases/Create', M.LeaseRequest, M.Empty),
};

/** For servers that play containerd's part in tests. */
export const CONTENT_METHODS = METHODS;

/** Bytes that may be under way without being taken: HTTP/2's own 64 KiB would make every chunk wait. */
const WINDOW_BYTES = 8 << 20;
const OPTIONS = {
  'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
  'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
  'grpc-node.flow_control_window': WINDOW_BYTES,
};

export interface ContentClientOptions {
  /** Path of containerd's socket. */
  address: string;
  namespace: string;
  /** Lease that protects what is written from containerd's garbage collector; empty: none. */
  lease: string;
}

interface Unary<A, B> {
  readonly path: string;
  readonly requestSerialize: (request: A) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => B;
}

export class ContentClient {
  readonly #client: Client;
  readonly #metadata = new Metadata();

  constructor({ address, namespace, lease }: ContentClientOptions) {
    this.#client = new Client(`unix:${address}`, credentials.createInsecure(), OPTIONS);
    this.#metadata.set('containerd-namespace', namespace);
    if (lease !== '') this.#metadata.set('containerd-lease', lease);
  }

  close(): void {
    this.#client.close();
  }

  /** Works under a new lease from now on, which ends by itself after `seconds`. */
  async takeLease(id: string, seconds: number): Promise<void> {
    const expires = new Date(Date.now() + seconds * 1000).toISOString();
    await this.#call(METHODS.createLease, { id, labels: { 'containerd.io/gc.expire': expires } });
    this.#metadata.set('containerd-lease', id);
  }

  /** Length of a blob in bytes. Throws CallFailure NotFound. */
  async sizeOf(digest: string): Promise<number> {
    const { info } = await this.#call(METHODS.info, { digest });
    return info?.size ?? 0;
  }

  /** The bytes of a blob, as fast as they are taken. Throws CallFailure. */
  async *read(digest: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const { path, requestSerialize, responseDeserialize } = METHODS.read;
    const call = this.#client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, { digest }, this.#metadata);
    const cancel = (): void => call.cancel();
    signal.addEventListener('abort', cancel);
    try {
      for await (const { data } of call as AsyncIterable<M.ReadResponse>) yield data;
    } catch (error) {
      throw explained(error);
    } finally {
      signal.removeEventListener('abort', cancel);
      call.cancel();
    }
  }

  /** Sets a label of a blob. */
  async label(digest: string, key: string, value: string): Promise<void> {
    await this.#call(METHODS.update, { info: { digest, labels: { [key]: value } }, updateMask: { paths: [`labels.${key}`] } });
  }

  /** Begins to write a blob under `ref`; what an earlier attempt left there is overwritten. */
  async write(ref: string): Promise<BlobWriter> {
    const { path, requestSerialize, responseDeserialize } = METHODS.write;
    const stream = this.#client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, this.#metadata);
    const writer = new BlobWriter(stream, () => this.#abort(ref));
    await writer.exchange({ action: M.WRITE_STAT, ref });
    return writer;
  }

  async #abort(ref: string): Promise<void> {
    try {
      await this.#call(METHODS.abort, { ref });
    } catch (error) {
      if (!(error instanceof CallFailure)) throw error; // containerd is gone, or has cleaned up itself
    }
  }

  #call<A, B>({ path, requestSerialize, responseDeserialize }: Unary<A, B>, request: A): Promise<B> {
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, this.#metadata, (error, answer) => {
        if (error === null) resolve(answer!);
        else reject(explained(error));
      });
    });
  }
}

type WriteStream = ClientDuplexStream<Partial<M.WriteRequest>, M.WriteResponse>;

/** A blob that is being written. */
export class BlobWriter {
  readonly #stream: WriteStream;
  readonly #answers: AsyncIterator<M.WriteResponse>;
  readonly #takeAway: () => Promise<void>;
  #offset = 0;

  constructor(stream: WriteStream, takeAway: () => Promise<void>) {
    this.#stream = stream;
    this.#answers = stream[Symbol.asyncIterator]() as AsyncIterator<M.WriteResponse>;
    this.#takeAway = takeAway;
  }

  /** Sends a message and waits for its answer. Throws CallFailure. */
  async exchange(request: Partial<M.WriteRequest>): Promise<void> {
    try {
      this.#stream.write(request);
      const answer = await this.#answers.next();
      if (answer.done === true) throw new CallFailure(status.UNAVAILABLE, 'containerd ended the writing of a blob');
    } catch (error) {
      throw explained(error);
    }
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
      if (!(error instanceof CallFailure && error.code === status.ALREADY_EXISTS)) throw error;
    }
    this.#stream.end();
  }

  /** Gives up. */
  async abort(): Promise<void> {
    this.#stream.cancel();
    await this.#takeAway();
  }
}

function explained(error: unknown): unknown {
  if (error instanceof CallFailure || !isServiceError(error)) return error;
  return new CallFailure(error.code, `containerd's content store: ${error.details}`);
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && typeof (error as ServiceError).code === 'number' && 'details' in error;
}
