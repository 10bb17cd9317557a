/**
 * A container's root on a chain of layers, by the storages' own ways: LCFS is asked over its control socket for a clone of the
 * last layer, overlay2's root is a mount of all layers. Then a program looks at a name that only the first layer has.
 *
 * The kernel stacks 500 layers at most (Docker 128), so overlay2 has no values beyond.
 */
import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { unmountBelow } from '../../scripts/lib/mounts.js';
import { run } from '../../scripts/lib/run.js';
import type { Bench } from '../harness/bench.js';
import { LcfsPeer } from '../harness/lcfs-peer.js';
import type { Peer } from '../harness/peer.js';
import type { Part } from '../harness/types.js';

const DEPTHS = [1, 10, 100, 500, 1000, 10_000];
const LAYERS_OF_OVERLAYFS = 500;
const NAME = 'bottom';

export const depth: Part = {
  name: 'depth',
  description: 'a container on a chain of 1 to 10,000 layers',
  disks: ['fast'],
  run: async (bench) => {
    for (const layers of bench.quick ? DEPTHS.slice(0, 5) : DEPTHS) await measure(bench, layers);
    const lcfs = await bench.lcfs();
    for (let layer = chainLength; layer > 0; layer--) await lcfs.removeRoot(chainName(layer));
    chainLength = 0;
  },
};

const chainName = (layer: number): string => `chain-${layer}`;
let chainLength = 0;

async function measure(bench: Bench, layers: number): Promise<void> {
  await bench.compare({
    metric: "container's root on a chain of layers, until its first look-up",
    x: layers,
    peers: ['lcfs', 'overlay2'],
    notes: `overlayfs stacks ${LAYERS_OF_OVERLAYFS} layers at most; that of overlay2 contains the start of mount(8)`,
    prepare: (peer) => (peer instanceof LcfsPeer ? growChain(peer, layers) : makeFolders(peer, layers)),
    work: async (peer) => {
      const path = peer instanceof LcfsPeer ? await cloneChain(peer, layers) : await mountFolders(peer, layers);
      statSync(join(path, NAME));
    },
    after: (peer) => (peer instanceof LcfsPeer ? peer.client.call('DELETE', 'layers/chain-clone') : unmountBelow(join(folder(peer), 'm'))),
  });
}

async function growChain(peer: LcfsPeer, layers: number): Promise<void> {
  for (; chainLength < layers; chainLength++) {
    const parent = chainLength === 0 ? {} : { parent: chainName(chainLength) };
    await peer.client.call('POST', 'layers', { name: chainName(chainLength + 1), ...parent });
    if (chainLength === 0) writeFileSync(join(peer.mountpoint, 'layers', chainName(1), NAME), '');
  }
}

async function cloneChain(peer: LcfsPeer, layers: number): Promise<string> {
  await peer.client.call('POST', 'layers', { name: 'chain-clone', parent: chainName(layers) });
  return join(peer.mountpoint, 'layers/chain-clone');
}

const folder = (peer: Peer): string => join(peer.folder, 'depth');

function makeFolders(peer: Peer, layers: number): void {
  if (layers > LAYERS_OF_OVERLAYFS) throw new Error(`overlayfs stacks ${LAYERS_OF_OVERLAYFS} layers at most`);
  for (const name of ['u', 'w', 'm']) mkdirSync(join(folder(peer), name), { recursive: true });
  for (let layer = 1; layer <= layers; layer++) mkdirSync(join(folder(peer), String(layer)), { recursive: true });
  writeFileSync(join(folder(peer), '1', NAME), '');
}

/** Names are relative, as Docker has them: all of them have to fit into one page. The topmost layer comes first. */
async function mountFolders(peer: Peer, layers: number): Promise<string> {
  const names = Array.from({ length: layers }, (_, i) => layers - i);
  const options = `lowerdir=${names.join(':')},upperdir=u,workdir=w`;
  await run('mount', ['-t', 'overlay', 'overlay', '-o', options, 'm'], { cwd: folder(peer) });
  return join(folder(peer), 'm');
}
