/**
 * Power cuts: a random life of a small volume on a device that records every write, cut after each one of them. Whatever
 * part of the unflushed writes survives, the volume opens at a checkpoint that was complete, with exactly the contents it
 * had then; none that was acknowledged is lost; check finds nothing; and removal that was under way goes on.
 */
import assert from 'node:assert/strict';
import { openSync, closeSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkpoint } from '../../src/engine/checkpoint.js';
import { allocate, write } from '../../src/engine/file.js';
import { createLayer, layerInfo, removeLayer, listLayers } from '../../src/engine/layers.js';
import { reclaimAll } from '../../src/engine/maintenance.js';
import { create, lookup, reapAllOrphans, rename, unlink } from '../../src/engine/namespace.js';
import { reclaimStep } from '../../src/engine/reclaim.js';
import { setXattr } from '../../src/engine/xattr.js';
import { abandonVolume, closeVolume, formatVolume, openVolume, volumeInfo } from '../../src/engine/volume.js';
import { ROOT_INO } from '../../src/layout/constants.js';
import { ioBuffer } from '../../src/linux/libc.js';
import { digestVolume } from '../support/digest.js';
import { RecordingDevice } from '../support/recording-device.js';
import { MIB, Random, assertSound, withFolder } from '../support/volume.js';

const io = ioBuffer(1 << 18);
const CACHE = { cacheBytes: 4 * MIB };

interface Acknowledged {
  generation: number;
  /** Length of the device's log when the checkpoint returned. */
  position: number;
  digest: string;
}

function name(random: Random): Buffer {
  return Buffer.from(`file${random.below(12)}`);
}

function changeFile(random: Random, layer: number): void {
  const file = name(random);
  const found = lookup(layer, ROOT_INO, file, 0, file.length);
  const ino = found > 0 ? found : create(layer, ROOT_INO, file, 0, file.length, 0o100644, 0, 1000, 1000, 0);
  if (ino < 0) return;
  const length = 1 + random.below(30_000);
  io.bytes.fill(random.below(255) + 1, 0, length);
  write(layer, ino, random.below(40_000), length, io, 0, 0);
  if (random.below(4) === 0) setXattr(layer, ino, Buffer.from('user.x'), 0, 6, io.bytes, 0, random.below(3000), 0, false);
  if (random.below(6) === 0) allocate(layer, ino, 3, random.below(20_000), 1 + random.below(20_000));
}

function step(random: Random, made: number): void {
  const layers = Array.from(listLayers());
  const writable = layers.filter((layer) => layer.state === 'writable');
  const layer = writable.length === 0 ? null : random.pick(writable);
  switch (random.below(10)) {
    case 0:
      createLayer(`layer${made}`, layers.length > 0 && random.below(3) > 0 ? { parent: random.pick(layers).name } : {});
      break;
    case 1: {
      const leaves = layers.filter((each) => each.children === 0);
      if (leaves.length > 3) removeLayer(random.pick(leaves).name);
      break;
    }
    case 2:
      reclaimStep();
      break;
    case 3: {
      const [from, to] = [name(random), name(random)];
      if (layer !== null) rename(layer.index, ROOT_INO, from, 0, from.length, ROOT_INO, to, 0, to.length, 0);
      break;
    }
    case 4: {
      const file = name(random);
      if (layer !== null) unlink(layer.index, ROOT_INO, file, 0, file.length);
      break;
    }
    default:
      if (layer !== null) changeFile(random, layer.index);
  }
}

/** Lives on the volume and returns what was acknowledged when. */
function live(random: Random, device: RecordingDevice, steps: number): Acknowledged[] {
  const acknowledged: Acknowledged[] = [];
  const settle = (): void => {
    for (const layer of listLayers()) if (layer.state === 'writable') reapAllOrphans(layer.index);
    checkpoint();
    acknowledged.push({ generation: volumeInfo().generation - 1, position: device.log.length, digest: digestVolume() });
  };
  settle();
  for (let i = 0; i < steps; i++) {
    step(random, i);
    if (random.below(12) === 0) settle();
  }
  return acknowledged;
}

/** Opens what a cut left and holds it against what had been acknowledged. */
function examine(path: string, image: Buffer, position: number, acknowledged: Acknowledged[]): void {
  writeFileSync(path, image);
  openVolume(path, CACHE);
  try {
    const opened = volumeInfo().openedGeneration;
    const promised = acknowledged.findLast((each) => each.position <= position);
    if (promised !== undefined)
      assert.ok(opened >= promised.generation, `opened at ${opened}, but ${promised.generation} was acknowledged`);
    assertSound();
    const known = acknowledged.find((each) => each.generation === opened);
    if (known !== undefined) assert.equal(digestVolume(), known.digest);
    reclaimAll();
    checkpoint();
    assertSound();
  } finally {
    closeVolume();
  }
}

/** Steps of a life; the long run of `npm run torture` sets more. */
const STEPS = Number(process.env['LCFS_CRASH_STEPS'] ?? 120);

test('after a power cut at any write the volume is as of a complete checkpoint', async () => {
  const random = new Random();
  console.log(`# seed ${random.seed}`);
  await withFolder((folder) => {
    const path = join(folder, 'volume');
    const copy = join(folder, 'copy');
    formatVolume(path, { bytes: 8 * MIB });
    const fd = openSync(path, 'r+');
    const device = new RecordingDevice(path, fd);
    openVolume(path, { ...CACHE, device });
    const acknowledged = live(random, device, STEPS);
    abandonVolume();
    closeSync(fd);
    let cuts = 0;
    for (const { position, image } of device.images(random)) {
      examine(copy, image, position, acknowledged);
      cuts++;
    }
    console.log(`# ${cuts} cuts, ${acknowledged.length} checkpoints`);
    assert.ok(cuts > STEPS / 2);
  });
});

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
