/** Images and their archives: import, load, commit, save and removal. */
import type { PrivateDocker } from '../../scripts/lib/docker.js';
import { debianRoot } from '../../scripts/lib/images.js';
import type { Bench, Comparison } from '../harness/bench.js';
import type { Peer } from '../harness/peer.js';
import type { Part } from '../harness/types.js';
import { createContainer, removeAll, removeContainer, runContainer } from './docker-api.js';
import { PAIR, TAKERS } from './takers.js';
import { imageArchives, reference } from './test-images.js';

const IMAGE = reference('apache');
/** What a container changes before it is committed: 2,000 small files, one of 64 MiB and the removal of a folder. */
const CHANGES = `cd /srv; for d in 0 1 2 3 4 5 6 7 8 9; do mkdir $d; i=0; while [ $i -lt 200 ]; do echo $d $i > $d/$i; i=$((i+1)); done; done
head -c 67108864 /dev/urandom > large; rm -rf /usr/share/doc`;

export const images: Part = {
  name: 'images',
  description: 'import, load, commit, save and rmi',
  disks: ['fast', 'slow'],
  run: measure,
};

type Step = Pick<Comparison, 'metric' | 'prepare' | 'work' | 'after' | 'durable'>;

async function measure(bench: Bench): Promise<void> {
  const [root, [archive]] = [await debianRoot(), await imageArchives(bench.undo, 'apache')];
  const peers = await bench.prepare(TAKERS[bench.disk], 'starting Docker', async (peer) => removeAll(await peer.engine()));
  for (const step of [...importSteps(root), ...loadSteps(archive!), ...containerSteps(bench)]) {
    if (step.metric.startsWith('commit')) await bench.prepare(peers, 'loading the image', (peer) => docker(peer, 'load', '-i', archive!));
    await bench.compare({ ...step, peers: step.durable === true ? peers.filter((name) => PAIR.includes(name)) : peers });
  }
  await bench.prepare(peers, 'removing the images', async (peer) => removeAll(await peer.engine()));
}

async function docker(peer: Peer, ...args: string[]): Promise<void> {
  await (await peer.engine()).docker(...args);
}

function importSteps(root: string): Step[] {
  const step = { work: (peer: Peer) => docker(peer, 'import', root, 'imported'), after: (peer: Peer) => docker(peer, 'rmi', 'imported') };
  return [
    { metric: 'import a root file system', ...step },
    { metric: 'import, until it is on the disk', durable: true, ...step },
  ];
}

function loadSteps(archive: string): Step[] {
  return [
    {
      metric: 'load an image',
      work: (peer) => docker(peer, 'load', '-i', archive),
      after: (peer) => docker(peer, 'rmi', IMAGE),
    },
    {
      metric: 'rmi',
      prepare: (peer) => docker(peer, 'load', '-i', archive),
      work: (peer) => docker(peer, 'rmi', IMAGE),
    },
  ];
}

/** These need the image to be loaded. */
function containerSteps(bench: Bench): Step[] {
  const changed = new Map<string, string>();
  return [
    {
      metric: 'commit a changed container',
      prepare: async (peer) => void changed.set(peer.name, await changedContainer(await peer.engine())),
      work: (peer) => docker(peer, 'commit', changed.get(peer.name)!, 'committed'),
      after: async (peer) => {
        await (await peer.engine()).try('rmi', 'committed');
        await removeContainer(await peer.engine(), changed.get(peer.name)!);
      },
    },
    {
      metric: 'save an image',
      work: (peer) => docker(peer, 'save', '-o', `${bench.folder('saved')}/${peer.name}.tar`, IMAGE),
    },
  ];
}

async function changedContainer(engine: PrivateDocker): Promise<string> {
  const id = await createContainer(engine, IMAGE, ['/bin/sh', '-c', CHANGES]);
  await runContainer(engine, id);
  return id;
}
