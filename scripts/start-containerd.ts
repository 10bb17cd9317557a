/**
 * The part of `npm start` that shows containerd: a private one on the same volume as Docker, with LCFS as its snapshotter
 * and, where it takes one, its differ. An image is imported, a container of it runs, and its snapshots are listed, all with
 * the distribution's ctr.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { takesDiffers } from '../src/cli/setup/containerd-config.js';
import { PrivateContainerd } from './lib/containerd.js';
import { busyboxRoot } from './lib/images.js';
import { makeImage, packImage } from './lib/oci.js';

export const CONTAINERD_IMAGE = 'docker.io/lcfs/busybox:1';
const CONTAINER = 'demo';
const SCRIPT = 'echo "written in a container of containerd" > /greeting; cat /greeting; grep " / " /proc/self/mounts';

/** A containerd in a folder of its own, for a daemon of LCFS started with `daemonOptions`. Nothing is started. */
export function demonstrationContainerd(folder: string, mountpoint: string): PrivateContainerd {
  return new PrivateContainerd({ directory: join(folder, 'containerd'), lcfs: { socket: socketIn(folder), mountpoint } });
}

/** Options with which `lcfs daemon` serves that containerd. */
export function daemonOptions(folder: string): string[] {
  return ['--containerd', socketIn(folder), '--containerd-address', join(folder, 'containerd/c.sock')];
}

const socketIn = (folder: string): string => join(folder, 'containerd.sock');

/** A step: its name, and what it does and says. */
type Step = (name: string, work: () => Promise<string>) => Promise<void>;

/** Runs the steps. */
export async function showContainerd(containerd: PrivateContainerd, folder: string, step: Step): Promise<void> {
  await step('containerd', async () => {
    await containerd.start();
    const parts = takesDiffers(containerd.version) ? 'snapshotter and differ' : 'snapshotter';
    return `containerd ${containerd.versionText}, private, LCFS as its ${parts}, ${containerd.address}`;
  });
  await step('image', async () => {
    await importImage(containerd, folder);
    return `${CONTAINERD_IMAGE}, imported by ctr`;
  });
  await step('container', () => runContainer(containerd));
  await step('snapshots', () => snapshots(containerd));
}

async function importImage(containerd: PrivateContainerd, folder: string): Promise<void> {
  const archive = join(folder, 'image.tar');
  const image = await makeImage(join(folder, 'image'), [{ tar: await busyboxRoot(), compression: 'gzip' }]);
  await packImage(image, CONTAINERD_IMAGE, archive);
  await containerd.ctr('images', 'import', '--snapshotter', 'lcfs', archive);
  rmSync(archive);
  rmSync(image.folder, { recursive: true });
}

function runContainer(containerd: PrivateContainerd): Promise<string> {
  return containerd.ctr('run', ...runOptions(containerd), CONTAINERD_IMAGE, CONTAINER, 'sh', '-c', SCRIPT);
}

/** The list that ctr prints, with digests cut short. */
async function snapshots(containerd: PrivateContainerd): Promise<string> {
  const list = await containerd.ctr('snapshots', '--snapshotter', 'lcfs', 'ls');
  const rows = list
    .split('\n')
    .slice(1)
    .map((row) =>
      row
        .replaceAll(/(sha256:[0-9a-f]{12})[0-9a-f]{52}/g, '$1')
        .trim()
        .split(/\s+/),
    );
  return rows.map((row) => `${row[0]!.padEnd(20)} ${row.at(-1)!}${row.length > 2 ? `, on ${row[1]!}` : ''}`).join('\n');
}

/** Options of `ctr run` for a container on LCFS. */
export function runOptions(containerd: PrivateContainerd): string[] {
  return ['--snapshotter', 'lcfs', '--cgroup', `/${containerd.cgroup}/${CONTAINER}`];
}
