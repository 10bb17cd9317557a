/**
 * A gRPC client over a unix socket, for one task: HTTP/2 with messages that are prefixed by a byte (0: not compressed) and
 * their length (u32, big-endian), and trailers that tell how the call ended. `close` ends everything that is under way, at
 * once.
 *
 * The library that serves containerd has a client, too; but a stream that is given up while data is on its way keeps that
 * one's connection, and what was received, for ever.
 */
import { connect as connectHttp2, type ClientHttp2Session, type ClientHttp2Stream, type IncomingHttpHeaders } from 'node:http2';
import { connect } from 'node:net';
import { CallFailure, Code } from './failure.js';
import { MESSAGE_BYTES_MAX, type Method } from './method.js';

/** Bytes that may be under way without being taken: HTTP/2's own 64 KiB would make every chunk wait. */
const WINDOW_BYTES = 4 << 20;
const PREFIX_BYTES = 5;

export class GrpcClient {
  readonly #session: ClientHttp2Session;
  /** Sent with every call. */
  readonly headers: Record<string, string> = {};

  /** Connects to a unix socket. That it cannot is told by the first call. */
  constructor(socket: string) {
    const settings = { initialWindowSize: WINDOW_BYTES, enablePush: false };
    this.#session = connectHttp2('http://localhost', { createConnection: () => connect(socket), settings });
    this.#session.on('connect', () => {
      if (!this.#session.destroyed) this.#session.setLocalWindowSize(WINDOW_BYTES);
    });
    this.#session.on('error', () => {}); // each stream has it, too
  }

  close(): void {
    this.#session.destroy();
  }

  /** Throws CallFailure. */
  async call<A, B>(method: Method<A, B>, request: A): Promise<B> {
    let answer: B | undefined;
    for await (const message of this.stream(method, request)) answer = message;
    if (answer === undefined) throw new CallFailure(Code.INTERNAL, `${method.path} was answered with nothing`);
    return answer;
  }

  /** The answers to one request. Throws CallFailure. */
  async *stream<A, B>(method: Method<A, B>, request: A): AsyncGenerator<B> {
    const exchange = this.open(method);
    try {
      exchange.send(request, true);
      yield* exchange.answers;
    } finally {
      exchange.close();
    }
  }

  /** A call with messages in both directions. */
  open<A, B>(method: Method<A, B>): Exchange<A, B> {
    return new Exchange(method, this.#request(method.path));
  }

  #request(path: string): ClientHttp2Stream {
    try {
      return this.#session.request({
        ...this.headers,
        ':method': 'POST',
        ':path': path,
        'content-type': 'application/grpc',
        te: 'trailers',
      });
    } catch {
      throw new CallFailure(Code.UNAVAILABLE, 'the connection to containerd is closed');
    }
  }
}

/** A call that is under way. */
export class Exchange<A, B> {
  readonly #method: Method<A, B>;
  readonly #stream: ClientHttp2Stream;
  readonly #end: Promise<CallFailure | null>;
  /** To be iterated once. Throws CallFailure if the call fails. */
  readonly answers: AsyncGenerator<B>;

  constructor(method: Method<A, B>, stream: ClientHttp2Stream) {
    this.#method = method;
    this.#stream = stream;
    this.#end = endOf(stream);
    this.answers = this.#receive();
  }

  send(request: A, isLast = false): void {
    const message = this.#method.requestSerialize(request);
    const prefix = Buffer.alloc(PREFIX_BYTES);
    prefix.writeUInt32BE(message.length, 1);
    this.#stream.write(prefix);
    this.#stream.write(message);
    if (isLast) this.#stream.end();
  }

  close(): void {
    this.#stream.destroy();
  }

  async *#receive(): AsyncGenerator<B> {
    const messages = new MessageReader();
    try {
      for await (const chunk of this.#stream as AsyncIterable<Buffer>)
        for (const message of messages.take(chunk)) yield this.#method.responseDeserialize(message);
    } catch (error) {
      throw error instanceof CallFailure ? error : ((await this.#end) ?? error);
    }
    this.#stream.end(); // the call has ended, even if we had more to say
    const failure = await this.#end;
    if (failure !== null) throw failure;
  }
}

/** How the call ended: null if well. */
function endOf(stream: ClientHttp2Stream): Promise<CallFailure | null> {
  let last: IncomingHttpHeaders = {};
  let broken = 'the connection to containerd broke off';
  stream.on('response', (headers) => (last = headers));
  stream.on('trailers', (headers: IncomingHttpHeaders) => (last = headers));
  stream.on('error', (error) => (broken = error.message));
  return new Promise((resolve) => {
    stream.once('close', () => {
      const code = last['grpc-status'];
      if (code === '0') resolve(null);
      else if (code === undefined) resolve(new CallFailure(Code.UNAVAILABLE, broken));
      else resolve(new CallFailure(Number(code), decodeURIComponent(String(last['grpc-message'] ?? ''))));
    });
  });
}

/** Puts messages together from the chunks that they travel in. */
class MessageReader {
  #chunks: Buffer[] = [];
  #bytes = 0;

  *take(chunk: Buffer): Generator<Buffer> {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    for (let length = this.#length(); length >= 0; length = this.#length()) {
      const all = Buffer.concat(this.#chunks);
      const end = PREFIX_BYTES + length;
      this.#chunks = [all.subarray(end)];
      this.#bytes -= end;
      yield all.subarray(PREFIX_BYTES, end);
    }
  }

  /** Length of the next message, -1 if it is not complete. */
  #length(): number {
    if (this.#bytes < PREFIX_BYTES) return -1;
    if (this.#chunks[0]!.length < PREFIX_BYTES) this.#chunks = [Buffer.concat(this.#chunks)];
    const length = this.#chunks[0]!.readUInt32BE(1);
    if (this.#chunks[0]![0] !== 0 || length > MESSAGE_BYTES_MAX) throw new CallFailure(Code.INTERNAL, 'containerd sent what is no message');
    return this.#bytes < PREFIX_BYTES + length ? -1 : length;
  }
}
