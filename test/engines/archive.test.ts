/**
 * Archives that LCFS writes, in the hands of Docker: two layers are exported, loaded into a Docker Engine on overlay2 as an
 * image, and a container of it must hold what the upper layer holds.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { PrivateDocker } from '../../scripts/lib/docker.js';
import { needCommands } from '../../scripts/lib/packages.js';
import { createLayer } from '../../src/engine/layers.js';
import { setXattr } from '../../src/engine/xattr.js';
import type { Ino, LayerIndex } from '../../src/layout/constants.js';
import * as Tar from '../../src/archive/tar-format.js';
import { dump, exported, layerOf } from '../support/archive-layers.js';
import { archive, type EntrySpec } from '../support/archives.js';
import * as files from '../support/files.js';

const folder = mkdtempSync(join(tmpdir(), 'lcfs-e-'));
const docker = new PrivateDocker({ directory: join(folder, 'docker'), driver: 'overlay2' });

before(async () => {
  await needCommands('tar');
  files.openTestVolume(256 << 20);
  mkdirSync(join(folder, 'docker'));
  await docker.start();
});

after(async () => {
  await docker.stop();
  files.closeTestVolume();
  rmSync(folder, { recursive: true, force: true });
});

const LOWER: EntrySpec[] = [
  { path: 'd/', type: Tar.DIRECTORY, mode: 0o755 },
  { path: 'd/a', data: 'old' },
  { path: 'd/h', type: Tar.HARD_LINK, linkPath: 'd/a' },
  { path: 'e/', type: Tar.DIRECTORY, mode: 0o1777 },
  { path: 'e/x', data: 'x' },
  { path: 'e/s/', type: Tar.DIRECTORY, mode: 0o700 },
  { path: 'e/s/y', data: Buffer.alloc(300_000, 'y'), uid: 3_000_000, gid: 70_000, mode: 0o4755 },
  { path: 'lib', type: Tar.SYMLINK, linkPath: 'e/s', mode: 0o777 },
  { path: 'r/', type: Tar.DIRECTORY, mode: 0o755 },
  { path: 'r/gone', data: 'g' },
  { path: 'z', data: 'a file' },
  { path: `ü${'l'.repeat(120)}`, data: 'a long name' },
  { path: 'device', type: Tar.CHARACTER_DEVICE, major: 1, minor: 300, mode: 0o600 },
  { path: 'pipe', type: Tar.FIFO, mode: 0o600 },
];

/** Changes of every kind that a layer can have. */
function changeAll(layer: LayerIndex): void {
  const at = (path: string): Ino => path.split('/').reduce((ino, name) => files.find(layer, ino, name), files.ROOT as Ino);
  files.put(layer, at('d/a'), 0, Buffer.from('changed'));
  files.linkTo(layer, at('e/x'), at('d'), 'third');
  files.move(layer, at('e'), 's', at('d'), 'moved');
  replaceAll(layer, at);
  setCapability(layer, files.make(layer, files.ROOT, 'ping', 0o100755));
}

function replaceAll(layer: LayerIndex, at: (path: string) => Ino): void {
  files.remove(layer, at('r'), 'gone');
  files.removeDir(layer, files.ROOT, 'r');
  for (const name of ['z', 'pipe', 'lib']) files.remove(layer, files.ROOT, name);
  for (const name of ['r', 'z']) files.make(layer, files.make(layer, files.ROOT, name, files.DIRECTORY), 'new');
  files.makeSymlink(layer, files.ROOT, 'lib', '../../../etc');
}

function setCapability(layer: LayerIndex, ino: Ino): void {
  const name = Buffer.from('security.capability');
  const value = Buffer.from('0100000200200000000000000000000000000000', 'hex');
  assert.equal(setXattr(layer, ino, name, 0, name.length, value, 0, value.length, 0, false), 0);
}

const digest = (bytes: string | Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** An image as `docker load` takes it. */
function imageOf(layers: readonly Buffer[]): Buffer {
  const rootfs = { type: 'layers', diff_ids: layers.map((layer) => `sha256:${digest(layer)}`) };
  const config = JSON.stringify({
    architecture: 'amd64',
    os: 'linux',
    config: { Cmd: ['/none'] },
    rootfs,
    history: layers.map(() => ({})),
  });
  const manifest = { Config: `${digest(config)}.json`, RepoTags: ['archive:test'], Layers: layers.map((_, i) => `${i}/layer.tar`) };
  return archive(
    { path: manifest.Config, data: config },
    { path: 'manifest.json', data: JSON.stringify([manifest]) },
    ...layers.map((layer, i) => ({ path: `${i}/layer.tar`, data: layer })),
  );
}

/** What Docker puts into every container. */
const DOCKER_FILES = /^(dev|etc|\.dockerenv|proc|sys)(\/|$)/;

test('Docker on overlay2 makes of two exported layers what they hold', async () => {
  layerOf('lower', archive(...LOWER));
  const upper = createLayer('upper', { parent: 'lower' });
  changeAll(upper);
  writeFileSync(join(folder, 'image.tar'), imageOf([exported('lower', null), exported('upper', 'lower')]));
  await docker.docker('load', '-i', join(folder, 'image.tar'));
  const container = await docker.docker('create', 'archive:test');
  await docker.docker('export', '-o', join(folder, 'container.tar'), container);
  const theirs = dump(layerOf('theirs', readFileSync(join(folder, 'container.tar'))));
  for (const path of theirs.keys()) if (DOCKER_FILES.test(path)) theirs.delete(path);
  assert.deepEqual(theirs, dump(upper));
});
