/** `lcfs gc` without engines: what was made by hand, and imports that a crash cut off. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import type { GcReport, Layer } from '../../src/daemon/protocol.js';
import { crashDaemon } from '../../scripts/lib/daemon-processes.js';
import { Sandbox } from './sandbox.js';

let box: Sandbox;
let daemon = 0;
before(async () => {
  box = new Sandbox();
  daemon = await box.start();
});
after(() => box.end());

const gc = (...args: string[]): Promise<GcReport> => box.json<GcReport>('gc', '--older-than', '0', ...args);
const names = async (): Promise<string[]> => (await box.json<Layer[]>('layer', 'ls')).map((layer) => layer.name).toSorted();
const found = ({ layers }: GcReport): string[] => layers.map(({ name }) => name);

test('layers made by hand are no garbage unless they are named', async () => {
  for (const [name, parent] of [['base'], ['web', 'base'], ['other']] as const)
    await box.ok('layer', ...(parent === undefined ? ['create', name] : ['clone', parent, name]));
  assert.match(await box.ok('gc'), /^no layer is lost$/m);
  assert.deepEqual(found(await gc()), []);
  assert.deepEqual(found(await gc('base')), [], 'something is built on it');
  assert.deepEqual(found(await gc('base', 'web')), ['web', 'base']);
  assert.deepEqual(await names(), ['base', 'other', 'web'], 'a dry run');
  assert.deepEqual(found(await box.json<GcReport>('gc', 'base', 'web')), [], 'they are young');
  const { layers } = await gc('--remove', 'base', 'web');
  assert.deepEqual(
    layers.map(({ removed }) => removed),
    [true, true],
  );
  assert.deepEqual(await names(), ['other']);
});

test('a name that is none, an age that is none, and an engine that is none are refused', async () => {
  await box.fails(1, /there is no layer "nothing"/, 'gc', 'nothing');
  await box.fails(2, /not a time/, 'gc', '--older-than', 'long');
  await box.fails(2, /not an engine/, 'gc', '--gone', 'podman');
});

test('an import that a crash cut off is found and removed; one that is under way and one that ended are not', async () => {
  writeFileSync(box.path('data'), Buffer.alloc(3 << 20, 'x'));
  execFileSync('tar', ['-cf', box.path('data.tar'), '-C', box.directory, 'data']);
  await box.ok('layer', 'import', 'whole', box.path('data.tar'));
  const child = box.spawn('layer', 'import', 'half');
  child.stdin!.write(readFileSync(box.path('data.tar')).subarray(0, 2 << 20));
  for (let tries = 0; !(await names()).includes('half'); tries++) assert.ok(tries < 100);
  assert.deepEqual(found(await gc()), [], 'under way');
  await box.ok('commit');
  await crashDaemon(daemon);
  child.kill('SIGKILL');
  await box.start();
  assert.deepEqual(await names(), ['half', 'other', 'whole']);
  const text = await box.ok('gc', '--older-than', '0');
  assert.match(text, /^half +\S+ \S+ +\d+ (s|min) +its import was cut off$/m);
  assert.match(text, /^1 layers, .*; lcfs gc --remove removes them$/m);
  assert.match(await box.ok('gc', '--older-than', '0', '--remove'), /^removed 1 layers/m);
  assert.deepEqual(await names(), ['other', 'whole']);
});

test('a mounted layer stays', async () => {
  const target = box.path('elsewhere');
  execFileSync('mkdir', [target]);
  execFileSync('mount', ['--bind', box.mounted('layers/other'), target]);
  try {
    assert.deepEqual(found(await gc('other')), []);
  } finally {
    execFileSync('umount', [target]);
  }
  assert.deepEqual(found(await gc('other')), ['other']);
});
