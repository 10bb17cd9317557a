/**
 * Creating and removing containers of a Debian with Apache, without and with running them, against their number.
 *
 * One repetition makes as many containers as the largest number, one after the other, and then removes them, last made
 * first. That is also a measurement for each smaller number n: the first n are made while 0 to n − 1 others are there, and the
 * last n are removed while n to 1 are there, as if there had never been more. The figure is the time of both, for each of
 * the n containers. vfs copies the image for each container, so it makes only a few.
 */
import type { PrivateDocker } from '../../scripts/lib/docker.js';
import type { Bench, Comparison } from '../harness/bench.js';
import type { Part, PeerName } from '../harness/types.js';
import { TAKERS } from './takers.js';
import { createContainer, removeAll, removeContainer, runContainer } from './docker-api.js';
import { imageArchives, reference } from './test-images.js';

const NUMBERS = [20, 40, 60, 80, 100];
/** On the slow disk a hundred would take minutes for each repetition. */
const NUMBERS_SLOW = [20];
const NUMBERS_VFS = [2];
/** Each peer first makes and runs some that do not count. */
const FIRST = 3;
const NUMBERS_QUICK = [2, 4];
const IMAGE = reference('apache');

export const containers: Part = {
  name: 'containers',
  description: 'create and remove 20 to 100 containers, and run and remove them',
  disks: ['fast', 'slow'],
  run: measure,
};

async function measure(bench: Bench): Promise<void> {
  const [archive] = await imageArchives(bench.undo, 'apache');
  const peers = await bench.prepare(TAKERS[bench.disk], 'loading the image', async (peer) => loadImage(await peer.engine(), archive!));
  for (const run of [false, true]) {
    await compare(
      bench,
      run,
      peers.filter((name) => name !== 'vfs'),
      numbers(bench),
    );
    await compare(
      bench,
      run,
      peers.filter((name) => name === 'vfs'),
      bench.quick ? [1] : NUMBERS_VFS,
    );
  }
  await bench.prepare(peers, 'removing the image', async (peer) => removeAll(await peer.engine()));
}

function numbers({ quick, disk }: Bench): readonly number[] {
  if (quick) return NUMBERS_QUICK;
  return disk === 'slow' ? NUMBERS_SLOW : NUMBERS;
}

async function compare(bench: Bench, run: boolean, peers: readonly PeerName[], points: readonly number[]): Promise<void> {
  const comparison: Comparison = {
    metric: run ? 'run and remove a container' : 'create and remove a container',
    peers,
    points,
    work: async (peer) => perContainer(await peer.engine(), run, points),
    after: async (peer) => removeLeft(await peer.engine()),
  };
  await bench.compare(comparison);
}

async function loadImage(docker: PrivateDocker, archive: string): Promise<void> {
  await docker.docker('load', '-i', archive);
  await perContainer(docker, true, [FIRST]);
}

/** Milliseconds for each of the first n containers, for each n. */
async function perContainer(docker: PrivateDocker, run: boolean, points: readonly number[]): Promise<number[]> {
  const most = Math.max(...points);
  const ids: string[] = [];
  const [made, removed]: [number[], number[]] = [[], []];
  for (let i = 0; i < most; i++) {
    const started = performance.now();
    const id = await createContainer(docker, IMAGE, ['/bin/true']);
    ids.push(id);
    if (run) await runContainer(docker, id);
    made.push(performance.now() - started);
  }
  for (const id of ids.toReversed()) {
    const started = performance.now();
    await removeContainer(docker, id);
    removed.unshift(performance.now() - started);
  }
  return points.map((n) => (sum(made.slice(0, n)) + sum(removed.slice(0, n))) / n);
}

const sum = (times: readonly number[]): number => times.reduce((total, time) => total + time, 0);

/** Containers that a repetition left which failed. */
async function removeLeft(docker: PrivateDocker): Promise<void> {
  const ids = (await docker.docker('ps', '-aq')).split('\n').filter((id) => id !== '');
  if (ids.length > 0) await docker.docker('rm', '-f', ...ids);
}
