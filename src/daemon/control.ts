/**
 * The control server: reads requests of the control protocol (protocol.ts), calls the handler of their route, writes
 * answers. It runs in the main thread and never waits for the engine: what takes long is a task of its own thread.
 *
 * C1: a request that is refused has changed nothing.
 * C2: an error that is neither a refusal nor the system's ends the process: state may be half-changed.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { BlockError, LcfsError } from '../engine/errors.js';
import { ERROR_TRAILER, RESULT_TRAILER, failureOf, httpStatus } from './protocol.js';

/** Bodies other than tars are a few names. */
const BODY_BYTES_MAX = 1 << 20;

/** One request, taken apart. */
export interface Call {
  /** Values of the `:name` segments of the route, decoded. */
  names: readonly string[];
  query: URLSearchParams;
  request: IncomingMessage;
  response: ServerResponse;
  /** Aborted when the client goes away. */
  signal: AbortSignal;
}

/** Returns the value to answer with, or STREAMED when the answer has been written already. */
export type Handler = (call: Call) => unknown;

export const STREAMED = Symbol('streamed');

export interface Route {
  method: string;
  /** As in `layers/:name/diff`. */
  path: string;
  handler: Handler;
}

export interface ControlOptions {
  routes: readonly Route[];
  onRefusal: (what: string, error: unknown) => void;
  /** Must not return (C2). */
  onBug: (error: unknown) => void;
}

/** Each piece of a stream that is on its way listens for the end of its connection, and there are never more. */
const LISTENERS_MAX = 32;

export function makeControlServer(options: ControlOptions): Server {
  const server = createServer((request, response) => void serve(options, request, response));
  // An import may feed its tar for hours.
  server.requestTimeout = 0;
  return server;
}

async function serve(options: ControlOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const gone = new AbortController();
  const { socket } = request;
  socket.setMaxListeners(LISTENERS_MAX);
  const leave = (): void => gone.abort();
  response.once('close', leave);
  response.on('error', leave);
  // An answer that waits behind others on its connection is not told that the connection has ended.
  socket.once('close', leave);
  try {
    const call = findRoute(options.routes, request, response, gone.signal);
    const value = await call.handler(call);
    if (value !== STREAMED) answer(response, 200, value ?? {});
  } catch (error) {
    if (!isRefusal(error)) options.onBug(error);
    options.onRefusal(`${request.method} ${request.url}`, error);
    refuse(response, error);
  } finally {
    socket.off('close', leave);
    // Whatever is left of a body that nobody wanted.
    request.resume();
  }
}

/** What the engine or the system refuses (ENOENT, ECONNRESET …; Node's own ERR_… codes tell of wrong calls). */
function isRefusal(error: unknown): boolean {
  if (error instanceof LcfsError || error instanceof BlockError) return true;
  return error instanceof Error && /^E[A-Z0-9]+$/.test((error as NodeJS.ErrnoException).code ?? '');
}

function findRoute(
  routes: readonly Route[],
  request: IncomingMessage,
  response: ServerResponse,
  signal: AbortSignal,
): Call & { handler: Handler } {
  // Trailers, which end an answer that streams, came with this version.
  if (request.httpVersion !== '1.1') throw new LcfsError('invalid', `the control protocol is HTTP 1.1, not ${request.httpVersion}`);
  const [path, queryText] = splitOnce(request.url ?? '', '?');
  const segments = path.split('/').slice(1);
  if (segments.shift() !== 'v1')
    throw new LcfsError(
      'not-found',
      `this daemon speaks version 1 of the control protocol, not ${path}: use the same version of lcfs for both`,
    );
  for (const route of routes) {
    const names = route.method === request.method ? match(route.path.split('/'), segments) : undefined;
    if (names !== undefined) return { names, query: new URLSearchParams(queryText), request, response, signal, handler: route.handler };
  }
  throw new LcfsError('not-found', `the control protocol has no ${request.method} ${path}`);
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}

/** Decoded values of the segments that the pattern leaves open; undefined if the path is another one. */
function match(pattern: readonly string[], segments: readonly string[]): string[] | undefined {
  if (pattern.length !== segments.length) return undefined;
  const names: string[] = [];
  for (let i = 0; i < pattern.length; i++) {
    if (pattern[i]!.startsWith(':')) names.push(decode(segments[i]!));
    else if (pattern[i] !== segments[i]) return undefined;
  }
  return names;
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw new LcfsError('invalid', `'${segment}' is not percent-encoded UTF-8`);
  }
}

function answer(response: ServerResponse, status: number, value: unknown): void {
  const text = JSON.stringify(value);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}

/** Before the first byte of an answer a refusal is an answer; after it, a trailer. */
function refuse(response: ServerResponse, error: unknown): void {
  const failure = failureOf(error);
  if (!response.headersSent) answer(response, httpStatus(failure), { error: failure });
  else endWith(response, { [ERROR_TRAILER]: encodeURIComponent(JSON.stringify(failure)) });
}

function startStream(response: ServerResponse, contentType: string): void {
  if (response.headersSent) return;
  response.writeHead(200, { 'content-type': contentType, trailer: `${RESULT_TRAILER}, ${ERROR_TRAILER}` });
}

/** Adds to an answer that streams. Settles when the bytes are on their way and may be reused, or the client is gone. */
export function writeStream(response: ServerResponse, contentType: string, bytes: Uint8Array): Promise<void> {
  startStream(response, contentType);
  return new Promise((settle) => {
    const { socket } = response.req;
    const done = (): void => {
      socket.off('close', done);
      settle();
    };
    if (socket.destroyed) return void setImmediate(settle); // its end is told in a moment
    socket.once('close', done);
    response.write(bytes, done);
  });
}

export function endStream(response: ServerResponse, contentType: string): typeof STREAMED {
  startStream(response, contentType);
  endWith(response, { [RESULT_TRAILER]: 'ok' });
  return STREAMED;
}

function endWith(response: ServerResponse, trailers: Record<string, string>): void {
  response.addTrailers(trailers);
  response.end();
}

/** The JSON object in the body, {} if there is none. Throws LcfsError. */
export async function readBody(call: Call): Promise<Record<string, unknown>> {
  const text = await readText(call.request);
  if (text === '') return {};
  const value = parse(text);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new LcfsError('invalid', 'the body is not a JSON object');
  return value as Record<string, unknown>;
}

async function readText(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) throw new LcfsError('invalid', `the body is longer than ${BODY_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new LcfsError('invalid', `the body is not JSON: ${(error as Error).message}`);
  }
}

/** A string in a body; undefined if it is missing or null. */
export function textIn(body: Record<string, unknown>, name: string): string | undefined {
  const value = body[name] ?? undefined;
  if (value !== undefined && typeof value !== 'string') throw new LcfsError('invalid', `${name} must be a string`);
  return value;
}

/** Strings in a body; none if they are missing or null. */
export function textsIn(body: Record<string, unknown>, name: string): string[] {
  const value = body[name] ?? [];
  if (!Array.isArray(value) || !value.every((entry) => typeof entry === 'string'))
    throw new LcfsError('invalid', `${name} must be an array of strings`);
  return value as string[];
}

/** A number of at least zero in a body; undefined if it is missing or null. */
export function numberIn(body: Record<string, unknown>, name: string): number | undefined {
  const value = body[name] ?? undefined;
  if (value === undefined) return undefined;
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0)
    throw new LcfsError('invalid', `${name} must be a number of at least 0`);
  return value;
}

/** Like `numberIn`, for one that must be there. */
export function requiredNumber(body: Record<string, unknown>, name: string): number {
  const value = numberIn(body, name);
  if (value === undefined) throw new LcfsError('invalid', `${name} is missing`);
  return value;
}
