/** What has to come from the device: that it is right, that damage is found, and that nobody else waits for it. */
import assert from 'node:assert/strict';
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  rmdirSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Random } from '../support/volume.js';
import { Mounted, TRANSPORTS, cannotMount } from './mounted.js';

const BLOCK = 4096;

/** A buffer whose blocks are all different, and like no other's with another seed. */
function contents(bytes: number, seed: number): Buffer {
  const data = Buffer.alloc(bytes);
  const random = new Random(seed);
  for (let at = 0; at + 4 <= bytes; at += 4) data.writeUInt32LE(random.next(), at);
  return data;
}

for (const transport of TRANSPORTS) {
  describe(`cold data over ${transport}`, { skip: cannotMount }, () => {
    const large = contents(3_000_000, 1);
    let mounted: Mounted;
    before(async () => {
      mounted = await new Mounted(transport, { bytes: 1 << 26, cacheBytes: 4 << 20 }).ready();
      await mounted.must({ order: 'create', name: 'sealed' });
      for (let i = 0; i < 200; i++) writeFileSync(join(mounted.layers, 'sealed', `small${i}`), contents(1 + i * 500, i + 2));
      writeFileSync(join(mounted.layers, 'sealed', 'large'), large);
      await mounted.must({ order: 'seal', name: 'sealed' });
      await mounted.must({ order: 'create', name: 'clone', parent: 'sealed' });
      await mounted.must({ order: 'create', name: 'damaged' });
      writeFileSync(join(mounted.layers, 'damaged', 'file'), contents(1_000_000, 900));
      await mounted.must({ order: 'seal', name: 'damaged' });
    });
    after(() => mounted.end());

    /** Nothing is in memory any more, neither the kernel's files nor our pages. */
    const cool = async (): Promise<void> => {
      await mounted.must({ order: 'cool' });
      await mounted.remount();
    };

    for (const name of ['sealed', 'clone'])
      it(`is what was written, in a layer that is ${name === 'sealed' ? 'sealed' : 'a clone'}`, async () => {
        for (let turn = 0; turn < 2; turn++) {
          await cool();
          const folder = join(mounted.layers, name);
          assert.ok(readFileSync(join(folder, 'large')).equals(large));
          for (let i = 199; i >= 0; i--)
            assert.ok(readFileSync(join(folder, `small${i}`)).equals(contents(1 + i * 500, i + 2)), `small${i}`);
        }
      });

    it('is an error where it is damaged, which the log tells', async () => {
      await cool();
      const data = contents(1_000_000, 900);
      const at = readFileSync(mounted.volume).indexOf(data.subarray(100 * BLOCK, 101 * BLOCK));
      assert.ok(at > 0 && at % BLOCK === 0);
      const volume = openSync(mounted.volume, 'r+');
      writeSync(volume, 'damage', at + 50);
      closeSync(volume);
      const file = openSync(join(mounted.layers, 'damaged', 'file'), 'r');
      const block = Buffer.alloc(BLOCK);
      assert.throws(() => readSync(file, block, 0, BLOCK, 100 * BLOCK), { code: 'EIO' });
      assert.equal(readSync(file, block, 0, BLOCK, 10 * BLOCK), BLOCK);
      assert.ok(block.equals(data.subarray(10 * BLOCK, 11 * BLOCK)), 'the others are as they were');
      closeSync(file);
      const told = new RegExp(`file block 100 in block ${at / BLOCK} has a wrong checksum`);
      await until(() => told.test(mounted.log));
    });
  });
}

// A device that does not answer

const BLKIO = '/sys/fs/cgroup/blkio';
const cannotThrottle: string | false =
  cannotMount ||
  (existsSync(join(BLKIO, 'blkio.throttle.read_bps_device')) ? false : 'there is no blkio cgroup (version 1) to hold reads back with');

/** A loop device whose reads can be held back: a byte a second is next to never. */
class HeldDevice {
  readonly folder = mkdtempSync(join(tmpdir(), 'lcfs-held-'));
  readonly path: string;
  private readonly group: string;

  constructor(bytes: number) {
    const file = join(this.folder, 'file');
    execFileSync('truncate', ['-s', String(bytes), file]);
    this.path = execFileSync('losetup', ['--direct-io=on', '-f', '--show', file], { encoding: 'utf8' }).trim();
    this.group = join(BLKIO, `lcfs-test-${process.pid}`);
    mkdirSync(this.group);
  }

  /** Reads of this process can be held back from now on. */
  take(pid: number): void {
    writeFileSync(join(this.group, 'cgroup.procs'), String(pid));
  }

  hold(): void {
    this.limit(1);
  }

  release(): void {
    this.limit(0);
  }

  private limit(bytesPerSecond: number): void {
    const { rdev } = statSync(this.path);
    writeFileSync(join(this.group, 'blkio.throttle.read_bps_device'), `${rdev >>> 8}:${rdev & 0xff} ${bytesPerSecond}`);
  }

  end(): void {
    execFileSync('losetup', ['-d', this.path]);
    rmdirSync(this.group);
    rmSync(this.folder, { recursive: true });
  }
}

/** Runs a command on CPU 0, whose ring thread then serves it. */
function onFirstCpu(command: string, ...args: string[]): ChildProcess {
  return spawn('taskset', ['-c', '0', command, ...args], { stdio: ['ignore', 'pipe', 'ignore'] });
}

/** Whether a child has become `program` and sleeps in the kernel for a file. */
function isWaiting(child: ChildProcess, program: string): boolean {
  if (child.exitCode !== null || child.signalCode !== null) return false;
  const about = (file: string): string => readFileSync(`/proc/${child.pid}/${file}`, 'latin1');
  return about('comm').trim() === program && /fuse|folio_wait|filemap/.test(about('stack'));
}

describe('a device that keeps a reader waiting', { skip: cannotThrottle }, () => {
  const data = contents(1_000_000, 5);
  let device: HeldDevice;
  let mounted: Mounted;
  before(async () => {
    device = new HeldDevice(1 << 28);
    mounted = await new Mounted('uring', { volume: device.path, bytes: 1 << 28 }).ready();
    device.take(mounted.server.pid!);
    for (const name of ['sealed', 'writable']) {
      await mounted.must({ order: 'create', name });
      writeFileSync(join(mounted.layers, name, 'file'), data);
      for (let i = 0; i < 3000; i++) writeFileSync(join(mounted.layers, name, `name${i}`), '');
    }
    await mounted.must({ order: 'seal', name: 'sealed' });
  });
  after(async () => {
    device.release();
    await mounted.end();
    device.end();
  });

  /** Asks for names that nobody has asked for, so that each is a request, where everything is in memory. */
  async function askAround(turn: string): Promise<void> {
    for (let i = 0; i < 20; i++) {
      const child = onFirstCpu('stat', join(mounted.global, `absent-${turn}-${i}`));
      assert.deepEqual(await once(child, 'exit'), [1, null]);
    }
  }

  /** Begins to read on the first CPU, from memory that has nothing, and waits until a request of it is under way. */
  async function beginReading(program: string, ...args: string[]): Promise<{ reader: ChildProcess; output: Promise<string> }> {
    device.hold();
    const reader = onFirstCpu(program, ...args);
    const parts: Buffer[] = [];
    reader.stdout!.on('data', (part: Buffer) => parts.push(part));
    const output = once(reader, 'close').then(() => Buffer.concat(parts).toString());
    await until(() => isWaiting(reader, program));
    return { reader, output };
  }

  /** Others are served while the reader waits, and then he is. */
  async function prove(turn: string, program: string, ...args: string[]): Promise<string> {
    const { reader, output } = await beginReading(program, ...args);
    try {
      await askAround(turn);
      assert.ok(isWaiting(reader, program), 'the reader is still waiting');
    } finally {
      device.release();
    }
    return output;
  }

  for (const name of ['sealed', 'writable']) {
    it(`keeps nobody else on that CPU waiting for contents of a ${name} layer`, async () => {
      const file = join(mounted.layers, name, 'file');
      assert.ok(readFileSync(file).equals(data)); // which leaves all tree pages in memory
      await mounted.remount();
      await askAround(`contents-${name}-before`);
      await mounted.must({ order: 'coolDevice' });
      const output = await prove(`contents-${name}`, 'sha256sum', file);
      assert.equal(output.split(' ')[0], createHash('sha256').update(data).digest('hex'));
    });

    it(`keeps nobody else on that CPU waiting for names of a ${name} layer`, async () => {
      await mounted.remount();
      await mounted.must({ order: 'cool' });
      await askAround(`names-${name}-before`);
      const output = await prove(`names-${name}`, 'stat', '--format=%s', join(mounted.layers, name, 'name2999'));
      assert.equal(output, '0\n');
    });
  }
});

/** Returns when a condition held several times in a row. */
async function until(condition: () => boolean): Promise<void> {
  for (let times = 0; times < 5; times = condition() ? times + 1 : 0) await new Promise((resolve) => setTimeout(resolve, 20));
}
