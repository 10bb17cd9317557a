/** Volumes of which a part is in the intent log only and another part is damaged: a repair loses what cannot be read and nothing else. */
import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkDevice, repairDevice } from '../../src/daemon/offline-check.js';
import { checkpoint } from '../../src/engine/checkpoint.js';
import { read } from '../../src/engine/file.js';
import { createLayer, findLayer, layerInfo, removeLayer, setProperty } from '../../src/engine/layers.js';
import { flushLog } from '../../src/engine/log-device.js';
import { abandonVolume, closeVolume, formatVolume, openVolume, openedLog } from '../../src/engine/volume.js';
import { BATCH_MAGIC, LOG_START_BLOCK, PAGE_MAGIC } from '../../src/layout/constants.js';
import { ENOENT } from '../../src/linux/errno.js';
import { ioBuffer } from '../../src/linux/libc.js';
import { ROOT, find, make, move, put, remove } from '../support/files.js';
import { MIB, assertSound, withFolder } from '../support/volume.js';

const CACHE = { cacheBytes: 4 * MIB };
const io = ioBuffer(1 << 16);
const quiet = (): void => undefined;

function write(layer: string, name: string, contents: string): void {
  const { index } = layerInfo(layer);
  const found = find(index, ROOT, name);
  assert.ok(put(index, found > 0 ? found : make(index, ROOT, name), 0, Buffer.alloc(5000, contents)) > 0);
}

function assertHas(layer: string, name: string, contents: string): void {
  const { index } = layerInfo(layer);
  const ino = find(index, ROOT, name);
  assert.ok(ino > 0, `${name} is there`);
  const length = read(index, ino, 0, 8192, io, 0);
  assert.ok(Buffer.alloc(5000, contents).equals(io.bytes.subarray(0, length)), `${name} has its contents`);
}

/** Each in a batch of its own. */
const DEEDS: readonly (() => void)[] = [
  () => {
    for (let i = 0; i < 20; i++) write('work', `new${i}`, `new ${i};`);
    write('work', 'old3', 'overwritten;');
  },
  () => {
    const { index } = layerInfo('work');
    assert.ok(move(index, ROOT, 'old1', ROOT, 'renamed') >= 0);
    assert.ok(remove(index, ROOT, 'old2') >= 0);
    createLayer('clone', { parent: 'base' });
    write('clone', 'own', 'own;');
    removeLayer('gone');
  },
  () => setProperty('work', 'last', 'yes'),
];

/** Makes a volume whose last changes are in its log, and returns its path. */
function makeVolume(folder: string): string {
  const path = join(folder, 'volume');
  formatVolume(path, { bytes: 32 * MIB });
  openVolume(path, CACHE);
  for (const layer of ['base', 'work', 'other', 'gone']) {
    createLayer(layer);
    for (let i = 0; i < 60; i++) write(layer, layer === 'work' ? `old${i}` : `${layer}${i}`, `${layer} ${i};`);
  }
  checkpoint();
  for (const deed of DEEDS) {
    deed();
    assert.ok(flushLog());
  }
  abandonVolume();
  return path;
}

function overwrite(path: string, offset: number, bytes: Buffer): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, bytes, 0, bytes.length, offset);
  closeSync(fd);
}

/** A leaf of a tree that holds a name. */
function leafWith(path: string, name: string): number {
  const image = readFileSync(path);
  for (let block = LOG_START_BLOCK; block < image.length / 4096; block++) {
    const page = image.subarray(block * 4096, (block + 1) * 4096);
    if (page.readUInt32LE(0) === PAGE_MAGIC && page.readUInt16LE(22) === 0 && page.includes(name)) return block;
  }
  throw new Error(`no page holds ${name}`);
}

/** What was done before the second batch, and what was done in it. */
function assertNew(): void {
  for (let i = 0; i < 20; i++) assertHas('work', `new${i}`, `new ${i};`);
}

function assertFirst(): void {
  assertNew();
  assertHas('work', 'old3', 'overwritten;');
}

function assertSecond(): void {
  assertHas('work', 'renamed', 'work 1;');
  assert.equal(find(layerInfo('work').index, ROOT, 'old2'), -ENOENT);
  assertHas('clone', 'own', 'own;');
  assertHas('clone', 'base5', 'base 5;');
  assert.equal(findLayer('gone'), -1);
}

function whenOpen(path: string, look: () => void): void {
  openVolume(path, CACHE);
  look();
  assertSound();
  closeVolume();
}

test('a check says that there is a log to be applied, and leaves it there', async () => {
  await withFolder((folder) => {
    const path = makeVolume(folder);
    for (const report of [checkDevice(path, true, quiet), repairDevice(path, true, quiet)]) {
      assert.equal(report.errorCount, 0);
      assert.equal(report.repair, null);
      assert.deepEqual(report.log?.leftOut, []);
      assert.ok(report.log.operations > 40);
    }
    whenOpen(path, () => (assertFirst(), assertSecond()));
    assert.equal(checkDevice(path, true, quiet).log, null);
  });
});

const DAMAGES: Readonly<Record<string, (path: string) => void>> = {
  'a page of another layer': (path) => overwrite(path, leafWith(path, 'other17') * 4096 + 50, Buffer.from('damage')),
  'the bitmap': (path) => overwrite(path, 2 * 4096, Buffer.alloc(8192, 0xff)),
};

for (const [what, damage] of Object.entries(DAMAGES)) {
  test(`with ${what} damaged, what only the log has is there after a repair`, async () => {
    await withFolder((folder) => {
      const path = makeVolume(folder);
      damage(path);
      const foreseen = checkDevice(path, true, quiet);
      assert.ok(foreseen.errorCount > 0);
      assert.ok(foreseen.repair!.log!.operations > 40);
      const { errorCount, repair } = repairDevice(path, true, quiet);
      assert.equal(errorCount, 0);
      assert.deepEqual(repair, { ...foreseen.repair, done: true });
      assert.deepEqual(repair!.log!.leftOut, []);
      whenOpen(path, () => (assertFirst(), assertSecond(), assertHas('base', 'base5', 'base 5;')));
    });
  });
}

test('with a page lost to which the log has changes, these are there after a repair', async () => {
  await withFolder((folder) => {
    const path = makeVolume(folder);
    overwrite(path, leafWith(path, 'old41') * 4096 + 50, Buffer.from('damage'));
    const { errorCount, repair } = repairDevice(path, true, quiet);
    assert.equal(errorCount, 0);
    assert.ok(repair!.damage.some(({ layerName }) => layerName === 'work'));
    assert.ok(repair!.log!.operations > 40);
    whenOpen(path, assertNew);
  });
});

/** Blocks of the headers of batches, in order. */
function batches(path: string): number[] {
  const image = readFileSync(path);
  const found: number[] = [];
  for (let block = LOG_START_BLOCK; block < LOG_START_BLOCK + 128; block++)
    if (image.readUInt32LE(block * 4096) === BATCH_MAGIC) found.push(block);
  return found;
}

test('a damaged log is applied up to the damage, check says what is lost with it, and so does the repair', async () => {
  await withFolder((folder) => {
    const path = makeVolume(folder);
    const [, second] = batches(path);
    overwrite(path, second! * 4096 + 100, Buffer.from('damage'));
    const found = checkDevice(path, true, quiet);
    assert.match(found.errors.join(), /intent log is damaged/);
    const { errorCount, repair } = repairDevice(path, true, quiet);
    assert.equal(errorCount, 0);
    assert.match(repair!.log!.leftOut.join(), new RegExp(`block ${second} `));
    whenOpen(path, () => {
      assertFirst();
      assertHas('work', 'old1', 'work 1;');
      assert.equal(findLayer('clone'), -1);
    });
  });
});

test('a block of data that the log brought and that is lost costs no more than itself', async () => {
  await withFolder((folder) => {
    const path = makeVolume(folder);
    overwrite(path, Math.floor(readFileSync(path).indexOf('new 7;new 7;') / 4096) * 4096, Buffer.alloc(100));
    overwrite(path, 2 * 4096, Buffer.alloc(8192, 0xff));
    const { errorCount, dataErrors } = repairDevice(path, true, quiet);
    assert.deepEqual([errorCount, dataErrors], [1, 1]);
    openVolume(path, CACHE);
    assertSecond();
    for (let i = 0; i < 20; i++) if (i !== 7) assertHas('work', `new${i}`, `new ${i};`);
    closeVolume();
  });
});

test('without the last superblock a volume has no more of the log than belongs to the one before', async () => {
  await withFolder((folder) => {
    const path = join(folder, 'volume');
    formatVolume(path, { bytes: 32 * MIB });
    openVolume(path, CACHE);
    createLayer('work');
    checkpoint();
    write('work', 'first', 'first;');
    assert.ok(flushLog());
    write('work', 'second', 'second;');
    checkpoint(); // which alone has the second file
    assert.ok(move(layerInfo('work').index, ROOT, 'second', ROOT, 'moved') >= 0);
    assert.ok(flushLog());
    abandonVolume();
    const generations = [0, 1].map((block) => readFileSync(path).readUInt32LE(block * 4096 + 12));
    overwrite(path, generations[0]! > generations[1]! ? 200 : 4096 + 200, Buffer.from('damage'));
    const found = checkDevice(path, true, quiet);
    assert.match(found.errors.join(), /intent log is damaged/);
    assert.equal(found.errorCount, 1);
    whenOpen(path, () => {
      assertHas('work', 'first', 'first;');
      for (const name of ['second', 'moved']) assert.equal(find(layerInfo('work').index, ROOT, name), -ENOENT);
    });
  });
});

test('what is left of a log after a repair is never applied again', async () => {
  await withFolder((folder) => {
    const path = makeVolume(folder);
    overwrite(path, 2 * 4096, Buffer.alloc(8192, 0xff));
    repairDevice(path, true, quiet);
    openVolume(path, CACHE);
    write('work', 'new0', 'later;');
    assert.ok(flushLog());
    abandonVolume();
    openVolume(path, CACHE);
    assert.ok(openedLog().entries > 0 && openedLog().entries < 10);
    assertHas('work', 'new0', 'later;');
    assertSecond();
    closeVolume();
  });
});
