/**
 * The images that the benchmark uses: Debian and what apt-get installs on it, each in an archive of `docker save` in the
 * cache folder. They are built once, by an engine on the disk of the machine, and need the network only then.
 */
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PrivateDocker } from '../../scripts/lib/docker.js';
import { CACHE, makeFolder } from '../../scripts/lib/folders.js';
import { debianRoot } from '../../scripts/lib/images.js';
import { unmountBelow } from '../../scripts/lib/mounts.js';
import type { Undo } from '../harness/undo.js';

/** What is installed in each. */
const PACKAGES = {
  apache: ['apache2'],
  fio: ['fio'],
  mariadb: ['mariadb-server'],
  toolchain: ['gcc', 'libc6-dev', 'make'],
} as const;
export type TestImage = keyof typeof PACKAGES;

/** Under which name an engine has it after `docker load`. */
export const reference = (name: TestImage): string => `bench/${name}`;

/** Archives of the images, which are made if they are not in the cache. */
export async function imageArchives(undo: Undo, ...names: TestImage[]): Promise<string[]> {
  const missing = names.filter((name) => !existsSync(archive(name)));
  if (missing.length > 0) await build(missing, undo);
  return names.map(archive);
}

const archive = (name: TestImage): string => join(CACHE, `bench-${name}.tar`);

const unfinished = (): string => join(CACHE, `bench-unfinished-${process.pid}.tar`);

async function build(names: readonly TestImage[], undo: Undo): Promise<void> {
  console.error(`making images with ${names.join(', ')}; they are kept in ${CACHE}`);
  const folder = makeFolder('lcfs-i-');
  const docker = new PrivateDocker({ directory: folder, driver: 'overlay2' });
  const end = undo.add('Docker that makes images', async () => {
    await docker.stop();
    await unmountBelow(folder);
    rmSync(folder, { recursive: true, force: true });
    rmSync(unfinished(), { force: true });
  });
  try {
    await docker.start();
    await docker.docker('import', await debianRoot(), 'debian');
    for (const name of names) await buildOne(docker, folder, name);
  } finally {
    await end();
  }
}

async function buildOne(docker: PrivateDocker, folder: string, name: TestImage): Promise<void> {
  const context = join(folder, `context-${name}`);
  mkdirSync(context);
  writeFileSync(join(context, 'Dockerfile'), dockerfile(name));
  const env = { DOCKER_BUILDKIT: '0' };
  await docker.dockerWith({ env, timeoutMs: 1_800_000 }, 'build', '--network', 'host', '-t', reference(name), context);
  await docker.docker('save', '-o', unfinished(), reference(name));
  renameSync(unfinished(), archive(name));
}

const dockerfile = (name: TestImage): string => `FROM debian
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update && apt-get install -y --no-install-recommends ${PACKAGES[name].join(' ')} && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
RUN echo ${name} > /etc/bench-image
CMD ["/bin/true"]
`;
