/**
 * Random operations on the contents of one file through every path there is (calls, mappings, around the page cache) against
 * a buffer in memory. What each sees must be the same at any time, also after the volume was mounted anew.
 */
import assert from 'node:assert/strict';
import { closeSync, constants, fstatSync, ftruncateSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Transport } from '../../src/fuse/session.js';
import { Random } from '../support/volume.js';
import { Mounted, TRANSPORTS, cannotMount } from './mounted.js';
import * as sys from './syscalls.js';

const { O_CREAT, O_DIRECT, O_RDWR } = constants;
const FILE_BYTES_MAX = 600_000;
const OPERATIONS = 1500;
const ROUNDS = 3;

/** A file and what it should hold. */
class Pair {
  readonly fd: number;
  readonly direct: number;
  private readonly model = Buffer.alloc(FILE_BYTES_MAX);
  private size = 0;
  private readonly chance: Random;

  constructor(path: string, chance: Random) {
    this.chance = chance;
    this.fd = openSync(path, O_CREAT | O_RDWR);
    this.direct = openSync(path, O_RDWR | O_DIRECT);
  }

  /** The contents so far, for the next round. */
  take(earlier: Pair): void {
    earlier.model.copy(this.model);
    this.size = earlier.size;
  }

  step(): void {
    const work = this.chance.pick([
      () => this.write(this.fd),
      () => this.write(this.direct),
      () => this.read(this.fd),
      () => this.read(this.direct),
      () => this.truncate(),
      () => this.punch(),
      () => this.copy(),
      () => this.map(),
    ]);
    work();
    assert.equal(fstatSync(this.fd).size, this.size);
  }

  private range(end: number): { at: number; bytes: number } {
    const at = this.chance.below(Math.max(1, end));
    const most = this.chance.pick([10, 5000, 150_000]);
    return { at, bytes: Math.min(1 + this.chance.below(most), Math.max(1, end - at)) };
  }

  private write(fd: number): void {
    const { at, bytes } = this.range(FILE_BYTES_MAX);
    const data = Buffer.alloc(bytes, this.chance.below(5));
    data.writeUInt8(this.chance.below(256), this.chance.below(bytes));
    assert.equal(writeSync(fd, data, 0, bytes, at), bytes);
    data.copy(this.model, at);
    this.size = Math.max(this.size, at + bytes);
  }

  private read(fd: number): void {
    const { at, bytes } = this.range(this.size);
    const buffer = Buffer.alloc(bytes, 0xee);
    const length = readSync(fd, buffer, 0, bytes, at);
    assert.equal(length, Math.max(0, Math.min(bytes, this.size - at)));
    assert.ok(buffer.subarray(0, length).equals(this.model.subarray(at, at + length)), `bytes ${at} to ${at + length}`);
  }

  private truncate(): void {
    const size = this.chance.below(FILE_BYTES_MAX);
    ftruncateSync(this.fd, size);
    this.model.fill(0, Math.min(size, this.size));
    this.size = size;
  }

  private punch(): void {
    const { at, bytes } = this.range(FILE_BYTES_MAX);
    const zero = this.chance.below(2) === 0;
    assert.equal(sys.fallocate(this.fd, zero ? sys.ZERO_RANGE : sys.PUNCH_HOLE | sys.KEEP_SIZE, at, bytes), 0);
    this.model.fill(0, at, at + bytes);
    if (zero) this.size = Math.max(this.size, at + bytes);
  }

  private copy(): void {
    const { at, bytes } = this.range(this.size);
    const length = Math.max(0, Math.min(bytes, this.size - at));
    const to = this.chance.below(FILE_BYTES_MAX - length);
    if (length === 0 || (to < at + length && at < to + length)) return;
    assert.equal(sys.copyFileRange(this.fd, at, this.fd, to, length), length);
    this.model.copy(this.model, to, at, at + length);
    this.size = Math.max(this.size, to + length);
  }

  /** Reads and writes through a shared mapping. */
  private map(): void {
    if (this.size === 0) return;
    const mapping = sys.mmap(this.fd, this.size, true);
    const { at, bytes } = this.range(this.size);
    assert.ok(Buffer.from(mapping.bytes.subarray(at, at + bytes)).equals(this.model.subarray(at, at + bytes)));
    mapping.bytes.fill(this.chance.below(256), at, at + bytes);
    this.model.fill(mapping.bytes[at]!, at, at + bytes);
    if (this.chance.below(2) === 0) mapping.sync();
    mapping.unmap();
  }

  equals(bytes: Buffer): boolean {
    return bytes.equals(this.model.subarray(0, this.size));
  }

  close(): void {
    closeSync(this.fd);
    closeSync(this.direct);
  }

  /** Everything is as it should be. */
  compare(): void {
    const buffer = Buffer.alloc(FILE_BYTES_MAX);
    assert.equal(readSync(this.fd, buffer, 0, FILE_BYTES_MAX, 0), this.size);
    assert.ok(buffer.subarray(0, this.size).equals(this.model.subarray(0, this.size)));
  }
}

/** Somebody who had a file of the layer open before it changed there, and goes on seeing it as it was. */
class Witness {
  private readonly fd: number;
  private readonly seen: Buffer;
  private readonly isShared: boolean;

  constructor(path: string, isShared: boolean) {
    this.fd = openSync(path, 'r');
    this.seen = readFileSync(this.fd);
    this.isShared = isShared && this.seen.length > 0;
  }

  compare(): void {
    const now = Buffer.alloc(FILE_BYTES_MAX);
    const length = readSync(this.fd, now, 0, FILE_BYTES_MAX, 0);
    if (this.isShared) assert.ok(this.seen.equals(now.subarray(0, length)));
    closeSync(this.fd);
  }
}

for (const transport of TRANSPORTS) {
  for (const passthrough of ['auto', 'off'] as const) {
    const name = `contents over ${transport}, passthrough ${passthrough}`;
    describe(name, { skip: cannotMount }, () => describeContents(transport, passthrough));
  }
}

function describeContents(transport: Transport, passthrough: 'auto' | 'off'): void {
  let mounted: Mounted;
  before(async () => {
    mounted = await new Mounted(transport, { passthrough }).ready();
  });
  after(() => mounted.end());

  it('are the same in a layer that inherits them, and stay so below it', async () => {
    const chance = new Random();
    console.log(`# seed of the random operations: LCFS_SEED=${chance.seed}`);
    await mounted.must({ order: 'create', name: 'layer 0' });
    let earlier: Pair | undefined;
    for (let round = 0; round < 2 * ROUNDS; round++) {
      const path = join(mounted.layers, `layer ${round}`, 'file');
      const before = earlier === undefined ? undefined : new Witness(path, passthrough === 'auto');
      const pair = new Pair(path, chance);
      if (earlier !== undefined) pair.take(earlier);
      pair.compare();
      for (let i = 0; i < OPERATIONS / 5; i++) pair.step();
      pair.compare();
      pair.close();
      before?.compare();
      await mounted.must({ order: 'create', name: `layer ${round + 1}`, parent: `layer ${round}` });
      earlier = pair;
    }
    assert.ok(earlier!.equals(readFileSync(join(mounted.layers, `layer ${2 * ROUNDS}`, 'file'))));
    await mounted.prove();
  });

  it('are the same on every path', async () => {
    const chance = new Random();
    console.log(`# seed of the random operations: LCFS_SEED=${chance.seed}`);
    let earlier: Pair | undefined;
    for (let round = 0; round < ROUNDS; round++) {
      const pair = new Pair(join(mounted.global, 'file'), chance);
      if (earlier !== undefined) pair.take(earlier);
      pair.compare();
      for (let i = 0; i < OPERATIONS; i++) pair.step();
      pair.compare();
      pair.close();
      await mounted.prove();
      await mounted.must({ order: 'stop', options: {} });
      await mounted.must({ order: 'start' });
      earlier = pair;
    }
  });
}
