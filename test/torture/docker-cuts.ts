/**
 * A Docker Engine for power cuts (engine-cuts.ts). Its work: imports, builds, saves and loads, runs, commits and removals. Each
 * image that it lists is saved, and each of its layers must have the digest that the image's configuration says. It must list
 * all images that its files have, as it keeps quiet about those whose layers it does not find, and the first one, which nobody removes.
 *
 * Docker enters layers before the image that they are for, and removes an image before its layers. A cut in between leaves
 * layers in its database that nothing uses. Docker never removes them, but takes them up when they come once more; so `lcfs gc`
 * leaves them alone, and they must be as complete as any other.
 */
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { PrivateDocker } from '../../scripts/lib/docker.js';
import { busyboxRoot } from '../../scripts/lib/images.js';
import { PLUGIN_DIRECTORY } from '../../scripts/lib/lcfs.js';
import { run } from '../../scripts/lib/run.js';
import type { Random } from '../support/volume.js';
import { engineCuts, type Engine, type Extent, type Site } from './engine-cuts.js';
import type { Budget, Figures } from './part.js';

const NETWORK = ['--network', 'host'] as const;
const IMAGES_MAX = 12;
const CONTAINERS_MAX = 6;
const REMOVALS_MAX = 5;
/** A layer in Docker's database. One that is being removed has more to its name. */
const CHAIN_ID = /^[0-9a-f]{64}$/;

class DockerUnderCuts implements Engine {
  readonly daemonArgs = [];
  readonly folders: readonly string[];
  readonly gcArgs: readonly string[];
  readonly #folder: string;
  readonly #docker: PrivateDocker;
  readonly #plugin: string;
  /** What Docker keeps about images and layers. */
  readonly #database: string;
  /** Id of the image that everything begins with. */
  #base = '';

  constructor({ folder, mountpoint, name, place }: Site) {
    const dataRoot = place === 'on the volume' ? join(mountpoint, 'global/docker') : join(folder, 'data');
    this.#folder = folder;
    this.folders = place === 'on the volume' ? [] : [dataRoot, join(folder, 'containerd')];
    this.gcArgs = ['--docker-root', dataRoot];
    this.#docker = new PrivateDocker({ directory: folder, driver: name, dataRoot });
    this.#plugin = join(PLUGIN_DIRECTORY, `${name}.sock`);
    this.#database = join(dataRoot, 'image', name);
  }

  start(): Promise<void> {
    return this.#docker.start();
  }

  async prepare(): Promise<void> {
    this.#base = await this.#docker.docker('import', await busyboxRoot(), 'base:0');
  }

  pids(): number[] {
    return this.#docker.pids();
  }

  cutPower(): Promise<void> {
    return this.#docker.cutPower();
  }

  stop(): Promise<void> {
    return this.#docker.stop();
  }

  log(): string {
    return this.#docker.log();
  }

  async work(random: Random): Promise<void> {
    const docker = this.#docker;
    const [images, containers] = [await this.#list('images', '-q', '--no-trunc'), await this.#list('ps', '-aq')];
    const image = random.pick([...images, this.#base]);
    const others = images.filter((id) => id !== this.#base);
    const removable = others.length === 0 ? 'none' : random.pick(others);
    const container = containers.length === 0 ? 'none' : random.pick(containers);
    const name = `i${random.below(1_000_000)}`;
    const fill = `dd if=/dev/urandom of=/data-${name} bs=1k count=${1 + random.below(2000)}; rm -rf /etc/group; mkdir -p /d/e; echo ${name} > /d/e/f`;
    const kind = random.below(8);
    if (images.length > IMAGES_MAX || kind === 0) await docker.try('rmi', '-f', removable);
    else if (containers.length > CONTAINERS_MAX || kind === 1) await docker.try('rm', '-f', container);
    else if (kind === 2) await docker.try('commit', container, name);
    else if (kind === 3) await docker.try('import', await busyboxRoot(), name);
    else if (kind === 4) await this.#saveAndLoad(removable, name);
    else if (kind === 5) await this.#build(image, name, fill);
    else await docker.try('run', '-d', '--stop-signal', 'KILL', ...NETWORK, image, 'sh', '-c', `${fill}; sleep 10000`);
  }

  async #build(image: string, name: string, fill: string): Promise<void> {
    const input = `FROM ${image}\nRUN ${fill}\nRUN echo again >> /d/e/f; rm -f /data-${name}\n`;
    const options = { input, env: { DOCKER_BUILDKIT: '0' } };
    await this.#docker.dockerWith(options, 'build', '-t', name, ...NETWORK, '-').catch(() => '');
  }

  async #saveAndLoad(image: string, name: string): Promise<void> {
    const file = join(this.#folder, `${name}.tar`);
    await this.#docker.try('save', '-o', file, image);
    await this.#docker.try('rmi', '-f', image);
    await this.#docker.try('load', '-i', file);
    rmSync(file, { force: true });
  }

  async #list(...args: string[]): Promise<string[]> {
    const { stdout } = await this.#docker.try(...args);
    return [...new Set(stdout.split('\n').filter((line) => line !== ''))];
  }

  async verify(): Promise<number> {
    const images = await this.#list('images', '-aq', '--no-trunc');
    const kept = readdirSync(join(this.#database, 'imagedb/content/sha256')).map((digest) => `sha256:${digest}`);
    const missing = [this.#base, ...kept].filter((id) => !images.includes(id));
    if (missing.length > 0) throw new Error(`Docker does not list ${missing.join(', ')}`);
    let bytes = 0;
    for (const image of images) bytes += await this.#verifyImage(image);
    for (const id of await this.#list('ps', '-aq')) await this.#verifyContainer(id);
    return bytes;
  }

  /** Saves an image and holds each layer against the digest in its configuration. */
  async #verifyImage(image: string): Promise<number> {
    const folder = join(this.#folder, 'saved');
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder);
    await this.#docker.docker('save', '-o', `${folder}.tar`, image);
    await run('tar', ['-xf', `${folder}.tar`, '-C', folder]);
    const [{ Config, Layers }] = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) as [{ Config: string; Layers: string[] }];
    const { rootfs } = JSON.parse(readFileSync(join(folder, Config), 'utf8')) as { rootfs: { diff_ids: string[] } };
    let bytes = 0;
    for (const [index, layer] of Layers.entries()) {
      const digest = await digestOf(join(folder, layer));
      if (digest !== rootfs.diff_ids[index])
        throw new Error(`layer ${index} of image ${image} is ${digest}, not ${rootfs.diff_ids[index]}`);
      bytes += statSync(join(folder, layer)).size;
    }
    return bytes;
  }

  /** One whose removal the cut met cannot be started any more, but removed. */
  async #verifyContainer(id: string): Promise<void> {
    const gone = await this.#docker.docker('inspect', '-f', '{{or .State.Dead (eq .State.Status "removing")}}', id);
    if (gone === 'true') return void (await this.#docker.docker('rm', id));
    await this.#docker.docker('start', id);
    // One that a build was cut off in does what it was made for, perhaps a second time, and ends.
    const state = await this.#docker.docker('inspect', '-f', '{{.State.Running}} {{.State.ExitCode}} {{.Args}}', id);
    if (/^(true|false 0) /.test(state)) return;
    const { stdout, stderr } = await this.#docker.try('logs', id);
    throw new Error(`container ${id} does not run (running, exit code, arguments: ${state}): ${stdout}${stderr}`);
  }

  /** Holds each layer that is left in Docker's database against its digest there. */
  async remains(): Promise<string[]> {
    const folder = join(this.#database, 'layerdb/sha256');
    const chains = existsSync(folder) ? readdirSync(folder).filter((entry) => CHAIN_ID.test(entry)) : [];
    const nameOf = (chain: string): string => readFileSync(join(folder, chain, 'cache-id'), 'utf8');
    for (const chain of chains) {
      const below = join(folder, chain, 'parent');
      const parent = existsSync(below) ? nameOf(readFileSync(below, 'utf8').replace('sha256:', '')) : '';
      const digest = await this.#digestOfLayer(nameOf(chain), parent);
      const wanted = readFileSync(join(folder, chain, 'diff'), 'utf8');
      if (digest !== wanted) throw new Error(`layer ${nameOf(chain)}, which Docker has entered, is ${digest}, not ${wanted}`);
    }
    return chains.map(nameOf);
  }

  /** What Docker would get if it asked for a layer's tar. */
  #digestOfLayer(name: string, parent: string): Promise<string> {
    return new Promise((settle, reject) => {
      const call = request({ socketPath: this.#plugin, method: 'POST', path: '/GraphDriver.Diff', agent: false }, (answer) => {
        const hash = createHash('sha256');
        answer.on('data', (chunk: Buffer) => hash.update(chunk));
        answer.on('end', () => settle(`sha256:${hash.digest('hex')}`)).on('error', reject);
      });
      call.on('error', reject).end(JSON.stringify({ ID: name, Parent: parent }));
    });
  }

  async removeAll(): Promise<void> {
    for (const id of await this.#list('ps', '-aq')) await this.#docker.docker('rm', '-f', id);
    // An image that others are built on goes after them.
    for (let tries = 0; tries < REMOVALS_MAX; tries++) {
      const images = await this.#list('images', '-aq');
      if (images.length === 0) return;
      await this.#docker.try('rmi', '-f', ...images);
    }
    const left = await this.#list('images', '-aq');
    if (left.length > 0) throw new Error(`images ${left.join(', ')} cannot be removed`);
  }
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return `sha256:${hash.digest('hex')}`;
}

/** Cuts the power under Docker Engines. */
export function dockerCuts(budget: Budget, extent?: Extent): Promise<Figures> {
  return engineCuts(budget, (site) => new DockerUnderCuts(site), extent);
}
