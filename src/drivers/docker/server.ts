/**
 * The HTTP side of the graph driver: reads requests, calls the driver, writes answers.
 *
 * What the driver refuses travels as status 200 with `Err`, as Docker expects. A request that is no proper call at all
 * gets 400, 404, 405 or 413. A tar that cannot be sent to its end is cut off in the middle of the body, so that nobody
 * takes it for a whole one; and a tar that arrives cut off makes the call fail.
 *
 * Docker repeats a call whose connection breaks, with whatever is left of the body. So an answer is only sent when the
 * body has been read to its end, even if the call has failed long before, and idle connections are never closed while the
 * driver runs.
 *
 * Connections begin with small calls (connection.ts) and become HTTP connections when a tar comes.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { Socket } from 'node:net';
import { Bug } from '../../engine/errors.js';
import { Connection, type Outcome } from './connection.js';
import type { GraphDriver } from './driver.js';
import { type Answer, BadRequest, BODY_BYTES_MAX, CONTENT_TYPE, parseBody, parseInit, parseLayerRequest, parseQuery } from './protocol.js';

/** Takes a line for the daemon's log. */
export type Log = (level: 'info' | 'warn' | 'error', message: string) => void;

type Fields = Record<string, unknown>;
type Call = (driver: GraphDriver, fields: Fields) => Answer | Promise<Answer>;

/** Calls whose body and answer are JSON. */
const CALLS: ReadonlyMap<string, Call> = new Map<string, Call>([
  ['/Plugin.Activate', () => ({ Implements: ['GraphDriver'] })],
  ['/GraphDriver.Init', (driver, fields) => driver.init(parseInit(fields))],
  ['/GraphDriver.Capabilities', (driver) => driver.capabilities()],
  ['/GraphDriver.Create', (driver, fields) => driver.create(parseLayerRequest(fields))],
  ['/GraphDriver.CreateReadWrite', (driver, fields) => driver.createReadWrite(parseLayerRequest(fields))],
  ['/GraphDriver.Remove', (driver, fields) => driver.remove(parseLayerRequest(fields))],
  ['/GraphDriver.Get', (driver, fields) => driver.get(parseLayerRequest(fields))],
  ['/GraphDriver.Put', (driver, fields) => driver.put(parseLayerRequest(fields))],
  ['/GraphDriver.Exists', (driver, fields) => driver.exists(parseLayerRequest(fields))],
  ['/GraphDriver.Status', (driver) => driver.status()],
  ['/GraphDriver.GetMetadata', (driver, fields) => driver.metadata(parseLayerRequest(fields))],
  ['/GraphDriver.Cleanup', (driver) => driver.cleanup()],
  ['/GraphDriver.Changes', (driver, fields) => driver.changes(parseLayerRequest(fields))],
  ['/GraphDriver.DiffSize', (driver, fields) => driver.diffSize(parseLayerRequest(fields))],
]);

export interface DriverServer {
  /** Listens on nothing yet. */
  readonly http: Server;
  /** Ends the server: calls that are under way get `graceMs` to end, then their connections are closed. None runs on. */
  close(graceMs: number): Promise<void>;
}

export function makeServer(driver: GraphDriver, log: Log): DriverServer {
  const calls = new Set<Promise<unknown>>();
  const counted = <T>(call: Promise<T>): Promise<T> => {
    calls.add(call);
    return call.finally(() => calls.delete(call));
  };
  const http = createServer((request, response) => void counted(serve(driver, log, request, response)));
  http.requestTimeout = 0; // a pull may feed one layer for an hour
  http.keepAliveTimeout = 0;
  const connections = takeSmallCalls(http, (path, body) => counted(callSmall(driver, log, path, body)));
  return { http, close: (graceMs) => close(http, calls, connections, graceMs) };
}

type Connections = ReadonlyMap<Socket, Connection>;

/** Has the small calls on all connections done by `call`. Returns the connections. */
function takeSmallCalls(http: Server, call: (path: string, body: string) => Promise<Outcome>): Connections {
  const connections = new Map<Socket, Connection>();
  const toHttp = http.listeners('connection');
  http.removeAllListeners('connection');
  const handOver = (socket: Socket): void => toHttp.forEach((listener) => void listener.call(http, socket));
  http.on('connection', (socket: Socket) => {
    connections.set(socket, new Connection(socket, { isSmall: (path) => CALLS.has(path), call, handOver }));
    socket.once('close', () => connections.delete(socket));
  });
  return connections;
}

async function close(http: Server, calls: ReadonlySet<Promise<unknown>>, connections: Connections, graceMs: number): Promise<void> {
  const closed = new Promise((resolve) => http.close(resolve));
  http.closeIdleConnections();
  for (const connection of connections.values()) connection.end();
  await Promise.race([closed, delay(graceMs, undefined, { ref: false })]);
  for (const socket of connections.keys()) socket.destroy();
  await Promise.all([closed, ...calls]);
}

async function callSmall(driver: GraphDriver, log: Log, path: string, body: string): Promise<Outcome> {
  try {
    return { status: 200, text: JSON.stringify(await CALLS.get(path)!(driver, parseBody(body))) };
  } catch (error) {
    return { status: refusal(log, path, error), text: JSON.stringify({ Err: messageOf(error) }) };
  }
}

/** Logs why a call is refused. Returns the status that says so. Throws a bug on: state may be half-changed, the process ends. */
function refusal(log: Log, path: string, error: unknown): number {
  if (error instanceof Bug) throw error;
  log('warn', `${path}: ${messageOf(error)}`);
  return error instanceof BadRequest ? error.status : 200;
}

async function serve(driver: GraphDriver, log: Log, request: IncomingMessage, response: ServerResponse): Promise<void> {
  try {
    await route(driver, request, response);
  } catch (error) {
    if (error instanceof Bug) throw error; // shared state may be half-changed: the process ends
    log('warn', `${request.url}: ${messageOf(error)}`);
    fail(request, response, error);
  }
}

async function route(driver: GraphDriver, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = parseUrl(request.url ?? '');
  const call = CALLS.get(url.pathname);
  const isTar = url.pathname === '/GraphDriver.ApplyDiff' || url.pathname === '/GraphDriver.Diff';
  if (call === undefined && !isTar) return answer(response, 404, { Err: `lcfs knows no call ${url.pathname}` });
  if (request.method !== 'POST') return answer(response, 405, { Err: `${url.pathname} is called with POST` });
  if (url.pathname === '/GraphDriver.ApplyDiff') return applyDiff(driver, request, response, url.searchParams);
  const fields = await readFields(request);
  if (call === undefined) return sendDiff(driver, response, fields);
  answer(response, 200, await call(driver, fields));
}

function parseUrl(url: string): URL {
  try {
    return new URL(`http://lcfs${url}`);
  } catch {
    throw new BadRequest(400, 'the path of the request is not a path');
  }
}

async function applyDiff(driver: GraphDriver, request: IncomingMessage, response: ServerResponse, query: URLSearchParams): Promise<void> {
  let result: Answer;
  try {
    // Leaving the loop over the body early must not end the connection.
    result = await driver.applyDiff(parseQuery(query), request.iterator({ destroyOnReturn: false }));
  } finally {
    await discardRest(request);
  }
  answer(response, 200, result);
}

async function discardRest(request: IncomingMessage): Promise<void> {
  if (request.readableEnded || request.destroyed) return;
  request.resume();
  await new Promise((resolve) => request.once('close', resolve).once('end', resolve));
}

async function sendDiff(driver: GraphDriver, response: ServerResponse, fields: Fields): Promise<void> {
  await driver.diff(parseLayerRequest(fields), async (tar) => {
    const chunks = tar[Symbol.iterator]();
    const first = chunks.next(); // what fails here can still be answered with a status
    response.setHeader('Content-Type', 'application/x-tar');
    await sendAll(response, allOf(first, chunks));
  });
}

/**
 * Sends a body as fast as it is taken. Throws if the connection ends before: the answer may be waiting behind others there,
 * and is not told itself.
 */
async function sendAll(response: ServerResponse, chunks: Iterable<Buffer>): Promise<void> {
  for (const chunk of chunks) if (!response.write(chunk)) await next(response, 'drain');
  response.end();
  if (!response.writableFinished) await next(response, 'finish');
}

/** Waits for an event of an answer. Rejects if its connection ends before. */
function next(response: ServerResponse, event: 'drain' | 'finish'): Promise<void> {
  const { socket } = response.req;
  return new Promise((settle, reject) => {
    const leave = (): void => reject(new Error('the caller went away'));
    if (socket.destroyed) return leave();
    socket.once('close', leave);
    response.once(event, () => {
      socket.off('close', leave);
      settle();
    });
  });
}

function* allOf(first: IteratorResult<Buffer>, rest: Iterator<Buffer>): Generator<Buffer> {
  try {
    for (let chunk = first; chunk.done !== true; chunk = rest.next()) yield chunk.value;
  } finally {
    rest.return?.();
  }
}

/** Reads and parses a JSON body. Throws BadRequest if it is too long or not JSON. */
async function readFields(request: IncomingMessage): Promise<Fields> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes <= BODY_BYTES_MAX) chunks.push(chunk); // the rest is read, but not kept
  }
  if (bytes > BODY_BYTES_MAX) throw new BadRequest(413, `the body is longer than ${BODY_BYTES_MAX} bytes`);
  return parseBody(Buffer.concat(chunks).toString());
}

function answer(response: ServerResponse, status: number, value: Answer): void {
  const text = JSON.stringify(value);
  response.writeHead(status, { 'Content-Type': CONTENT_TYPE, 'Content-Length': Buffer.byteLength(text) });
  response.end(text);
}

function fail(request: IncomingMessage, response: ServerResponse, error: unknown): void {
  if (response.headersSent || response.destroyed) {
    response.destroy(); // in the middle of a tar: the reader must not see a proper end
    return;
  }
  answer(response, statusOf(request, error), { Err: messageOf(error) });
}

/** An answer that is no JSON has no `Err`: its failures are told by the status alone. */
function statusOf(request: IncomingMessage, error: unknown): number {
  if (error instanceof BadRequest) return error.status;
  return request.url === '/GraphDriver.Diff' ? 500 : 200;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
