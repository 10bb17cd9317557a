/**
 * `npm start [-- IMAGE] [-- --keep | --stop FOLDER]`: shows the whole thing at work on this machine, without touching its own Docker.
 *
 *   1. a sparse 20 GiB volume file in a folder of its own is formatted and mounted
 *   2. a private Docker Engine is started on it: own data root, exec root and sockets
 *   3. an image comes in: IMAGE from its registry, or a small root file system made of busybox
 *   4. a container runs and writes
 *   5. what that cost is shown: layers, clone time, space shared and private
 *   6. the same volume serves a private containerd: an image is imported, a container runs, its snapshots are listed
 *
 * Then everything is taken down again, unless `--keep` leaves it running until `--stop`. Exit code 0 if all went well.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from '../src/cli/client.js';
import { formatMicroseconds, formatSize } from '../src/cli/sizes.js';
import type { Layer, Status } from '../src/daemon/protocol.js';
import { NAMESPACE, type PrivateContainerd } from './lib/containerd.js';
import { PrivateDocker } from './lib/docker.js';
import { makeFolder } from './lib/folders.js';
import { busyboxRoot } from './lib/images.js';
import { LcfsDaemon, PLUGIN_DIRECTORY } from './lib/lcfs.js';
import { unmountBelow } from './lib/mounts.js';
import { endProcesses, socketAnswers } from './lib/run.js';
import { CONTAINERD_IMAGE, daemonOptions, demonstrationContainerd, runOptions, showContainerd } from './start-containerd.js';

const VOLUME_SIZE = '20G';
const LOCAL_IMAGE = 'lcfs/busybox';
/** Works in any image that has a shell. */
const SCRIPT =
  'echo "written in a container on LCFS" > /greeting; head -c 8388608 /dev/urandom > /eight-megabytes; cat /greeting; ls -l /greeting /eight-megabytes';
const CLONES = 21;
/** What `--keep` leaves in its folder for `--stop`. */
const KEPT = 'kept.json';

interface Demonstration {
  folder: string;
  lcfs: LcfsDaemon;
  docker: PrivateDocker;
  containerd: PrivateContainerd;
}

async function main(args: readonly string[]): Promise<void> {
  checkMachine();
  if (args.includes('--stop')) return stopKept(args[args.indexOf('--stop') + 1]);
  const keep = args.includes('--keep');
  const image = args.find((arg) => !arg.startsWith('-'));
  console.log('LCFS: a Docker Engine and a containerd of its own on a volume of its own. Existing ones are not touched.\n');
  const demonstration = await prepare();
  const stopOnSignal = (): void => void finish(demonstration).finally(() => process.exit(130));
  process.once('SIGINT', stopOnSignal).once('SIGTERM', stopOnSignal);
  let kept = false;
  try {
    await demonstrate(demonstration, image);
    kept = keep;
    if (keep) explainKept(demonstration);
    else explain();
  } finally {
    if (!kept) await finish(demonstration);
  }
}

function checkMachine(): void {
  if (process.getuid?.() !== 0) throw new Error('mounting a volume and starting Docker need root: run npm start as root');
  if (!existsSync('/dev/fuse')) throw new Error('/dev/fuse is missing: load the kernel module (modprobe fuse) and try again');
}

async function prepare(): Promise<Demonstration> {
  const folder = makeFolder('lcfs-');
  // Beside an LCFS that serves the machine's own Docker, the demonstration takes another name.
  const driver = (await socketAnswers(join(PLUGIN_DIRECTORY, 'lcfs.sock'))) ? `lcfs-${process.pid}` : 'lcfs';
  const lcfs = new LcfsDaemon({ directory: folder, driver, size: VOLUME_SIZE, args: daemonOptions(folder) });
  const docker = new PrivateDocker({ directory: join(folder, 'docker'), driver, dataRoot: join(lcfs.mountpoint, 'global/docker') });
  return { folder, lcfs, docker, containerd: demonstrationContainerd(folder, lcfs.mountpoint) };
}

async function demonstrate({ folder, lcfs, docker, containerd }: Demonstration, wanted: string | undefined): Promise<void> {
  await step('volume', async () => {
    await lcfs.start();
    const { transport } = await status(lcfs);
    return `${VOLUME_SIZE} sparse file ${lcfs.volume}, mounted on ${lcfs.mountpoint} (${transport})`;
  });
  await step('docker', async () => {
    await docker.start();
    return `Docker Engine ${docker.version}, private, data root on the volume, ${docker.host}`;
  });
  const image = await bringImage(docker, wanted);
  await step('container', async () => indented(await runContainer(docker, image)));
  await showLayers(lcfs, docker, image);
  await showContainerd(containerd, folder, (name, work) => step(name, async () => indented(await work())));
}

/** Runs one step and prints its name, time and what it says. */
async function step(name: string, work: () => Promise<string>): Promise<void> {
  const started = performance.now();
  const text = await work();
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${name.padEnd(10)} ${seconds.padStart(5)} s  ${text}`);
}

const indented = (text: string): string => text.split('\n').join(`\n${' '.repeat(20)}`);

function status(lcfs: LcfsDaemon): Promise<Status> {
  return new Client(lcfs.control).call<Status>('GET', 'status');
}

/** Pulls the image that was asked for; without one, or when no registry can be reached, makes one. Returns its name. */
async function bringImage(docker: PrivateDocker, wanted: string | undefined): Promise<string> {
  let image = wanted;
  await step('image', async () => {
    if (image !== undefined) {
      const pulled = await docker.try('pull', image);
      if (pulled.status === 0) return `${image}, pulled`;
      console.log(`           ${image} cannot be pulled (${pulled.stderr.trim().split('\n').at(-1)}); a local one takes its place`);
    }
    image = LOCAL_IMAGE;
    await docker.docker('import', '--change', 'CMD ["/bin/sh"]', await busyboxRoot(), image);
    return `${image}, made from the distribution's busybox-static`;
  });
  return image!;
}

async function runContainer(docker: PrivateDocker, image: string): Promise<string> {
  const ran = await docker.try('run', '--name', 'demo', '--network', 'host', image, 'sh', '-c', SCRIPT);
  if (ran.status === 0) return ran.stdout.trimEnd();
  await docker.try('rm', '-f', 'demo');
  throw new Error(`no container can be run from ${image} with a shell: ${ran.stderr.trim()}`);
}

async function showLayers(lcfs: LcfsDaemon, docker: PrivateDocker, image: string): Promise<void> {
  const client = new Client(lcfs.control);
  const container = await layerOf(client, await docker.docker('inspect', '--format', '{{.GraphDriver.Data.Layer}}', 'demo'));
  const imageLayers = await ancestors(client, container);
  const shared = imageLayers.reduce((bytes, layer) => bytes + layer.ownBytes, 0);
  const { layers, blocks, blockBytes } = await status(lcfs);
  const lines: [string, string][] = [
    ['layers', `${layers} on the volume; the container is number ${container.depth + 1} in its chain`],
    ['clone', `${formatMicroseconds(await cloneTime(client, imageLayers[0]!.name))} for one more layer on ${image}, whatever its size`],
    ['space', `${formatSize(shared)} shared with the image, ${formatSize(container.ownBytes)} of the container alone`],
    ['changes', indented(await docker.docker('diff', 'demo'))],
    ['volume', `${formatSize(blocks.used * blockBytes)} of ${formatSize(blocks.total * blockBytes)} used`],
  ];
  for (const [name, text] of lines) console.log(`${name.padEnd(20)}${text}`);
}

function layerOf(client: Client, name: string): Promise<Layer> {
  return client.call<Layer>('GET', `layers/${encodeURIComponent(name)}`);
}

/** The layers that a layer stands on, nearest first. */
async function ancestors(client: Client, layer: Layer): Promise<Layer[]> {
  const chain: Layer[] = [];
  for (let name = layer.parent; name !== null; name = chain.at(-1)!.parent) chain.push(await layerOf(client, name));
  return chain;
}

/** Median time of cloning a layer, asked for over the control socket, in microseconds. */
async function cloneTime(client: Client, parent: string): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < CLONES; i++) {
    const started = performance.now();
    await client.call('POST', 'layers', { name: 'clone-time', parent });
    times.push((performance.now() - started) * 1000);
    await client.call('DELETE', 'layers/clone-time');
  }
  return times.toSorted((a, b) => a - b)[CLONES >> 1]!;
}

function explain(): void {
  console.log(`
To try it by hand:                        npm start -- --keep
With your own Docker Engine (up to 27):   lcfs daemon DEVICE /lcfs --format --docker --detach
                                          dockerd --experimental -s lcfs
With containerd, or Docker from 28:       lcfs setup containerd, lcfs setup docker`);
}

function explainKept({ folder, lcfs, docker, containerd }: Demonstration): void {
  writeFileSync(
    join(folder, KEPT),
    JSON.stringify({ mountpoint: lcfs.mountpoint, engines: [...docker.pids(), containerd.pid], lcfs: lcfs.pid }),
  );
  lcfs.release();
  docker.release();
  containerd.release();
  console.log(`
Everything is left running. Try:
  ${docker.command('run', '--rm', '-it', '--network', 'host', LOCAL_IMAGE).join(' ')}
  ${containerd.command('-n', NAMESPACE, 'run', '--rm', '-t', ...runOptions(containerd), CONTAINERD_IMAGE, 'mine').join(' ')}
  ls ${lcfs.mountpoint}/layers
  ${lcfs.command('status', lcfs.mountpoint).join(' ')}
  ${lcfs.command('layer', 'tree', '--control', lcfs.mountpoint).join(' ')}
To stop it and remove all of it:
  npm start -- --stop ${folder}`);
}

/** Takes down what `--keep` left running in a folder. */
async function stopKept(folder: string | undefined): Promise<void> {
  if (folder === undefined || !existsSync(join(folder, KEPT)))
    throw new Error(`name the folder that npm start -- --keep left, not ${folder}`);
  const kept = JSON.parse(readFileSync(join(folder, KEPT), 'utf8')) as { mountpoint: string; engines: number[]; lcfs: number };
  // Only processes that have the folder in their command line: a number may belong to another by now.
  for (const pid of [...kept.engines, kept.lcfs]) await endProcesses([pid], folder);
  await unmountBelow(folder);
  rmSync(folder, { recursive: true });
  console.log(`${folder} is gone`);
}

let finishing: Promise<void> | undefined;
/** Takes everything down, in order, once. */
function finish(demonstration: Demonstration): Promise<void> {
  return (finishing ??= takeDown(demonstration));
}

async function takeDown({ folder, lcfs, docker, containerd }: Demonstration): Promise<void> {
  await docker.try('rm', '-f', 'demo').catch(() => undefined);
  await docker.stop();
  await containerd.end();
  await lcfs.end();
  rmSync(folder, { recursive: true, force: true });
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  console.error(`npm start: ${(error as Error).message}`);
  process.exitCode = 1;
}
