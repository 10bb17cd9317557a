/**
 * The control socket under fire, with the real routes and a task thread: malformed and huge requests, bodies that are no JSON or
 * of wrong types, imports cut off in the middle, many requests on one connection. The server answers others meanwhile, a
 * cut import leaves no layer, and the volume stays sound.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { listLayers, releaseLayer } from '../engine/layers.js';
import { exitNow } from '../linux/libc.js';
import { currentVolume } from '../engine/volume.js';
import { archive } from '../../test/support/archives.js';
import { closeTestVolume, find, openTestVolume, ROOT } from '../../test/support/files.js';
import { mutateBytes, runCases, type FuzzFigures, type FuzzOptions } from '../../test/support/fuzz.js';
import { inPieces, sendRaw, settled } from '../../test/support/raw-socket.js';
import { assertSound, type Random } from '../../test/support/volume.js';
import { newTables } from '../fuse/tables.js';
import { makeControlServer } from './control.js';
import { makeRoutes } from './routes.js';
import { TaskThread } from './tasks.js';

const NAMES = ['a', 'b', 'c', '%2e', '%', 'x'.repeat(300), 'a%2Fb', '%00', 'global', 'ctr+staging~1', ''];
const [FIRST, LAST] = ['first', 'last'];
const TAR = archive({ path: FIRST, data: Buffer.alloc(40_000, 'f') }, { path: LAST, data: 'l' });
const PATHS: [string, string][] = [
  ['POST', 'commit'],
  ['POST', 'flush'],
  ['GET', 'stats'],
  ['DELETE', 'stats'],
  ['GET', 'layers'],
  ['POST', 'layers'],
  ['GET', 'layers/NAME'],
  ['DELETE', 'layers/NAME'],
  ['POST', 'layers/NAME/commit'],
  ['GET', 'layers/NAME/diff'],
  ['GET', 'layers/NAME/content?whole=1'],
  ['PUT', 'layers/NAME/content'],
  ['POST', 'syncer'],
  ['POST', 'gc'],
  ['GET', 'nothing'],
];
const BODIES = [
  '',
  '{}',
  '{',
  '[]',
  'null',
  '{"name":"a"}',
  '{"name":"b","parent":"a"}',
  '{"name":7}',
  '{"name":"c","quotaBytes":-1}',
  '{"name":"c","quotaBytes":1e300}',
  '{"seconds":"x"}',
  '{"seconds":0}',
  '{"newName":"b"}',
  '{"newName":{}}',
  '{"kernel":"yes"}',
  '{"names":[1],"gone":["x"]}',
  '{"__proto__":{"name":"a"}}',
  `{"name":"${'n'.repeat(70_000)}"}`,
];

function request(random: Random): Buffer {
  const [method, template] = random.pick(PATHS);
  const path = template.replace('NAME', random.pick(NAMES));
  const body = path.startsWith('layers/') && method === 'PUT' ? TAR : Buffer.from(random.pick(BODIES));
  const prefix = random.below(20) === 0 ? random.pick(['/v2/', '/', '/v1', '//v1/']) : '/v1/';
  const query = random.below(8) === 0 ? random.pick(['?parent=a', '?base=b', '?layer=%', '?=&&=', '?parent=' + 'p'.repeat(5000)]) : '';
  const length = random.below(20) === 0 ? random.pick([-1, 5_000_000, 1]) : body.length;
  return Buffer.concat([
    Buffer.from(`${method} ${prefix}${path}${query} HTTP/1.1\r\nHost: lcfs\r\nContent-Length: ${length}\r\n\r\n`),
    body,
  ]);
}

function stream(random: Random): Buffer {
  const all = Buffer.concat(Array.from({ length: 1 + random.below(3) }, () => request(random)));
  switch (random.below(4)) {
    case 0:
      return all.subarray(0, random.below(all.length));
    case 1:
      return Buffer.concat([mutateBytes(all.subarray(0, 100), random), all.subarray(100)]);
    default:
      return all;
  }
}

const GET_STATUS = Buffer.from('GET /v1/status HTTP/1.1\r\nHost: lcfs\r\nConnection: close\r\n\r\n');

async function probe(socket: string): Promise<void> {
  assert.match((await sendRaw(socket, [GET_STATUS], 'end')).toString(), /"probe":true/);
}

/** An import that was cut off takes its layer along, a moment after its connection has gone. */
async function assertNoHalves(tasks: TaskThread): Promise<void> {
  for (let tries = 0; ; tries++) {
    await tasks.run('readStats', { layer: null });
    const halves = [...listLayers()].filter(({ index }) => find(index, ROOT, FIRST) > 0 !== find(index, ROOT, LAST) > 0);
    const held = [...listLayers()].filter(({ holders }) => holders > 0);
    if (halves.length === 0 && held.length === 0) return;
    assert.ok(tries < 200, `layers ${[...halves, ...held].map(({ name }) => name).join(', ')} are half or held`);
    await new Promise((wake) => setTimeout(wake, 10));
  }
}

export async function fuzzControl(options: FuzzOptions): Promise<FuzzFigures> {
  openTestVolume(256 << 20);
  const folder = mkdtempSync(join(tmpdir(), 'lcfs-fuzz-'));
  const socket = join(folder, 's');
  const handle = currentVolume();
  const mapped = { mountpoint: folder, device: 0, tables: newTables() };
  const tasks = new TaskThread(
    () => new Worker(new URL('./task-worker.js', import.meta.url), { workerData: { handle, device: -1, mapped } }),
  );
  const status = (): never => ({ probe: true }) as never;
  const gc = async (): Promise<never> => ({ layers: [], notAsked: [] }) as never;
  const routes = makeRoutes({ tasks, status, gc, stop: async () => {}, exit: () => {} } as never);
  const onBug = (error: unknown): never => {
    console.error(error);
    exitNow(70);
    throw error;
  };
  const server = makeControlServer({ routes, onRefusal: () => {}, onBug });
  await new Promise<void>((settle) => server.listen(socket, settle));
  const figures = await runCases(options, async (random, seed) => {
    const connections = Array.from({ length: 1 + random.below(3) }, () =>
      sendRaw(socket, inPieces(stream(random), random), random.below(3) === 0 ? 'destroy' : 'end'),
    );
    await Promise.all([...connections, probe(socket)]);
    await settled(server);
    if (seed % 10 !== 0) return;
    await assertNoHalves(tasks);
    await probe(socket);
    assertSound();
  });
  await tasks.close();
  await new Promise((settle) => server.close(settle));
  for (const { name, holders } of listLayers()) for (let held = holders; held > 0; held--) releaseLayer(name);
  closeTestVolume();
  rmSync(folder, { recursive: true });
  return figures;
}
