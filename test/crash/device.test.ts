/**
 * A device that fails while a volume is at work: reads, writes and flushes that end with an error, calls that do less than
 * asked, a device that is gone. Requests end with EIO or, once the volume is read-only, with EROFS; files show their own
 * contents or EIO; no checkpoint is acknowledged after the failure; and what a machine finds that starts anew is the last one
 * that was. The process goes on throughout: a test process that ends has failed.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { INODE } from '../../src/layout/constants.js';
import { EIO, EROFS } from '../../src/linux/errno.js';
import { checkpoint } from '../../src/engine/checkpoint.js';
import { BlockError } from '../../src/engine/errors.js';
import { createLayer } from '../../src/engine/layers.js';
import { dropCleanPages } from '../../src/engine/pager.js';
import { abandon, beginWrite } from '../../src/engine/operation.js';
import { readOnlyReason } from '../../src/engine/read-only.js';
import { insert } from '../../src/engine/tree.js';
import { abandonVolume, closeVolume, formatVolume, openVolume } from '../../src/engine/volume.js';
import { acknowledges, deviceFaultRounds } from '../support/device-faults.js';
import { FailingDevice } from '../support/failing-device.js';
import { ROOT, find, get, make, move, put, stat } from '../support/files.js';
import { MIB, Random, assertSound, withFolder } from '../support/volume.js';

const CACHE = { cacheBytes: 4 * MIB };
/** `npm run torture -- --only device` goes on for as long as one likes. */
const ROUNDS = 40;

test('whatever call of the device fails, nothing is wrong, and nothing acknowledged is lost', async (t) => {
  const { seed } = new Random();
  t.diagnostic(`LCFS_SEED=${seed}`);
  await withFolder((folder) => {
    const { failures, readOnly } = deviceFaultRounds(folder, seed, ROUNDS);
    assert.ok(failures > ROUNDS / 2 && readOnly > 0, `${failures} failures, ${readOnly} volumes became read-only`);
  });
});

test('a volume that became read-only refuses changes, serves what it has, and closes with an error', async () => {
  await withFolder((folder) => {
    const path = join(folder, 'volume');
    formatVolume(path, { bytes: 16 * MIB });
    const fd = openSync(path, 'r+');
    const device = new FailingDevice(fd, new Random());
    openVolume(path, { ...CACHE, device });
    const layer = createLayer('layer');
    const ino = make(layer, ROOT, 'file');
    put(layer, ino, 0, Buffer.from('contents'));
    device.arm({ call: 'flush', after: 0, errno: EIO, times: 1 });
    assert.equal(acknowledges(), false);
    assert.equal(acknowledges(), false, 'the next flush would succeed');
    assert.equal(readOnlyReason(), 'a checkpoint could not be written');
    assert.equal(put(layer, ino, 0, Buffer.from('other')), -EROFS);
    assert.equal(make(layer, ROOT, 'new'), -EROFS);
    assert.equal(move(layer, ROOT, 'file', ROOT, 'moved'), -EROFS);
    assert.throws(() => createLayer('another'), { code: 'io' });
    assert.equal(stat(layer, ino).size, 8);
    assert.throws(() => closeVolume(), { code: 'io' });
    closeSync(fd);
  });
});

/** What an operation does that meets an unreadable page after its first change. */
function cutOff(layer: number): void {
  assert.equal(beginWrite(layer, 0, 2), 0);
  insert(77, INODE, 0, 0, 8);
  assert.equal(abandon(new BlockError(1234, 'reading block 1234 failed (errno 5)')), -EIO);
}

test('a change that is cut off half-way closes its layer, not the volume', async () => {
  await withFolder((folder) => {
    const path = join(folder, 'volume');
    formatVolume(path, { bytes: 16 * MIB });
    openVolume(path, CACHE);
    const other = createLayer('other');
    put(other, make(other, ROOT, 'file'), 0, Buffer.from('contents'));
    const layer = createLayer('layer');
    put(layer, make(layer, ROOT, 'file'), 0, Buffer.from('contents'));
    checkpoint();
    cutOff(layer);
    assert.equal(find(layer, ROOT, 'file'), -EIO);
    assert.equal(make(layer, ROOT, 'new'), -EROFS);
    assert.deepEqual(get(other, find(other, ROOT, 'file'), 0, 100), Buffer.from('contents'));
    assert.equal(acknowledges(), false);
    abandonVolume();
    openVolume(path, CACHE);
    assertSound();
    assert.deepEqual(get(layer, find(layer, ROOT, 'file'), 0, 100), Buffer.from('contents'));
    closeVolume();
  });
});

/** Runs with a small file system in memory mounted on a folder. */
async function withSmallFileSystem(bytes: number, work: (folder: string) => void): Promise<void> {
  await withFolder((folder) => {
    const mounted = join(folder, 'small');
    mkdirSync(mounted);
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', mounted]);
    try {
      work(mounted);
    } finally {
      execFileSync('umount', [mounted]);
    }
  });
}

/** Writes until the first error; returns it and the files that were written. */
function writeUntilError(layer: number, from: number): { error: number; files: number } {
  for (let i = from; i < 4000; i++) {
    const ino = make(layer, ROOT, `big${i}`);
    const written = ino < 0 ? ino : put(layer, ino, 0, Buffer.alloc(65_536, `${i};`));
    if (written < 0) return { error: written, files: i };
  }
  return { error: 0, files: 4000 };
}

test('a volume file on a file system that is full gives errors, and keeps what it has', async () => {
  await withSmallFileSystem(8 * MIB, (folder) => {
    const path = join(folder, 'volume');
    formatVolume(path, { bytes: 64 * MIB });
    openVolume(path, CACHE);
    const layer = createLayer('layer');
    const { error, files } = writeUntilError(layer, 0);
    assert.ok(error === -EIO || error === -EROFS, String(error));
    assert.ok(files > 20, `${files} files were written`);
    for (let i = 0; i < files; i++)
      assert.deepEqual(get(layer, find(layer, ROOT, `big${i}`), 0, 65_536), Buffer.alloc(65_536, `${i};`), `file ${i}`);
    acknowledges();
    abandonVolume();
    openVolume(path, { ...CACHE, readOnly: true });
    assertSound();
    abandonVolume();
  });
});

function attachLoop(path: string): string {
  return execFileSync('losetup', ['--find', '--show', path], { encoding: 'utf8' }).trim();
}

test('what the kernel cannot write out is reported by the checkpoint, and by each one after it', async () => {
  await withSmallFileSystem(8 * MIB, (folder) => {
    const file = join(folder, 'volume');
    formatVolume(file, { bytes: 64 * MIB });
    const loop = attachLoop(file);
    try {
      openVolume(loop, CACHE);
      const layer = createLayer('layer');
      put(layer, make(layer, ROOT, 'early'), 0, Buffer.from('early contents'));
      assert.ok(acknowledges());
      writeUntilError(layer, 3600); // 25 MB, which the kernel takes and has no place for
      assert.equal(acknowledges(), false);
      assert.equal(acknowledges(), false);
      assert.equal(make(layer, ROOT, 'late'), -EROFS);
      assert.deepEqual(get(layer, find(layer, ROOT, 'early'), 0, 100), Buffer.from('early contents'));
      abandonVolume();
      openVolume(loop, { ...CACHE, readOnly: true });
      assertSound();
      assert.deepEqual(get(layer, find(layer, ROOT, 'early'), 0, 100), Buffer.from('early contents'));
      assert.ok(find(layer, ROOT, 'big3600') < 0);
      abandonVolume();
    } finally {
      execFileSync('losetup', ['--detach', loop]);
    }
  });
});

test('a device that shrinks under a volume gives EIO for what is gone and serves the rest', async () => {
  await withFolder((folder) => {
    const file = join(folder, 'volume');
    formatVolume(file, { bytes: 32 * MIB });
    openVolume(file, CACHE);
    const layer = createLayer('layer');
    for (let i = 0; i < 100; i++) put(layer, make(layer, ROOT, `big${i}`), 0, Buffer.alloc(65_536, `${i};`));
    assert.ok(acknowledges());
    truncateSync(file, 19 * MIB);
    dropCleanPages();
    let lost = 0;
    for (let i = 0; i < 100; i++) {
      const ino = find(layer, ROOT, `big${i}`);
      const contents = ino < 0 ? ino : get(layer, ino, 0, 65_536);
      if (typeof contents === 'number') assert.equal(contents, -EIO);
      else assert.deepEqual(contents, Buffer.alloc(65_536, `${i};`));
      if (typeof contents === 'number') lost++;
    }
    assert.ok(lost > 0 && lost < 100, `${lost} files are lost`);
    abandonVolume();
    assert.throws(() => openVolume(file, CACHE), { code: 'corrupt' });
  });
});
