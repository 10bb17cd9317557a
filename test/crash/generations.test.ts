/**
 * What a crash left of pages that no checkpoint refers to is never taken for what was written later: each opening of a
 * volume writes generations of its own, wherever the ones before ended.
 */
import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { GENERATION, addressOfWord } from '../../src/engine/arena.js';
import { checkpoint } from '../../src/engine/checkpoint.js';
import { descriptorDevice, type Device } from '../../src/engine/device.js';
import { createLayer } from '../../src/engine/layers.js';
import { writeDirtyPages } from '../../src/engine/pager.js';
import { abandonVolume, closeVolume, formatVolume, openVolume, volumeInfo } from '../../src/engine/volume.js';
import { BLOCK_BYTES, PAGE_MAGIC, type LayerIndex } from '../../src/layout/constants.js';
import { W } from '../../src/layout/memory.js';
import { pageBlock, pageGeneration, pageMagic, pageOwner } from '../../src/layout/records.js';
import { EIO } from '../../src/linux/errno.js';
import { ROOT, find, make } from '../support/files.js';
import { MIB, assertSound, withFolder } from '../support/volume.js';

const CACHE = { cacheBytes: 4 * MIB };
const SUPERBLOCKS_END = 2 * BLOCK_BYTES;

interface Page {
  block: number;
  owner: LayerIndex;
  generation: number;
}

/** A device that notes which tree pages are written, and may lose writes while it says that all is well. */
class WatchedDevice implements Device {
  readonly #device: Device;
  readonly pages: Page[] = [];
  /** Whether a write is lost: of pages (none: a superblock, a bitmap or data) to a place in bytes. */
  loses: (pages: readonly Page[], offset: number) => boolean = () => false;

  constructor(fd: number) {
    this.#device = descriptorDevice(fd);
  }

  read(address: number, bytes: number, offset: number): number {
    return this.#device.read(address, bytes, offset);
  }

  write(address: number, bytes: number, offset: number): number {
    const pages = pagesAt(address, bytes);
    if (this.loses(pages, offset)) return bytes;
    this.pages.push(...pages);
    return this.#device.write(address, bytes, offset);
  }

  flush(): number {
    return this.#device.flush();
  }

  discard(): void {
    // What was discarded reads as what it was, which is the worst that a device may do.
  }
}

/** The tree pages in memory that is about to be written; they are written from the arena. */
function pagesAt(address: number, bytes: number): Page[] {
  const pages: Page[] = [];
  for (let at = address; at < address + bytes; at += BLOCK_BYTES) {
    const word = (at - addressOfWord(0)) / 4;
    if (word < 0 || word >= W.length || pageMagic(word) !== PAGE_MAGIC) continue;
    pages.push({ block: pageBlock(word), owner: pageOwner(word), generation: pageGeneration(word) });
  }
  return pages;
}

/** Opens the volume, works on it and lets go of it as a crash would, unless the work closed it. Returns the pages written. */
function crashAfter(path: string, work: (device: WatchedDevice) => void): Page[] {
  const fd = openSync(path, 'r+');
  const device = new WatchedDevice(fd);
  openVolume(path, { ...CACHE, device });
  try {
    work(device);
  } finally {
    abandonVolume();
    closeSync(fd);
  }
  return device.pages;
}

/** Writes pages before their checkpoint, as happens when the cache is full. */
function writePagesEarly(): void {
  writeDirtyPages(W[GENERATION]!);
}

let made = 0;
function change(): void {
  make(createLayer(`layer${made++}`), ROOT, 'file');
}

/** A checkpoint that is cut when all but its superblock is written, and pages of the next generation are, too. */
function cutCheckpoint(device: WatchedDevice): void {
  let isOff = false;
  device.loses = (_, offset) => {
    if (offset >= SUPERBLOCKS_END || isOff) return isOff;
    change();
    writePagesEarly();
    return (isOff = true);
  };
  change();
  checkpoint();
}

const LIVES: readonly ((device: WatchedDevice) => void)[] = [
  () => {},
  () => {
    change();
    writePagesEarly();
  },
  () => {
    change();
    checkpoint();
    change();
    writePagesEarly();
  },
  cutCheckpoint,
  () => {
    checkpoint(true); // closed
  },
];

test('no two openings of a volume write pages of the same generation', async () => {
  await withFolder((folder) => {
    const path = join(folder, 'volume');
    formatVolume(path, { bytes: 16 * MIB });
    const all: number[] = [];
    const keep = (pages: readonly Page[]): void => void all.push(...new Set(pages.map(({ generation }) => generation)));
    // Each life follows each other one, itself included.
    for (const before of LIVES) for (const after of LIVES) for (const live of [before, after, after]) keep(crashAfter(path, live));
    assert.ok(all.length > LIVES.length ** 2);
    assert.equal(new Set(all).size, all.length);
    openVolume(path, CACHE);
    assertSound();
    closeVolume();
  });
});

test('superblocks go on taking turns after a crash', async () => {
  await withFolder((folder) => {
    const path = join(folder, 'volume');
    formatVolume(path, { bytes: 16 * MIB });
    for (const live of [...LIVES, ...LIVES]) {
      crashAfter(path, (device) => {
        const { openedGeneration, generation } = volumeInfo();
        // The opening has completed the generation before this one.
        assert.equal((generation - 1 - openedGeneration) % 2, 1, 'the superblock that it was opened at stays');
        live(device);
      });
    }
  });
});

test('a lost write is found out although a page of a crash lies there', async () => {
  await withFolder((folder) => {
    const path = join(folder, 'volume');
    formatVolume(path, { bytes: 16 * MIB });
    let layer = 0;
    crashAfter(path, () => {
      layer = createLayer('layer');
      checkpoint();
    });
    const left = crashAfter(path, () => {
      make(layer, ROOT, 'before');
      writePagesEarly();
    });
    const blocks = new Set(left.filter(({ owner }) => owner === layer).map(({ block }) => block));
    let lost = 0;
    crashAfter(path, (device) => {
      device.loses = (pages) => {
        const isLost = pages.some(({ owner, block }) => owner === layer && blocks.has(block));
        if (isLost) lost++;
        return isLost;
      };
      make(layer, ROOT, 'after');
      checkpoint();
    });
    assert.equal(lost, 1, 'the same block was taken again');
    openVolume(path, CACHE);
    assert.equal(find(layer, ROOT, 'after'), -EIO);
    assert.equal(find(layer, ROOT, 'before'), -EIO, 'it never was');
    abandonVolume();
  });
});
