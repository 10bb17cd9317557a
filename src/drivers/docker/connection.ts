/**
 * Small calls over a connection, without the HTTP server: a call from Docker is one packet with a few headers that do not
 * matter, and making a stream each for its body and its answer costs several times what the call itself does.
 *
 *   1. what arrives is looked at as long as it may still be the beginning of a small call (`readCall`)
 *   2. a small call is done, and its answer written as one packet; then the next one, in the order in which they came
 *   3. at the first byte that belongs to anything else – a tar, a body in chunks, no HTTP at all – the connection is handed
 *      to the HTTP server, with all that it has not answered, and stays there
 */
import type { Socket } from 'node:net';
import { BODY_BYTES_MAX, CONTENT_TYPE } from './protocol.js';

/** What came of a call: the status of HTTP, and the answer as JSON. */
export interface Outcome {
  status: number;
  text: string;
}

export interface SmallCalls {
  /** Whether a path is that of a call whose body and answer are JSON. */
  isSmall: (path: string) => boolean;
  /** Does a call. Rejects only on account of a bug. */
  call: (path: string, body: string) => Promise<Outcome>;
  /** Takes the connection over. */
  handOver: (socket: Socket) => void;
}

/** A call as it lies at the start of what was received. */
export interface SmallCall {
  path: string;
  /** Where its body begins, and where the next call does. */
  bodyAt: number;
  end: number;
}

const HEADER_BYTES_MAX = 16_384;
const REQUEST_LINE = /^POST (\/[A-Za-z.]+) HTTP\/1\.1$/;
const LENGTH = /^content-length: *(\d{1,7}) *$/;
/** Headers that change how a body is read or what becomes of the connection. */
const SPECIAL = /^(transfer-encoding|expect|connection|upgrade|content-length) *:/;

/** The call at the start of `received`: `more` if it may be one when more has arrived, `other` if it is none. */
export function readCall(received: Buffer, isSmall: (path: string) => boolean): SmallCall | 'more' | 'other' {
  const headersEnd = received.indexOf('\r\n\r\n');
  if (headersEnd < 0) return mayBegin(received) ? 'more' : 'other';
  const [first, ...headers] = received.toString('latin1', 0, headersEnd).split('\r\n');
  const path = REQUEST_LINE.exec(first!)?.[1];
  const bodyBytes = bodyLength(headers);
  if (path === undefined || bodyBytes === undefined || !isSmall(path)) return 'other';
  const bodyAt = headersEnd + 4;
  return bodyAt + bodyBytes <= received.length ? { path, bodyAt, end: bodyAt + bodyBytes } : 'more';
}

const BEGINNING = Buffer.from('POST /');

/** Whether the headers of a call may be under way. */
function mayBegin(received: Buffer): boolean {
  const bytes = Math.min(received.length, BEGINNING.length);
  return received.length < HEADER_BYTES_MAX && received.compare(BEGINNING, 0, bytes, 0, bytes) === 0;
}

/** Length of the body; undefined unless the headers tell it and nothing else that matters. */
function bodyLength(headers: readonly string[]): number | undefined {
  let length: number | undefined;
  for (const header of headers) {
    const lower = header.toLowerCase();
    if (!SPECIAL.test(lower)) continue;
    const told = LENGTH.exec(lower);
    if (told === null || length !== undefined) return undefined;
    length = Number(told[1]);
  }
  return length !== undefined && length <= BODY_BYTES_MAX ? length : undefined;
}

const NOTHING = Buffer.alloc(0);

/** One connection, until it is handed over or ends. */
export class Connection {
  readonly #socket: Socket;
  readonly #calls: SmallCalls;
  #received: Buffer = NOTHING;
  /** A call is being done: what arrives meanwhile waits. */
  #busy = false;
  /** The caller or the server is about to end: the connection goes when its call is done. */
  #ending = false;
  #handedOver = false;

  constructor(socket: Socket, calls: SmallCalls) {
    this.#socket = socket;
    this.#calls = calls;
    socket.on('data', this.#take);
    socket.on('end', this.#finish);
    socket.on('error', this.#drop);
  }

  /** Ends the connection, now or when its call is done; one that was handed over is the HTTP server's business. */
  end(): void {
    if (!this.#handedOver) this.#finish();
  }

  readonly #finish = (): void => {
    this.#ending = true;
    if (!this.#busy) this.#socket.destroy();
  };

  readonly #drop = (): void => void this.#socket.destroy();

  readonly #take = (chunk: Buffer): void => {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    if (!this.#busy) this.#next();
    // A caller that sends on and on without waiting for answers is made to wait.
    else if (this.#received.length > BODY_BYTES_MAX) this.#socket.pause();
  };

  #next(): void {
    const call = this.#received.length === 0 ? 'more' : readCall(this.#received, this.#calls.isSmall);
    if (call === 'other') this.#handOver();
    else if (call !== 'more') void this.#serve(call);
  }

  async #serve({ path, bodyAt, end }: SmallCall): Promise<void> {
    this.#busy = true;
    const body = this.#received.toString('utf8', bodyAt, end);
    this.#received = end === this.#received.length ? NOTHING : this.#received.subarray(end);
    const { status, text } = await this.#calls.call(path, body);
    this.#busy = false;
    if (this.#socket.destroyed) return;
    this.#socket.write(
      `HTTP/1.1 ${status} ${status === 200 ? 'OK' : 'Refused'}\r\nContent-Type: ${CONTENT_TYPE}\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
    );
    if (this.#ending) this.#socket.end();
    else {
      this.#socket.resume();
      this.#next();
    }
  }

  #handOver(): void {
    this.#handedOver = true;
    this.#socket.off('data', this.#take);
    this.#socket.off('end', this.#finish);
    this.#socket.off('error', this.#drop);
    this.#socket.pause();
    this.#socket.unshift(this.#received);
    this.#received = NOTHING;
    this.#calls.handOver(this.#socket);
    this.#socket.resume();
  }
}
