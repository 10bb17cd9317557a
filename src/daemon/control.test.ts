import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { request, type IncomingMessage, type Server } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { LcfsError } from '../engine/errors.js';
import { makeSocket, serveSocket } from '../drivers/socket.js';
import { endStream, makeControlServer, numberIn, readBody, requiredNumber, textIn, writeStream, type Route } from './control.js';

const directory = mkdtempSync(join(tmpdir(), 'lcfs-control-'));
const socket = join(directory, 'control.sock');
const bugs: unknown[] = [];
let server: Server;

/** Handlers that are still at it. */
const endless = { handlers: 0 };
const ROUTES: Route[] = [
  { method: 'GET', path: 'names/:name', handler: (call) => ({ name: call.names[0], query: Object.fromEntries(call.query) }) },
  { method: 'POST', path: 'body', handler: async (call) => describe(await readBody(call)) },
  { method: 'GET', path: 'refused', handler: () => Promise.reject(new LcfsError('busy', 'in use')) },
  { method: 'GET', path: 'missing-file', handler: () => statSync('/does-not-exist') },
  {
    method: 'GET',
    path: 'endless',
    handler: async (call) => {
      endless.handlers++;
      // In pieces that no buffer takes: the first answer waits for its reader, the second one behind the first.
      while (!call.signal.aborted) await writeStream(call.response, 'text/plain', Buffer.alloc(1 << 20));
      endless.handlers--;
      return endStream(call.response, 'text/plain');
    },
  },
  { method: 'GET', path: 'bug', handler: () => Promise.reject(new TypeError('a bug')) },
  {
    method: 'GET',
    path: 'stream/:end',
    handler: async (call) => {
      await writeStream(call.response, 'text/plain', Buffer.from('first '));
      if (call.names[0] === 'bad') throw new LcfsError('corrupt', 'block 7 — gone');
      return endStream(call.response, 'text/plain');
    },
  },
];

function describe(body: Record<string, unknown>): unknown {
  return { text: textIn(body, 'text') ?? null, number: numberIn(body, 'number') ?? null, required: requiredNumber(body, 'required') };
}

before(async () => {
  server = makeControlServer({ routes: ROUTES, onRefusal: () => {}, onBug: (error) => bugs.push(error) });
  await serveSocket(server, await makeSocket(socket));
});
after(() => {
  server.close();
  rmSync(directory, { recursive: true });
});

interface Answer {
  status: number;
  text: string;
  trailers: IncomingMessage['trailers'];
}

function ask(method: string, path: string, body?: string): Promise<Answer> {
  return new Promise((settle, reject) => {
    const outgoing = request({ socketPath: socket, method, path, agent: false }, (response) => {
      let text = '';
      response.on('data', (chunk) => (text += String(chunk)));
      response.on('end', () => settle({ status: response.statusCode!, text, trailers: response.trailers }));
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

const failure = async (method: string, path: string, body?: string): Promise<string> => {
  const { status, text } = await ask(method, path, body);
  const { error } = JSON.parse(text) as { error: { code: string; message: string } };
  return `${status} ${error.code}: ${error.message}`;
};

test('names are decoded, queries taken apart', async () => {
  const { status, text } = await ask('GET', '/v1/names/a%2Fb%20%C3%A4?base=x%26y');
  assert.equal(status, 200);
  assert.deepEqual(JSON.parse(text), { name: 'a/b ä', query: { base: 'x&y' } });
  assert.match(await failure('GET', '/v1/names/%ff'), /400 invalid: '%ff' is not percent-encoded/);
});

test('what there is not is not found', async () => {
  assert.match(await failure('GET', '/v1/nothing'), /404 not-found: the control protocol has no GET/);
  assert.match(await failure('DELETE', '/v1/body'), /404/);
  assert.match(await failure('GET', '/v2/body'), /404 not-found: this daemon speaks version 1/);
});

test('bodies are checked', async () => {
  assert.deepEqual(JSON.parse((await ask('POST', '/v1/body', '{"text":"t","number":0,"required":1.5,"more":[]}')).text), {
    text: 't',
    number: 0,
    required: 1.5,
  });
  assert.match(await failure('POST', '/v1/body', '{'), /400 invalid: the body is not JSON/);
  assert.match(await failure('POST', '/v1/body', '[]'), /not a JSON object/);
  assert.match(await failure('POST', '/v1/body', '{"text":1}'), /text must be a string/);
  assert.match(await failure('POST', '/v1/body', '{"number":-1}'), /number must be a number of at least 0/);
  assert.match(await failure('POST', '/v1/body', ''), /required is missing/);
  assert.match(await failure('POST', '/v1/body', `{"text":"${'x'.repeat(1 << 20)}"}`), /longer than/);
});

test('refusals have a status and a message; what the system refuses too', async () => {
  assert.equal(await failure('GET', '/v1/refused'), '409 busy: in use');
  assert.match(await failure('GET', '/v1/missing-file'), /^500 internal: ENOENT/);
  assert.equal(bugs.length, 0);
});

test('anything else is a bug', async () => {
  await ask('GET', '/v1/bug');
  assert.match(String(bugs.pop()), /TypeError: a bug/);
});

test('a stream tells at its end whether it is whole', async () => {
  const whole = await ask('GET', '/v1/stream/good');
  assert.deepEqual([whole.status, whole.text, whole.trailers['lcfs-result']], [200, 'first ', 'ok']);
  const broken = await ask('GET', '/v1/stream/bad');
  assert.equal(broken.trailers['lcfs-result'], undefined);
  assert.deepEqual(JSON.parse(decodeURIComponent(broken.trailers['lcfs-error']!)), { code: 'corrupt', message: 'block 7 — gone' });
});

test('garbage on the socket does no harm', async () => {
  for (const garbage of ['\0\0\0', 'GET\r\n\r\n', 'POST /v1/body HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{']) {
    const connection = connect(socket);
    connection.on('error', () => {});
    connection.write(garbage);
    await new Promise((wake) => setTimeout(wake, 20));
    connection.destroy();
  }
  assert.equal((await ask('GET', '/v1/names/x')).status, 200);
  assert.equal(bugs.length, 0);
});

test('answers that wait behind others on their connection end with it', async () => {
  const connection = connect(socket);
  connection.pause();
  connection.write('GET /v1/endless HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(2));
  while (endless.handlers < 2) await new Promise((wake) => setTimeout(wake, 5));
  connection.destroy();
  while (endless.handlers > 0) await new Promise((wake) => setTimeout(wake, 5));
});

test('an older HTTP, which has no trailers, is refused', async () => {
  const connection = connect(socket);
  connection.end('GET /v1/stream/good HTTP/1.0\r\n\r\n');
  let answer = '';
  for await (const chunk of connection) answer += String(chunk);
  assert.match(answer, / 400 [\s\S]*HTTP 1\.1, not 1\.0/);
});
