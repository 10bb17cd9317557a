/**
 * containerd's socket under fire: gRPC messages that are random, mutated, of wrong types, longer or shorter than they say,
 * streams that are cut off, bytes that are no HTTP/2 at all. Calls with odd but valid messages are among them, so that there
 * are snapshots to do harm to. The server answers others afterwards, nothing half-made stays, and the volume is sound.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { listLayers, removeLayer } from '../../engine/layers.js';
import { reclaimAll } from '../../engine/maintenance.js';
import { TestClient } from '../../../test/support/containerd.js';
import { closeTestVolume, openTestVolume } from '../../../test/support/files.js';
import { mutateBytes, runCases, type FuzzFigures, type FuzzOptions } from '../../../test/support/fuzz.js';
import { inPieces, sendRaw } from '../../../test/support/raw-socket.js';
import { assertSound, type Random } from '../../../test/support/volume.js';
import { makeSocket } from '../socket.js';
import { addDiffs, METHODS as DIFFS } from './diff-service.js';
import { Differ } from './differ.js';
import { CallFailure, Code } from './failure.js';
import type { Method } from './method.js';
import { Service } from './rpc.js';
import { serve } from './server.js';
import { ROLE, TARGET_LABEL } from './snapshot.js';
import { addSnapshots, METHODS } from './snapshots-service.js';
import { Snapshotter } from './snapshotter.js';

const CHAIN = `sha256:${'ab'.repeat(32)}`;
const KEYS = [
  '',
  'ns/1/a',
  'ns/2/b',
  'ns/3/c',
  `ns/4/${CHAIN}`,
  `other/9/${CHAIN}`,
  '/',
  '~',
  'x'.repeat(5000),
  '\u0000',
  '__proto__',
  '../../a',
];
const FILTERS = ['', 'name==a', 'labels."x"~="("', 'parent==', 'kind==active,name~=/a/', '((', 'name~="(a+)+$"'];
const TAR_TYPE = 'application/vnd.oci.image.layer.v1.tar';
const CALL_MS = 10_000;

const key = (random: Random): string => random.pick(KEYS);

function labels(random: Random): Record<string, string> {
  const all = { [TARGET_LABEL]: CHAIN, x: 'y', '': 'empty', long: 'v'.repeat(5000), ['__proto__']: 'p' };
  return Object.fromEntries(Object.entries(all).filter(() => random.below(4) === 0));
}

function mounts(random: Random): object[] {
  const source = random.pick(['/mnt/layers/ctr~ns~1~a', '/mnt/layers/ctr~ns~2~b', '/mnt/layers/..', '/mnt/layers/', '/', '']);
  const mount = { type: random.pick(['bind', 'overlay', '']), source, target: '', options: random.pick([['rbind', 'rw'], ['ro'], []]) };
  return Array.from({ length: random.below(3) }, () => mount);
}

/** A method and a message for it that is valid, if odd. */
function call(random: Random): [Method<never, unknown>, object] {
  const info = { name: key(random), labels: labels(random), kind: random.below(5) };
  const diff = {
    mediaType: random.pick([TAR_TYPE, 'x']),
    digest: random.pick([CHAIN, 'sha256:x', '']),
    size: random.pick([0, -1, 2 ** 53]),
  };
  const calls: [Method<never, unknown>, object][] = [
    [METHODS.prepare as never, { key: key(random), parent: random.below(2) === 0 ? '' : key(random), labels: labels(random) }],
    [METHODS.prepare as never, { key: key(random), parent: '', labels: labels(random) }],
    [METHODS.view as never, { key: key(random), parent: key(random) }],
    [METHODS.mounts as never, { key: key(random) }],
    [
      METHODS.commit as never,
      { name: key(random), key: key(random), labels: labels(random), parent: random.below(3) === 0 ? key(random) : '' },
    ],
    [METHODS.remove as never, { key: key(random) }],
    [METHODS.stat as never, { key: key(random) }],
    [METHODS.usage as never, { key: key(random) }],
    [METHODS.update as never, { info, updateMask: { paths: random.pick([[], ['labels'], ['labels.x'], ['kind'], ['labels.__proto__']]) } }],
    [METHODS.list as never, { filters: [random.pick(FILTERS)] }],
    [METHODS.cleanup as never, {}],
    [DIFFS.apply as never, { diff, mounts: mounts(random), syncFs: true }],
    [DIFFS.diff as never, { left: mounts(random), right: mounts(random), mediaType: random.pick(['', 'x']), ref: 'r' }],
  ];
  return random.pick(calls);
}

/** A message with its prefix: whether it is compressed, and its length. */
function framed(message: Buffer, random: Random): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt8(random.below(20) === 0 ? random.below(256) : 0, 0);
  const odd = random.below(12) === 0;
  prefix.writeUInt32BE(odd ? random.pick([0, 1, message.length + 1, 0x7fff_ffff, 0xffff_ffff, 17 << 20]) : message.length, 1);
  return Buffer.concat([prefix, message]);
}

function body(message: Buffer, random: Random): Buffer {
  const changed = random.below(2) === 0 ? message : mutateBytes(message, random);
  const frames = Array.from({ length: random.below(10) === 0 ? 2 : 1 }, () => framed(changed, random));
  return Buffer.concat(frames);
}

/** One call, perhaps cut off. Returns when it has ended, however. */
function stream(session: ClientHttp2Session, random: Random): Promise<void> {
  const [method, message] = call(random);
  const path = random.below(30) === 0 ? random.pick(['/', '/x.Y/Z', `${method.path}x`]) : method.path;
  const type = random.below(30) === 0 ? random.pick(['text/plain', 'application/grpc+json', '']) : 'application/grpc';
  const exchange = session.request({ ':method': 'POST', ':path': path, 'content-type': type, te: 'trailers' });
  const ended = new Promise<void>((settle) => exchange.once('close', () => settle()));
  exchange.on('error', () => {}).resume();
  for (const piece of inPieces(body(method.requestSerialize(message as never), random), random)) exchange.write(piece);
  if (random.below(5) === 0) exchange.close(random.below(14));
  else exchange.end();
  return ended;
}

async function calls(socket: string, random: Random): Promise<void> {
  const session = connectHttp2('http://localhost', { createConnection: () => connect(socket) });
  session.on('error', () => {});
  const all = Promise.all(Array.from({ length: 1 + random.below(8) }, () => stream(session, random)));
  if (random.below(6) === 0) session.destroy();
  const outcome = await Promise.race([all.then(() => 'ended'), delay(CALL_MS, 'hung', { ref: false })]);
  session.destroy();
  assert.equal(outcome, 'ended', 'all calls end');
}

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

/** Frames of HTTP/2 with whatever in them, or nothing of the kind. */
function garbage(random: Random): Buffer {
  const frames = Array.from({ length: random.below(6) }, () => {
    const payload = Buffer.from(Array.from({ length: random.below(40) }, () => random.below(256)));
    const head = Buffer.from([
      0,
      0,
      random.below(8) === 0 ? random.below(256) : payload.length,
      random.below(12),
      random.below(256),
      0,
      0,
      0,
      random.below(5),
    ]);
    return Buffer.concat([head, payload]);
  });
  return Buffer.concat([random.below(4) === 0 ? Buffer.from('GET / HTTP/1.1\r\n\r\n') : PREFACE, ...frames]);
}

function assertNothingHalf(): void {
  const staging = [...listLayers()].filter(({ properties }) => properties[ROLE] === 'staging');
  assert.deepEqual(staging, [], 'no diff is under way');
  const held = [...listLayers()].filter(({ holders }) => holders > 0);
  assert.deepEqual(held, [], 'nothing is held');
}

/** Takes all snapshots away, from the top. */
async function removeAll(client: TestClient): Promise<void> {
  for (let tries = 0; tries < 30; tries++) {
    const all = (await client.collect(METHODS.list, { filters: [] })).flatMap(({ info }) => info);
    if (all.length === 0) break;
    for (const { name = '' } of all) await client.call(METHODS.remove, { key: name }).catch(() => {});
  }
  assert.deepEqual(
    (await client.collect(METHODS.list, { filters: [] })).flatMap(({ info }) => info),
    [],
  );
  assert.deepEqual(
    [...listLayers()].map(({ name }) => name),
    ['test'],
  );
}

export async function fuzzContainerdServer(options: FuzzOptions): Promise<FuzzFigures> {
  openTestVolume(128 << 20);
  const folder = mkdtempSync(join(tmpdir(), 'lcfs-fuzz-'));
  const socket = join(folder, 's');
  const nothing = async (): Promise<void> => {};
  const snapshotter = new Snapshotter({ mountpoint: '/mnt', bringIn: nothing, checkpoint: nothing, durable: nothing, announce: () => {} });
  let tasks = 0;
  const run = async (): Promise<{ digest: string; size: number }> => {
    await delay(tasks % 3);
    if (tasks++ % 2 === 0) throw new CallFailure(Code.UNAVAILABLE, 'no such blob');
    return { digest: CHAIN, size: 1 };
  };
  const service = new Service(() => {});
  addSnapshots(service, snapshotter);
  addDiffs(
    service,
    new Differ({
      mountpoint: '/mnt',
      address: '',
      snapshotter,
      run: run as never,
      bringIn: nothing,
      startFlush: () => {},
      checkpoint: nothing,
    }),
  );
  const server = await serve(service, await makeSocket(socket));
  const client = new TestClient(socket);
  const figures = await runCases(options, async (random, seed) => {
    await Promise.all([
      calls(socket, random),
      ...(random.below(3) === 0 ? [sendRaw(socket, inPieces(garbage(random), random), 'destroy')] : []),
    ]);
    await assert.rejects(client.call(METHODS.stat, { key: 'nobody' }), { code: Code.NOT_FOUND });
    if (seed % 10 !== 0) return;
    await delay(20); // what a call that was given up has begun comes to its end
    assertNothingHalf();
    await removeAll(client);
    reclaimAll();
    assertSound();
  });
  client.close();
  await server.stop(1000);
  for (const { name, children } of listLayers()) if (children === 0) removeLayer(name);
  closeTestVolume();
  rmSync(folder, { recursive: true });
  return figures;
}
