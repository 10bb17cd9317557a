/** Builds our programs in Go, which use containerd's own packages, from the sources that the distribution packages. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { CACHE, install, needCommands } from '../../../scripts/lib/packages.js';
import { run } from '../../../scripts/lib/run.js';

/** Relative to the repository, where the tests are run. */
const SOURCES = 'test/conformance/snapshots';
const PACKAGE = 'golang-github-containerd-containerd-dev';
const GOPATH = '/usr/share/gocode';
const SUITE = join(GOPATH, 'src/github.com/containerd/containerd/snapshots/testsuite');

/** The program that runs containerd's conformance suite for snapshotters. */
export function conformanceProgram(): Promise<string> {
  return compiled(join(SOURCES, 'suite_test.go'), ['test', '-c']);
}

/** The program that pulls an image with containerd's client. */
export function pullProgram(): Promise<string> {
  return compiled(join(SOURCES, 'pull/main.go'), ['build']);
}

/** Path of a compiled program, made of all sources in the folder of `source`; it is kept in the cache folder. */
async function compiled(source: string, command: readonly string[]): Promise<string> {
  if (!existsSync(SUITE)) await install(['golang-go', PACKAGE]);
  await needCommands('go');
  const version = await run('dpkg-query', ['--show', PACKAGE]);
  const fingerprint = createHash('sha256').update(version).update(readFileSync(source)).digest('hex').slice(0, 16);
  const program = join(CACHE, `${basename(source, '.go')}-${fingerprint}`);
  if (!existsSync(program)) await compile(dirname(source), program, command);
  return program;
}

async function compile(folder: string, program: string, command: readonly string[]): Promise<void> {
  mkdirSync(CACHE, { recursive: true });
  // Without modules: the distribution's packages are a GOPATH, and nothing may be fetched.
  const env = { ...process.env, GOPATH, GO111MODULE: 'off', GOFLAGS: '', GOCACHE: join(CACHE, 'go-build') };
  await run('go', [...command, '-o', program, '.'], { cwd: resolve(folder), env });
}
