/**
 * Requests served as a ring thread serves them (fuse/ring-queue.ts), on a device whose blocks are at hand only by chance:
 * whatever is read for the first time may defer the request, or be fetched later.
 */
import assert from 'node:assert/strict';
import koffi from 'koffi';
import { FRAME_COUNT, FRAME_STATE, SLOTS_AT, SLOT_COUNT } from '../../src/engine/arena.js';
import { checkpoint } from '../../src/engine/checkpoint.js';
import { allowDeferral, deferredBlock, deferredCount, forbidDeferral } from '../../src/engine/deferral.js';
import { currentDevice, readBlocks, useDevice, type Device } from '../../src/engine/device.js';
import { dropCleanPages } from '../../src/engine/pager.js';
import { ReadPlan, provePlan } from '../../src/engine/planned-read.js';
import { treeChanges } from '../../src/engine/tree.js';
import { DEFERRED, READING, serve } from '../../src/fuse/dispatch.js';
import type { Request } from '../../src/fuse/request.js';
import { BLOCK_BYTES } from '../../src/layout/constants.js';
import { I } from '../../src/layout/memory.js';
import { SLOT_WORDS, loadSlotPins } from '../../src/layout/records.js';
import { EAGAIN } from '../../src/linux/errno.js';
import type { Random } from './volume.js';

/** A device over another one. A block is at hand with a chance of one half, and once it was asked for. */
export class ChancyDevice implements Device {
  readonly #inner: Device;
  readonly #chance: Random;
  readonly #come = new Set<number>();

  constructor(inner: Device, chance: Random) {
    this.#inner = inner;
    this.#chance = chance;
  }

  read(address: number, bytes: number, offset: number): number {
    return this.#inner.read(address, bytes, offset);
  }

  readNow(address: number, bytes: number, offset: number): number {
    for (let done = 0; done < bytes; done += BLOCK_BYTES) {
      const block = (offset + done) / BLOCK_BYTES;
      if (this.#come.has(block) || this.#chance.below(2) === 0) continue;
      koffi.errno(EAGAIN);
      return done > 0 ? this.#inner.read(address, done, offset) : -1;
    }
    return this.#inner.read(address, bytes, offset);
  }

  write(address: number, bytes: number, offset: number): number {
    return this.#inner.write(address, bytes, offset);
  }

  flush(): number {
    return this.#inner.flush();
  }

  discard(): void {
    // What was discarded reads as anything.
  }

  come(block: number, count: number): void {
    for (let i = 0; i < count; i++) this.#come.add(block + i);
  }

  goAgain(): void {
    this.#come.clear();
  }
}

/** Serves requests from a cold cache, each as often as it takes. */
export class DeferringServer {
  deferrals = 0;
  later = 0;
  readonly #plan = new ReadPlan();
  readonly #device: ChancyDevice;
  readonly #before: Device;

  constructor(chance: Random) {
    this.#before = currentDevice();
    this.#device = new ChancyDevice(this.#before, chance);
    useDevice(this.#device);
  }

  end(): void {
    useDevice(this.#before);
  }

  /** `payloadBytes` is what the request came with: a handler may have changed it. */
  serve(r: Request, payloadBytes: number): number {
    checkpoint();
    dropCleanPages();
    this.#device.goAgain();
    r.plan = this.#plan;
    r.mayAnswerLater = true;
    for (;;) {
      r.payloadBytes = payloadBytes;
      const changes = treeChanges;
      allowDeferral();
      const result = serve(r);
      forbidDeferral();
      if (result === READING) {
        if (this.#finish(r)) return this.#plan.length;
        r.plan = null;
      } else if (result !== DEFERRED) return result;
      else {
        this.deferrals++;
        assert.equal(treeChanges, changes, 'a request that was deferred has changed nothing');
        assertNothingHeld();
        this.#device.come(deferredBlock, deferredCount);
      }
    }
  }

  #finish(r: Request): boolean {
    this.later++;
    const plan = this.#plan;
    const to = r.io.address + r.reply;
    for (let i = 0; i < plan.waiting; i++) {
      const run = plan.waitsFor[i]!;
      readBlocks(plan.runBlock[run]!, plan.runBlocks[run]!, to + plan.runAt[run]! * BLOCK_BYTES);
    }
    return provePlan(plan, to);
  }
}

/** No page is pinned, no layer in use and no lock taken. */
export function assertNothingHeld(): void {
  for (let word = 1; word <= 5; word++) assert.equal(I[word], 0, `lock ${word} is free`);
  for (let i = 0; i < SLOT_COUNT; i++) assert.equal(loadSlotPins(SLOTS_AT + i * SLOT_WORDS), 0, 'no slot is pinned');
  for (let frame = 0; frame < FRAME_COUNT; frame++) assert.equal(I[FRAME_STATE + frame], 0, 'no page is pinned');
}
