/** The driver as Docker sees it: HTTP calls on a unix socket, against a volume in a temporary file. */
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { NEXT_LAYER } from '../../engine/arena.js';
import { createLayer, findLayer, layerInfo, releaseLayer, removeLayer } from '../../engine/layers.js';
import { closeTestVolume, find, foundStat, get, make, openTestVolume, put, remove, ROOT, stat } from '../../../test/support/files.js';
import { W } from '../../layout/memory.js';
import { FILE } from '../../archive/tar-format.js';
import { END_OF_ARCHIVE, tarHeader } from '../../archive/tar-writer.js';
import { type DriverContext, GraphDriver } from './driver.js';
import type { Answer } from './protocol.js';
import { type DriverServer, makeServer } from './server.js';
import { createMemoryFile } from '../../linux/memory-file.js';
import { makeSocket, serveSocket } from '../socket.js';

const folder = mkdtempSync(join(tmpdir(), 'lcfs-docker-'));
const socketPath = join(folder, 'plugins/lcfs.sock');
const events: string[] = [];
const logged: string[] = [];
let server: DriverServer;
let context: DriverContext;

before(async () => {
  openTestVolume();
  context = {
    mountpoint: '/mnt',
    name: 'lcfs',
    transport: 'test',
    firstNewLayer: W[NEXT_LAYER]!,
    notes: null,
    bringIn: async (layer) => void events.push(`bring in ${layer}`),
    checkpoint: async () => void events.push('checkpoint'),
    durable: async () => void events.push('durable'),
    written: () => undefined,
    announce: (name) => void events.push(`announce ${name}`),
  };
  await start();
});

after(async () => {
  await server.close(1000);
  closeTestVolume();
  rmSync(folder, { recursive: true });
});

async function start(): Promise<void> {
  server = makeServer(new GraphDriver(context), (_, message) => void logged.push(message));
  await serveSocket(server.http, await makeSocket(socketPath));
}

interface Reply {
  status: number;
  body: Buffer;
}

/** One request with the body as it is. */
function send(method: string, path: string, body: string | Buffer = ''): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath, method, path, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => resolve({ status: response.statusCode!, body: Buffer.concat(chunks) }));
      response.on('error', reject);
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

/** A call with JSON in and out. */
async function call(name: string, fields: object = {}): Promise<Answer> {
  const { status, body } = await send('POST', `/GraphDriver.${name}`, JSON.stringify(fields));
  assert.equal(status, 200, body.toString());
  return JSON.parse(body.toString()) as Answer;
}

async function succeed(name: string, fields: object = {}): Promise<Answer> {
  const answer = await call(name, fields);
  assert.equal(answer.Err, undefined);
  return answer;
}

const indexOf = (name: string): number => layerInfo(name).index;

/** A tar with one file. */
function tarOf(path: string, content: string, uid = 0): Buffer {
  const data = Buffer.from(content);
  const fields = { type: FILE, path: Buffer.from(path), linkPath: Buffer.alloc(0), mode: 0o644, uid, gid: uid, size: data.length };
  const header = tarHeader({ ...fields, mtime: 1_600_000_000, major: 0, minor: 0, xattrs: [] });
  return Buffer.concat([header, data, Buffer.alloc((512 - (data.length % 512)) % 512), END_OF_ARCHIVE]);
}

const apply = async (id: string, tar: Buffer): Promise<Answer> =>
  JSON.parse((await send('POST', `/GraphDriver.ApplyDiff?id=${id}&parent=`, tar)).body.toString()) as Answer;

function contentOf(layer: string, name: string): string {
  const ino = find(indexOf(layer), ROOT, name);
  assert.ok(ino > 0, `${layer} has ${name}`);
  return get(indexOf(layer), ino, 0, 4096).toString();
}

const exists = async (id: string): Promise<boolean | undefined> => (await succeed('Exists', { ID: id })).Exists;

// Protocol

test('the socket is for root alone', () => {
  assert.equal(statSync(socketPath).mode & 0o777, 0o600);
  assert.equal(statSync(join(folder, 'plugins')).mode & 0o777, 0o700);
});

test('a second daemon on the same socket is refused; a dead one is replaced', async () => {
  await assert.rejects(makeSocket(socketPath), { code: 'busy' });
  await server.close(1000);
  await start();
  assert.equal(await exists('test'), true);
});

test('Activate and Capabilities', async () => {
  const { body } = await send('POST', '/Plugin.Activate');
  assert.deepEqual(JSON.parse(body.toString()), { Implements: ['GraphDriver'] });
  assert.deepEqual(await succeed('Capabilities'), { Capabilities: { ReproducesExactDiffs: false } });
});

test('what is no call is refused: 400, 404, 405, 413', async () => {
  const cases: [string, string, string, number][] = [
    ['POST', '/GraphDriver.Nothing', '{}', 404],
    ['POST', '/', '', 404],
    ['GET', '/GraphDriver.Status', '', 405],
    ['POST', '/GraphDriver.Create', '{"ID":', 400],
    ['POST', '/GraphDriver.Create', '[]', 400],
    ['POST', '/GraphDriver.Create', '{"ID":7}', 400],
    ['POST', '/GraphDriver.Init', '{"UIDMaps":7}', 400],
    ['POST', '/GraphDriver.Diff', '{', 400],
    ['POST', '/GraphDriver.Create', `{"ID":"${'a'.repeat(1 << 20)}"}`, 413],
  ];
  for (const [method, path, body, status] of cases) {
    const reply = await send(method, path, body);
    assert.equal(reply.status, status, `${method} ${path}`);
    assert.equal(typeof (JSON.parse(reply.body.toString()) as Answer).Err, 'string');
  }
});

test('garbage instead of HTTP does not end the server', async () => {
  for (const garbage of [
    '\0\0\0\0',
    'POST /GraphDriver.Create HTTP/1.1\r\nContent-Length: 99999\r\n\r\n{',
    'POST //[ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n',
  ]) {
    const socket = connect(socketPath);
    socket.on('error', () => {});
    socket.end(garbage);
    await delay(20);
    socket.destroy();
  }
  assert.equal(await exists('test'), true);
});

/** Sends bytes over one connection, piece by piece, and returns all that comes back up to the answer with this number. */
async function exchange(answers: number, ...parts: string[]): Promise<string> {
  const socket = connect(socketPath);
  let answer = '';
  const answered = new Promise<void>((resolve, reject) => {
    socket.on('data', (data: Buffer) => {
      answer += data.toString();
      if (answer.split('"Exists"').length > answers) resolve();
    });
    socket.on('close', () => reject(new Error(`closed after ${answer}`)));
  });
  for (const part of parts) {
    socket.write(part);
    await delay(5);
  }
  await answered;
  socket.destroy();
  return answer;
}

const callOf = (name: string, fields: object): string => {
  const body = JSON.stringify(fields);
  return `POST /GraphDriver.${name} HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
};
const answersIn = (text: string): Answer[] => [...text.matchAll(/^\{.*?\}(?=HTTP|$)/gms)].map(([json]) => JSON.parse(json) as Answer);

test('calls come in pieces, several at once, or in another form, on one connection', async () => {
  const call = callOf('Exists', { ID: 'test' });
  assert.deepEqual(answersIn(await exchange(1, call)), [{ Exists: true }]);
  assert.deepEqual(answersIn(await exchange(1, ...call.match(/.{1,25}/gs)!)), [{ Exists: true }]);
  const absent = callOf('Exists', { ID: 'absent' });
  assert.deepEqual(answersIn(await exchange(3, call + absent + call)), [{ Exists: true }, { Exists: false }, { Exists: true }]);
  const body = JSON.stringify({ ID: 'test' });
  const chunked = `POST /GraphDriver.Exists HTTP/1.1\r\nHost: \r\nTransfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
  const mixed = await exchange(3, call, chunked, call);
  assert.equal(mixed.match(/"Exists":true/g)?.length, 3, mixed);
  const together = await exchange(3, call + chunked + absent);
  assert.deepEqual(together.match(/"Exists":\w+/g), ['"Exists":true', '"Exists":true', '"Exists":false']);
});

test('a call whose caller sends nothing more is answered; half a call ends with its connection', async () => {
  const reply = new Promise<string>((resolve) => {
    const socket = connect({ path: socketPath, allowHalfOpen: true });
    let text = '';
    socket.on('data', (data: Buffer) => (text += data.toString()));
    socket.on('end', () => resolve(text));
    socket.end(callOf('Exists', { ID: 'test' }));
  });
  assert.match(await reply, /^HTTP\/1\.1 200 OK\r\n.*\{"Exists":true\}$/s);
  const ended = new Promise((resolve) => {
    const socket = connect({ path: socketPath, allowHalfOpen: true });
    socket.on('close', resolve);
    socket.on('end', () => socket.end());
    socket.resume();
    socket.end('POST /GraphDriver.Ex');
  });
  await ended;
});

// Layers

test('Create, Exists, GetMetadata, Remove', async () => {
  await succeed('Create', { ID: 'a' });
  await succeed('Create', { ID: 'b', Parent: 'a' });
  assert.equal(await exists('b'), true);
  const { Metadata } = await succeed('GetMetadata', { ID: 'b' });
  assert.equal(Metadata!['MergedDir'], '/mnt/layers/b');
  assert.equal(Metadata!['Layer'], 'b');
  assert.equal(Metadata!['Parent'], 'a');
  assert.equal(Metadata!['LayerIndex'], String(indexOf('b')));
  assert.match((await call('Remove', { ID: 'a' })).Err!, /children/);
  await succeed('Remove', { ID: 'b' });
  await succeed('Remove', { ID: 'a' });
  assert.equal(await exists('a'), false);
  assert.deepEqual(events.slice(-2), ['announce b', 'announce a']);
});

test('removing what is not there is no failure; creating what is there, or on nothing, is one', async () => {
  await succeed('Remove', { ID: 'never' });
  await succeed('Create', { ID: 'a' });
  assert.match((await call('Create', { ID: 'a' })).Err!, /exists already/);
  assert.match((await call('Create', { ID: 'b', Parent: 'never' })).Err!, /no layer "never"/);
  assert.equal(await exists('b'), false);
  for (const id of ['', '..', 'a/b']) assert.notEqual((await call('Create', { ID: id })).Err, undefined, id);
  await succeed('Remove', { ID: 'a' });
});

test('a created layer stays writable until it becomes a parent', async () => {
  await succeed('Create', { ID: 'step' });
  await succeed('Get', { ID: 'step' });
  assert.ok(make(indexOf('step'), ROOT, 'written') > 0);
  await succeed('Put', { ID: 'step' });
  await succeed('Create', { ID: 'next', Parent: 'step' });
  assert.equal(layerInfo('step').state, 'sealed');
  assert.ok(find(indexOf('next'), ROOT, 'written') > 0);
  await succeed('Remove', { ID: 'next' });
  await succeed('Remove', { ID: 'step' });
});

test('a mounted layer is counted, not removed, and its last changes are fetched before it is cloned', async () => {
  await succeed('CreateReadWrite', { ID: 'c' });
  assert.equal((await succeed('Get', { ID: 'c' })).Dir, '/mnt/layers/c');
  assert.equal((await succeed('Get', { ID: 'c' })).Dir, '/mnt/layers/c');
  assert.equal(layerInfo('c').holders, 1);
  await succeed('Put', { ID: 'c' });
  assert.match((await call('Remove', { ID: 'c' })).Err!, /in use/);
  events.length = 0;
  await succeed('Create', { ID: 'd', Parent: 'c' });
  assert.deepEqual(events, ['bring in c', 'announce d']);
  await succeed('Put', { ID: 'c' });
  await succeed('Put', { ID: 'c' });
  await succeed('Put', { ID: 'never' });
  assert.equal(layerInfo('c').holders, 0);
  await succeed('Remove', { ID: 'd' });
  await succeed('Remove', { ID: 'c' });
  assert.match((await call('Get', { ID: 'c' })).Err!, /no layer "c"/);
});

test('storage options: size is a quota, others are refused', async () => {
  await succeed('CreateReadWrite', { ID: 'q', StorageOpt: { size: '1M' } });
  assert.equal(layerInfo('q').quotaBytes, 1 << 20);
  await succeed('Remove', { ID: 'q' });
  assert.match((await call('CreateReadWrite', { ID: 'q', StorageOpt: { colour: 'red' } })).Err!, /unknown storage option 'colour'/);
  assert.match((await call('CreateReadWrite', { ID: 'q', StorageOpt: { size: 'red' } })).Err!, /not a size/);
  assert.match((await call('Create', { ID: 'q', StorageOpt: { size: '1M' } })).Err!, /for containers only/);
  assert.equal(await exists('q'), false);
});

test('Status tells about the volume', async () => {
  const { Status } = await succeed('Status');
  const status = new Map(Status);
  assert.equal(status.get('Transport'), 'test');
  assert.equal(status.get('Mounted on'), '/mnt');
  assert.match(status.get('Space total')!, /^0\.06GiB$/);
  assert.equal(status.get('Layers'), '1');
});

// Diffs

test('ApplyDiff, Changes, DiffSize, Diff', async () => {
  await succeed('Create', { ID: 'base' });
  events.length = 0;
  assert.deepEqual(await apply('base', tarOf('hello', 'hello world')), { Size: 11 });
  assert.deepEqual(events, ['checkpoint']);
  assert.equal(contentOf('base', 'hello'), 'hello world');
  await succeed('CreateReadWrite', { ID: 'run', Parent: 'base' });
  const run = indexOf('run');
  put(run, make(run, ROOT, 'new'), 0, Buffer.from('12345'));
  remove(run, ROOT, 'hello');
  const { Changes } = await succeed('Changes', { ID: 'run', Parent: 'base' });
  assert.deepEqual(Changes, [
    { Path: '/hello', Kind: 2 },
    { Path: '/new', Kind: 1 },
  ]);
  assert.deepEqual(await succeed('DiffSize', { ID: 'run', Parent: 'base' }), { Size: 5 });
  events.length = 0;
  const diff = await send('POST', '/GraphDriver.Diff', '{"ID":"run","Parent":"base"}');
  assert.equal(diff.status, 200);
  assert.deepEqual(events, ['bring in run', 'bring in base']);
  await succeed('Create', { ID: 'copy', Parent: 'base' });
  assert.deepEqual(await apply('copy', diff.body), { Size: 5 });
  assert.equal(contentOf('copy', 'new'), '12345');
  assert.ok(find(indexOf('copy'), ROOT, 'hello') < 0);
  for (const id of ['copy', 'run', 'base']) await succeed('Remove', { ID: id });
});

test('a layer that BuildKit wrote into is durable before its diff is read', async () => {
  await succeed('Create', { ID: 'step' });
  make(indexOf('step'), ROOT, 'written');
  events.length = 0;
  await send('POST', '/GraphDriver.Diff', '{"ID":"step"}');
  assert.deepEqual(events, ['bring in step', 'checkpoint']);
  await succeed('Remove', { ID: 'step' });
});

test('a diff without a parent is everything in the layer', async () => {
  await succeed('Create', { ID: 'base' });
  await apply('base', tarOf('below', 'x'));
  await succeed('Create', { ID: 'top', Parent: 'base' });
  assert.deepEqual((await succeed('Changes', { ID: 'top' })).Changes, [{ Path: '/below', Kind: 1 }]);
  assert.deepEqual((await succeed('Changes', { ID: 'top', Parent: 'base' })).Changes, []);
  const diff = await send('POST', '/GraphDriver.Diff', '{"ID":"top"}');
  assert.ok(diff.body.includes('below'));
  for (const id of ['top', 'base']) await succeed('Remove', { ID: id });
});

test('a diff of what is not there is refused with a status of its own', async () => {
  const reply = await send('POST', '/GraphDriver.Diff', '{"ID":"never"}');
  assert.equal(reply.status, 500);
  assert.match(reply.body.toString(), /no such layer|no layer \\"never\\"/);
  assert.match((await call('Changes', { ID: 'test', Parent: 'never' })).Err!, /never/);
  assert.equal(layerInfo('test').holders, 0);
});

test('a tar that is no tar, is cut off or escapes leaves no layer behind', async () => {
  const whole = tarOf('file', 'x'.repeat(2000));
  const bad = [
    Buffer.from('this is no tar'.repeat(100)),
    whole.subarray(0, 1000),
    whole.subarray(0, whole.length - END_OF_ARCHIVE.length),
    Buffer.alloc(0),
    tarOf('../escape', 'x'),
  ];
  for (const tar of bad) {
    await succeed('Create', { ID: 'bad' });
    assert.equal(typeof (await apply('bad', tar)).Err, 'string');
    assert.equal(await exists('bad'), false);
    await succeed('Remove', { ID: 'bad' });
  }
  assert.equal(layerInfo('test').state, 'writable');
});

test('a connection that breaks in the middle of a tar leaves no layer behind, and the rest of the tar finds none', async () => {
  await succeed('Create', { ID: 'broken' });
  const tar = tarOf('file', 'x'.repeat(100_000));
  const outgoing = request({ socketPath, method: 'POST', path: '/GraphDriver.ApplyDiff?id=broken&parent=', agent: false });
  outgoing.on('error', () => {});
  outgoing.write(tar.subarray(0, 60_000));
  await delay(50);
  outgoing.destroy();
  while (await exists('broken')) await delay(5);
  assert.match((await apply('broken', tarOf('rest', 'x'))).Err!, /no layer "broken"/);
});

test('a refused tar is read to its end, so that the answer reaches a client that sends first and reads later', async () => {
  await succeed('Create', { ID: 'long' });
  const answer = await apply('long', Buffer.concat([Buffer.from('no tar'.repeat(100)), Buffer.alloc(20 << 20, 1)]));
  assert.match(answer.Err!, /could not be applied|archive/);
});

test('a layer from before a restart takes no diff', async () => {
  assert.match((await apply('test', tarOf('x', 'x'))).Err!, /before lcfs was started again/);
  assert.equal(await exists('test'), true);
});

test('a Create whose answer was lost with the process is repeated, unless the layer is in use by then', async () => {
  const create = (driver: GraphDriver, id: string, parent = ''): unknown => driver.create({ id, parent, storageOptions: {} });
  const next = (): GraphDriver => new GraphDriver({ ...context, firstNewLayer: W[NEXT_LAYER]! });
  await create(next(), 'below');
  await create(next(), 'twice', 'below');
  const index = layerInfo('twice').index;
  await create(next(), 'twice', 'below');
  assert.equal(layerInfo('twice').index, index);
  await assert.rejects(async () => create(next(), 'twice'), /exists already/, 'upon another parent');
  await assert.rejects(async () => create(next(), 'below'), /exists already/, 'with children');
  await assert.rejects(async () => next().createReadWrite({ id: 'twice', parent: 'below', storageOptions: {} }), /exists already/);
  for (const id of ['twice', 'below']) await succeed('Remove', { ID: id });
});

test('what is mounted stays held when the process dies', async () => {
  const notes = createMemoryFile('lcfs-test', 0);
  const request = { id: 'mounted', parent: '', storageOptions: {} };
  const answered = (): Promise<void> => new Promise(setImmediate);
  // Another process has an arena of its own, in which nothing is held yet.
  const next = (): GraphDriver => {
    while (findLayer('mounted') >= 0 && layerInfo('mounted').holders > 0) releaseLayer('mounted');
    return new GraphDriver({ ...context, notes });
  };
  const first = next();
  await first.create(request);
  await first.get(request);
  await answered();
  const second = next();
  assert.equal(layerInfo('mounted').holders, 1);
  await assert.rejects(async () => second.remove(request), { code: 'busy' });
  await second.get(request); // its answer is lost
  const third = next();
  await third.get(request);
  third.put(request);
  third.put(request);
  await assert.rejects(async () => removeLayer('mounted'), { code: 'busy' });
  await answered();
  await third.remove(request); // Docker has given back what it had
  assert.equal(findLayer('mounted'), -1);
  closeSync(notes);
});

test('a layer is not cloned, removed or compared while a tar is being applied to it', async () => {
  await succeed('Create', { ID: 'slow' });
  const tar = tarOf('file', 'slowly');
  const outgoing = request({ socketPath, method: 'POST', path: '/GraphDriver.ApplyDiff?id=slow&parent=', agent: false });
  outgoing.on('error', () => {});
  outgoing.write(tar.subarray(0, 100));
  await delay(30);
  const order: string[] = [];
  const clone = call('Create', { ID: 'clone', Parent: 'slow' }).then(() => order.push('clone'));
  const other = succeed('Create', { ID: 'other' }).then(() => order.push('other'));
  await other;
  const applied = new Promise((resolve) => outgoing.on('response', (response) => response.resume().on('end', resolve)));
  outgoing.end(tar.subarray(100));
  await applied.then(() => order.push('applied'));
  await clone;
  assert.deepEqual(order.toSorted(), ['applied', 'clone', 'other']);
  assert.equal(order[0], 'other');
  assert.equal(contentOf('clone', 'file'), 'slowly');
  for (const id of ['clone', 'slow', 'other']) await succeed('Remove', { ID: id });
});

test('many calls at once on the same and on different layers', async () => {
  await succeed('Create', { ID: 'root' });
  const life = async (i: number): Promise<void> => {
    const id = `many-${i % 7}-${i}`;
    await succeed('CreateReadWrite', { ID: id, Parent: 'root' });
    await Promise.all([succeed('Get', { ID: id }), succeed('Get', { ID: id }), succeed('Changes', { ID: id, Parent: 'root' })]);
    await Promise.all([succeed('Put', { ID: id }), succeed('Put', { ID: id }), call('Create', { ID: 'contested', Parent: 'root' })]);
    await succeed('Remove', { ID: id });
  };
  await Promise.all(Array.from({ length: 60 }, (_, i) => life(i)));
  await succeed('Remove', { ID: 'contested' });
  await succeed('Remove', { ID: 'root' });
  assert.equal(await exists('root'), false);
});

test('the server ends in the middle of a tar: the layer is gone when it has ended', async () => {
  await succeed('Create', { ID: 'late' });
  const outgoing = request({ socketPath, method: 'POST', path: '/GraphDriver.ApplyDiff?id=late&parent=', agent: false });
  outgoing.on('error', () => {});
  outgoing.write(tarOf('file', 'never complete').subarray(0, 100));
  await delay(30);
  await server.close(10);
  assert.throws(() => layerInfo('late'), { code: 'not-found' });
  await start();
});

// Docker Engines

test('Init: options, user namespaces, holds of an earlier process', async () => {
  const range = (host: number): object[] => [{ container_id: 0, host_id: host, size: 65_536 }];
  assert.match((await call('Init', { Home: '/d', Opts: ['lcfs.colour=red'] })).Err!, /unknown storage option/);
  await succeed('Init', { Home: '/d', Opts: ['lcfs.size=2M'], UIDMaps: range(100_000), GIDMaps: range(200_000) });
  await succeed('Create', { ID: 'base' });
  assert.deepEqual([stat(indexOf('base'), ROOT).uid, stat(indexOf('base'), ROOT).gid], [100_000, 200_000]);
  await apply('base', tarOf('owned', 'x', 5));
  find(indexOf('base'), ROOT, 'owned');
  assert.deepEqual([foundStat().uid, foundStat().gid], [100_005, 200_005]);
  await succeed('CreateReadWrite', { ID: 'c', Parent: 'base' });
  assert.equal(layerInfo('c').quotaBytes, 2 << 20);
  const diff = await send('POST', '/GraphDriver.Diff', '{"ID":"c"}');
  assert.equal(Number.parseInt(diff.body.toString('latin1', diff.body.indexOf('owned') + 108, diff.body.indexOf('owned') + 115), 8), 5);
  await succeed('Get', { ID: 'c' });
  await succeed('Init', { Home: '/other' });
  assert.equal(layerInfo('c').holders, 1);
  await succeed('Init', { Home: '/d', UIDMaps: null });
  assert.equal(layerInfo('c').holders, 0);
  for (const id of ['c', 'base']) await succeed('Remove', { ID: id });
});

test('settings outlive the driver; Cleanup lets go of everything', async () => {
  await succeed('Init', { Home: '/mnt/global/docker/lcfs', Opts: ['lcfs.size=3M'] });
  const next = new GraphDriver(context);
  await next.createReadWrite({ id: 'later', parent: '', storageOptions: {} });
  assert.equal(layerInfo('later').quotaBytes, 3 << 20);
  await next.get({ id: 'later', parent: '', storageOptions: {} });
  await next.cleanup();
  assert.equal(layerInfo('later').holders, 0);
  await succeed('Remove', { ID: 'later' });
});

test("a container's layers are durable before Docker writes down that it has them", async () => {
  await succeed('Init', { Home: '/elsewhere' });
  events.length = 0;
  await succeed('CreateReadWrite', { ID: 'c-init' });
  await succeed('CreateReadWrite', { ID: 'c', Parent: 'c-init' });
  assert.deepEqual(events, ['announce c-init', 'bring in c-init', 'announce c', 'durable']);
  for (const id of ['c', 'c-init']) await succeed('Remove', { ID: id });
});

test('with the files of Docker on the volume itself, a layer need not be made durable at once', async () => {
  await succeed('Init', { Home: '/mnt/global/docker/lcfs' });
  await succeed('Create', { ID: 'image' });
  events.length = 0;
  await apply('image', tarOf('x', 'x'));
  await succeed('CreateReadWrite', { ID: 'c', Parent: 'image' });
  assert.deepEqual(events, ['bring in image', 'announce c']);
  for (const id of ['c', 'image']) await succeed('Remove', { ID: id });
  await succeed('Init', { Home: '/elsewhere' });
});

const diffOf = async (id: string, parent = ''): Promise<Buffer> =>
  (await send('POST', '/GraphDriver.Diff', JSON.stringify({ ID: id, Parent: parent }))).body;
const isExact = async (): Promise<boolean> => (await succeed('Capabilities')).Capabilities!.ReproducesExactDiffs;

test('a tar that was applied is given back as it was, at once; a diff against something else is made anew', async () => {
  await succeed('Init', { Home: '/exact' });
  assert.equal(await isExact(), true);
  const [below, above] = [tarOf('a', 'A'), Buffer.concat([tarOf('./b', 'B'), Buffer.alloc(8192), Buffer.from('behind the end')])];
  await succeed('Create', { ID: 'below' });
  await apply('below', below);
  await succeed('Create', { ID: 'above', Parent: 'below' });
  await apply('above', above);
  events.length = 0;
  assert.ok((await diffOf('below')).equals(below));
  assert.ok((await diffOf('above', 'below')).equals(above));
  assert.deepEqual(events, [], 'nothing is brought in and nothing made durable');
  assert.equal(layerInfo('above').holders, 0);
  const squashed = await diffOf('above');
  assert.ok(squashed.includes('a\0') && squashed.includes('b\0') && !squashed.includes('behind the end'));
  for (const id of ['above', 'below']) await succeed('Remove', { ID: id });
});

test('an engine that relies on exact tars still does when it comes back; what BuildKit wrote is the same each time', async () => {
  await succeed('Init', { Home: '/exact' });
  await succeed('Create', { ID: 'step' });
  make(indexOf('step'), ROOT, 'written');
  const first = await diffOf('step');
  await succeed('Init', { Home: '/exact' });
  assert.equal(await isExact(), true);
  assert.ok((await diffOf('step')).equals(first));
  await succeed('Remove', { ID: 'step' });
});

test('with images of before on the volume nobody is promised exact tars', async () => {
  createLayer('before', { properties: { 'docker.kind': 'image' } });
  await succeed('Init', { Home: '/exact' });
  assert.equal(await isExact(), false);
  await succeed('Create', { ID: 'plain' });
  await apply('plain', tarOf('./x', 'x'));
  assert.equal((await diffOf('plain')).toString('latin1', 0, 2), 'x\0', 'made anew');
  await succeed('Remove', { ID: 'before' });
  assert.equal(await isExact(), false, 'not while this engine runs');
  await succeed('Init', { Home: '/exact' });
  assert.equal(await isExact(), false, 'the layer that was made meanwhile has no recipe');
  await succeed('Remove', { ID: 'plain' });
  await succeed('Init', { Home: '/exact' });
  assert.equal(await isExact(), true);
});

test('a diff that waits behind another one on its connection ends with it', async () => {
  for (const id of ['front', 'behind']) {
    await succeed('Create', { ID: id });
    await apply(id, tarOf('f', 'x'.repeat(900_000)));
  }
  const connection = connect(socketPath);
  const body = (id: string): string => JSON.stringify({ ID: id });
  const diff = (id: string): string =>
    `POST /GraphDriver.Diff HTTP/1.1\r\nHost: p\r\nContent-Length: ${body(id).length}\r\n\r\n${body(id)}`;
  connection.pause(); // so that the first one does not get through
  connection.write(diff('front') + diff('behind'));
  const held = (): number => layerInfo('behind').holders;
  for (let tries = 0; held() === 0; tries++, await delay(5)) assert.ok(tries < 1000);
  connection.destroy();
  for (let tries = 0; held() > 0; tries++, await delay(5)) assert.ok(tries < 1000, 'the layer is held for ever');
  for (const ID of ['front', 'behind']) await succeed('Remove', { ID });
});
