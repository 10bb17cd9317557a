/**
 * A real Docker Engine on LCFS against the same Docker on overlay2, both running at once on this machine. Each piece of
 * work is done on the two in turn, several times, and the medians are compared; what the last turn left to be written is
 * written out before the next one starts. Containers are driven through the engine's API, so that the time of the command
 * line client, the same for both, does not blur the comparison.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { PrivateDocker } from '../scripts/lib/docker.js';
import { makeFolder } from '../scripts/lib/folders.js';
import { busyboxRoot, debianRoot, DOWNLOADED_FILES } from '../scripts/lib/images.js';
import { LcfsDaemon } from '../scripts/lib/lcfs.js';
import { unmountBelow } from '../scripts/lib/mounts.js';
import { run } from '../scripts/lib/run.js';

const CONTAINERS = 20;

/** Medians in milliseconds of the same work on both engines. */
export interface Comparison {
  work: string;
  lcfsMs: number;
  overlayMs: number;
}

interface Bench {
  folder: string;
  lcfs: LcfsDaemon;
  onLcfs: PrivateDocker;
  onOverlay: PrivateDocker;
}

/** Runs all comparisons and prints each when it is done. */
export async function benchDocker(print: (line: string) => void = console.log): Promise<Comparison[]> {
  const bench = prepare();
  try {
    await bench.lcfs.start();
    await Promise.all([bench.onLcfs.start(), bench.onOverlay.start()]);
    print(`\nDocker Engine ${bench.onLcfs.version}: LCFS against overlay2 (medians, ms)`);
    return await compareAll(bench, print);
  } finally {
    await Promise.all([bench.onLcfs.stop(), bench.onOverlay.stop()]);
    await bench.lcfs.end();
    await unmountBelow(bench.folder);
    rmSync(bench.folder, { recursive: true, force: true });
  }
}

function prepare(): Bench {
  const folder = makeFolder('lcfs-b-');
  const driver = `lcfs-bench-${process.pid}`;
  for (const name of ['a', 'b']) mkdirSync(join(folder, name));
  return {
    folder,
    lcfs: new LcfsDaemon({ directory: join(folder, 'lcfs'), driver, size: '20G' }),
    onLcfs: new PrivateDocker({ directory: join(folder, 'a'), driver }),
    onOverlay: new PrivateDocker({ directory: join(folder, 'b'), driver: 'overlay2' }),
  };
}

async function compareAll(bench: Bench, print: (line: string) => void): Promise<Comparison[]> {
  const [busybox, debian] = [await busyboxRoot(), await debianRoot()];
  for (const docker of [bench.onLcfs, bench.onOverlay]) {
    await docker.docker('import', '--change', 'CMD ["/bin/true"]', busybox, 'busybox');
    await docker.docker('import', debian, 'debian');
  }
  const found: Comparison[] = [];
  const compare = async (work: string, rounds: number, once: (docker: PrivateDocker) => Promise<number>): Promise<void> => {
    const comparison = await alternate(bench, work, rounds, once);
    found.push(comparison);
    print(describe(comparison));
  };
  await compare('import of a 200 MB root', 5, (docker) => timeImport(docker, debian, false));
  await compare('the same, until it is on the disk', 3, (docker) => timeImport(docker, debian, true));
  await compare('build with apt-get install', 5, (docker) => timeBuild(docker, bench.folder));
  await compare(`create and remove, each of ${CONTAINERS} containers`, 5, (docker) => timeContainers(docker, createAndRemove));
  await compare(`run and remove, each of ${CONTAINERS} containers`, 3, (docker) => timeContainers(docker, runAndRemove));
  return found;
}

/** Does the work on both in turn; each starts as often as the other. One round before the first that counts. */
async function alternate(
  bench: Bench,
  work: string,
  rounds: number,
  once: (docker: PrivateDocker) => Promise<number>,
): Promise<Comparison> {
  const times = new Map<PrivateDocker, number[]>([
    [bench.onLcfs, []],
    [bench.onOverlay, []],
  ]);
  for (let round = 0; round <= rounds; round++) {
    const order = round % 2 === 0 ? [bench.onLcfs, bench.onOverlay] : [bench.onOverlay, bench.onLcfs];
    for (const docker of order) {
      await run('sync', []);
      const time = await once(docker);
      if (round > 0) times.get(docker)!.push(time);
    }
  }
  return { work, lcfsMs: median(times.get(bench.onLcfs)!), overlayMs: median(times.get(bench.onOverlay)!) };
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

function describe({ work, lcfsMs, overlayMs }: Comparison): string {
  const column = (ms: number): string => ms.toFixed(ms < 100 ? 1 : 0).padStart(8);
  return `  ${work.padEnd(44)} LCFS ${column(lcfsMs)}   overlay2 ${column(overlayMs)}   ratio ${(lcfsMs / overlayMs).toFixed(2)}`;
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

/** Imports a tar; with `durable`, until nothing is left to be written. */
async function timeImport(docker: PrivateDocker, tar: string, durable: boolean): Promise<number> {
  const time = await timed(async () => {
    await docker.docker('import', tar, 'imported');
    if (durable) await run('sync', []);
  });
  await docker.docker('rmi', 'imported');
  return time;
}

async function timeBuild(docker: PrivateDocker, folder: string): Promise<number> {
  const context = join(folder, 'context');
  mkdirSync(context, { recursive: true });
  writeFileSync(join(context, 'Dockerfile'), `FROM debian\nRUN apt-get install -y ${DOWNLOADED_FILES}\n`);
  const env = { DOCKER_BUILDKIT: '0' };
  const time = await timed(() => docker.dockerWith({ env }, 'build', '--no-cache', '--network', 'host', '-t', 'built', context));
  await docker.docker('rmi', 'built');
  return time;
}

/** Time for one container. */
async function timeContainers(docker: PrivateDocker, once: (docker: PrivateDocker) => Promise<void>): Promise<number> {
  const time = await timed(async () => {
    for (let i = 0; i < CONTAINERS; i++) await once(docker);
  });
  return time / CONTAINERS;
}

async function create(docker: PrivateDocker): Promise<string> {
  const body = { Image: 'busybox', HostConfig: { NetworkMode: 'host' } };
  return (JSON.parse(await callApi(docker, 'POST', '/containers/create', body)) as { Id: string }).Id;
}

async function createAndRemove(docker: PrivateDocker): Promise<void> {
  await callApi(docker, 'DELETE', `/containers/${await create(docker)}`);
}

async function runAndRemove(docker: PrivateDocker): Promise<void> {
  const id = await create(docker);
  await callApi(docker, 'POST', `/containers/${id}/start`);
  await callApi(docker, 'POST', `/containers/${id}/wait`);
  await callApi(docker, 'DELETE', `/containers/${id}`);
}

/** One call of the Docker Engine's API; throws if it is refused. */
function callApi(docker: PrivateDocker, method: string, path: string, body?: object): Promise<string> {
  const options = {
    socketPath: docker.host.slice('unix://'.length),
    method,
    path: `/v1.40${path}`,
    headers: { 'Content-Type': 'application/json' },
  };
  return new Promise((resolve, reject) => {
    const outgoing = request(options, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        if (response.statusCode! < 400) resolve(text);
        else reject(new Error(`${method} ${path}: ${text.trim()}`));
      });
    });
    outgoing.on('error', reject);
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });
}
