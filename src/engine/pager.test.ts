import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { describe, test } from 'node:test';
import { ROOT, closeTestVolume, find, make, openTestVolume, testVolumePath } from '../../test/support/files.js';
import { I } from '../layout/memory.js';
import { ENOENT } from '../linux/errno.js';
import { CHANGED, DIRTY_PAGES, FRAME_COUNT, FRAME_STATE, generation } from './arena.js';
import { checkpoint } from './checkpoint.js';
import { currentDevice, useDevice } from './device.js';
import { LcfsError } from './errors.js';
import { createLayer } from './layers.js';
import { dropPage, newPage, unpinPage, writeDirtyPages } from './pager.js';
import { WINDOW_PAGES, allocateBlocks, freeBlocks } from './space.js';
import { abandonVolume } from './volume.js';

const LAYER = 1;

function pinnedFrames(): number {
  let pinned = 0;
  for (let frame = 0; frame < FRAME_COUNT; frame++) if (I[FRAME_STATE + frame] !== 0) pinned++;
  return pinned;
}

/** Runs with a device that takes no more writes, like a file on a filesystem that is full. */
function withoutWrites(work: () => void): void {
  const device = currentDevice();
  useDevice({ ...device, read: device.read, flush: device.flush, discard: device.discard, write: () => -1 });
  try {
    work();
  } finally {
    useDevice(device);
  }
}

/** Ends a volume whose device failed, which cannot be closed. */
function abandonTestVolume(): void {
  const folder = dirname(testVolumePath());
  abandonVolume();
  rmSync(folder, { recursive: true });
}

describe('pager', () => {
  test('a page in the making is none of the closed generation', () => {
    openTestVolume();
    const block = allocateBlocks(LAYER, WINDOW_PAGES, 0, 1);
    const page = newPage(block, LAYER, generation());
    const dirty = I[DIRTY_PAGES];
    writeDirtyPages(generation() - 1);
    assert.equal(I[DIRTY_PAGES], dirty, 'nothing of this generation was written');
    unpinPage(page);
    dropPage(block);
    freeBlocks(block, 1);
    closeTestVolume();
  });

  test('a failed write leaves no page pinned and none clean', () => {
    const layer = openTestVolume();
    assert.ok(make(layer, ROOT, 'file') > 0);
    const dirty = I[DIRTY_PAGES]!;
    assert.ok(dirty > 0);
    withoutWrites(() => assert.throws(() => writeDirtyPages(generation())));
    assert.equal(pinnedFrames(), 0);
    assert.equal(I[DIRTY_PAGES], dirty);
    assert.equal(writeDirtyPages(generation()), dirty);
    closeTestVolume();
  });

  test('after a failed checkpoint none is acknowledged, although nothing changed since', () => {
    openTestVolume();
    checkpoint();
    I[CHANGED] = 1;
    withoutWrites(() => assert.throws(checkpoint));
    assert.equal(I[CHANGED], 0);
    assert.throws(checkpoint, (error) => error instanceof LcfsError && error.code === 'io');
    abandonTestVolume();
  });

  test('while the device takes no writes, clean pages make room', () => {
    openTestVolume(64 << 20, { cacheBytes: 4 << 20 });
    const layers = Array.from({ length: 2000 }, (_, i) => createLayer(`layer${i}`));
    checkpoint();
    withoutWrites(() => {
      for (const layer of layers.slice(0, 200)) assert.ok(make(layer, ROOT, 'file') > 0);
      for (const layer of layers) assert.equal(find(layer, ROOT, 'absent'), -ENOENT);
      for (const layer of layers.slice(0, 200)) assert.ok(find(layer, ROOT, 'file') > 0);
      assert.throws(checkpoint, (error) => error instanceof LcfsError && error.code === 'io');
      assert.throws(checkpoint, (error) => error instanceof LcfsError && error.code === 'io');
    });
    abandonTestVolume();
  });
});
