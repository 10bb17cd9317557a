/**
 * A Docker Engine for power cuts (engine-cuts.ts). Its work: imports, builds, saves and loads, runs, commits and removals. Each
 * image that it lists is saved, and each of its layers must have the digest that the image's configuration says.
 */
import { createHash } from 'node:crypto';
import { createReadStream, mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { PrivateDocker } from '../../scripts/lib/docker.js';
import { busyboxRoot } from '../../scripts/lib/images.js';
import { run } from '../../scripts/lib/run.js';
import type { Random } from '../support/volume.js';
import { engineCuts, type Engine, type Extent, type Site } from './engine-cuts.js';
import type { Budget, Figures } from './part.js';

const NETWORK = ['--network', 'host'] as const;
const IMAGES_MAX = 12;
const CONTAINERS_MAX = 6;
const REMOVALS_MAX = 5;

class DockerUnderCuts implements Engine {
  readonly daemonArgs = [];
  readonly folders: readonly string[];
  readonly gcArgs: readonly string[];
  readonly #folder: string;
  readonly #docker: PrivateDocker;

  constructor({ folder, mountpoint, name, place }: Site) {
    const dataRoot = place === 'on the volume' ? join(mountpoint, 'global/docker') : join(folder, 'data');
    this.#folder = folder;
    this.folders = place === 'on the volume' ? [] : [dataRoot, join(folder, 'containerd')];
    this.gcArgs = ['--docker-root', dataRoot];
    this.#docker = new PrivateDocker({ directory: folder, driver: name, dataRoot });
  }

  start(): Promise<void> {
    return this.#docker.start();
  }

  async prepare(): Promise<void> {
    await this.#docker.docker('import', await busyboxRoot(), 'base:0');
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
    const [images, containers] = [await this.#list('images', '-q'), await this.#list('ps', '-aq')];
    const image = random.pick([...images, 'base:0']);
    const container = containers.length === 0 ? 'none' : random.pick(containers);
    const name = `i${random.below(1_000_000)}`;
    const fill = `dd if=/dev/urandom of=/data-${name} bs=1k count=${1 + random.below(2000)}; rm -rf /etc/group; mkdir -p /d/e; echo ${name} > /d/e/f`;
    const kind = random.below(8);
    if (images.length > IMAGES_MAX || kind === 0) await docker.try('rmi', '-f', image);
    else if (containers.length > CONTAINERS_MAX || kind === 1) await docker.try('rm', '-f', container);
    else if (kind === 2) await docker.try('commit', container, name);
    else if (kind === 3) await docker.try('import', await busyboxRoot(), name);
    else if (kind === 4) await this.#saveAndLoad(image, name);
    else if (kind === 5) await this.#build(image, name, fill);
    else await docker.try('run', '-d', '--stop-signal', 'KILL', ...NETWORK, image, 'sh', '-c', `${fill}; sleep 10000`);
  }

  async #build(image: string, name: string, fill: string): Promise<void> {
    const input = `FROM ${image}\nRUN ${fill}\nRUN echo again >> /d/e/f; rm /data-${name}\n`;
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
    if (images.length === 0) throw new Error('not one image is left');
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
    // One that a build was cut off in does what it was made for and ends.
    const state = await this.#docker.docker('inspect', '-f', '{{.State.Running}} {{.State.ExitCode}}', id);
    if (!/^(true|false 0)/.test(state)) throw new Error(`container ${id} does not run (running, exit code: ${state})`);
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
