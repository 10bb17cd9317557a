import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, statSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { ROOT, make, put } from '../../test/support/files.js';
import { MIB, assertSound, withFolder } from '../../test/support/volume.js';
import { checkpoint } from './checkpoint.js';
import { LcfsError, type ErrorCode } from './errors.js';
import { createLayer, findLayer, listLayers, removeLayer } from './layers.js';
import { reclaimAll } from './maintenance.js';
import { logBlocksFor } from './log-device.js';
import { closeVolume, formatVolume, growVolume, openVolume, volumeInfo } from './volume.js';

function refuses(code: ErrorCode, text: RegExp, work: () => unknown): void {
  assert.throws(work, (error) => {
    assert.ok(error instanceof LcfsError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, text);
    return true;
  });
}

/** Runs with a loop device on a file. */
async function withLoop(path: string, work: (device: string) => void | Promise<void>): Promise<void> {
  const device = execFileSync('losetup', ['--find', '--show', path], { encoding: 'utf8' }).trim();
  try {
    await work(device);
  } finally {
    execFileSync('losetup', ['--detach', device]);
  }
}

describe('volume', () => {
  test('formats files of every size it may have, and no other', async () => {
    await withFolder((folder) => {
      refuses('not-found', /--size/, () => formatVolume(join(folder, 'absent')));
      for (const path of ['/dev/null', folder])
        refuses('invalid', /neither a block device nor a file/, () => formatVolume(path, { force: true }));
      refuses('invalid', /4 MiB at least/, () => formatVolume(join(folder, 'small'), { bytes: 4 * MIB - 1 }));
      refuses('invalid', /16 TiB at most/, () => formatVolume(join(folder, 'large'), { bytes: 2 ** 45 }));
      for (const bytes of [4 * MIB, 128 * MIB, 129 * MIB + 5000, 300 * 2 ** 30, 3 * 2 ** 40]) {
        const path = join(folder, `volume${bytes}`);
        formatVolume(path, { bytes });
        openVolume(path, { cacheBytes: 4 * MIB });
        assert.equal(volumeInfo().blocks.total, Math.floor(bytes / 4096));
        assert.ok(volumeInfo().blocks.used < 4 + logBlocksFor(bytes / 4096) + 2 * Math.ceil(bytes / (128 * MIB)) + 8);
        assertSound();
        closeVolume();
        // Sparse: what is not used is not there.
        assert.ok(statSync(path).blocks * 512 < 2 * MIB);
      }
    });
  });

  test('a group without room for more than its bitmaps is left out', async () => {
    await withFolder((folder) => {
      const path = join(folder, 'volume');
      for (const [more, total] of [
        [1, 32_768],
        [2, 32_768],
        [3, 32_771],
      ] as const) {
        formatVolume(path, { bytes: 128 * MIB + more * 4096, force: true });
        openVolume(path, { cacheBytes: 4 * MIB });
        assert.equal(volumeInfo().blocks.total, total);
        assertSound();
        truncateSync(path, 256 * MIB + 4096);
        assert.equal(growVolume(), 65_536);
        assertSound();
        closeVolume();
        truncateSync(path, 0);
      }
    });
  });

  test('block numbers and counts beyond 2^31', async () => {
    await withFolder((folder) => {
      const path = join(folder, 'volume');
      formatVolume(path, { bytes: 9 * 2 ** 40 });
      openVolume(path, { cacheBytes: 4 * MIB });
      for (let i = 0; i < 8; i++) {
        const layer = createLayer(`layer${i}`);
        assert.equal(put(layer, make(layer, ROOT, 'file'), 0, Buffer.alloc(100_000, i + 1)), 100_000);
      }
      const { total, free } = volumeInfo().blocks;
      assert.ok(total > 2 ** 31 && free > 0.99 * total);
      checkpoint();
      assertSound();
      closeVolume();
      openVolume(path, { cacheBytes: 4 * MIB });
      for (let i = 0; i < 8; i++) removeLayer(`layer${i}`);
      reclaimAll();
      checkpoint();
      assertSound();
      closeVolume();
    });
  });

  test('refuses what is something else already, unless forced', async () => {
    await withFolder((folder) => {
      const path = join(folder, 'file');
      writeFileSync(path, '');
      truncateSync(path, 16 * MIB);
      execFileSync('mkfs.ext4', ['-q', path]);
      const before = readFileSync(path);
      refuses('exists', /ext4.*--force/, () => formatVolume(path));
      assert.ok(before.equals(readFileSync(path)), 'nothing was changed');
      formatVolume(path, { force: true });
      refuses('exists', /LCFS volume/, () => formatVolume(path));
      openVolume(path, { cacheBytes: 4 * MIB });
      assertSound();
      closeVolume();
    });
  });

  test('refuses a volume that another process has open, and names it', async () => {
    await withFolder(async (folder) => {
      const path = join(folder, 'volume');
      formatVolume(path, { bytes: 8 * MIB });
      const script = `const v = await import(${JSON.stringify(new URL('./volume.js', import.meta.url).href)});
        v.openVolume(${JSON.stringify(path)}, { cacheBytes: 4194304 }); console.log('open'); process.stdin.resume();`;
      const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['pipe', 'pipe', 'inherit'] });
      try {
        await once(child.stdout, 'data');
        refuses('busy', new RegExp(`in use by pid ${child.pid}`), () => openVolume(path));
        refuses('busy', new RegExp(`in use by pid ${child.pid}`), () => formatVolume(path, { force: true }));
      } finally {
        child.kill('SIGKILL');
        await once(child, 'exit');
      }
      openVolume(path, { cacheBytes: 4 * MIB });
      closeVolume();
    });
  });

  test('lives on a block device, and refuses one that is mounted', async () => {
    await withFolder(async (folder) => {
      const path = join(folder, 'disk');
      writeFileSync(path, '');
      truncateSync(path, 32 * MIB);
      await withLoop(path, (device) => {
        formatVolume(device);
        openVolume(device, { cacheBytes: 4 * MIB });
        createLayer('here');
        closeVolume();
        openVolume(device, { cacheBytes: 4 * MIB });
        assert.ok(findLayer('here') > 0);
        assertSound();
        closeVolume();
        execFileSync('mkfs.ext4', ['-q', '-F', device]);
        execFileSync('mount', [device, folder]);
        try {
          refuses('busy', /in use/, () => formatVolume(device, { force: true }));
        } finally {
          execFileSync('umount', [folder]);
        }
      });
    });
  });

  test('grows with its device while it is open', async () => {
    await withFolder((folder) => {
      const path = join(folder, 'volume');
      formatVolume(path, { bytes: 8 * MIB });
      openVolume(path, { cacheBytes: 4 * MIB });
      assert.equal(growVolume(), 2048);
      truncateSync(path, 300 * MIB);
      assert.equal(growVolume(), 76_800);
      const { free } = volumeInfo().blocks;
      assert.ok(free > 76_700);
      assertSound();
      closeVolume();
      openVolume(path, { cacheBytes: 4 * MIB });
      assert.equal(volumeInfo().blocks.free, free);
      assertSound();
      closeVolume();
    });
  });

  test('a device that was cut, a foreign one and one without superblocks are refused', async () => {
    await withFolder((folder) => {
      const path = join(folder, 'volume');
      writeFileSync(path, Buffer.alloc(MIB));
      refuses('corrupt', /not an LCFS volume/, () => openVolume(path));
      formatVolume(path, { bytes: 8 * MIB });
      truncateSync(path, 5 * MIB);
      refuses('corrupt', /was cut/, () => openVolume(path));
      truncateSync(path, 8 * MIB);
      const fd = openSync(path, 'r+');
      writeSync(fd, Buffer.alloc(4096, 1), 0, 4096, 0);
      openVolume(path, { cacheBytes: 4 * MIB });
      assert.deepEqual(Array.from(listLayers()), []);
      closeVolume();
      writeSync(fd, Buffer.alloc(8192, 1), 0, 8192, 0);
      closeSync(fd);
      refuses('corrupt', /both superblocks/, () => openVolume(path));
      // What a damaged volume holds can perhaps be saved.
      refuses('exists', /holds an LCFS volume/, () => formatVolume(path));
    });
  });
});
