/**
 * The plugin socket under fire: requests that are malformed, huge, cut off in the middle of a header, a chunk or a tar, sent in
 * single bytes or many at once. The server answers others meanwhile and afterwards, ends every connection whose client has
 * ended, and no layer holds half a tar.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { tmpdir } from 'node:os';
import { NEXT_LAYER } from '../../engine/arena.js';
import { findLayer, listLayers, removeLayer } from '../../engine/layers.js';
import { reclaimAll } from '../../engine/maintenance.js';
import { W } from '../../layout/memory.js';
import { archive } from '../../../test/support/archives.js';
import { closeTestVolume, find, openTestVolume, ROOT } from '../../../test/support/files.js';
import { mutateBytes, runCases, type FuzzFigures, type FuzzOptions } from '../../../test/support/fuzz.js';
import { inPieces, sendRaw, settled } from '../../../test/support/raw-socket.js';
import { assertSound, type Random } from '../../../test/support/volume.js';
import { serveSocket, makeSocket } from '../socket.js';
import { GraphDriver } from './driver.js';
import { makeServer } from './server.js';

const CALLS = [
  'Create',
  'CreateReadWrite',
  'Remove',
  'Get',
  'Put',
  'Exists',
  'Status',
  'GetMetadata',
  'Changes',
  'DiffSize',
  'Diff',
  'Capabilities',
];
const IDS = ['a', 'b', 'c', 'd'];
/** The last file of a tar: a layer that has the first has this one, too. */
const [FIRST, LAST] = ['first', 'last'];
const TAR = archive({ path: FIRST, data: Buffer.alloc(30_000, 'f') }, { path: 'middle', data: 'm' }, { path: LAST, data: 'l' });

const BODIES: ((random: Random) => string)[] = [
  (random) => JSON.stringify({ ID: random.pick(IDS), Parent: random.below(3) === 0 ? random.pick(IDS) : '' }),
  (random) => JSON.stringify({ ID: random.pick(IDS), StorageOpt: { size: random.pick(['1G', '-1', 'x', '']) } }),
  (random) =>
    JSON.stringify({ Home: '/h/lcfs', Opts: ['lcfs.size=1G'], UIDMaps: [{ container_id: random.below(3), host_id: 0, size: 1 }] }),
  (random) => JSON.stringify({ ID: [random.pick(IDS)], Parent: 7 }),
  (random) =>
    random.pick(['', '{', '[]', 'null', '"x"', '{"ID":"\\ud800"}', `{"ID":"${'x'.repeat(300)}"}`, '{"ID":"../a"}', '{"ID":"a\\u0000b"}']),
];

function request(random: Random, path: string, headers: string, body: string | Buffer): Buffer {
  const method = random.below(20) === 0 ? random.pick(['GET', 'PUT', 'POST ', '', 'PRI * HTTP/2.0']) : 'POST';
  const version = random.below(30) === 0 ? random.pick(['HTTP/1.0', 'HTTP/9.9', '']) : 'HTTP/1.1';
  return Buffer.concat([Buffer.from(`${method} ${path} ${version}\r\nHost: plugin\r\n${headers}\r\n`), Buffer.from(body)]);
}

function smallCall(random: Random): Buffer {
  const body = random.pick(BODIES)(random);
  const length = random.below(15) === 0 ? random.pick([0, 1, 10_000, 2_000_000, -1]) : Buffer.byteLength(body);
  const more =
    random.below(12) === 0
      ? random.pick([`X: ${'y'.repeat(20_000)}\r\n`, 'Expect: 100-continue\r\n', 'Connection: close\r\n', ': \r\n'])
      : '';
  const path =
    random.below(20) === 0
      ? random.pick(['/', '*', '/Plugin.Activate', '/GraphDriver.Init', '//x', '/%'])
      : `/GraphDriver.${random.pick(CALLS)}`;
  return request(random, path, `${more}Content-Length: ${length}\r\n`, body);
}

function chunked(random: Random, body: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < body.length;) {
    const part = body.subarray(at, at + 1 + random.below(20_000));
    parts.push(Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n'));
    at += part.length;
  }
  return Buffer.concat([...parts, Buffer.from('0\r\n\r\n')]);
}

function tarCall(random: Random): Buffer {
  const path = `/GraphDriver.ApplyDiff?id=${random.pick(IDS)}&parent=`;
  if (random.below(2) === 0) return request(random, path, 'Transfer-Encoding: chunked\r\n', chunked(random, TAR));
  return request(random, path, `Content-Length: ${TAR.length}\r\n`, TAR);
}

/** What one connection carries. */
function stream(random: Random): Buffer {
  const parts = Array.from({ length: 1 + random.below(4) }, () => (random.below(4) === 0 ? tarCall(random) : smallCall(random)));
  const all = Buffer.concat(parts);
  switch (random.below(4)) {
    case 0:
      return all.subarray(0, random.below(all.length));
    case 1:
      // Not in what a tar holds: that a layer is whole is told by its last file.
      return Buffer.concat([mutateBytes(parts[0]!.subarray(0, Math.min(parts[0]!.length, 150)), random), ...parts.slice(1)]);
    default:
      return all;
  }
}

/** A call of one's own, on a connection of its own, in the middle of all. */
async function probe(socket: string): Promise<void> {
  const answer = await sendRaw(
    socket,
    [Buffer.from('POST /Plugin.Activate HTTP/1.1\r\nHost: p\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')],
    'end',
  );
  assert.match(answer.toString(), /"GraphDriver"/);
}

function assertNoHalves(): void {
  for (const { name, index } of listLayers()) {
    if (!IDS.includes(name)) continue;
    assert.equal(find(index, ROOT, FIRST) > 0, find(index, ROOT, LAST) > 0, `layer ${name} has all of the tar or nothing`);
  }
}

function removeAll(): void {
  for (let tries = 0; tries < IDS.length; tries++)
    for (const { name, children, holders } of listLayers()) if (children === 0 && holders === 0 && findLayer(name) >= 0) removeLayer(name);
  reclaimAll();
}

export async function fuzzDockerServer(options: FuzzOptions): Promise<FuzzFigures> {
  openTestVolume(128 << 20);
  const folder = mkdtempSync(join(tmpdir(), 'lcfs-fuzz-'));
  const socket = join(folder, 's');
  const nothing = async (): Promise<void> => {};
  const context = {
    mountpoint: '/mnt',
    name: 'lcfs',
    transport: 'test',
    notes: null,
    firstNewLayer: W[NEXT_LAYER]!,
    written: () => {},
    announce: () => {},
  };
  const server = makeServer(new GraphDriver({ ...context, bringIn: nothing, checkpoint: nothing, durable: nothing }), () => {});
  await serveSocket(server.http, await makeSocket(socket));
  const figures = await runCases(options, async (random, seed) => {
    const connections = Array.from({ length: 1 + random.below(4) }, () =>
      sendRaw(socket, inPieces(stream(random), random), random.below(3) === 0 ? 'destroy' : 'end'),
    );
    await Promise.all([...connections, probe(socket)]);
    await probe(socket);
    // Cleanup lets go of what was mounted.
    await sendRaw(socket, [Buffer.from('POST /GraphDriver.Cleanup HTTP/1.1\r\nHost: p\r\nContent-Length: 2\r\n\r\n{}')], 'end');
    await settled(server.http);
    assertNoHalves();
    if (seed % 20 !== 0) return;
    removeAll();
    assertSound();
  });
  await server.close(1000);
  removeAll();
  closeTestVolume();
  rmSync(folder, { recursive: true });
  return figures;
}
