/**
 * Volumes on which one tree page cannot be read: whatever needs it answers EIO, and nothing else happens. Above all the
 * process goes on: it would meet the same page again after each start. A test process that ends has failed.
 */
import assert from 'node:assert/strict';
import { closeSync, copyFileSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LcfsError } from '../../src/engine/errors.js';
import { PUNCH_HOLE, KEEP_SIZE, allocate, truncate } from '../../src/engine/file.js';
import { createLayer, findLayer } from '../../src/engine/layers.js';
import { reapLeftOrphans } from '../../src/engine/maintenance.js';
import { blockIsTaken } from '../../src/engine/space.js';
import { abandonVolume, closeVolume, formatVolume, openVolume } from '../../src/engine/volume.js';
import { BLOCK_BYTES, PAGE_MAGIC, type Ino, type LayerIndex } from '../../src/layout/constants.js';
import { EIO } from '../../src/linux/errno.js';
import { ROOT, find, make, move, put, remove } from '../support/files.js';
import { MIB, withFolder } from '../support/volume.js';

const BLOCKS = 4096;
const FILES = 300;
const OPTIONS = { cacheBytes: 4 * MIB };

/** A file of so many extents that their records fill several pages. */
function putScattered(layer: LayerIndex, name: string): Ino {
  const ino = make(layer, ROOT, name);
  for (let i = 0; i < 400; i++) assert.equal(put(layer, ino, i * 4 * BLOCK_BYTES, Buffer.alloc(BLOCK_BYTES, i + 1)), BLOCK_BYTES);
  return ino;
}

/** Makes the volume and returns the blocks of its tree pages. */
function makeVolume(path: string): number[] {
  formatVolume(path, { bytes: BLOCKS * BLOCK_BYTES });
  openVolume(path, OPTIONS);
  const layer = createLayer('layer');
  for (let i = 0; i < FILES; i++) put(layer, make(layer, ROOT, `file${i}`), 0, Buffer.alloc(5000, i + 1));
  putScattered(layer, 'scattered');
  putScattered(layer, 'orphan');
  remove(layer, ROOT, 'orphan');
  closeVolume();
  openVolume(path, OPTIONS);
  const taken = Array.from({ length: BLOCKS - 4 }, (_, i) => i + 4).filter(blockIsTaken);
  abandonVolume();
  const fd = openSync(path, 'r');
  const magic = Buffer.alloc(4);
  const pages = taken.filter((block) => readSync(fd, magic, 0, 4, block * BLOCK_BYTES) === 4 && magic.readUInt32LE() === PAGE_MAGIC);
  closeSync(fd);
  return pages;
}

function damage(path: string, block: number): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, Buffer.from('damage'), 0, 6, block * BLOCK_BYTES + 2000);
  closeSync(fd);
}

/** Does a bit of everything. Returns how often it met the damage. */
function changeEverything(layer: LayerIndex): number {
  const results = [];
  for (let i = 0; i < FILES - 1; i += 30) {
    results.push(remove(layer, ROOT, `file${i}`));
    results.push(move(layer, ROOT, `file${i + 1}`, ROOT, `moved${i}`));
    results.push(make(layer, ROOT, `new${i}`));
  }
  const scattered = find(layer, ROOT, 'scattered');
  results.push(scattered);
  if (scattered > 0) {
    results.push(put(layer, scattered, 9000, Buffer.alloc(100_000, 1)));
    results.push(allocate(layer, scattered, PUNCH_HOLE | KEEP_SIZE, 200_000, 2_000_000));
    results.push(truncate(layer, scattered, 0, false));
  }
  for (const result of results) assert.ok(result >= 0 || result === -EIO, String(result));
  return results.filter((result) => result === -EIO).length;
}

test('a tree page that cannot be read ends what needs it, never the process', async () => {
  await withFolder((folder) => {
    const original = join(folder, 'original');
    const path = join(folder, 'volume');
    const pages = makeVolume(original);
    assert.ok(pages.length > 20);
    let met = 0;
    for (const block of pages) {
      copyFileSync(original, path);
      damage(path, block);
      try {
        openVolume(path, OPTIONS);
      } catch (error) {
        assert.ok(error instanceof LcfsError && error.code === 'corrupt');
        continue;
      }
      reapLeftOrphans();
      if (changeEverything(findLayer('layer')) > 0) met++;
      abandonVolume();
    }
    assert.ok(met > 10, `${met} of ${pages.length} damaged pages were met`);
  });
});
