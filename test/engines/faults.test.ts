/** What can go wrong under a Docker Engine: a full volume, hostile archives, an LCFS that dies. */
import assert from 'node:assert/strict';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { after, before } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Status } from '../../src/daemon/protocol.js';
import { busyboxRoot, debianRoot } from '../../scripts/lib/images.js';
import { waitUntil } from '../../scripts/lib/limits.js';
import { needCommands } from '../../scripts/lib/packages.js';
import { archive, type EntrySpec } from '../support/archives.js';
import * as Tar from '../../src/archive/tar-format.js';
import { casesOn, SETUP_MS } from './cases.js';
import { importHalf } from './half-import.js';
import { Engines } from './harness.js';
import { TEMPORARY, removeTemporary } from './temporary.js';

const HOST_NETWORK = ['--network', 'host'] as const;
/** Less than the Debian root takes. */
const VOLUME_SIZE = '128M';

const engines = new Engines({ size: VOLUME_SIZE });
const docker = engines.onLcfs;

async function prepare(): Promise<void> {
  await docker.docker('import', await busyboxRoot(), 'busybox');
}

before(
  async () => {
    await needCommands('tar', 'busybox', 'debootstrap');
    await engines.start([docker]);
    await prepare();
  },
  { timeout: SETUP_MS },
);

after(() => engines.stop());

const startAfresh = (): Promise<void> => engines.startAfresh([docker]).then(prepare);
const check = casesOn({ startAfresh, tidy: () => removeTemporary(docker), logs: () => engines.logs() });

/** A case after which, whatever happened in it, a container can be run. */
const test = (name: string, work: () => Promise<void>): void =>
  check(name, async () => {
    await work();
    assert.equal(await docker.docker('run', '--rm', ...HOST_NETWORK, 'busybox', 'sh', '-c', 'echo fine > /f; cat /f'), 'fine');
  });

const status = (): Promise<Status> => engines.lcfs.json<Status>('status');

async function proveVolume(): Promise<void> {
  const checked = await engines.lcfs.check();
  assert.equal(checked.status, 0, checked.stdout + checked.stderr);
}

test('an image that does not fit is refused and leaves nothing behind', async () => {
  const { layers } = await status();
  const refused = await docker.try('import', await debianRoot(), 'debian');
  assert.notEqual(refused.status, 0);
  assert.match(refused.stderr, /no space left on the volume/);
  assert.equal((await status()).layers, layers);
});

test('a container that fills the volume gets ENOSPC; others can read and remove; the space comes back', async () => {
  const free = (await status()).blocks.free;
  await docker.docker(
    'run',
    '-d',
    '--name',
    'reader',
    ...TEMPORARY,
    ...HOST_NETWORK,
    'busybox',
    'sh',
    '-c',
    'echo before > /kept; sleep 10000',
  );
  const fill = 'dd if=/dev/urandom of=/big bs=1M; echo status $?; ls -l /bin/busybox > /dev/null && echo still readable';
  const filled = await docker.docker('run', '--name', 'filler', ...TEMPORARY, ...HOST_NETWORK, 'busybox', 'sh', '-c', `(${fill}) 2>&1`);
  assert.match(filled, /No space left on device/);
  assert.match(filled, /still readable/);
  assert.equal(await docker.docker('exec', 'reader', 'cat', '/kept'), 'before');
  await docker.docker('rm', '-f', 'reader', 'filler');
  await waitUntil('space comes back', async () => {
    await engines.lcfs.lcfs('commit');
    return (await status()).blocks.free >= free - 100;
  });
});

const BAD: [string, EntrySpec[]][] = [
  ['a name that leads upwards', [{ path: '../../../../../../../../tmp/lcfs-escaped', data: 'x' }]],
  ['a hard link to the outside', [{ path: 'passwd', type: Tar.HARD_LINK, linkPath: '../../../../../../etc/passwd' }]],
  ['a hard link to nothing', [{ path: 'link', type: Tar.HARD_LINK, linkPath: 'nothing' }]],
];

for (const [what, entries] of BAD) {
  test(`${what} is refused`, async () => {
    const { layers } = await status();
    const file = engines.path('bad.tar');
    writeFileSync(file, archive(...entries));
    const refused = await docker.try('import', file, 'bad');
    rmSync(file);
    assert.notEqual(refused.status, 0);
    assert.match(refused.stderr, /archive entry 1/);
    assert.equal((await status()).layers, layers);
    assert.equal(existsSync('/tmp/lcfs-escaped'), false);
  });
}

test('a symbolic link that leads out of the layer leads nowhere', async () => {
  const file = engines.path('through.tar');
  const escape = [
    { path: 'out', type: Tar.SYMLINK, linkPath: '/tmp' },
    { path: 'out/lcfs-escaped', data: 'x' },
  ];
  writeFileSync(file, archive(...escape));
  await docker.try('import', file, 'through');
  rmSync(file);
  assert.equal(existsSync('/tmp/lcfs-escaped'), false);
  await docker.try('rmi', 'through');
});

test('LCFS dies while an image comes in: what was acknowledged is there, the rest is not, Docker goes on', async () => {
  await docker.docker('import', '--change', 'LABEL kept=1', await busyboxRoot(), 'acknowledged');
  const coming = await importHalf(docker, engines.lcfs, await debianRoot(), 'interrupted');
  await engines.lcfs.kill();
  coming.breakOff();
  await engines.lcfs.start();
  assert.notEqual((await coming.ended).status, 0);
  assert.equal(await docker.docker('run', '--rm', ...HOST_NETWORK, 'acknowledged', 'echo', 'here'), 'here');
  assert.notEqual((await docker.try('image', 'inspect', 'interrupted')).status, 0);
  await docker.docker('rmi', 'acknowledged');
});

test('LCFS dies under a running container: Docker starts again and can remove it', async () => {
  await docker.docker('run', '-d', '--name', 'victim', ...TEMPORARY, '--stop-signal', 'KILL', ...HOST_NETWORK, 'busybox', 'sleep', '10000');
  await engines.lcfs.lcfs('commit');
  await engines.lcfs.kill();
  await engines.lcfs.start();
  await docker.stopDockerd();
  await docker.startDockerd();
  await docker.docker('rm', '-f', 'victim');
});

test('only the process that serves dies: containers go on, Docker can repeat what failed, and what is mounted stays', async () => {
  const count = 'i=0; while :; do i=$((i+1)); echo $i >> /log; sleep 0.02; done';
  await docker.docker(
    'run',
    '-d',
    '--name',
    'survivor',
    ...TEMPORARY,
    '--stop-signal',
    'KILL',
    ...HOST_NETWORK,
    'busybox',
    'sh',
    '-c',
    count,
  );
  for (let deaths = 0; deaths < 2; deaths++) {
    const coming = docker.try('import', await busyboxRoot(), `coming${deaths}`);
    await delay(100);
    const dead = await engines.lcfs.killServing();
    const { status: failed } = await coming;
    if (failed !== 0) await docker.docker('import', await busyboxRoot(), `coming${deaths}`);
    assert.notEqual((await status()).pid, dead);
    assert.equal(await docker.docker('run', '--rm', ...HOST_NETWORK, `coming${deaths}`, 'echo', 'here'), 'here');
  }
  const layer = await docker.docker('inspect', '--format', '{{.GraphDriver.Data.Layer}}', 'survivor');
  await assert.rejects(engines.lcfs.lcfs('layer', 'rm', layer), /in use/);
  assert.equal(await docker.docker('exec', 'survivor', 'awk', 'NR != $1 { print "line " NR " is " $1 }', '/log'), '');
  assert.equal((await status()).readOnly, null);
  await docker.docker('rm', '-f', 'survivor');
  await docker.docker('rmi', 'coming0', 'coming1');
  assert.deepEqual(
    (await engines.lcfs.json<{ name: string }[]>('layer', 'ls')).filter(({ name }) => name === layer),
    [],
  );
});

test('the volume is sound after all of it', async () => {
  await docker.stopDockerd();
  await engines.lcfs.stop();
  await proveVolume();
  await engines.lcfs.start();
  await docker.startDockerd();
});
