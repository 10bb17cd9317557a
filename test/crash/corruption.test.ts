/**
 * A device that returns something else than what was written: every block in use is damaged in turn. The volume may refuse to
 * open or answer EIO, and check must find it, but no file may ever show contents that are not its own.
 */
import assert from 'node:assert/strict';
import { closeSync, copyFileSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkVolume } from '../../src/engine/check.js';
import { checkpoint } from '../../src/engine/checkpoint.js';
import { LcfsError } from '../../src/engine/errors.js';
import { read, write } from '../../src/engine/file.js';
import { createLayer, findLayer } from '../../src/engine/layers.js';
import { create, lookup } from '../../src/engine/namespace.js';
import { blockIsTaken, groupDataStart } from '../../src/engine/space.js';
import { abandonVolume, closeVolume, formatVolume, openVolume } from '../../src/engine/volume.js';
import { EIO, ENOENT } from '../../src/linux/errno.js';
import { ioBuffer } from '../../src/linux/libc.js';
import { MIB, Random, withFolder } from '../support/volume.js';

const io = ioBuffer(1 << 18);
const FILES = 120;
const OPTIONS = { cacheBytes: 4 * MIB };

function fileName(i: number): Buffer {
  return Buffer.from(`file${i}`);
}

/** What file i of the layers holds: its own number, so that contents of another file are found out. */
function contentsOf(i: number, layer: string): Buffer {
  return Buffer.alloc(1000 + i * 97, `${layer}/${i};`);
}

function fill(layer: number, name: string, step: number): void {
  for (let i = 0; i < FILES; i += step) {
    const file = fileName(i);
    const found = lookup(layer, 2, file, 0, file.length);
    const ino = found > 0 ? found : create(layer, 2, file, 0, file.length, 0o100644, 0, 0, 0, 0);
    const data = contentsOf(i, name);
    io.bytes.set(data);
    assert.equal(write(layer, ino, 0, data.length, io, 0, 0), data.length);
  }
}

/** Makes the volume and returns the blocks that its last checkpoint refers to. */
function make(path: string): number[] {
  formatVolume(path, { bytes: 8 * MIB });
  openVolume(path, OPTIONS);
  fill(createLayer('base'), 'base', 1);
  checkpoint();
  fill(createLayer('clone', { parent: 'base' }), 'clone', 3);
  closeVolume();
  openVolume(path, OPTIONS);
  const blocks = Array.from({ length: 2048 }, (_, block) => block).filter((block) => block >= groupDataStart(0) && blockIsTaken(block));
  abandonVolume();
  return blocks;
}

type Damage = (image: Buffer, block: number, random: Random, blocks: number[]) => Buffer;

const DAMAGES: Record<string, Damage> = {
  'a flipped bit': (image, block, random) => {
    const data = Buffer.from(image.subarray(block * 4096, (block + 1) * 4096));
    data[random.below(4096)]! ^= 1 << random.below(8);
    return data;
  },
  zeros: () => Buffer.alloc(4096),
  'another block': (image, block, random, blocks) => {
    const other = random.pick(blocks.filter((each) => each !== block));
    return image.subarray(other * 4096, (other + 1) * 4096);
  },
};

/** Reads every file; each has its own contents or EIO. Returns how many were lost. */
function readAll(): number {
  let lost = 0;
  for (const layerName of ['base', 'clone']) {
    const layer = findLayer(layerName);
    if (layer < 0) throw new LcfsError('io', 'gone');
    for (let i = 0; i < FILES; i++) {
      const file = fileName(i);
      const ino = lookup(layer, 2, file, 0, file.length);
      const length = ino < 0 ? ino : read(layer, ino, 0, 1 << 18, io, 0);
      if (length < 0) {
        assert.ok(length === -EIO, `answer ${length}, ENOENT is ${ENOENT}`);
        lost++;
      } else {
        const expected = contentsOf(i, layerName === 'clone' && i % 3 === 0 ? 'clone' : 'base');
        assert.ok(expected.equals(io.bytes.subarray(0, length)), `${layerName}/${file.toString()} has foreign contents`);
      }
    }
  }
  return lost;
}

function examine(path: string): { lost: number; errors: number } {
  try {
    openVolume(path, OPTIONS);
  } catch (error) {
    assert.ok(error instanceof LcfsError && error.code === 'corrupt', String(error));
    return { lost: FILES, errors: 1 };
  }
  try {
    const { errorCount } = checkVolume({ data: true });
    return { lost: readAll(), errors: errorCount };
  } catch (error) {
    assert.ok(error instanceof LcfsError && error.code === 'io', String(error));
    return { lost: FILES, errors: 1 };
  } finally {
    abandonVolume();
  }
}

/** Every how many blocks one is damaged. */
const STRIDE = Number(process.env['LCFS_CORRUPTION_STRIDE'] ?? 3);

for (const [name, damage] of Object.entries(DAMAGES)) {
  test(`${name} in place of a block is found and never read`, async () => {
    const random = new Random();
    console.log(`# seed ${random.seed}`);
    await withFolder((folder) => {
      const path = join(folder, 'volume');
      const copy = join(folder, 'copy');
      const blocks = make(path);
      const image = readFileSync(path);
      assert.ok(blocks.length > 200, `${blocks.length} blocks`);
      for (let at = random.below(STRIDE); at < blocks.length; at += STRIDE) {
        const block = blocks[at]!;
        const data = damage(image, block, random, blocks);
        if (data.equals(image.subarray(block * 4096, (block + 1) * 4096))) continue;
        copyFileSync(path, copy);
        const fd = openSync(copy, 'r+');
        writeSync(fd, data, 0, 4096, block * 4096);
        closeSync(fd);
        const { errors } = examine(copy);
        assert.ok(errors > 0, `block ${block}: check found nothing`);
      }
    });
  });
}
