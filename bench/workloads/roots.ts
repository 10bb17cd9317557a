/**
 * The roots of the images that the workloads run in, as tar files in the cache folder.
 *
 *   tools   Debian with a compiler, make, git, sqlite3, Node and npm. In /srv, what they work on: a tar of 30,000 files, a git
 *           repository with 4,000, the lock file and cache of an npm project with 7,000, and 100 sources in C
 *   data    a file of 1 GiB without holes or repetition
 *
 * Both have /usr/bin/io (io-program.ts); the second has nothing else.
 */
import {
  closeSync,
  cpSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { randomFillSync } from 'node:crypto';
import { cachedRoot, debianRoot, distribution } from '../../scripts/lib/images.js';
import { findCommand } from '../../scripts/lib/packages.js';
import { run, tryRun } from '../../scripts/lib/run.js';
import { IO_SOURCE } from './io-program.js';
import { fileSize, generator, text } from './random.js';

export const TAR_FILES = 30_000;
const FILES_PER_FOLDER = 100;
const REPOSITORY_FILES = 4000;
const SOURCES = 100;
const FUNCTIONS_PER_SOURCE = 12;
export const DATA_BYTES = 2 ** 30;
export const DATA_FILE = '/large';
const PACKAGES = ['gcc', 'libc6-dev', 'make', 'git', 'sqlite3'];
const DEPENDENCIES = { eslint: '9.17.0', lodash: '4.17.21', rxjs: '7.8.1' };
/** What tar and git must not take from the clock, or each root would be another one. */
const SOME_TIME = '2024-01-01 00:00:00 +0000';

/** Path of the tar of the root with the tools, which is made the first time: that needs the network. */
export async function toolsRoot(): Promise<string> {
  const base = await debianRoot();
  return cachedRoot(`bench-tools-1-${distribution().suite}.tar`, async (root) => {
    console.error('making the root of an image with the tools for the benchmark; it is kept');
    await run('tar', ['-C', root, '--numeric-owner', '--xattrs', '-xpf', base]);
    await installTools(root);
    makeFilesTar(root);
    await run('chroot', [root, 'sh', '-ec', `tar -C /tmp --sort=name --mtime='${SOME_TIME}' -cf /srv/files.tar files; rm -rf /tmp/files`]);
    await makeRepository(root);
    await makeProject(root);
    makeSources(join(root, 'srv/sources'));
  });
}

/** Path of the tar of the root with the large file. */
export async function dataRoot(): Promise<string> {
  const tools = await toolsRoot();
  return cachedRoot('bench-data-1.tar', async (root) => {
    mkdirSync(join(root, 'root'));
    await run('tar', ['-C', root, '-xpf', tools, './usr/bin/io']);
    writeNoise(join(root, DATA_FILE), DATA_BYTES);
  });
}

async function installTools(root: string): Promise<void> {
  const apt = `apt-get install -y --no-install-recommends ${PACKAGES.join(' ')}`;
  const clean = 'rm -rf /opt/packages /var/lib/apt/lists/* /var/cache/apt/*';
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  await run('chroot', [root, 'sh', '-ec', `apt-get update; ${apt}; ${clean}`], { env, timeoutMs: 1_800_000 });
  await installNpm(root);
  writeFileSync(join(root, 'tmp/io.c'), IO_SOURCE);
  await run('chroot', [root, 'gcc', '-O2', '-static', '-o', '/usr/bin/io', '/tmp/io.c']);
  rmSync(join(root, 'tmp/io.c'));
}

/** Node and npm of the machine, if they run in the root; those of the distribution otherwise. */
async function installNpm(root: string): Promise<void> {
  const npm = findCommand('npm');
  if (npm !== undefined) {
    copyFileSync(process.execPath, join(root, 'usr/bin/node'));
    const folder = dirname(dirname(realpathSync(npm)));
    cpSync(folder, join(root, 'usr/lib/node_modules/npm'), { recursive: true, verbatimSymlinks: true });
    symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', join(root, 'usr/bin/npm'));
    if ((await tryRun('chroot', [root, 'npm', '--version'])).status === 0) return;
    for (const name of ['bin/node', 'bin/npm', 'lib/node_modules']) rmSync(join(root, 'usr', name), { recursive: true });
  }
  await run('chroot', [root, 'sh', '-ec', 'apt-get update; apt-get install -y --no-install-recommends npm; rm -rf /var/lib/apt/lists/*']);
}

function makeFilesTar(root: string): void {
  const random = generator(1);
  const pool = text(random, 2 ** 20);
  for (let i = 0; i < TAR_FILES; i++) {
    const folder = join(root, 'tmp/files', `folder-${Math.floor(i / FILES_PER_FOLDER)}`);
    if (i % FILES_PER_FOLDER === 0) mkdirSync(folder, { recursive: true });
    writePiece(join(folder, `file-${i}.txt`), random, pool, fileSize(random, 600, 65_536));
  }
}

/** Writes a piece of a text from anywhere in it. */
function writePiece(path: string, random: () => number, pool: string, bytes: number): void {
  const at = Math.floor(random() * (pool.length - bytes));
  writeFileSync(path, pool.slice(at, at + bytes));
}

async function makeRepository(root: string): Promise<void> {
  const random = generator(2);
  const pool = text(random, 2 ** 22);
  for (let i = 0; i < REPOSITORY_FILES; i++) {
    const folder = join(root, 'tmp/tree', `part-${Math.floor(i / FILES_PER_FOLDER)}`);
    if (i % FILES_PER_FOLDER === 0) mkdirSync(folder, { recursive: true });
    writePiece(join(folder, `source-${i}.c`), random, pool, fileSize(random, 1500, 100_000));
  }
  const who = '-c user.name=bench -c user.email=bench@example.org';
  const make = `cd /tmp/tree; git init -q -b main .; git add -A; git ${who} commit -q -m tree`;
  const env = { ...process.env, GIT_AUTHOR_DATE: SOME_TIME, GIT_COMMITTER_DATE: SOME_TIME, HOME: '/root' };
  await run('chroot', [root, 'sh', '-ec', `${make}; git gc -q; git clone -q --bare . /srv/repository.git; rm -rf /tmp/tree`], { env });
}

/** A project with its lock file and a cache of npm that has all of it; made by the machine's npm, which knows its registry. */
async function makeProject(root: string): Promise<void> {
  const folder = join(root, 'srv/project');
  mkdirSync(folder);
  writeFileSync(
    join(folder, 'package.json'),
    JSON.stringify({ name: 'bench', version: '1.0.0', private: true, dependencies: DEPENDENCIES }),
  );
  const npm = (...args: string[]): Promise<string> =>
    run('npm', [...args, '--ignore-scripts', '--no-audit', '--no-fund', '--cache', join(folder, 'cache')], { cwd: folder });
  const registry = (await run('npm', ['config', 'get', 'registry'], { cwd: folder })).trim();
  writeFileSync(join(folder, '.npmrc'), `registry=${registry}\n`);
  await npm('install', '--package-lock-only');
  await npm('ci');
  for (const name of ['node_modules', 'cache/_logs']) rmSync(join(folder, name), { recursive: true, force: true });
  if (!existsSync(join(folder, 'package-lock.json'))) throw new Error('npm made no lock file');
  await run('chown', ['-R', '0:0', folder]);
}

const HEADERS = ['stdio', 'stdlib', 'string', 'math', 'unistd', 'sys/stat', 'time', 'errno', 'fcntl', 'signal'];

function makeSources(folder: string): void {
  mkdirSync(folder);
  writeFileSync(join(folder, 'item.h'), 'struct item { int a; int b[8]; char name[32]; };\n');
  writeFileSync(join(folder, 'main.c'), 'int main(void) { return 0; }\n');
  const rules =
    'OBJECTS := $(patsubst %.c,%.o,$(wildcard *.c))\nprogram: $(OBJECTS)\n\t$(CC) -o $@ $(OBJECTS)\n%.o: %.c item.h\n\t$(CC) -O1 -c -o $@ $<\n';
  writeFileSync(join(folder, 'Makefile'), rules);
  for (let i = 0; i < SOURCES; i++) writeFileSync(join(folder, `unit-${i}.c`), source(i));
}

function source(unit: number): string {
  const lines = HEADERS.map((name) => `#include <${name}.h>`);
  lines.push('#include "item.h"');
  for (let i = 0; i < FUNCTIONS_PER_SOURCE; i++) {
    const body = `s += p[i].a * ${i + 3} + p[i].b[${i % 8}]; if (s > ${unit * 100 + i}) s ^= (int)strlen(p[i].name);`;
    lines.push(`int f${unit}_${i}(struct item *p, int n) { int s = 0; for (int i = 0; i < n; i++) { ${body} } return s; }`);
  }
  return `${lines.join('\n')}\n`;
}

/** A file that has no hole and no two equal blocks. */
function writeNoise(path: string, bytes: number): void {
  const chunk = Buffer.alloc(2 ** 20);
  const fd = openSync(path, 'w');
  for (let at = 0; at < bytes; at += chunk.length) writeSync(fd, randomFillSync(chunk));
  closeSync(fd);
}
