/**
 * The format, read by a reader that was written from docs/FORMAT.md alone and shares no code with the engine. If this test
 * fails after a change, the change is one of the format: count FORMAT_VERSION up.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import { checkpoint } from '../../src/engine/checkpoint.js';
import { write } from '../../src/engine/file.js';
import { createLayer, setProperty } from '../../src/engine/layers.js';
import { create, createSymlink } from '../../src/engine/namespace.js';
import { setXattr } from '../../src/engine/xattr.js';
import { closeVolume, formatVolume, openVolume } from '../../src/engine/volume.js';
import { ioBuffer } from '../../src/linux/libc.js';
import { MIB, withFolder } from '../support/volume.js';

interface Found {
  k0: number;
  type: number;
  hi: number;
  lo: number;
  value: Buffer;
}

class Reader {
  readonly superblock: Buffer;
  constructor(readonly image: Buffer) {
    const candidates = [0, 1]
      .map((block) => this.block(block))
      .filter((each) => each.toString('latin1', 0, 4) === 'LCFS' && each.readUInt32LE(4) === crc32(each.subarray(8)));
    assert.equal(candidates.length, 2);
    this.superblock = candidates.toSorted((a, b) => b.readUInt32LE(12) - a.readUInt32LE(12))[0]!;
  }

  block(block: number): Buffer {
    return this.image.subarray(block * 4096, (block + 1) * 4096);
  }

  /** All records of a tree, in order. */
  records(block: number, owner: number, generation: number): Found[] {
    const page = this.block(block);
    assert.equal(page.toString('latin1', 0, 4), 'LCFP');
    assert.equal(page.readUInt32LE(4), crc32(page.subarray(8)));
    assert.deepEqual([page.readUInt32LE(8), page.readUInt32LE(12), page.readUInt32LE(16)], [block, owner, generation]);
    const [count, level] = [page.readUInt16LE(20), page.readUInt16LE(22)];
    const found: Found[] = [];
    for (let i = 0; i < count; i++) {
      const at = page.readUInt16LE(32 + 2 * i) * 4;
      const bytes = page.readUInt16LE(at + 4);
      const value = page.subarray(at + 16, at + 16 + bytes);
      if (level > 0) found.push(...this.records(value.readUInt32LE(0), value.readUInt32LE(4), value.readUInt32LE(8)));
      else
        found.push({
          k0: page.readUInt32LE(at),
          type: page.readUInt16LE(at + 6),
          hi: page.readUInt32LE(at + 8),
          lo: page.readUInt32LE(at + 12),
          value,
        });
    }
    return found;
  }

  catalog(): Found[] {
    return this.records(this.superblock.readUInt32LE(20), 0xffff_fffe, this.superblock.readUInt32LE(24));
  }

  /** Records of a layer's tree. */
  layer(index: number): Found[] {
    const record = this.catalog().find((each) => each.type === 1 && each.k0 === index)!.value;
    return this.records(record.readUInt32LE(8), record.readUInt32LE(12), record.readUInt32LE(16));
  }
}

function make(path: string): void {
  formatVolume(path, { bytes: 16 * MIB });
  openVolume(path, { cacheBytes: 4 * MIB });
  const io = ioBuffer(65536);
  const layer = createLayer('first');
  const file = create(layer, 2, Buffer.from('datei'), 0, 5, 0o100640, 0, 1000, 100, 0);
  io.bytes.fill(65, 0, 9000);
  write(layer, file, 4096, 9000, io, 0, 0);
  setXattr(layer, file, Buffer.from('user.k'), 0, 6, Buffer.from('v'.repeat(2000)), 0, 2000, 0, false);
  const target = Buffer.from('t'.repeat(1500));
  createSymlink(layer, 2, Buffer.from('zeiger'), 0, 6, target, 0, 1500, 0, 0);
  createLayer('second', { parent: 'first' });
  setProperty('second', 'key', 'value');
  checkpoint();
  closeVolume();
}

function words(buffer: Buffer): number[] {
  return Array.from({ length: buffer.length / 4 }, (_, i) => buffer.readUInt32LE(i * 4));
}

test('a volume is what docs/FORMAT.md says', async () => {
  await withFolder((folder) => {
    const path = join(folder, 'volume');
    make(path);
    const reader = new Reader(readFileSync(path));
    const superblock = words(reader.superblock);
    assert.deepEqual([superblock[2], superblock[4], superblock[7], superblock[19], superblock[20]], [3, 4096, 3, 3, 1]);
    assert.deepEqual([superblock[21], superblock[24]], [64, superblock[3]], 'a log that begins behind this checkpoint');

    const catalog = reader.catalog();
    const name = catalog.find((each) => each.type === 2 && each.k0 === 2)!;
    assert.equal(name.value.toString(), 'second');
    const byName = catalog.find((each) => each.type === 5 && each.value.subarray(4).toString() === 'second')!;
    assert.equal(byName.value.readUInt32LE(0), 2);
    assert.ok(catalog.some((each) => each.type === 3 && each.k0 === 1 && each.lo === 2));
    const property = catalog.find((each) => each.type === 4 && each.k0 === 2)!.value;
    assert.deepEqual([property.readUInt32LE(0), property.readUInt32LE(4), property.toString('utf8', 8)], [3, 5, 'keyvalue']);
    const [first, second] = [1, 2].map((index) => words(catalog.find((each) => each.type === 1 && each.k0 === index)!.value));
    assert.deepEqual([first![0], first![1], first![12], second![0], second![1], second![13]], [2, 0, 1, 1, 1, 1]);
    assert.deepEqual(second!.slice(2, 5), first!.slice(2, 5), 'a clone shares the root');

    const records = reader.layer(2);
    const entry = records.find((each) => each.type === 5 && each.value.subarray(8).toString() === 'datei')!;
    assert.deepEqual([entry.k0, entry.value.readUInt32LE(4)], [2, 8]);
    const ino = entry.value.readUInt32LE(0);
    const inode = words(records.find((each) => each.type === 1 && each.k0 === ino)!.value);
    assert.deepEqual(inode.slice(0, 7), [0o100640, 1000, 100, 1, 13_096, 0, 3]);
    assert.equal(inode[22], 1, 'the layer that wrote the contents');
    const link = records.find((each) => each.type === 2 && each.k0 === ino)!;
    assert.deepEqual([link.hi, link.lo, link.value.readUInt32LE(0)], [entry.hi, entry.lo, 2]);

    const extent = records.find((each) => each.type === 6 && each.k0 === ino)!;
    const [block, length, owner] = words(extent.value);
    assert.deepEqual([extent.hi, extent.lo, length, owner], [0, 1, 3, 1]);
    for (let i = 0; i < 3; i++) {
      const data = reader.block(block! + i);
      assert.equal(crc32(data), extent.value.readUInt32LE(16 + 4 * i));
      assert.ok(data.subarray(0, i < 2 ? 4096 : 9000 - 8192).every((byte) => byte === 65));
    }

    const chunks = records.filter((each) => each.type === 3 && each.k0 === ino);
    const attribute = Buffer.concat(chunks.map((each) => each.value));
    assert.deepEqual(
      [attribute.readUInt32LE(0), attribute.readUInt32LE(4), attribute.toString('utf8', 8)],
      [6, 2000, `user.k${'v'.repeat(2000)}`],
    );
    const target = records.filter((each) => each.type === 4);
    assert.deepEqual(
      target.map((each) => [each.lo, each.value.length]),
      [
        [0, 976],
        [1, 524],
      ],
    );

    const group = catalog.find((each) => each.type === 6 && each.k0 === 0)!.value;
    const bitmap = reader.block(2 + group.readUInt32LE(0));
    assert.equal(group.readUInt32LE(8), crc32(bitmap));
    const isTaken = (at: number): boolean => (bitmap[at >>> 3]! & (1 << (at & 7))) !== 0;
    assert.ok([0, 1, 2, 3, 4, 67, block!, first![2]!, 4096, 32_767].every(isTaken));
    let free = 0;
    for (let at = 0; at < 32_768; at++) if (!isTaken(at)) free++;
    assert.equal(free, group.readUInt32LE(4));
  });
});
