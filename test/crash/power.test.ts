/** A volume that is not closed, as after the end of its process. What a power cut leaves is tortured in test/torture. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkpoint } from '../../src/engine/checkpoint.js';
import { createLayer, layerInfo } from '../../src/engine/layers.js';
import { abandonVolume, closeVolume, formatVolume, openVolume } from '../../src/engine/volume.js';
import { MIB, assertSound, withFolder } from '../support/volume.js';

const CACHE = { cacheBytes: 4 * MIB };

test('the last checkpoint survives in a volume that is not closed', async () => {
  await withFolder((folder) => {
    const path = join(folder, 'volume');
    formatVolume(path, { bytes: 8 * MIB });
    openVolume(path, CACHE);
    createLayer('kept');
    checkpoint();
    createLayer('lost');
    abandonVolume();
    openVolume(path, CACHE);
    assert.equal(layerInfo('kept').state, 'writable');
    assert.throws(() => layerInfo('lost'));
    assertSound();
    closeVolume();
  });
});
