/**
 * `npm test`: everything that must hold, in the order in which it is quickest to learn what does not.
 *
 *   1. packages of the distribution that the tests need are installed
 *   2. the format, the lint rules, the generated files and the direction of imports are checked
 *   3. all tests run: those beside the code, then those of test/, which mount volumes and start Docker Engines
 *
 * Nothing of step 2 stops step 3, so that one run tells everything; node's summary of the tests comes last. The exit code
 * is 0 only if all of it passed. `--without-engines` leaves out what needs a Docker Engine; other arguments are parts of
 * the names of the test files to run.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { needCommands, needDocker } from './lib/packages.js';

const ENGINES = 'test/engines/';
/** What tests call, apart from what every Debian has. */
const COMMANDS = ['tar', 'busybox', 'debootstrap', 'docker-registry', 'mkfs.ext4', 'setfattr', 'getcap'];
/**
 * For a whole file. A hung test must not hold the run for ever; the longest ones build images, and take three minutes on a
 * machine that does nothing else.
 */
const TEST_TIMEOUT_MS = 3_600_000;

/** Source files of tests, units first. From sources, because dist/ may hold tests that are gone. */
function testFiles(): string[] {
  return ['src', 'scripts', 'bench', 'test'].flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.test.ts'))
      .map((name) => join(folder, name))
      .toSorted(),
  );
}

function compiled(source: string): string {
  return join('dist', source.replace(/\.ts$/, '.js'));
}

/** Runs a command with our own output. Returns whether it succeeded. */
async function succeeds(title: string, command: string, ...args: string[]): Promise<boolean> {
  console.log(`# ${title}`);
  const child = spawn(command, args, { stdio: 'inherit' });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) console.log(`# ${title}: failed`);
  return code === 0;
}

async function staticChecks(): Promise<string[]> {
  const checks: [string, string, ...string[]][] = [
    ['format', 'node_modules/.bin/oxfmt', '--check', '.'],
    ['lint', 'node_modules/.bin/oxlint', '--deny-warnings'],
    ['generated files', process.execPath, 'dist/src/layout/generate.js', '--check'],
    ['direction of imports', process.execPath, 'dist/scripts/check-layers.js'],
  ];
  const failed: string[] = [];
  for (const [title, command, ...args] of checks) if (!(await succeeds(title, command, ...args))) failed.push(title);
  return failed;
}

function runTests(sources: readonly string[]): Promise<boolean> {
  const files = sources.map(compiled);
  // One file after the other: tests mount, measure and switch parameters of the kernel.
  const options = ['--test', '--test-concurrency=1', `--test-timeout=${TEST_TIMEOUT_MS}`, '--test-reporter=spec', '--enable-source-maps'];
  return succeeds('tests', process.execPath, ...options, ...files);
}

async function main(args: readonly string[]): Promise<void> {
  const engines = !args.includes('--without-engines');
  const parts = args.filter((arg) => !arg.startsWith('--'));
  const files = testFiles()
    .filter((file) => engines || !file.startsWith(ENGINES))
    .filter((file) => parts.length === 0 || parts.some((part) => file.includes(part)));
  if (engines && files.some((file) => file.startsWith(ENGINES))) {
    await needDocker();
    await needCommands(...COMMANDS);
  }
  const failed = parts.length === 0 ? await staticChecks() : [];
  const passed = await runTests(files);
  if (failed.length > 0) console.error(`failed before the tests: ${failed.join(', ')} (npm run format, npm run generate)`);
  process.exitCode = passed && failed.length === 0 ? 0 : 1;
}

await main(process.argv.slice(2));
