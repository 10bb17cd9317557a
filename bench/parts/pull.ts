/** Pulling images of a Debian with fio and of one with MariaDB from a registry on this machine, and removing them again. */
import { PrivateDocker } from '../../scripts/lib/docker.js';
import { unmountBelow } from '../../scripts/lib/mounts.js';
import { needCommands } from '../../scripts/lib/packages.js';
import { Registry } from '../../test/engines/registry.js';
import type { Bench, Comparison } from '../harness/bench.js';
import type { Part } from '../harness/types.js';
import { removeAll } from './docker-api.js';
import { PAIR, TAKERS } from './takers.js';
import { imageArchives, reference, type TestImage } from './test-images.js';

const IMAGES = ['fio', 'mariadb'] as const;
const TITLES: Readonly<Record<(typeof IMAGES)[number], string>> = { fio: 'pull Debian with fio', mariadb: 'pull Debian with MariaDB' };

export const pull: Part = {
  name: 'pull',
  description: 'pull images of Debian with fio and with MariaDB from a local registry',
  disks: ['fast', 'slow'],
  run: measure,
};

async function measure(bench: Bench): Promise<void> {
  await needCommands('docker-registry');
  const peers = await bench.prepare(TAKERS[bench.disk], 'starting Docker', (peer) => peer.engine());
  const registry = await Registry.start(`${bench.folder('registry')}/${bench.disk}`);
  const stop = bench.undo.add('registry', () => registry.stop());
  try {
    const host = `127.0.0.1:${registry.port}`;
    await push(bench, host);
    for (const image of bench.quick ? IMAGES.slice(0, 1) : IMAGES) {
      await pullOne(bench, { metric: TITLES[image], peers, warmUp: image === IMAGES[0] }, `${host}/${image}`);
    }
    const pair = peers.filter((name) => PAIR.includes(name));
    await pullOne(bench, { metric: `${TITLES.fio}, until it is on the disk`, peers: pair, durable: true, warmUp: false }, `${host}/fio`);
  } finally {
    await stop();
  }
}

/** Fills the registry from an engine of its own, so that the peers all start from nothing. */
async function push(bench: Bench, host: string): Promise<void> {
  const directory = bench.folder(`push-${bench.disk}`);
  const docker = new PrivateDocker({ directory, driver: 'overlay2' });
  const stop = bench.undo.add('Docker for pushing', async () => {
    await docker.stop();
    await unmountBelow(directory);
  });
  try {
    await docker.start();
    for (const image of bench.quick ? IMAGES.slice(0, 1) : IMAGES) await pushOne(bench, docker, host, image);
  } finally {
    await stop();
  }
}

async function pushOne(bench: Bench, docker: PrivateDocker, host: string, image: TestImage): Promise<void> {
  const [archive] = await imageArchives(bench.undo, image);
  await docker.docker('load', '-i', archive!);
  await docker.docker('tag', reference(image), `${host}/${image}`);
  await docker.docker('push', `${host}/${image}`);
}

async function pullOne(bench: Bench, comparison: Omit<Comparison, 'work'>, name: string): Promise<void> {
  await bench.compare({
    ...comparison,
    work: async (peer) => void (await (await peer.engine()).docker('pull', '-q', name)),
    after: async (peer) => removeAll(await peer.engine()),
  });
}
