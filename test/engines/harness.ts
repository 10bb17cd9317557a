/**
 * Two private Docker Engines side by side, one on a volume of LCFS and one on overlay2, and ways to compare what they made
 * of the same images. Everything lies in one temporary folder and is taken down whatever happens.
 */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { LcfsDaemon } from '../../scripts/lib/lcfs.js';
import { makeFolder } from '../../scripts/lib/folders.js';
import { PrivateDocker } from '../../scripts/lib/docker.js';
import { unmountBelow } from '../../scripts/lib/mounts.js';
import { differences, listTar, type ListOptions } from './tar-list.js';

/** What dockerd itself puts into every container. */
const DOCKER_FILES = /^(dev|etc\/(hosts|hostname|resolv\.conf|mtab)|\.dockerenv|proc|sys)(\/|$)/;
/** Directories in which it puts them, so that their times change. */
const DOCKER_DIRECTORIES = /^(etc\/)?$/;

export interface EnginesOptions {
  /** Size of the volume; 20G unless told. */
  size?: string;
}

export class Engines {
  readonly folder = makeFolder('lcfs-e-');
  /** A name of its own, so that an LCFS that the machine uses is never met. */
  readonly driver = `lcfs-test-${process.pid}`;
  readonly #all: PrivateDocker[] = [];
  readonly lcfs: LcfsDaemon;
  readonly onLcfs: PrivateDocker;
  readonly onOverlay: PrivateDocker;

  constructor(options: EnginesOptions = {}) {
    this.lcfs = new LcfsDaemon({ directory: join(this.folder, 'lcfs'), driver: this.driver, size: options.size ?? '20G' });
    this.onLcfs = this.engine('a', this.driver);
    this.onOverlay = this.engine('b', 'overlay2');
  }

  /** Another engine, not started; ended with the others. */
  engine(name: string, driver: string, dataRoot?: string, args: readonly string[] = []): PrivateDocker {
    const directory = join(this.folder, name);
    mkdirSync(directory, { recursive: true });
    const docker = new PrivateDocker({ directory, driver, args, ...(dataRoot === undefined ? {} : { dataRoot }) });
    this.#all.push(docker);
    return docker;
  }

  /** Starts LCFS and engines on it and beside it; both unless told. */
  async start(engines: readonly PrivateDocker[] = [this.onLcfs, this.onOverlay]): Promise<void> {
    chmodSync(this.folder, 0o711); // root of a user namespace has to get through
    await this.lcfs.start();
    await Promise.all(engines.map((docker) => docker.start()));
  }

  /** After a failure: ends everything, whatever it hangs in, and begins anew with nothing. What the volume held is checked before it goes. */
  async startAfresh(engines?: readonly PrivateDocker[]): Promise<void> {
    await Promise.all(this.#all.map((docker) => docker.stop()));
    await this.lcfs.end();
    const check = await this.lcfs.check();
    if (check.status !== 0) console.error(`the volume that a failure left:\n${check.stdout}${check.stderr}`);
    await unmountBelow(this.folder);
    for (const name of readdirSync(this.folder)) rmSync(this.path(name), { recursive: true, force: true });
    await this.start(engines);
  }

  /** Runs the same on both engines, one after the other, LCFS first. */
  async both<T>(work: (docker: PrivateDocker, name: string) => Promise<T>): Promise<[T, T]> {
    return [await work(this.onLcfs, 'lcfs'), await work(this.onOverlay, 'overlay2')];
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** The files of an image, as a container made of it has them. */
  async imageFiles(docker: PrivateDocker, image: string, options: ListOptions = {}): Promise<Map<string, string>> {
    const id = await docker.docker('create', '--network', 'host', image, 'none');
    try {
      return await this.containerFiles(docker, id, options);
    } finally {
      await docker.docker('rm', id);
    }
  }

  async containerFiles(docker: PrivateDocker, container: string, options: ListOptions = {}): Promise<Map<string, string>> {
    const tar = this.path('export.tar');
    await docker.docker('export', '-o', tar, container);
    const files = listTar(tar, { ignore: DOCKER_FILES, ignoreTime: DOCKER_DIRECTORIES, ...options });
    rmSync(tar);
    return files;
  }

  /** Proves that an image has the same contents on both engines. */
  async assertSameImage(image: string, options: ListOptions = {}): Promise<void> {
    const [a, b] = await this.both((docker) => this.imageFiles(docker, image, options));
    assertSame(a, b, ['lcfs', 'overlay2']);
    assert.ok(a.size > 5, `${image} has files`);
  }

  /** Takes an image from one engine to the other through a file. */
  async carry(image: string, from: PrivateDocker, to: PrivateDocker): Promise<void> {
    const file = this.path('carried.tar');
    await from.docker('save', '-o', file, image);
    await to.docker('load', '-i', file);
    rmSync(file);
  }

  /** Ends all engines, then LCFS, and removes the folder, also if something of it cannot be ended. Throws then. */
  async stop(): Promise<void> {
    const ended = await Promise.allSettled(this.#all.map((docker) => docker.stop()));
    ended.push(...(await Promise.allSettled([this.lcfs.end()])));
    await unmountBelow(this.folder);
    rmSync(this.folder, { recursive: true, force: true });
    rmSync(this.lcfs.socket, { force: true });
    for (const end of ended) if (end.status === 'rejected') throw end.reason;
  }

  /** What the daemons said last: printed when a test fails. */
  logs(): string {
    return [`--- lcfs\n${this.lcfs.log()}`, `--- dockerd on lcfs\n${this.onLcfs.log()}`].join('\n');
  }
}

export function assertSame(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>, names: readonly [string, string]): void {
  const found = differences(a, b, names);
  assert.equal(found.length, 0, `${found.length} differences:\n${found.slice(0, 30).join('\n')}`);
}
