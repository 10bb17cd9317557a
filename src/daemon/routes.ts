/** The routes of the control protocol (protocol.ts): each takes a call apart, hands it to a task and passes the answer on. */
import { writeFileSync } from 'node:fs';
import { STAGING_NAME } from '../drivers/containerd/layer-names.js';
import { LcfsError } from '../engine/errors.js';
import type { FsyncMode } from '../engine/layers.js';
import { cancelScrub, setScrubRate, startScrub } from '../engine/scrub.js';
import {
  STREAMED,
  endStream,
  numberIn,
  readBody,
  requiredNumber,
  textIn,
  textsIn,
  writeStream,
  type Call,
  type Handler,
  type Route,
} from './control.js';
import { ENGINES, type EngineName, type GcReport, type GcRequest, type Scrub, type Status } from './protocol.js';
import { describeScrub } from './status.js';
import type { Program } from './program.js';
import type { TaskThread } from './tasks.js';

/** A program that is to serve from now on, and the version of the handover that it takes. */
export type NewProgram = Program & { handover: number };

/** What the routes need of the daemon. */
export interface Service {
  status: () => Status;
  /** Unmounts and closes the volume; throws LcfsError `busy` if it is in use and not `force`. */
  stop: (force: boolean) => Promise<void>;
  /** Ends the process, once the answer to the stop is out. */
  exit: () => void;
  /** Throws LcfsError if the daemon cannot hand over to another serving process now, or not to this program (null: the same). */
  refuseHandover: (program: NewProgram | null) => void;
  /** Hands over, once the answer is out. */
  handOver: (program: NewProgram | null) => void;
  tasks: TaskThread;
  gc: (request: GcRequest) => Promise<GcReport>;
}

export function makeRoutes(service: Service): Route[] {
  return [...volumeRoutes(service), ...layerRoutes(service), ...contentRoutes(service)];
}

function route(method: string, path: string, handler: Handler): Route {
  return { method, path, handler };
}

function volumeRoutes(service: Service): Route[] {
  const { tasks } = service;
  return [
    route('GET', 'status', () => service.status()),
    route('POST', 'stop', (call) => stop(service, call)),
    route('POST', 'upgrade', async (call) => handOver(service, call, newProgram(await readBody(call)))),
    route('POST', 'resume', (call) => handOver(service, call, null)),
    route('POST', 'commit', () => tasks.run('checkpoint', {})),
    route('POST', 'syncer', async (call) => tasks.run('setSyncer', { seconds: requiredNumber(await readBody(call), 'seconds') })),
    route('POST', 'pcache', async (call) => tasks.run('setCache', { bytes: requiredNumber(await readBody(call), 'bytes') })),
    route('POST', 'flush', (call) => flush(tasks, call)),
    route('POST', 'gc', async (call) => service.gc(gcRequest(await readBody(call)))),
    route('POST', 'grow', () => tasks.run('grow', {})),
    route('GET', 'stats', (call) => tasks.run('readStats', layerQuery(call))),
    route('DELETE', 'stats', (call) => tasks.run('clearStats', layerQuery(call))),
    route('POST', 'scrub', async (call) => scrub(await readBody(call))),
    route('POST', 'check', async (call) => tasks.run('check', { data: (await readBody(call))['data'] === true })),
  ];
}

/** Only words of the shared memory change; the scrubbing thread sees to the rest. */
function scrub(body: Record<string, unknown>): Scrub {
  const rate = numberIn(body, 'rate');
  if (rate !== undefined) setScrubRate(Math.max(0, rate));
  if (body['action'] === 'start') startScrub();
  else if (body['action'] === 'stop') cancelScrub();
  return describeScrub();
}

async function stop(service: Service, call: Call): Promise<typeof STREAMED> {
  const body = await readBody(call);
  await service.stop(body['force'] === true);
  call.response.once('close', service.exit);
  call.response.writeHead(200, { 'content-type': 'application/json' });
  call.response.end('{}');
  return STREAMED;
}

function handOver(service: Service, call: Call, program: NewProgram | null): object {
  service.refuseHandover(program);
  call.response.once('close', () => service.handOver(program));
  return {};
}

function newProgram(body: Record<string, unknown>): NewProgram {
  const words = body['words'];
  const version = textIn(body, 'version');
  if (!Array.isArray(words) || words.length === 0 || !words.every((word) => typeof word === 'string') || version === undefined)
    throw new LcfsError('invalid', 'words (of the command) and version of the program are missing');
  return { words: words as string[], version, handover: requiredNumber(body, 'handover') };
}

async function flush(tasks: TaskThread, call: Call): Promise<unknown> {
  const body = await readBody(call);
  // 3: pages, directory entries and inodes. The kernel has no narrower way to be told so.
  if (body['kernel'] === true) writeFileSync('/proc/sys/vm/drop_caches', '3');
  return tasks.run('dropCache', {});
}

function gcRequest(body: Record<string, unknown>): GcRequest {
  const gone = textsIn(body, 'gone');
  const strange = gone.find((name) => !ENGINES.includes(name as EngineName));
  if (strange !== undefined) throw new LcfsError('invalid', `gone: there is no engine '${strange}', only ${ENGINES.join(' and ')}`);
  return {
    names: textsIn(body, 'names'),
    olderThanSeconds: numberIn(body, 'olderThanSeconds'),
    remove: body['remove'] === true,
    dockerRoots: textsIn(body, 'dockerRoots'),
    gone: gone as EngineName[],
  };
}

function layerQuery(call: Call): { layer: string | null } {
  return { layer: call.query.get('layer') };
}

function layerRoutes(service: Service): Route[] {
  const { tasks } = service;
  return [
    route('GET', 'layers', (call) => stream(tasks, 'listLayers', {}, call)),
    route('POST', 'layers', async (call) => tasks.run('createLayer', newLayer(await readBody(call)))),
    route('GET', 'layers/:name', (call) => tasks.run('layer', { name: call.names[0] })),
    route('DELETE', 'layers/:name', (call) => tasks.run('removeLayer', { name: call.names[0] })),
    route('POST', 'layers/:name/commit', async (call) => {
      const newName = textIn(await readBody(call), 'newName');
      if (newName !== undefined) refuseReserved(newName);
      return tasks.run('commitLayer', { name: call.names[0], newName });
    }),
  ];
}

interface NewLayer {
  name: string;
  parent: string | undefined;
  quotaBytes: number | undefined;
  fsync: FsyncMode | undefined;
}

function newLayer(body: Record<string, unknown>): NewLayer {
  const name = textIn(body, 'name');
  if (name === undefined) throw new LcfsError('invalid', 'name is missing');
  refuseReserved(name);
  return { name, parent: textIn(body, 'parent'), quotaBytes: numberIn(body, 'quotaBytes'), fsync: fsyncIn(body) };
}

function fsyncIn(body: Record<string, unknown>): FsyncMode | undefined {
  const mode = textIn(body, 'fsync');
  if (mode === undefined || mode === 'strict' || mode === 'relaxed') return mode;
  throw new LcfsError('invalid', `fsync is strict or relaxed, not "${mode.slice(0, 100)}"`);
}

/** Names that a driver makes up for itself and relies on. */
function refuseReserved(name: string): void {
  if (name.startsWith(STAGING_NAME))
    throw new LcfsError('invalid', `names that begin with "${STAGING_NAME}" belong to the differ of containerd: choose another name`);
}

function contentRoutes(service: Service): Route[] {
  const { tasks } = service;
  return [
    route('GET', 'layers/:name/diff', (call) => stream(tasks, 'diff', { name: call.names[0], base: call.query.get('base') }, call)),
    route('PUT', 'layers/:name/content', (call) => {
      refuseReserved(call.names[0]!);
      return tasks.run('import', { name: call.names[0], parent: call.query.get('parent') }, { input: call.request }, call.signal);
    }),
    route('GET', 'layers/:name/content', (call) => exportTar(service, call)),
  ];
}

/** Answers with the output of a task. Until its first bytes come, a failure is an answer of its own. */
async function stream(
  tasks: TaskThread,
  task: string,
  args: object,
  call: Call,
  contentType = 'application/x-ndjson',
): Promise<typeof STREAMED> {
  await tasks.run(task, args, { output: (chunk) => writeStream(call.response, contentType, chunk) }, call.signal);
  return endStream(call.response, contentType);
}

function exportTar({ tasks }: Service, call: Call): Promise<typeof STREAMED> {
  const args = { name: call.names[0], base: call.query.get('base'), whole: call.query.get('whole') === '1' };
  return stream(tasks, 'export', args, call, 'application/x-tar');
}
