/** Damage behind right checksums that once crashed the process or hung it. Each is a field changed and its checksum repaired. */
import assert from 'node:assert/strict';
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkpoint } from '../../src/engine/checkpoint.js';
import { createLayer, findLayer, layerInfo, listLayers, removeLayer, setProperty } from '../../src/engine/layers.js';
import { reclaimAll } from '../../src/engine/maintenance.js';
import { abandonVolume, closeVolume, formatVolume, openVolume } from '../../src/engine/volume.js';
import { BLOCK_BYTES, DIRENT, INODE, LAYER, LINK, NAME, PAGE_MAGIC, PROPERTY, REMOVING } from '../../src/layout/constants.js';
import { EIO, ESTALE } from '../../src/linux/errno.js';
import { addressOf, crc32 } from '../../src/linux/libc.js';
import { DIRECTORY, ROOT, find, make, move, remove } from '../support/files.js';
import { MIB, withFolder } from '../support/volume.js';

const OPTIONS = { cacheBytes: 4 * MIB };
const BYTES = 8 * MIB;
const IN_CATALOG = 0xffff_fffe;

/** A record of a page on the device: its key, type and value, to be changed in place. */
interface Found {
  readonly owner: number;
  readonly key0: number;
  readonly type: number;
  /** Header and value of the record. */
  readonly bytes: Buffer;
}

/** Lets `change` look at every record of the volume; the pages in which it changes something get right checksums. */
function changeRecords(path: string, change: (found: Found) => void): void {
  const fd = openSync(path, 'r+');
  const page = Buffer.alloc(BLOCK_BYTES);
  for (let block = 4; block < BYTES / BLOCK_BYTES; block++) {
    readSync(fd, page, 0, BLOCK_BYTES, block * BLOCK_BYTES);
    if (page.readUInt32LE(0) !== PAGE_MAGIC || page.readUInt16LE(22) !== 0) continue;
    for (let slot = 0; slot < page.readUInt16LE(20); slot++) change(recordAt(page, slot));
    page.writeUInt32LE(crc32(0, addressOf(page) + 8, BLOCK_BYTES - 8), 4);
    writeSync(fd, page, 0, BLOCK_BYTES, block * BLOCK_BYTES);
  }
  closeSync(fd);
}

function recordAt(page: Buffer, slot: number): Found {
  const bytes = page.subarray(page.readUInt16LE(32 + slot * 2) * 4);
  return { owner: page.readUInt32LE(12), key0: bytes.readUInt32LE(0), type: bytes.readUInt32LE(4) >>> 16, bytes };
}

/** Makes a volume, changes its records, and runs on what came of it. */
function withDamage(make: () => void, change: (found: Found) => void, use: () => void): Promise<void> {
  return withFolder((folder) => {
    const path = join(folder, 'volume');
    formatVolume(path, { bytes: BYTES });
    openVolume(path, OPTIONS);
    make();
    closeVolume();
    changeRecords(path, change);
    openVolume(path, OPTIONS);
    try {
      use();
    } finally {
      abandonVolume();
    }
  });
}

test('a property that says to be longer than its parts is an error, not a write beyond a buffer', () =>
  withDamage(
    () => createLayer('a', { properties: { key: 'v'.repeat(2000) } }),
    ({ owner, type, bytes }) => {
      if (owner === IN_CATALOG && type === PROPERTY && (bytes.readUInt32LE(12) & 0xff) === 0) bytes.writeUInt32LE(5000, 20);
    },
    () => {
      assert.throws(() => layerInfo('a'), { name: 'LcfsError', code: 'io' });
      assert.throws(() => setProperty('a', 'key', 'other'), { name: 'LcfsError', code: 'io' });
    },
  ));

test('a layer that is said to be removed but is not is left alone, and nobody waits for it', () =>
  withDamage(
    () => {
      createLayer('a');
      createLayer('b');
      checkpoint();
      removeLayer('b');
    },
    // The list of removed layers names the other one.
    ({ owner, type, bytes }) => void (owner === IN_CATALOG && type === REMOVING && bytes.writeUInt32LE(1, 12)),
    () => {
      reclaimAll();
      assert.equal(layerInfo('a').state, 'writable');
    },
  ));

test('a layer whose name leads elsewhere is not renamed or removed half-way', () =>
  withDamage(
    () => void createLayer('a'),
    ({ owner, type, bytes }) => void (owner === IN_CATALOG && type === NAME && bytes.writeUInt8(0x62, 20)),
    () => assert.throws(() => removeLayer(1), { name: 'LcfsError', code: 'io' }),
  ));

test('a name that leads to no inode, or one that does not refer back, can be neither removed nor moved', () =>
  withDamage(
    () => {
      const layer = createLayer('a');
      for (const name of ['one', 'two']) make(layer, ROOT, name);
    },
    ({ type, key0, bytes }) => {
      if (type === DIRENT && bytes.readUInt32LE(16) === 3) bytes.writeUInt32LE(300, 16);
      if (type === LINK && key0 === 4) bytes.writeUInt32LE(1, 8);
    },
    () => {
      const layer = findLayer('a');
      for (const name of ['one', 'two']) {
        assert.ok([-EIO, -ESTALE].includes(remove(layer, ROOT, name)));
        assert.ok([-EIO, -ESTALE].includes(move(layer, ROOT, name, ROOT, 'moved')));
      }
    },
  ));

test('directories that lead in a circle end a rename', () =>
  withDamage(
    () => {
      const layer = createLayer('a');
      const outer = make(layer, ROOT, 'outer', DIRECTORY); // 3
      make(layer, make(layer, outer, 'inner', DIRECTORY), 'innermost', DIRECTORY); // 4, 5
      make(layer, ROOT, 'other', DIRECTORY); // 6
    },
    ({ type, key0, bytes }) => void (type === LINK && key0 === 3 && bytes.writeUInt32LE(4, 16)),
    () => {
      const layer = findLayer('a');
      assert.equal(move(layer, ROOT, 'other', find(layer, find(layer, ROOT, 'outer'), 'inner'), 'x'), -EIO);
    },
  ));

test('values that are too short or out of their ranges make a page unreadable', async () => {
  const damages: ((found: Found) => void)[] = [
    ({ type, bytes, owner }) => void (owner !== IN_CATALOG && type === INODE && bytes.writeUInt16LE(4, 4)),
    ({ type, bytes, owner }) => void (owner !== IN_CATALOG && type === DIRENT && bytes.writeUInt8(0x2f, 24)),
    ({ type, bytes, key0, owner }) => void (owner === IN_CATALOG && type === LAYER && key0 === 1 && bytes.writeUInt32LE(7, 20)),
  ];
  for (const damage of damages) {
    await withFolder((folder) => {
      const path = join(folder, 'volume');
      formatVolume(path, { bytes: BYTES });
      openVolume(path, OPTIONS);
      make(createLayer('a'), ROOT, 'file');
      closeVolume();
      changeRecords(path, damage);
      assert.throws(
        () => {
          openVolume(path, OPTIONS);
          try {
            const layer = findLayer('a');
            assert.ok(find(layer, ROOT, 'file') > 0 && [...listLayers()].length === 1);
          } finally {
            abandonVolume();
          }
        },
        (error: Error & { code?: string }) => error.code === 'corrupt' || error.code === 'io' || error.code === 'ERR_ASSERTION',
      );
    });
  }
});
