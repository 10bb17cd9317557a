/**
 * A device that fails on demand. Writes are held in a cache like the kernel's until they are flushed; a flush that fails loses
 * what it likes of them, and the next one succeeds as if nothing had been, which is what Linux does. What is lost may still
 * be read until the cache forgets it. The medium is a file, and `path` is all that a machine that starts anew finds.
 */
import type { Device } from '../../src/engine/device.js';
import { addressOf, pread, pwrite, setErrno } from '../../src/linux/libc.js';
import { copyBytes } from '../../src/linux/bytes.js';
import type { Random } from './volume.js';

export const EIO = 5;
export const ENXIO = 6;
export const ENODEV = 19;

export type Call = 'read' | 'write' | 'flush';

export interface Fault {
  /** Which calls fail. */
  call: Call;
  /** Calls of that kind that go well before. */
  after: number;
  errno: number;
  /** How many calls fail: Infinity for a device that is gone. */
  times: number;
  /** Every kind of call fails once the first one did. */
  vanishes?: boolean;
}

const BLOCK = 4096;

export class FailingDevice implements Device {
  readonly #fd: number;
  readonly #random: Random;
  /** Blocks that were written and not flushed, and those that a failed flush lost but reads still see. */
  readonly #dirty = new Map<number, Uint8Array>();
  readonly #ghosts = new Map<number, Uint8Array>();
  #fault: Fault | null = null;
  readonly counts: Record<Call, number> = { read: 0, write: 0, flush: 0 };
  /** Calls that failed. */
  failures = 0;
  /** Whether calls do less than they were asked for. */
  isShort = false;

  constructor(fd: number, random: Random) {
    this.#fd = fd;
    this.#random = random;
  }

  /** From the next call on. */
  arm(fault: Fault | null): void {
    this.#fault = fault === null ? null : { ...fault };
  }

  #fails(call: Call): boolean {
    this.counts[call]++;
    const fault = this.#fault;
    if (fault === null || fault.times <= 0 || (fault.call !== call && !(fault.vanishes === true && fault.after < 0))) return false;
    if (fault.call === call && fault.after >= 0 && fault.after-- > 0) return false;
    fault.times--;
    this.failures++;
    setErrno(fault.errno);
    return true;
  }

  #shorten(bytes: number): number {
    return this.isShort && bytes > 512 && this.#random.below(3) > 0 ? 512 * (1 + this.#random.below(bytes / 512 - 1)) : bytes;
  }

  read(address: number, bytes: number, offset: number): number {
    if (this.#fails('read')) return -1;
    const wanted = this.#shorten(bytes);
    const got = pread(this.#fd, address, wanted, offset);
    for (let at = offset - (offset % BLOCK); at < offset + got; at += BLOCK) {
      const held = this.#dirty.get(at) ?? this.#ghosts.get(at);
      if (held === undefined) continue;
      const from = Math.max(at, offset);
      const to = Math.min(at + BLOCK, offset + got);
      copyBytes(address + from - offset, addressOf(held) + from - at, to - from);
    }
    return got;
  }

  write(address: number, bytes: number, offset: number): number {
    if (this.#fails('write')) return -1;
    const taken = this.#shorten(bytes);
    for (let at = offset - (offset % BLOCK); at < offset + taken; at += BLOCK) {
      const from = Math.max(at, offset);
      const to = Math.min(at + BLOCK, offset + taken);
      copyBytes(addressOf(this.#blockToWrite(at)) + from - at, address + from - offset, to - from);
    }
    return taken;
  }

  #blockToWrite(at: number): Uint8Array {
    let held = this.#dirty.get(at);
    if (held === undefined) {
      held = new Uint8Array(new SharedArrayBuffer(BLOCK));
      const ghost = this.#ghosts.get(at);
      if (ghost === undefined) pread(this.#fd, addressOf(held), BLOCK, at);
      else held.set(ghost);
      this.#ghosts.delete(at);
      this.#dirty.set(at, held);
    }
    return held;
  }

  flush(): number {
    const fails = this.#fails('flush');
    for (const [at, held] of this.#dirty) {
      const fate = fails ? this.#random.below(4) : 0;
      if (fate < 2) pwrite(this.#fd, addressOf(held), BLOCK, at);
      else if (fate === 2) this.#ghosts.set(at, held);
    }
    this.#dirty.clear();
    if (fails) setErrno(this.#fault?.errno ?? EIO);
    return fails ? -1 : 0;
  }

  discard(): void {
    // What was discarded reads as anything; here it stays what it was.
  }
}
