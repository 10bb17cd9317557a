/**
 * `docker build` of a source tree in many steps: sources are copied module by module, each is compiled to a library, all are
 * linked, tested and installed, and the sources removed. The tree is made here, the same each time; the compiler comes with
 * the base image, so nothing is downloaded. The classic builder, the default of the Docker that takes graph drivers, makes a
 * container and a layer of each step.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Bench } from '../harness/bench.js';
import type { Peer } from '../harness/peer.js';
import type { Part } from '../harness/types.js';
import { removeAll } from './docker-api.js';
import { WITHOUT_VFS } from './takers.js';
import { imageArchives, reference } from './test-images.js';

const MODULES = 10;
const MODULES_QUICK = 2;
const FILES_PER_MODULE = 40;
/** Sources that are copied along but not compiled: documentation, tests, data. */
const PASSENGERS_PER_MODULE = 60;
const FUNCTIONS_PER_FILE = 6;

export const build: Part = {
  name: 'build',
  description: 'docker build of a source tree in many steps',
  disks: ['fast', 'slow'],
  run: measure,
};

async function measure(bench: Bench): Promise<void> {
  const [archive] = await imageArchives(bench.undo, 'toolchain');
  const modules = bench.quick ? MODULES_QUICK : MODULES;
  const context = bench.folder('build');
  const steps = makeTree(context, modules);
  const peers = await bench.prepare(WITHOUT_VFS, 'loading the image', async (peer) => (await peer.engine()).docker('load', '-i', archive!));
  await bench.compare({
    metric: `docker build, ${steps} steps`,
    peers,
    work: (peer) => buildOnce(peer, context),
    after: async (peer) => void (await (await peer.engine()).try('rmi', 'built')),
  });
  await bench.prepare(peers, 'removing the image', async (peer) => removeAll(await peer.engine()));
}

async function buildOnce(peer: Peer, context: string): Promise<void> {
  const docker = await peer.engine();
  const args = ['build', '--no-cache', '--force-rm', '--network', 'none', '-q', '-t', 'built', context];
  await docker.dockerWith({ env: { DOCKER_BUILDKIT: '0' } }, ...args);
}

/** Writes the tree and its Dockerfile. Returns the number of steps. */
function makeTree(folder: string, modules: number): number {
  for (let module = 0; module < modules; module++) makeModule(join(folder, `module${module}`), module);
  const names = Array.from({ length: modules }, (_, module) => `module${module}`);
  writeFileSync(join(folder, 'main.c'), mainSource(modules));
  const steps = [
    `FROM ${reference('toolchain')}`,
    'WORKDIR /src',
    'ENV CFLAGS=-O0',
    ...names.flatMap((name) => [`COPY ${name} ${name}`, `RUN cd ${name} && gcc $CFLAGS -c *.c && ar rcs lib${name}.a *.o && rm *.o`]),
    'COPY main.c main.c',
    `RUN gcc $CFLAGS -o program main.c ${names.map((name) => `${name}/lib${name}.a`).join(' ')}`,
    'RUN ./program',
    'RUN install -D program /usr/local/bin/program && install -D -t /usr/local/lib */*.a',
    'RUN rm -rf /src/*',
    'CMD ["/usr/local/bin/program"]',
  ];
  writeFileSync(join(folder, 'Dockerfile'), `${steps.join('\n')}\n`);
  return steps.length;
}

function makeModule(folder: string, module: number): void {
  mkdirSync(join(folder, 'doc'), { recursive: true });
  for (let file = 0; file < FILES_PER_MODULE; file++) writeFileSync(join(folder, `file${file}.c`), source(module, file));
  for (let file = 0; file < PASSENGERS_PER_MODULE; file++) {
    writeFileSync(join(folder, `doc/page${file}.txt`), `module ${module}, page ${file}\n`.repeat(50 + 10 * file));
  }
}

function source(module: number, file: number): string {
  const functions = Array.from({ length: FUNCTIONS_PER_FILE }, (_, i) => {
    const name = `f_${module}_${file}_${i}`;
    return `int ${name}(int x) { int y = ${i + 1}; for (int k = 0; k < ${file + 1}; k++) y = y * 31 + (x ^ k); return y; }`;
  });
  return `${functions.join('\n')}\n`;
}

/** A program that calls something of each module. */
function mainSource(modules: number): string {
  const names = Array.from({ length: modules }, (_, module) => `f_${module}_0_0`);
  return `${names.map((name) => `int ${name}(int);`).join('\n')}\nint main(void) { return (${names.map((name) => `${name}(1)`).join(' + ')}) == 0; }\n`;
}
