/** The process that serves a volume dies, or makes room for another one; whoever uses the mount must not notice more than a pause. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  readdirSync,
  renameSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, test, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Layer, Status } from '../../src/daemon/protocol.js';
import { isRunning } from '../../src/daemon/processes.js';
import { findMount } from '../../src/linux/mount.js';
import { describeProcess } from '../../scripts/lib/limits.js';
import { killProcess, killServing, servingProcess } from '../../scripts/lib/daemon-processes.js';
import { limitTests } from '../support/hangs.js';
import { Sandbox, exitCode } from './sandbox.js';

/** With this, deaths half a second apart are no crash loop. */
const SHORT_WINDOW = { LCFS_CRASH_WINDOW: '0.1' };

limitTests(240);

let box: Sandbox;
beforeEach(() => {
  box = new Sandbox();
});
afterEach(() => box.end());

const status = (): Promise<Status> => box.json<Status>('status');

/** Asks the mount for what the kernel never keeps, and waits for the answer. */
async function answer(): Promise<void> {
  await statfs(box.mountpoint);
}

/** Ends the serving process, and waits until the mount answers again. Returns how long that took, in milliseconds. */
async function die(supervisor: number): Promise<number> {
  const dead = await killServing(supervisor);
  const started = performance.now();
  await answer();
  const tookMs = performance.now() - started;
  for (let tries = 0; tries < 500 && [dead, undefined].includes(servingProcess(supervisor)); tries++) await delay(20);
  return tookMs;
}

/**
 * A program that works on the mount until its input ends: lines with ascending numbers in a file that it keeps open, files that
 * are made, renamed and removed. It ends with an error at the first call that fails or has another effect than it should.
 */
const WORK = `
const fs = require('node:fs'), path = require('node:path'), assert = require('node:assert');
const folder = process.argv[1];
const log = fs.openSync(path.join(folder, 'log'), 'a+');
let ended = false, count = 0;
process.stdin.on('end', () => (ended = true)).resume();
const step = () => {
  if (ended) return void process.stdout.write(String(count));
  const name = path.join(folder, 'f' + count);
  fs.writeSync(log, count + '\\n');
  const file = fs.openSync(name, 'wx');
  if (count % 9000 > 0) fs.writeSync(file, 'x'.repeat(count % 9000));
  fs.closeSync(file);
  fs.renameSync(name, name + '-renamed');
  fs.mkdirSync(name + '-folder');
  fs.linkSync(name + '-renamed', name + '-folder/link');
  assert.strictEqual(fs.readFileSync(name + '-folder/link', 'utf8').length, count % 9000);
  fs.unlinkSync(name + '-folder/link');
  fs.rmdirSync(name + '-folder');
  if (count >= 20) fs.unlinkSync(path.join(folder, 'f' + (count - 20) + '-renamed'));
  count++;
  setImmediate(step);
};
step();
`;

class Worker {
  readonly #folder: string;
  readonly #child: ChildProcess;
  #errors = '';
  #count = '';

  constructor(folder: string) {
    mkdirSync(folder);
    this.#folder = folder;
    this.#child = spawn(process.execPath, ['-e', WORK, folder], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stderr!.on('data', (chunk) => (this.#errors += String(chunk)));
    this.#child.stdout!.on('data', (chunk) => (this.#count += String(chunk)));
  }

  /** Proves that everything that was done has been done once. Returns how many steps that was. */
  async finish(): Promise<number> {
    this.#child.stdin!.end();
    assert.equal(await exitCode(this.#child), 0, this.#errors);
    const count = Number(this.#count);
    const lines = readFileSync(join(this.#folder, 'log'), 'utf8').trimEnd().split('\n').map(Number);
    assert.deepEqual(
      lines,
      Array.from({ length: count }, (_, i) => i),
    );
    assert.equal(readdirSync(this.#folder).length, 1 + Math.min(count, 20));
    return count;
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

async function proveVolume(): Promise<void> {
  await box.ok('stop', box.mountpoint);
  assert.match(await box.ok('check', box.image), /is sound/);
  assert.deepEqual(readdirSync(box.path('run')), []);
}

function printTimes(t: TestContext, times: readonly number[]): void {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (part: number): string => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]!.toFixed(0);
  t.diagnostic(`the mount answered again after ${at(0.5)} ms (median of ${times.length}), ${at(1)} ms at most`);
}

for (const transport of ['auto', 'devfuse']) {
  test(`the serving process dies under load, with transport ${transport}: nothing is lost, done twice or refused`, async (t) => {
    box.set(SHORT_WINDOW);
    const supervisor = await box.start('--transport', transport);
    await box.ok('layer', 'create', 'a');
    const workers = ['one', 'two'].map((name) => new Worker(box.mounted('layers/a', name)));
    try {
      const times: number[] = [];
      for (let kills = 0; kills < 10; kills++) {
        await delay(300);
        times.push(await die(supervisor));
      }
      printTimes(t, times);
      for (const worker of workers) t.diagnostic(`${await worker.finish()} steps`);
    } finally {
      for (const worker of workers) worker.kill();
    }
    const { deaths, lastDeath, readOnly } = await status();
    assert.deepEqual({ deaths, readOnly }, { deaths: 10, readOnly: null });
    assert.match(lastDeath!.cause, /SIGKILL/);
    assert.match(await box.ok('status'), /supervisor +pid \d+, 10 deaths survived/);
    await proveVolume();
  });
}

test('open files stay open, also those without a name', async () => {
  const supervisor = await box.start();
  await box.ok('layer', 'create', 'a');
  const [named, nameless] = ['named', 'nameless'].map((name) => openSync(box.mounted('layers/a', name), 'w+')) as [number, number];
  writeSync(named, 'before ');
  writeSync(nameless, 'before ');
  unlinkSync(box.mounted('layers/a/nameless'));
  await die(supervisor);
  for (const fd of [named, nameless]) {
    writeSync(fd, 'after');
    const text = Buffer.alloc(20);
    assert.equal(text.toString('utf8', 0, readSync(fd, text, 0, 20, 0)), 'before after');
    closeSync(fd);
  }
  assert.equal(readFileSync(box.mounted('layers/a/named'), 'utf8'), 'before after');
  assert.deepEqual(readdirSync(box.mounted('layers/a')), ['named']);
  await proveVolume();
});

test('commands that come while nobody serves wait', async () => {
  const supervisor = await box.start();
  await killServing(supervisor);
  await Promise.all(['a', 'b', 'c'].map((name) => box.ok('layer', 'create', name)));
  assert.deepEqual((await box.json<Layer[]>('layer', 'ls')).map(({ name }) => name).toSorted(), ['a', 'b', 'c']);
  await proveVolume();
});

test('half a layer does not stay when the process that imports it dies', async () => {
  const supervisor = await box.start();
  const importing = box.spawn('layer', 'import', 'half', '-', '--control', box.mountpoint);
  const errors: string[] = [];
  importing.stderr!.on('data', (chunk) => errors.push(String(chunk)));
  importing.stdin!.on('error', () => {});
  importing.stdin!.write(Buffer.alloc(512));
  const names = async (): Promise<string[]> => (await box.json<Layer[]>('layer', 'ls')).map(({ name }) => name);
  while (!(await names()).includes('half')) await delay(50);
  await die(supervisor);
  assert.equal(await exitCode(importing), 1, 'the client is told');
  assert.match(errors.join(''), /went away|broke off/);
  assert.deepEqual(await names(), []);
  await proveVolume();
});

test('a crash loop ends in a volume that can be read, until somebody resumes it', async () => {
  const supervisor = await box.start();
  await box.ok('layer', 'create', 'a');
  writeFileSync(box.mounted('layers/a/kept'), 'kept');
  await box.fails(1, /nothing to resume/, 'resume', box.mountpoint);
  for (let deaths = 0; deaths < 3; deaths++) await die(supervisor);
  assert.equal(readFileSync(box.mounted('layers/a/kept'), 'utf8'), 'kept');
  assert.throws(() => writeFileSync(box.mounted('layers/a/new'), 'x'), /EROFS/);
  assert.throws(() => unlinkSync(box.mounted('layers/a/kept')), /EROFS/);
  await box.fails(1, /read-only/, 'layer', 'create', 'b');
  assert.match((await status()).readOnly!, /died 3 times within a minute.*SIGKILL.*lcfs resume/s);
  assert.match(await box.ok('status'), /read-only +the serving process died 3 times/);
  assert.match(readFileSync(`${box.mountpoint}.log`, 'utf8'), /read-only from now on/);
  assert.match(await box.ok('resume', box.mountpoint), /takes changes again/);
  writeFileSync(box.mounted('layers/a/new'), 'x');
  assert.equal((await status()).readOnly, null);
  await die(supervisor);
  writeFileSync(box.mounted('layers/a/newer'), 'deaths from before count no more');
  await proveVolume();
});

test('what dies even when it changes nothing ends in order', async () => {
  const daemon = await box.startForeground();
  await box.ok('layer', 'create', 'a');
  writeFileSync(box.mounted('layers/a/kept'), 'kept');
  const ended = exitCode(daemon);
  for (let deaths = 0; deaths < 3; deaths++) await die(daemon.pid!);
  await killServing(daemon.pid!);
  assert.equal(await ended, 70);
  assert.equal(findMount(box.mountpoint), undefined);
  assert.deepEqual(readdirSync(box.path('run')), []);
  assert.match(await box.ok('check', box.image), /is sound/);
  await box.start();
  assert.equal(readFileSync(box.mounted('layers/a/kept'), 'utf8'), 'kept');
});

test('a daemon that has survived is stopped like any other, by whatever means', async () => {
  let supervisor = await box.start();
  await die(supervisor);
  const user = spawn('sleep', ['60'], { cwd: box.mounted('global') });
  try {
    await once(user, 'spawn');
    await box.fails(1, new RegExp(`in use by pid ${user.pid}`), 'stop', box.mountpoint);
    await box.ok('stop', '--force', box.mountpoint);
  } finally {
    user.kill('SIGKILL');
  }
  assert.equal(isRunning(supervisor), false);
  supervisor = await box.start();
  await die(supervisor);
  process.kill(supervisor, 'SIGTERM');
  while (isRunning(supervisor)) await delay(20);
  const daemon = await box.startForeground();
  await die(daemon.pid!);
  // What has woken the queues of the mount is not gone at once.
  while ((await exitCode(spawn('umount', [box.mountpoint]))) !== 0) await delay(100);
  assert.equal(await exitCode(daemon), 0);
  assert.deepEqual(readdirSync(box.path('run')), []);
  assert.match(await box.ok('check', box.image), /is sound/);
});

test("the volume is nobody else's while no process serves it", async () => {
  const supervisor = await box.start();
  const serving = servingProcess(supervisor)!;
  process.kill(serving, 'SIGSTOP'); // it keeps its lock and answers nothing
  await killServing(supervisor);
  await box.fails(1, new RegExp(`in use by pid ${supervisor}`), 'check', box.image);
  await box.fails(1, new RegExp(`in use by pid ${supervisor}`), 'format', box.image, '--force');
  await answer();
  await proveVolume();
});

test('without its supervisor the serving process goes on, and says so', async () => {
  const supervisor = await box.start();
  const serving = servingProcess(supervisor)!;
  await killProcess(supervisor);
  writeFileSync(box.mounted('global/file'), 'still served');
  for (let tries = 0; tries < 100 && (await status()).supervisor !== null; tries++) await delay(50);
  const now = await status();
  assert.deepEqual({ pid: now.pid, supervisor: now.supervisor }, { pid: serving, supervisor: null });
  assert.match(await box.ok('status'), /supervisor +gone/);
  assert.match(readFileSync(`${box.mountpoint}.log`, 'utf8'), /the supervisor \(pid \d+\) is gone/);
  await box.fails(1, /supervisor of this daemon is gone/, 'upgrade', box.mountpoint);
  await box.fails(1, /in use by pid/, 'check', box.image);
  await proveVolume();
  assert.equal(isRunning(serving), false);
  await box.start();
  assert.equal(readFileSync(box.mounted('global/file'), 'utf8'), 'still served');
});

/** Waits until something is so; `limitTests` sees to it that this is not for ever. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await delay(20);
}

for (const transport of ['auto', 'devfuse'])
  test(`a process that dies while it waits for its own mount is followed by another one, with transport ${transport}`, async () => {
    const supervisor = await box.start('--transport', transport);
    const holdUp = box.path('hold-up');
    const command = install('9.9.5');
    // As long as that file is there, the mount does not say how full it is; and the process asks itself once.
    const handler = join(command, '../../fuse/statfs.js');
    const wait = `import { existsSync as holds } from 'node:fs';
      const hold = () => { while (holds('${holdUp}')) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20); };`;
    const text = readFileSync(handler, 'utf8').replace(/(export function getVolumeStatistics\(.*\) \{)/, '$1 hold();');
    assert.match(text, /hold\(\);/);
    writeFileSync(handler, `${wait}\n${text}`);
    const serve = join(command, '../../daemon/serve.js');
    const ask = `import { existsSync as asks, statfs as askItself } from 'node:fs';
      const asking = setInterval(() => asks('${holdUp}') && (clearInterval(asking), askItself('${box.mountpoint}', () => {})), 20).unref();`;
    writeFileSync(serve, `${ask}\n${readFileSync(serve, 'utf8')}`);
    await box.okWith(command, 'upgrade', box.mountpoint);
    const serving = servingProcess(supervisor)!;
    writeFileSync(holdUp, '');
    await until(() => describeProcess(serving).includes('request_wait_answer'));
    await killProcess(serving);
    assert.ok(existsSync(`/proc/${serving}`), 'it cannot end');
    unlinkSync(holdUp);
    await answer();
    await until(() => !existsSync(`/proc/${serving}`));
    const { deaths, lastDeath } = await status();
    assert.equal(deaths, 1);
    assert.match(lastDeath!.cause, /threads that wait for the mount/);
    await proveVolume();
  });

/** Another installation of the same program. Returns the path of its command. */
function install(version: string): string {
  const root = fileURLToPath(new URL('../../..', import.meta.url));
  const folder = box.path(`lcfs-${version}`);
  mkdirSync(join(folder, 'dist'), { recursive: true });
  cpSync(join(root, 'dist/src'), join(folder, 'dist/src'), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  const description = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ ...description, version }));
  return join(folder, 'dist/src/cli/main.js');
}

test("another version takes over under load, and an error is nobody's", async () => {
  const supervisor = await box.start();
  await box.ok('layer', 'create', 'a');
  const before = await status();
  const workers = ['one', 'two'].map((name) => new Worker(box.mounted('layers/a', name)));
  try {
    for (const version of ['9.9.1', '9.9.2']) {
      const command = install(version);
      assert.match(await box.okWith(command, 'upgrade', box.mountpoint), new RegExp(`LCFS ${version} serves`));
      await delay(300);
    }
    for (const worker of workers) assert.ok((await worker.finish()) > 0);
  } finally {
    for (const worker of workers) worker.kill();
  }
  const after = await status();
  assert.notEqual(after.pid, before.pid);
  assert.deepEqual(
    { supervisor: after.supervisor, version: after.version, deaths: after.deaths, failure: after.lastUpgrade!.failure },
    { supervisor, version: '9.9.2', deaths: 0, failure: null },
  );
  // What takes over after a death is the new program, too.
  await die(supervisor);
  assert.equal((await status()).version, '9.9.2');
  await proveVolume();
});

test('a process that does not make room is killed, and has made room', async () => {
  box.set({ LCFS_FAREWELL: '1' });
  await box.start();
  const slow = install('9.9.7');
  const daemon = join(slow, '../../daemon/daemon.js');
  const text = readFileSync(daemon, 'utf8');
  assert.match(text, /stopMaintenance\(\);/);
  writeFileSync(daemon, text.replace(/stopMaintenance\(\);/g, 'await new Promise(() => {});'));
  await box.okWith(slow, 'upgrade', box.mountpoint);
  writeFileSync(box.mounted('global/file'), 'kept');
  assert.match(await box.okWith(install('9.9.8'), 'upgrade', box.mountpoint), /LCFS 9\.9\.8 serves/);
  assert.equal((await status()).deaths, 0);
  assert.equal(readFileSync(box.mounted('global/file'), 'utf8'), 'kept');
  await proveVolume();
});

test('a program that cannot take over does not', async () => {
  await box.start();
  const { version } = await status();
  writeFileSync(box.mounted('global/file'), 'kept');
  const broken = install('9.9.3');
  writeFileSync(join(broken, '../../daemon/serve.js'), 'export function runServing() { process.exit(3); }');
  const upgrade = await box.runWith(broken, 'upgrade', box.mountpoint);
  assert.equal(upgrade.status, 1);
  assert.match(upgrade.stderr, new RegExp(`LCFS ${version} serves on.*ended with exit code 3`));
  const after = await status();
  assert.equal(after.version, version);
  assert.equal(after.deaths, 0);
  assert.match(after.lastUpgrade!.failure!, /exit code 3/);
  assert.match(await box.ok('status'), /upgrade to 9\.9\.3 failed/);
  assert.equal(readFileSync(box.mounted('global/file'), 'utf8'), 'kept');
  const late = install('9.9.6');
  const daemon = join(late, '../../daemon/daemon.js');
  const text = readFileSync(daemon, 'utf8');
  assert.match(text, /await this\.#startControl\(\);/);
  writeFileSync(daemon, text.replace('await this.#startControl();', "throw new LcfsError('io', 'no control here');"));
  const failed = await box.runWith(late, 'upgrade', box.mountpoint);
  assert.match(failed.stderr, new RegExp(`LCFS ${version} serves on.*no control here`), 'though its threads served already');
  const { pid } = await status();
  const strange = install('9.9.4');
  const handover = join(strange, '../../daemon/handover.js');
  writeFileSync(handover, readFileSync(handover, 'utf8').replace(/HANDOVER_VERSION = \d+/, 'HANDOVER_VERSION = 999'));
  const refused = await box.runWith(strange, 'upgrade', box.mountpoint);
  assert.match(refused.stderr, /hands over version|takes version/);
  assert.equal((await status()).pid, pid, 'refused before anything has stopped');
  assert.ok(existsSync(box.mounted('global/file')) && statSync(box.mounted('global/file')).size === 4);
  renameSync(box.mounted('global/file'), box.mounted('global/renamed'));
  await proveVolume();
});
