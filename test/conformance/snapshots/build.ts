/** Builds our programs in Go, which use containerd's own packages, from the sources that the distribution packages. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { CACHE, install, needCommands } from '../../../scripts/lib/packages.js';
import { run } from '../../../scripts/lib/run.js';

/** Relative to the repository, where the tests are run. */
const SOURCES = 'test/conformance/snapshots';
const PACKAGE = 'golang-github-containerd-containerd-dev';
const GOPATH = '/usr/share/gocode';
const SUITE = join(GOPATH, 'src/github.com/containerd/containerd/snapshots/testsuite');

/** The program that runs containerd's conformance suite for snapshotters. */
export function conformanceProgram(): Promise<string> {
  return compiled('snapshots', SOURCES, ['test', '-c']);
}

/** The program that pulls an image with containerd's client. */
export function pullProgram(): Promise<string> {
  return compiled('pull', join(SOURCES, 'pull'), ['build']);
}

/** Path of a compiled program, made of all sources in a folder; it is kept in the cache folder. */
async function compiled(name: string, folder: string, command: readonly string[]): Promise<string> {
  if (!existsSync(SUITE)) await install(['golang-go', PACKAGE]);
  await needCommands('go');
  const version = await run('dpkg-query', ['--show', PACKAGE]);
  const sources = readdirSync(folder).filter((file) => file.endsWith('.go'));
  const hash = createHash('sha256').update(version);
  for (const source of sources.toSorted()) hash.update(readFileSync(join(folder, source)));
  const program = join(CACHE, `${name}-${hash.digest('hex').slice(0, 16)}`);
  if (!existsSync(program)) await compile(folder, program, command);
  return program;
}

async function compile(folder: string, program: string, command: readonly string[]): Promise<void> {
  mkdirSync(CACHE, { recursive: true });
  // Without modules: the distribution's packages are a GOPATH, and nothing may be fetched.
  const env = { ...process.env, GOPATH, GO111MODULE: 'off', GOFLAGS: '', GOCACHE: join(CACHE, 'go-build') };
  await run('go', [...command, '-o', program, '.'], { cwd: resolve(folder), env });
}
