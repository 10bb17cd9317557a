/**
 * A program that uses what containers share, for tests that kill who serves them: `takeover-client.js FOLDER… SEED`. The
 * folders are clones of one layer that holds `file<n>` with the contents `contentsOf(n)`. It reads, maps and locks them, keeps
 * some open, and has files without a name. Told anything, it ends and says what it did; it fails when something is not as it
 * should be.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { createHash } from 'node:crypto';
import { dropPages } from '../../src/linux/page-cache.js';
import { faultOf } from '../support/contents.js';
import { Random } from '../support/volume.js';
import * as sys from './syscalls.js';

export const FILES = 24;
const BYTES_MAX = 700_000;
const KEPT_MAX = 16;
const LOCK_EXCLUSIVE = 2;
const LOCK_AT_ONCE = 4;
const UNLOCK = 8;
const EWOULDBLOCK = 11;

/** What a file of the layer holds. */
export function contentsOf(number: number): Buffer {
  const bytes = 1 + ((number * 7919 * 31) % BYTES_MAX);
  return Buffer.alloc(bytes, createHash('sha512').update(`file ${number}`).digest());
}

class Reader {
  private readonly chance: Random;
  private readonly folders: readonly string[];
  private readonly kept: { fd: number; number: number }[] = [];
  private nameless: { fd: number; content: Buffer } | null = null;
  steps = 0;

  constructor(folders: readonly string[], seed: number) {
    this.folders = folders;
    this.chance = new Random(seed);
  }

  step(): void {
    this.steps++;
    const does = this.chance.pick([this.readOne, this.readOne, this.keepOne, this.readKept, this.mapOne, this.lockOne, this.touchNameless]);
    does.call(this);
  }

  private pathOf(number: number): string {
    return join(this.chance.pick(this.folders), `file${number}`);
  }

  private readonly readOne = (): void => {
    const number = this.chance.below(FILES);
    const fd = fs.openSync(this.pathOf(number), 'r');
    try {
      if (this.chance.below(3) === 0) dropPages(fd, 0, 0);
      this.compare(fd, number);
    } finally {
      fs.closeSync(fd);
    }
  };

  private compare(fd: number, number: number): void {
    const fault = faultOf(fd, contentsOf(number));
    if (fault !== '') throw new Error(`file ${number} is not what it was: ${fault}`);
  }

  private readonly keepOne = (): void => {
    const number = this.chance.below(FILES);
    this.kept.push({ fd: fs.openSync(this.pathOf(number), 'r'), number });
    if (this.kept.length > KEPT_MAX) fs.closeSync(this.kept.shift()!.fd);
  };

  private readonly readKept = (): void => {
    if (this.kept.length === 0) return;
    const { fd, number } = this.chance.pick(this.kept);
    this.compare(fd, number);
  };

  private readonly mapOne = (): void => {
    if (this.kept.length === 0) return;
    const { fd, number } = this.chance.pick(this.kept);
    const wanted = contentsOf(number);
    const mapping = sys.mmap(fd, wanted.length, false, true);
    const isSame = wanted.equals(mapping.bytes);
    mapping.unmap();
    if (!isSame) throw new Error(`file ${number} is mapped as something else`);
  };

  /** Locks are the kernel's, but the file must be opened for them. */
  private readonly lockOne = (): void => {
    const fd = fs.openSync(join(this.folders[0]!, 'lock'), 'a+');
    try {
      const locked = sys.flock(fd, LOCK_EXCLUSIVE | LOCK_AT_ONCE);
      if (locked === -EWOULDBLOCK) return;
      if (locked < 0) throw new Error(`flock failed with ${locked}`);
      sys.flock(fd, UNLOCK);
    } finally {
      fs.closeSync(fd);
    }
  };

  private makeNameless(): void {
    const fd = fs.openSync(this.folders[0]!, sys.O_TMPFILE | fs.constants.O_RDWR, 0o600);
    try {
      const content = Buffer.alloc(1 + this.chance.below(9000), `${this.chance.next()} `);
      fs.writeSync(fd, content, 0, content.length, 0);
      this.nameless = { fd, content };
    } finally {
      if (this.nameless === null) fs.closeSync(fd);
    }
  }

  /** A file made without a name must be there, with its contents, however often who serves it dies. */
  private readonly touchNameless = (): void => {
    if (this.nameless === null) return this.makeNameless();
    const { fd, content } = this.nameless;
    const fault = faultOf(fd, content);
    if (fault !== '') throw new Error(`a file without a name is not what it was: ${fault}`);
    if (this.chance.below(4) > 0) return;
    this.nameless = null;
    fs.closeSync(fd);
  };

  end(): void {
    for (const { fd } of this.kept) fs.closeSync(fd);
    if (this.nameless !== null) fs.closeSync(this.nameless.fd);
  }
}

async function main(folders: readonly string[], seed: number): Promise<void> {
  const reader = new Reader(folders, seed);
  const told = new AbortController();
  process.once('message', () => told.abort());
  process.once('disconnect', () => process.exit(1));
  while (!told.signal.aborted) {
    for (let i = 0; i < 8; i++) reader.step();
    await turn();
  }
  reader.end();
  process.send!({ steps: reader.steps }, () => process.exit(0));
}

if (process.argv[1] === import.meta.filename) await main(process.argv.slice(2, -1), Number(process.argv.at(-1)));
