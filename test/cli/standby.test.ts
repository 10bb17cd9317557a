/** A process waits to take over from the one that serves: it does so when that dies, and is in nobody's way until then. */
import assert from 'node:assert/strict';
import {
  cpSync,
  mkdirSync,
  openSync,
  readFileSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
  writeSync,
  closeSync,
  fstatSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Status } from '../../src/daemon/protocol.js';
import { isRunning } from '../../src/daemon/processes.js';
import { killProcess, killServing, servingProcess, standbyProcess } from '../../scripts/lib/daemon-processes.js';
import { PATIENCE_MS, waitUntil } from '../../scripts/lib/limits.js';
import { Sandbox } from './sandbox.js';

let box: Sandbox;
beforeEach(() => {
  box = new Sandbox();
});
afterEach(() => box.end());

const status = (): Promise<Status> => box.json<Status>('status');

/** Pid of the process that waits, once it does. */
async function waiting(): Promise<number> {
  let standby: number | null = null;
  await waitUntil('a process that waits to take over', async () => (standby = (await status()).standby) !== null, PATIENCE_MS);
  return standby!;
}

async function proveVolume(supervisor: number): Promise<void> {
  const standby = standbyProcess(supervisor);
  await box.ok('stop', box.mountpoint);
  if (standby !== undefined) assert.equal(isRunning(standby), false, 'it ends with its daemon');
  assert.match(await box.ok('check', box.image), /is sound/);
}

test('the process that waits is the next that serves, and another one waits then', async () => {
  const supervisor = await box.start();
  await box.ok('layer', 'create', 'a');
  const kept = openSync(box.mounted('layers/a/nameless'), 'w+');
  unlinkSync(box.mounted('layers/a/nameless'));
  for (let deaths = 1; deaths <= 2; deaths++) {
    const standby = await waiting();
    assert.equal(standbyProcess(supervisor), standby);
    assert.match(await box.ok('status'), new RegExp(`pid ${standby} waits to take over`));
    writeSync(kept, 'x'); // not in a checkpoint yet: what waits has read nothing before
    writeFileSync(box.mounted(`layers/a/file${deaths}`), 'written');
    await killServing(supervisor);
    const now = await status();
    assert.deepEqual({ pid: now.pid, deaths: now.deaths, readOnly: now.readOnly }, { pid: standby, deaths, readOnly: null });
    assert.equal(servingProcess(supervisor), standby);
    assert.equal(readFileSync(box.mounted(`layers/a/file${deaths}`), 'utf8'), 'written');
    assert.equal(fstatSync(kept).size, deaths);
  }
  closeSync(kept);
  await waiting();
  await proveVolume(supervisor);
});

test('the end of a process that waits is not the death of one that serves', async () => {
  const supervisor = await box.start();
  const standby = await waiting();
  await killProcess(standby);
  await waitUntil('that nobody is said to wait', async () => (await status()).standby === null, PATIENCE_MS);
  const { pid, deaths } = await status();
  assert.deepEqual({ pid, deaths }, { pid: servingProcess(supervisor), deaths: 0 });
  assert.match(readFileSync(`${box.mountpoint}.log`, 'utf8'), /the process that waits to take over was ended by SIGKILL/);
  await killServing(supervisor);
  assert.equal((await status()).deaths, 1);
  // Both at once: whatever the supervisor hears of first.
  const next = await waiting();
  process.kill(next, 'SIGKILL');
  process.kill(servingProcess(supervisor)!, 'SIGKILL');
  await killProcess(next);
  await waitUntil('the second death', async () => (await status()).deaths > 1, PATIENCE_MS);
  assert.equal((await status()).deaths, 2);
  writeFileSync(box.mounted('global/file'), 'takes changes');
  await proveVolume(supervisor);
});

test('what waits changes nothing after too many deaths, and everything once that is resumed', async () => {
  const supervisor = await box.start();
  for (let deaths = 0; deaths < 2; deaths++) {
    await killServing(supervisor);
    await status();
  }
  const third = await waiting();
  await killServing(supervisor);
  const now = await status();
  assert.equal(now.pid, third);
  assert.match(now.readOnly!, /died 3 times/);
  assert.throws(() => writeFileSync(box.mounted('global/file'), 'x'), /EROFS/);
  const fourth = await waiting();
  await box.ok('resume', box.mountpoint);
  const resumed = await status();
  assert.deepEqual({ pid: resumed.pid, readOnly: resumed.readOnly, deaths: resumed.deaths }, { pid: fourth, readOnly: null, deaths: 3 });
  writeFileSync(box.mounted('global/file'), 'x');
  await proveVolume(supervisor);
});

test('after an upgrade the new program waits', async () => {
  const supervisor = await box.start();
  const before = await waiting();
  const folder = box.path('lcfs-9.9.9');
  const root = fileURLToPath(new URL('../../..', import.meta.url));
  mkdirSync(join(folder, 'dist'), { recursive: true });
  cpSync(join(root, 'dist/src'), join(folder, 'dist/src'), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  const description = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as object;
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ ...description, version: '9.9.9' }));
  await box.okWith(join(folder, 'dist/src/cli/main.js'), 'upgrade', box.mountpoint);
  assert.equal(isRunning(before), false);
  const after = await waiting();
  await killServing(supervisor);
  const { pid, version, deaths } = await status();
  assert.deepEqual({ pid, version, deaths }, { pid: after, version: '9.9.9', deaths: 1 });
  await proveVolume(supervisor);
});

test('without a supervisor nobody waits, and nobody where that is not wanted', async () => {
  const supervisor = await box.start();
  const standby = await waiting();
  await killProcess(supervisor);
  await waitUntil('the end of the process that waits', async () => !isRunning(standby), PATIENCE_MS);
  assert.equal((await status()).standby, null);
  await box.ok('stop', box.mountpoint);
  const alone = await box.start('--standby', 'off');
  await delay(4000);
  assert.equal(standbyProcess(alone), undefined);
  await proveVolume(alone);
});
