/** Programs in Go that use containerd's own packages, compiled from the sources that the distribution packages. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { CACHE } from './folders.js';
import { install, needCommands } from './packages.js';
import { run } from './run.js';

const PACKAGE = 'golang-github-containerd-containerd-dev';
const GOPATH = '/usr/share/gocode';
const INSTALLED = join(GOPATH, 'src/github.com/containerd/containerd/snapshots/testsuite');

/**
 * Compiles all sources in a folder, given relative to the repository.
 * @param tests whether they are tests rather than a program
 * @returns path of the compiled program, which is kept in the cache folder
 */
export async function goProgram(name: string, folder: string, tests = false): Promise<string> {
  if (!existsSync(INSTALLED)) await install(['golang-go', PACKAGE]);
  await needCommands('go');
  const program = join(CACHE, `${name}-${await fingerprint(folder)}`);
  if (!existsSync(program)) await compile(folder, program, tests);
  return program;
}

/** Of everything that the program is made from. */
async function fingerprint(folder: string): Promise<string> {
  const hash = createHash('sha256').update(await run('dpkg-query', ['--show', PACKAGE]));
  const sources = readdirSync(folder).filter((file) => file.endsWith('.go'));
  for (const source of sources.toSorted()) hash.update(readFileSync(join(folder, source)));
  return hash.digest('hex').slice(0, 16);
}

async function compile(folder: string, program: string, tests: boolean): Promise<void> {
  mkdirSync(CACHE, { recursive: true });
  // Without modules: the distribution's packages are a GOPATH, and nothing may be fetched.
  const env = { ...process.env, GOPATH, GO111MODULE: 'off', GOFLAGS: '', GOCACHE: join(CACHE, 'go-build') };
  await run('go', [...(tests ? ['test', '-c'] : ['build']), '-o', program, '.'], { cwd: resolve(folder), env });
}
