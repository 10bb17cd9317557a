/**
 * Power cuts under a Docker Engine. The engine does random real work – imports, builds, loads, runs, commits, removals, two
 * at a time – on a daemon that records what it does to its volume (record.ts). Then the power is cut at random moments of
 * that: the volume is what was flushed and an arbitrary part of the rest. On each such volume
 *
 *   1. `lcfs check` finds nothing wrong;
 *   2. LCFS and Docker start;
 *   3. every image that Docker lists is complete: each of its layers, saved, has the digest that the image says;
 *   4. every container that it lists starts;
 *   5. once Docker has removed all of that, `lcfs gc` finds the layers that nobody knows any more, and none is left.
 *
 * Docker keeps its own files either on the volume (its global layer), so that they are cut at the same moment, or beside it.
 * Then all processes are stopped for a moment while these files are copied, which is a moment at which power may be cut too:
 * the volume may have lost all that was not flushed, while Docker has lost nothing of what it noted.
 */
import { createHash } from 'node:crypto';
import { cpSync, createReadStream, mkdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { GcReport, Layer } from '../../src/daemon/protocol.js';
import { PrivateDocker } from '../../scripts/lib/docker.js';
import { makeFolder } from '../../scripts/lib/folders.js';
import { busyboxRoot } from '../../scripts/lib/images.js';
import { LcfsDaemon } from '../../scripts/lib/lcfs.js';
import { unmountBelow } from '../../scripts/lib/mounts.js';
import { run } from '../../scripts/lib/run.js';
import type { Random } from '../support/volume.js';
import { addFigures, noFigures, randomOf, violation, within, type Budget, type Figures } from './part.js';
import { Recording, recordingTo } from './recording.js';

const VOLUME_SIZE = '512M';
const NETWORK = ['--network', 'host'] as const;
/** What is recorded at a time, and how often that is cut. */
export interface Extent {
  readonly workMs: number;
  readonly cuts: number;
}

const LONG: Extent = { workMs: 15_000, cuts: 5 };
const IMAGES_MAX = 12;
const CONTAINERS_MAX = 6;

/** Where Docker keeps its files. */
type Place = 'on the volume' | 'beside it';

/** A moment at which the power may be cut: how far the recording was, and a copy of Docker's files if they lie beside. */
interface Moment {
  readonly position: number;
  readonly data?: string;
}

class DockerCuts {
  readonly figures: Figures = noFigures();
  readonly #budget: Budget;
  readonly #place: Place;
  readonly #extent: Extent;
  readonly #random: Random;
  readonly #folder = makeFolder('lcfs-p-');
  readonly #recording = new Recording(this.#path('log'), this.#path('base.img'));
  #lcfs!: LcfsDaemon;
  #docker: PrivateDocker;
  /** What is being done, for messages. */
  #doing = 'starting';

  constructor(budget: Budget, place: Place, extent: Extent) {
    this.#budget = budget;
    this.#extent = extent;
    this.#place = place;
    this.#random = randomOf(budget.seed);
    mkdirSync(this.#path('d'));
    this.#docker = new PrivateDocker({ directory: this.#path('d'), driver: this.#driver, dataRoot: this.#dataRoot });
  }

  get #driver(): string {
    return `lcfs-cut-${process.pid}`;
  }

  get #dataRoot(): string {
    return this.#place === 'on the volume' ? this.#path('l/mnt/global/docker') : this.#path('data');
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }

  #daemon(volume: string, records: boolean): LcfsDaemon {
    const env = records ? recordingTo(this.#path('log'), volume) : {};
    return new LcfsDaemon({ directory: this.#path('l'), driver: this.#driver, volume, args: ['--cache', '32M'], env });
  }

  async run(cutsMost: number): Promise<Figures> {
    try {
      const moments = await this.#work();
      for (const moment of moments.slice(0, cutsMost)) {
        if (performance.now() >= this.#budget.until && this.figures.cuts > 0) break;
        await this.#cut(moment);
      }
      return this.figures;
    } catch (error) {
      throw this.#violation(error);
    } finally {
      await this.#takeDown();
    }
  }

  /** Keeps the image of the volume as it was before it was opened, and the logs. */
  #violation(error: unknown): Error {
    const folder = join(this.#budget.evidence, `docker-${this.#budget.seed}`);
    const logs = { 'lcfs.log': this.#lcfs?.log() ?? '', 'dockerd.log': this.#docker.log() };
    const found = violation(folder, `Docker's files ${this.#place}, ${this.#doing}: ${(error as Error).stack}`, logs);
    for (const name of ['before.img', 'log']) {
      try {
        renameSync(this.#path(name), join(folder, name));
      } catch {
        // It is not there yet, or the folder lies elsewhere.
      }
    }
    return found;
  }

  // Work

  async #work(): Promise<Moment[]> {
    const volume = this.#path('volume.img');
    this.#lcfs = this.#daemon(volume, true);
    await run(process.execPath, this.#lcfs.command('format', volume, '--size', VOLUME_SIZE).slice(1));
    cpSync(volume, this.#path('base.img'));
    await this.#lcfs.start();
    await this.#docker.start();
    await this.#docker.docker('import', await busyboxRoot(), 'base:0');
    await this.#lcfs.lcfs('commit');
    const moments = await this.#workAndStop(this.#recording.length);
    await this.#docker.cutPower();
    await this.#lcfs.kill();
    await unmountBelow(this.#lcfs.mountpoint);
    return moments;
  }

  /** Works for a while. Returns moments for cuts. */
  async #workAndStop(begun: number): Promise<Moment[]> {
    const { workMs, cuts } = this.#extent;
    const until = performance.now() + workMs;
    const workers = [this.#worker(until), this.#worker(until)];
    const moments: Moment[] = [];
    for (let i = 0; i < cuts; i++) {
      await delay((workMs / cuts) * (0.5 + this.#random.below(1000) / 1000) * 0.7);
      if (this.#place === 'beside it') moments.push(await this.#freeze(i));
    }
    await Promise.all(workers);
    if (this.#place === 'beside it') return moments;
    const length = this.#recording.length - begun;
    return Array.from({ length: cuts }, () => ({ position: begun + Math.floor((length * this.#random.below(1_000_000)) / 1_000_000) }));
  }

  /** Copies Docker's files while nobody can change them. */
  async #freeze(number: number): Promise<Moment> {
    const pids = [...this.#docker.pids(), this.#lcfs.pid];
    const data = this.#path(`data-${number}`);
    for (const pid of pids) process.kill(pid, 'SIGSTOP');
    try {
      await run('cp', ['-ax', this.#dataRoot, data]);
      await run('cp', ['-ax', this.#path('d/containerd'), `${data}.containerd`]);
      return { position: this.#recording.length, data };
    } finally {
      for (const pid of pids.toReversed()) process.kill(pid, 'SIGCONT');
    }
  }

  async #worker(until: number): Promise<void> {
    while (performance.now() < until) {
      await this.#workOnce();
      this.figures.operations++;
    }
  }

  /** Does something that Docker may refuse: the other worker may have removed what it is about. */
  async #workOnce(): Promise<void> {
    const docker = this.#docker;
    const random = this.#random;
    const [images, containers] = [await this.#list('images', '-q'), await this.#list('ps', '-aq')];
    const image = random.pick([...images, 'base:0']);
    const name = `i${random.below(1_000_000)}`;
    const fill = `dd if=/dev/urandom of=/data-${name} bs=1k count=${1 + random.below(2000)}; rm -rf /etc/group; mkdir -p /d/e; echo ${name} > /d/e/f`;
    const kind = random.below(8);
    if (images.length > IMAGES_MAX || kind === 0) await docker.try('rmi', '-f', random.pick(images));
    else if (containers.length > CONTAINERS_MAX || kind === 1)
      await docker.try('rm', '-f', containers.length > 0 ? random.pick(containers) : 'none');
    else if (kind === 2 && containers.length > 0) await docker.try('commit', random.pick(containers), name);
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
    const file = this.#path(`${name}.tar`);
    await this.#docker.try('save', '-o', file, image);
    await this.#docker.try('rmi', '-f', image);
    await this.#docker.try('load', '-i', file);
    rmSync(file, { force: true });
  }

  async #list(...args: string[]): Promise<string[]> {
    const { stdout } = await this.#docker.try(...args);
    return [...new Set(stdout.split('\n').filter((line) => line !== ''))];
  }

  // Cuts

  async #cut(moment: Moment): Promise<void> {
    const image = this.#path('cut.img');
    const mood = this.#recording.cut(moment.position, image, this.#random);
    this.#doing = `cut ${this.figures.cuts + 1} at ${moment.position} of the recording (${mood} survived)`;
    this.#budget.log(`seed ${this.#budget.seed}: ${this.#doing}`);
    cpSync(image, this.#path('before.img'));
    this.#restore(moment);
    this.#lcfs = this.#daemon(image, false);
    await this.#prove('before it was opened');
    await this.#lcfs.start();
    await this.#docker.start();
    await this.#verifyImages();
    await this.#verifyContainers();
    await this.#removeAll();
    await this.#docker.stop();
    await within('lcfs stop', this.#lcfs.stop());
    await this.#prove('after everything was removed');
    this.figures.cuts++;
  }

  async #prove(when: string): Promise<void> {
    const { status, stdout, stderr } = await this.#lcfs.check();
    if (status !== 0) throw new Error(`check ${when}: ${stdout}${stderr}`);
  }

  #restore({ data }: Moment): void {
    if (data === undefined) return;
    rmSync(this.#dataRoot, { recursive: true, force: true });
    rmSync(this.#path('d/containerd'), { recursive: true, force: true });
    renameSync(data, this.#dataRoot);
    renameSync(`${data}.containerd`, this.#path('d/containerd'));
  }

  /** Saves all images and holds each layer against the digest in its image's configuration. */
  async #verifyImages(): Promise<void> {
    const images = await this.#list('images', '-aq', '--no-trunc');
    if (images.length === 0) throw new Error('not one image is left');
    const folder = this.#path('saved');
    for (const image of images) {
      mkdirSync(folder);
      await this.#docker.docker('save', '-o', `${folder}.tar`, image);
      await run('tar', ['-xf', `${folder}.tar`, '-C', folder]);
      await this.#verifySaved(folder);
      rmSync(folder, { recursive: true });
      rmSync(`${folder}.tar`);
    }
  }

  async #verifySaved(folder: string): Promise<void> {
    const [{ Config, Layers }] = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) as [{ Config: string; Layers: string[] }];
    const { rootfs } = JSON.parse(readFileSync(join(folder, Config), 'utf8')) as { rootfs: { diff_ids: string[] } };
    for (const [index, layer] of Layers.entries()) {
      const digest = await digestOf(join(folder, layer));
      this.figures.bytesVerified += statSync(join(folder, layer)).size;
      if (digest !== rootfs.diff_ids[index])
        throw new Error(`layer ${index} of image ${Config} has digest ${digest}, not ${rootfs.diff_ids[index]}`);
    }
  }

  async #verifyContainers(): Promise<void> {
    for (const id of await this.#list('ps', '-aq')) {
      await this.#docker.docker('start', id);
      // One that a build was cut off in does what it was made for and ends.
      const state = await this.#docker.docker('inspect', '-f', '{{.State.Running}} {{.State.ExitCode}}', id);
      if (!/^(true|false 0)/.test(state)) throw new Error(`container ${id} does not run (running, exit code: ${state})`);
    }
  }

  /** Lets Docker remove all that it knows, and gc the rest. */
  async #removeAll(): Promise<void> {
    for (const id of await this.#list('ps', '-aq')) await this.#docker.docker('rm', '-f', id);
    for (
      let left = await this.#list('images', '-aq'), tries = 0;
      left.length > 0 && tries < 5;
      left = await this.#list('images', '-aq'), tries++
    )
      await this.#docker.try('rmi', '-f', ...left);
    const images = await this.#list('images', '-aq');
    if (images.length > 0) throw new Error(`images ${images.join(', ')} cannot be removed`);
    await this.#lcfs.json<GcReport>('gc', '--remove', '--older-than', '0s', '--docker-root', this.#dataRoot);
    const layers = await this.#lcfs.json<Layer[]>('layer', 'ls');
    if (layers.length > 0) throw new Error(`layers are left that nobody knows: ${layers.map(({ name }) => name).join(', ')}`);
  }

  async #takeDown(): Promise<void> {
    await this.#docker.cutPower();
    await this.#docker.stop();
    await this.#lcfs?.end();
    await unmountBelow(this.#folder);
    rmSync(this.#folder, { recursive: true, force: true });
    rmSync(this.#lcfs.socket, { force: true });
  }
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return `sha256:${hash.digest('hex')}`;
}

/** Cuts the power under Docker Engines until the budget is used up; its files in one place and in the other by turns. */
export async function dockerCuts(budget: Budget, extent = LONG): Promise<Figures> {
  const all = noFigures();
  for (let round = 0; round === 0 || (performance.now() < budget.until && all.cuts < budget.most); round++) {
    const place = round % 2 === 0 ? 'on the volume' : 'beside it';
    addFigures(all, await new DockerCuts({ ...budget, seed: budget.seed + round }, place, extent).run(budget.most - all.cuts));
  }
  return all;
}
