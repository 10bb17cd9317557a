import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { withFolder } from '../../../test/support/volume.js';
import { knownIn, placeOfHome } from './known-layers.js';

function put(path: string, content: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
}

test('layers of images, of containers, of a commit under way and of BuildKit are known; others are not', () =>
  withFolder(async (root) => {
    const layers = join(root, 'image/lcfs/layerdb');
    put(join(layers, 'sha256/aa/cache-id'), 'image');
    put(join(layers, 'tmp/write-set-1/cache-id'), 'entering\n');
    put(join(layers, 'mounts/cc/mount-id'), 'container');
    put(join(layers, 'mounts/cc/init-id'), 'container-init');
    put(join(layers, 'mounts/cc/parent'), 'sha256:aa');
    put(join(root, 'image/overlay2/layerdb/sha256/dd/cache-id'), 'elsewhere');
    put(join(root, 'buildkit/snapshots.db'), `\0\0xbuilt\0`);
    const place = placeOfHome(join(root, 'lcfs'));
    const names = ['image', 'entering', 'container', 'container-init', 'built', 'elsewhere', 'lost'];
    assert.deepEqual([...(await knownIn(place, names))], names.slice(0, 5));
  }));

test('what a crash left in the database and Docker has forgotten is not known', () =>
  withFolder(async (root) => {
    const layers = join(root, 'image/lcfs/layerdb');
    put(join(layers, 'sha256/aa/cache-id'), 'image');
    put(join(layers, 'sha256/bb-123-removing/cache-id'), 'removing');
    put(join(layers, 'tmp/write-set-1/cache-id'), 'entering');
    put(join(layers, 'mounts/cc/mount-id'), 'container');
    put(join(layers, 'mounts/dd/mount-id'), 'half a container');
    put(join(root, 'containers/cc/config.v2.json'), '{}');
    mkdirSync(join(root, 'containers/dd/checkpoints'), { recursive: true });
    const names = ['image', 'removing', 'entering', 'container', 'half a container'];
    const known = async (startedMs?: number): Promise<string[]> => [...(await knownIn(placeOfHome(join(root, 'lcfs'), startedMs), names))];
    assert.deepEqual(await known(), ['image', 'entering', 'container', 'half a container']);
    assert.deepEqual(await known(Date.now() - 10_000), ['image', 'entering', 'container', 'half a container'], 'work of this process');
    assert.deepEqual(await known(Date.now() + 10_000), ['image', 'container'], 'work of an earlier one');
  }));

test('an engine without a database of layers cannot be asked', () =>
  withFolder(async (root) => {
    put(join(root, 'image/overlay2/layerdb/sha256/dd/cache-id'), 'elsewhere');
    await assert.rejects(knownIn(placeOfHome(join(root, 'lcfs')), []), { code: 'state', message: /no layers of lcfs/ });
    await assert.rejects(knownIn(placeOfHome(join(root, 'gone/lcfs')), []), { code: 'state', message: /--docker-root/ });
  }));

test('an engine that has just begun knows nothing', () =>
  withFolder(async (root) => {
    mkdirSync(join(root, 'image/lcfs/layerdb'), { recursive: true });
    assert.equal((await knownIn(placeOfHome(join(root, 'lcfs')), ['lost'])).size, 0);
  }));
