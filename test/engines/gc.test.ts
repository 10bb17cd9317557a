/** `lcfs gc` with real engines: layers that crashes and lost databases leave are found, no others, and the engines go on. */
import assert from 'node:assert/strict';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { GcReport, Layer } from '../../src/daemon/protocol.js';
import type { LcfsDaemon } from '../../scripts/lib/lcfs.js';
import { busyboxRoot, debianRoot } from '../../scripts/lib/images.js';
import { unmountBelow } from '../../scripts/lib/mounts.js';
import { needCommands } from '../../scripts/lib/packages.js';
import { type RunResult, tryRun } from '../../scripts/lib/run.js';
import { Stack } from './containerd-harness.js';
import { Engines } from './harness.js';
import { importHalf } from './half-import.js';
import { limitTests } from '../support/hangs.js';

limitTests(1200);

const HOST_NETWORK = ['--network', 'host'] as const;

const namesOf = (layers: readonly { name: string }[]): string[] => layers.map(({ name }) => name).toSorted();
const layersOf = (lcfs: LcfsDaemon): Promise<Layer[]> => lcfs.json<Layer[]>('layer', 'ls');

/** Its exit code is 1 if an engine could not be asked. */
async function gc(lcfs: LcfsDaemon, ...args: string[]): Promise<GcReport & { status: number }> {
  const command = lcfs.command('gc', '--older-than', '0', '--json', '--control', lcfs.control, ...args);
  const { stdout, stderr, status }: RunResult = await tryRun(command[0]!, command.slice(1));
  assert.notEqual(stdout, '', stderr);
  return { ...(JSON.parse(stdout) as GcReport), status: status! };
}

/** Removes what is lost, which must be exactly `expected`. */
async function removeLost(lcfs: LcfsDaemon, expected: readonly string[]): Promise<void> {
  assert.deepEqual(namesOf((await gc(lcfs)).layers), expected.toSorted());
  const { layers, status } = await gc(lcfs, '--remove');
  assert.deepEqual(
    layers.filter(({ removed }) => !removed),
    [],
  );
  assert.equal(status, 0);
  assert.deepEqual((await gc(lcfs)).layers, []);
}

describe('layers that Docker does not know', () => {
  const engines = new Engines();
  const { lcfs, onLcfs: docker } = engines;
  after(() => engines.stop());
  const run = (image: string, ...command: string[]): Promise<string> => docker.docker('run', '--rm', ...HOST_NETWORK, image, ...command);

  test('what Docker uses is not lost: images, containers, caches of builds', async () => {
    await needCommands('tar', 'busybox', 'debootstrap');
    await lcfs.start();
    await docker.start();
    await docker.docker('import', await busyboxRoot(), 'busybox');
    const folder = engines.path('context');
    mkdirSync(folder);
    writeFileSync(
      join(folder, 'Dockerfile'),
      'FROM busybox AS cached\nRUN echo 1 > /one\nFROM busybox\nRUN echo 2 > /two\nCOPY --from=cached /one /\n',
    );
    await docker.dockerWith({ env: { DOCKER_BUILDKIT: '1' } }, 'build', '--network', 'host', '-t', 'built', folder);
    await docker.docker('run', '-d', '--name', 'runs', ...HOST_NETWORK, 'built', 'sleep', '10000');
    await docker.docker('create', '--name', 'rests', ...HOST_NETWORK, 'built', 'true');
    const before = namesOf(await layersOf(lcfs));
    const { layers, notAsked } = await gc(lcfs, '--remove');
    assert.deepEqual([layers, notAsked], [[], []]);
    assert.deepEqual(namesOf(await layersOf(lcfs)), before);
  });

  test('an import that died with Docker and LCFS is found, and only that', async () => {
    const known = namesOf(await layersOf(lcfs));
    const coming = await importHalf(docker, lcfs, await debianRoot(), 'debian');
    await lcfs.lcfs('commit');
    await Promise.all([docker.killDockerd(), lcfs.kill()]);
    coming.breakOff();
    assert.notEqual((await coming.ended).status, 0);
    await lcfs.start();
    await docker.startDockerd();
    assert.equal((await gc(lcfs, '--older-than', '1h')).layers.length, 0, 'it may still be wanted');
    await removeLost(
      lcfs,
      namesOf(await layersOf(lcfs)).filter((name) => !known.includes(name)),
    );
    await docker.docker('import', await debianRoot(), 'debian');
    assert.equal(await run('built', 'cat', '/two'), '2');
  });

  test('nothing is lost while Docker cannot be asked; it need not run for that', async () => {
    await docker.stopDockerd();
    assert.deepEqual((await gc(lcfs)).layers, []);
    await unmountBelow(docker.dataRoot);
    renameSync(docker.dataRoot, engines.path('away'));
    const { layers, notAsked, status } = await gc(lcfs, '--remove');
    assert.deepEqual([layers, notAsked.map(({ engine }) => engine), status], [[], ['docker'], 1]);
    assert.deepEqual((await gc(lcfs, '--docker-root', engines.path('away'))).notAsked, []);
    assert.ok((await gc(lcfs, '--gone', 'docker')).layers.length > 0);
    renameSync(engines.path('away'), docker.dataRoot);
  });

  test('a Docker that has lost its database leaves all that it had; what it makes anew stays', async () => {
    const before = namesOf(await layersOf(lcfs));
    await unmountBelow(docker.dataRoot);
    rmSync(docker.dataRoot, { recursive: true });
    await docker.startDockerd();
    await docker.docker('import', await busyboxRoot(), 'busybox');
    await docker.docker('create', ...HOST_NETWORK, 'busybox', 'true');
    await removeLost(lcfs, before);
    assert.equal(await run('busybox', 'echo', 'fine'), 'fine');
    await docker.stopDockerd();
    await lcfs.stop();
    const checked = await lcfs.check();
    assert.equal(checked.status, 0, checked.stdout + checked.stderr);
  });
});

describe('layers that containerd does not know', () => {
  const stack = new Stack();
  after(() => stack.stop());
  let odd = '';
  let plain = '';

  test('what containerd uses is not lost, in whatever namespace', async () => {
    await stack.start();
    odd = stack.registry.add('odd', stack.images.odd);
    plain = stack.registry.add('plain', stack.images.plain);
    await stack.pull(odd);
    await stack.pullSharing(odd, 'other');
    await stack.runContainer(odd, 'ended', 'true');
    await stack.ctr('images', 'rm', '--sync', odd); // its container and the other namespace hold the snapshots
    const before = namesOf(await layersOf(stack.lcfs));
    const { layers, notAsked } = await gc(stack.lcfs, '--remove');
    assert.deepEqual([layers, notAsked], [[], []]);
    assert.deepEqual(namesOf(await layersOf(stack.lcfs)), before);
    await stack.containerd.ctrIn('other', 'images', 'rm', '--sync', odd);
    assert.deepEqual((await gc(stack.lcfs)).layers, []);
  });

  test('nothing is lost while containerd does not answer', async () => {
    await stack.containerd.stop();
    const { layers, notAsked, status } = await gc(stack.lcfs, '--remove');
    assert.deepEqual([layers, notAsked.map(({ engine }) => engine), status], [[], ['containerd'], 1]);
    await stack.containerd.start();
  });

  test('a containerd that has lost its database leaves all that it had; what it makes anew stays', async () => {
    await stack.pull(odd);
    await stack.containerd.stop();
    await unmountBelow(stack.path('c/root'));
    rmSync(stack.path('c/root'), { recursive: true });
    await stack.containerd.start();
    await stack.pull(plain);
    await stack.runContainer(plain, 'fresh', 'true');
    // The odd image is made of the plain one and more.
    const known = (await layersOf(stack.lcfs)).filter(({ name }) => name.endsWith('fresh') || isPlain(name));
    assert.ok(known.length >= 2);
    const lost = namesOf(await layersOf(stack.lcfs)).filter((name) => !namesOf(known).includes(name));
    assert.ok(lost.length >= 4, `${lost.length} layers of the image and a container`);
    await removeLost(stack.lcfs, lost);
    assert.equal(await stack.runContainer(plain, 'c1', 'echo fine', '--rm'), 'fine');
    await stack.pull(odd);
    assert.equal(await stack.runContainer(odd, 'c2', 'cat /etc/new', '--rm'), 'new');
    await stack.stopAndCheck();
  });

  const isPlain = (name: string): boolean => name.includes(stack.images.plain.diffIds[0]!.replace('sha256:', ''));
});
