/** `lcfs setup`, as a person calls it, on the root folder of a machine that is being prepared. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type RunResult, tryRun } from '../../scripts/lib/run.js';

const CLI = join(dirname(fileURLToPath(import.meta.url)), '../../src/cli/main.js');

let root = '';
beforeEach(() => (root = mkdtempSync(join(tmpdir(), 'lcfs-setup-'))));
afterEach(() => rmSync(root, { recursive: true }));

const setup = (...args: string[]): Promise<RunResult> => tryRun(process.execPath, [CLI, 'setup', ...args, '--root', root]);
const at = (path: string): string => join(root, path);

test('without --write everything is printed and nothing is written', async () => {
  const { status, stdout } = await setup('containerd', '--engine-version', '2.1.9', '--device', '/dev/sdb');
  assert.equal(status, 0);
  for (const text of [
    '[proxy_plugins.lcfs]',
    'lcfs-diff',
    'ExecStart=',
    'daemon /dev/sdb /lcfs',
    'Requires=lcfs.service',
    'for containerd 2.1.9',
  ])
    assert.ok(stdout.includes(text), `${text} in ${stdout}`);
  assert.deepEqual(readdirSync(root), []);
});

test('write and remove', async () => {
  mkdirSync(at('etc/docker'), { recursive: true });
  writeFileSync(at('etc/docker/daemon.json'), '{"debug":true}');
  const written = await setup('docker', '--engine-version', '27.3.1', '--write');
  assert.equal(written.status, 0, written.stderr);
  assert.match(written.stdout, /wrote \/etc\/docker\/daemon\.json; what it was is in \/etc\/docker\/daemon\.json\.before-lcfs/);
  assert.match(written.stdout, /systemctl enable --now lcfs && systemctl restart docker/);
  assert.equal((JSON.parse(readFileSync(at('etc/docker/daemon.json'), 'utf8')) as Record<string, unknown>)['storage-driver'], 'lcfs');
  assert.ok(existsSync(at('etc/systemd/system/docker.service.d/lcfs.conf')));

  const removed = await setup('--remove');
  assert.equal(removed.status, 0, removed.stderr);
  assert.equal(readFileSync(at('etc/docker/daemon.json'), 'utf8'), '{"debug":true}');
  assert.deepEqual(readdirSync(at('etc/docker')), ['daemon.json']);
  assert.equal(existsSync(at('etc/systemd/system/lcfs.service')), false);
  assert.match((await setup('--remove')).stdout, /nothing of LCFS is set up here/);
});

test('a folder for temporary files', async () => {
  const { status, stdout } = await setup('docker', '--engine-version', '26.1.5', '--docker-tmp', '/var/tmp/docker');
  assert.equal(status, 0);
  assert.ok(stdout.includes('\n[Service]\nEnvironment=DOCKER_TMPDIR=/var/tmp/docker\n'), stdout);
});

test('wrong calls', async () => {
  const cases: [string[], number, RegExp][] = [
    [[], 2, /name the engine/],
    [['podman'], 2, /Allowed choices are containerd, docker/],
    [['containerd', '--engine-version', 'new'], 2, /looks like 1\.7\.24/],
    [['containerd', '--mountpoint', 'lcfs'], 2, /absolute path/],
    [['docker', '--kubernetes'], 2, /goes with lcfs setup containerd/],
    [['containerd', '--engine-version', '2.1.9', '--docker-tmp', '/tmp'], 2, /Docker up to 27/],
    [['docker', '--engine-version', '28.5.2', '--docker-tmp', '/tmp'], 2, /Docker up to 27/],
    [['docker', '--engine-version', '27.5.1', '--docker-tmp', 'tmp'], 2, /absolute path/],
    [['containerd', '--size', 'big'], 2, /is not a size/],
    [['containerd'], 1, /containerd is not installed in .*--engine-version/],
  ];
  for (const [args, status, message] of cases) {
    const result = await setup(...args);
    assert.equal(result.status, status, args.join(' '));
    assert.match(result.stderr, message);
  }
});
