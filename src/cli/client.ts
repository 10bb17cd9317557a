/**
 * The client's end of the control protocol (daemon/protocol.ts): finds the daemon, asks, and turns what it refuses into
 * LcfsErrors. Connections are not reused: a command asks once or twice and ends.
 */
import { statSync } from 'node:fs';
import { request, type ClientRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { ERROR_TRAILER, RESULT_TRAILER, type Failure, type Status } from '../daemon/protocol.js';
import { defaultSocket, liveSockets, SOCKET_DIRECTORY } from '../daemon/sockets.js';
import { LcfsError, type ErrorCode } from '../engine/errors.js';

/** A serving process that dies takes its connections along. The next one serves within a second, unless it has much to read. */
const RETRIES = 20;
const RETRY_MS = 250;
/** How long a handover may take: calls of engines that are under way are done first. */
const HANDOVER_PATIENCE_MS = 180_000;

/** Query parameters; undefined ones are left out. */
export type Query = Readonly<Record<string, string | undefined>>;

export class Client {
  readonly socket: string;
  constructor(socket: string) {
    this.socket = socket;
  }

  /** Asks for one JSON value. Throws LcfsError for what the daemon refuses. */
  async call<T>(method: string, path: string, body?: unknown, query: Query = {}): Promise<T> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    for (let tries = 0; ; tries++) {
      try {
        const response = await this.#send(method, path, query, (outgoing) => outgoing.end(text));
        return JSON.parse(await readText(response)) as T;
      } catch (error) {
        // A question may be asked again; whether a change has been made is not known.
        if (method !== 'GET' || !(error instanceof CutOff) || tries === RETRIES) throw error;
        await delay(RETRY_MS);
      }
    }
  }

  /** The JSON values of an answer that streams lines. */
  async *lines<T>(method: string, path: string, query: Query = {}): AsyncGenerator<T> {
    const response = await this.#send(method, path, query, (outgoing) => outgoing.end());
    for await (const line of createInterface({ input: response, crlfDelay: Infinity })) if (line !== '') yield JSON.parse(line) as T;
    proveComplete(response);
  }

  /** Sends `source` as the body and returns the JSON answer. A failure of the source is thrown as it is. */
  async upload<T>(path: string, source: Readable, query: Query = {}): Promise<T> {
    let broken: Error | undefined;
    let sending: Promise<void> | undefined;
    const send = (outgoing: ClientRequest): void => {
      // A daemon that refuses answers before the body is through; the answer is what counts then. It must not close the
      // connection before we have read it, as it would if we did not ask to keep it.
      outgoing.setHeader('connection', 'keep-alive');
      // A connection that breaks takes the source along with it, so only what comes first tells the cause.
      source.once('error', (error: NodeJS.ErrnoException) => {
        broken = outgoing.errored === null && error.code !== 'ECONNRESET' ? error : undefined;
      });
      sending = pipeline(source, outgoing).catch(() => {});
    };
    try {
      return JSON.parse(await readText(await this.#send('PUT', path, query, send))) as T;
    } catch (error) {
      throw broken ?? error;
    } finally {
      source.destroy();
      await sending;
    }
  }

  /** The body of an answer. Call `finish` when it has been read: it throws if the answer is not whole. */
  async download(path: string, query: Query = {}): Promise<{ body: Readable; finish: () => void }> {
    const body = await this.#send('GET', path, query, (outgoing) => outgoing.end());
    return { body, finish: () => proveComplete(body) };
  }

  async #send(method: string, path: string, query: Query, write: (outgoing: ClientRequest) => void): Promise<IncomingMessage> {
    const options: RequestOptions = { socketPath: this.socket, method, path: `/v1/${path}${queryText(query)}`, agent: false };
    const response = await new Promise<IncomingMessage>((settle, reject) => {
      const outgoing = request(options, settle);
      outgoing.once('error', (error: NodeJS.ErrnoException) => reject(connectionError(this.socket, error)));
      write(outgoing);
    });
    if (response.statusCode! < 400) return response;
    throw refusal(await readText(response));
  }
}

function queryText(query: Query): string {
  const given = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return given.length === 0 ? '' : `?${new URLSearchParams(given)}`;
}

async function readText(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of response) chunks.push(chunk as Buffer);
  } catch {
    throw cutOff();
  }
  return Buffer.concat(chunks).toString();
}

function refusal(text: string): LcfsError {
  const { error } = JSON.parse(text) as { error: Failure };
  return failureError(error);
}

function failureError(failure: Failure): LcfsError {
  return new LcfsError(failure.code as ErrorCode, failure.message);
}

function proveComplete(response: IncomingMessage): void {
  const failure = response.trailers[ERROR_TRAILER];
  if (failure !== undefined) throw failureError(JSON.parse(decodeURIComponent(failure)) as Failure);
  if (response.trailers[RESULT_TRAILER] !== 'ok') throw cutOff();
}

/** The serving process went away before its answer was whole. */
class CutOff extends LcfsError {
  constructor(what: string) {
    super('io', `${what}; see its log, and start it again with lcfs daemon unless its supervisor has done so (lcfs status)`);
  }
}

function cutOff(): LcfsError {
  return new CutOff('the daemon went away in the middle of its answer');
}

function connectionError(socket: string, error: NodeJS.ErrnoException): LcfsError {
  if (error.code === 'EACCES') return new LcfsError('invalid', `${socket} is for root alone: run this as root`);
  if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') {
    return new LcfsError('not-found', `no daemon answers on ${socket}: start one with lcfs daemon DEVICE MOUNTPOINT`);
  }
  return new CutOff(`the connection to the daemon on ${socket} broke off (${error.code ?? error.message})`);
}

/**
 * The daemon that `where` names: a control socket, or the mountpoint of its volume; without a name, the only one that runs.
 */
export async function findDaemon(where: string | undefined): Promise<Client> {
  return new Client(where === undefined ? await onlySocket() : namedSocket(where));
}

/** Waits until another serving process than `pid` answers. Throws LcfsError `io` if none does. */
export async function nextProcess(daemon: Client, pid: number): Promise<Status> {
  for (let waitedMs = 0; waitedMs < HANDOVER_PATIENCE_MS; waitedMs += RETRY_MS) {
    const status = await daemon.call<Status>('GET', 'status');
    if (status.pid !== pid) return status;
    await delay(RETRY_MS);
  }
  throw new LcfsError('io', `process ${pid} goes on serving: see its log`);
}

/** A folder is a mountpoint, even one that no longer answers (then stat fails with ENOTCONN); all else is a socket. */
function namedSocket(where: string): string {
  try {
    return statSync(where).isDirectory() ? defaultSocket(where) : where;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOTCONN' ? defaultSocket(where) : where;
  }
}

async function onlySocket(): Promise<string> {
  const fromEnvironment = process.env['LCFS_CONTROL'];
  if (fromEnvironment !== undefined) return namedSocket(fromEnvironment);
  const sockets = await readableSockets();
  if (sockets.length === 1) return sockets[0]!;
  if (sockets.length === 0)
    throw new LcfsError('not-found', `no daemon runs (none in ${SOCKET_DIRECTORY}): start one with lcfs daemon DEVICE MOUNTPOINT`);
  throw new LcfsError(
    'invalid',
    `${sockets.length} daemons run; name one with --control and its mountpoint or one of ${sockets.join(', ')}`,
  );
}

async function readableSockets(): Promise<string[]> {
  try {
    return await liveSockets();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EACCES')
      throw new LcfsError('invalid', `${SOCKET_DIRECTORY} is for root alone: run this as root`);
    throw error;
  }
}
