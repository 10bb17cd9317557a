/**
 * containerd's own conformance suite for snapshotters, and our cases of bad input and odd names beside it, run against LCFS
 * twice: straight against its socket, and through a containerd that has it as a proxy plugin.
 */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { PrivateContainerd } from '../../scripts/lib/containerd.js';
import { makeFolder } from '../../scripts/lib/folders.js';
import { goProgram } from '../../scripts/lib/go-program.js';
import { LcfsDaemon } from '../../scripts/lib/lcfs.js';
import { needCommands } from '../../scripts/lib/packages.js';
import { tryRun } from '../../scripts/lib/run.js';

/** Cases of the suite, without the one that it skips itself on every snapshotter (Rename). */
const CASES_MIN = 20;
/** More than its program may take, so that this is what fails. */
const SUITE_MS = 900_000;

const folder = makeFolder('lcfs-s-');
let program = '';
let used = 0;

before(
  async () => {
    await needCommands('containerd');
    program = await goProgram('snapshots', 'test/conformance/snapshots', true);
  },
  { timeout: SUITE_MS },
);
after(() => rmSync(folder, { recursive: true, force: true }));

/** The suite wants a snapshotter that holds nothing: each run gets a volume of its own. */
async function withVolume(work: (lcfs: LcfsDaemon, socket: string) => Promise<void>): Promise<void> {
  const directory = join(folder, String(used++));
  const socket = join(directory, 's.sock');
  const driver = `lcfs-test-${process.pid}`;
  const lcfs = new LcfsDaemon({ directory, driver, size: '4G', args: ['--containerd', socket] });
  await lcfs.start();
  try {
    await work(lcfs, socket);
    await assertEmpty(lcfs);
  } catch (error) {
    console.error(lcfs.log());
    throw error;
  } finally {
    await lcfs.end();
  }
  const check = await lcfs.check();
  assert.equal(check.status, 0, check.stdout + check.stderr);
}

/** The suite has removed all snapshots: nothing of them may be left. */
async function assertEmpty(lcfs: LcfsDaemon): Promise<void> {
  const layers = await lcfs.json<{ name: string }[]>('layer', 'ls');
  assert.deepEqual(layers, []);
}

async function runSuite(address: string, tests: string): Promise<void> {
  const result = await tryRun(program, ['-address', address, '-snapshotter', 'lcfs', '-test.v', '-test.run', tests]);
  const verdicts = result.stdout.split('\n').filter((line) => /^\s*--- /.test(line));
  assert.equal(result.status, 0, `${verdicts.join('\n')}\n${result.stdout.slice(-8000)}${result.stderr}`);
  const passed = verdicts.filter((line) => line.includes('PASS: TestSnapshots/Suite/'));
  assert.ok(passed.length >= CASES_MIN, `${passed.length} cases passed`);
  assert.ok(passed.some((line) => line.includes('128LayersMount')));
}

test('conformance of the snapshotter on its own socket', { timeout: SUITE_MS }, () =>
  withVolume((_, socket) => runSuite(socket, 'Snapshots|Refusals|Names')),
);

test('conformance of the snapshotter behind containerd', { timeout: SUITE_MS }, () =>
  withVolume(async ({ mountpoint }, socket) => {
    const containerd = new PrivateContainerd({ directory: join(folder, 'c'), lcfs: { socket, mountpoint } });
    await containerd.start();
    try {
      // What is refused by containerd itself has other errors.
      await runSuite(containerd.address, 'Snapshots|Names');
      await containerd.collectGarbage();
    } finally {
      await containerd.end();
    }
  }),
);
