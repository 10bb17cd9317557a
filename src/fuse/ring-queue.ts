/**
 * Requests over io_uring. The kernel has a queue for each possible CPU, on which arrive the requests of the tasks running
 * there. A thread registers entries (a header buffer and a payload buffer) with the queues that it serves. A request fills
 * an entry and completes its command; the reply is written into the same buffers and committed with the next command,
 * which also asks for the next request: one system call answers all requests at hand and waits for more.
 *
 * The thread waits for nothing but the ring. A request that needs blocks from the device is put aside until they have been
 * read, through the same ring: a READ into its payload buffer (engine/planned-read.ts), anything else into the kernel's cache
 * of the device, after which it is served once more from the start (engine/deferral.ts).
 *
 * FORGET, INTERRUPT and what came before the ring was ready arrive on /dev/fuse all the same (device-queue.ts).
 *
 * The memory of the entries outlives the process (ring-memory.ts). A request is saved before it is served, as its reply is
 * written over it; and when the reply is complete, that is noted before it is committed. So the next process finds for each
 * entry a request that it can serve, or a reply that it can commit: if that was committed already, the kernel says ENOENT.
 * When a thread dies, the kernel takes its entries back at once (linux/uring.ts): what it was given is still copied into the memory,
 * and what comes later waits in the queue for the next process.
 */
import { performance } from 'node:perf_hooks';
import { allowDeferral, deferredBlock, deferredCount, forbidDeferral, forgetDeferral } from '../engine/deferral.js';
import { DEFERRED_BLOCKS_MAX, currentDevice } from '../engine/device.js';
import { ReadPlan, planFd, provePlan } from '../engine/planned-read.js';
import { BLOCK_BYTES } from '../layout/constants.js';
import { gatherPages } from '../linux/huge-pages.js';
import { ioBuffer, type IoBuffer } from '../linux/libc.js';
import { viewMemory } from '../linux/memory-file.js';
import { SQE, UringUnavailable, type Uring } from '../linux/uring.js';
import { ECONNABORTED, EINTR, ENODEV, ENOENT, ENOTCONN } from '../linux/errno.js';
import { DEFERRED, NO_REPLY, READING, argumentsBytes, recordServed, serve } from './dispatch.js';
import { WRITE_BYTES_MAX } from './init.js';
import * as P from './protocol.js';
import { Request, opcodeOf, wordsOf } from './request.js';
import {
  IOVECS,
  MARKS,
  RING_BASE,
  SAVED,
  SAVED_LENGTH,
  SAVED_PAYLOAD,
  SAVED_PAYLOAD_BYTES,
  SCRATCH,
  entriesBytes,
  pageOf,
  payloadOf,
} from './ring-memory.js';
import type { QueueShare } from './ring-plan.js';

/** A request that was deferred so often waits for its blocks: whatever drives them out of the cache, it gets done. */
const DEFERRALS_MAX = 64;
/** A completion's tag is the entry, and above it what it completes: the entry's command, the read for a deferral, or a run. */
const ENTRIES_MAX = 0x1_0000;
const FOR_DEFERRAL = 1;
const FOR_RUN = 2;
/** Above all runs: completes nothing. */
const FOR_NOTHING = 0x7000;
const IOVEC_BYTES = 16;

/** Word indices within the part of a submission entry that belongs to FUSE: flags, commit id, queue. */
const COMMIT_ID = 2;
const QUEUE = 4;

/** Marks of an entry, as words behind MARKS. */
const SAVED_ID = 0;
const REPLIED = 2;

/** One entry: its request, the queue it belongs to, and how far the request is. */
class RingEntry {
  readonly request: Request;
  readonly queue: number;
  /** Word index of the header buffer. */
  readonly header: number;
  readonly plan = new ReadPlan();
  /** When the request arrived. */
  started = 0;
  deferrals = 0;
  /** Reads of the plan that are under way, and whether one went wrong. */
  outstanding = 0;
  hasFailed = false;
  /** Whether its command commits a reply that may have been committed before. */
  isCommittedAgain = false;
  private isGathered = false;
  /** Word index of the payload. */
  private readonly payload: number;
  private readonly marks: number;
  private readonly saved: number;

  constructor(io: IoBuffer, words: Uint32Array, at: number, payload: number, queue: number, origin: number) {
    this.queue = queue;
    this.payload = payload / 4;
    this.header = at / 4;
    this.marks = (at + MARKS) / 4;
    this.saved = (at + SAVED) / 4;
    this.request = new Request(io, words, {
      head: at / 4,
      args: (at + P.RING_ARGUMENTS) / 4,
      payload,
      reply: payload,
      replyBytes: WRITE_BYTES_MAX,
      scratch: at + SCRATCH,
    });
    this.request.mayAnswerLater = true;
    this.request.origin = origin;
    this.writeIovec(0, at, P.RING_HEADER_BYTES);
    this.writeIovec(1, payload, WRITE_BYTES_MAX);
  }

  /** The device is to read into the payload: it takes huge pages, once there is use for them. */
  gatherPages(): void {
    if (this.isGathered) return;
    this.isGathered = true;
    gatherPages(this.request.io.address + this.request.payload);
  }

  /** A request has arrived. */
  begin(): void {
    this.started = performance.now();
    this.deferrals = 0;
    this.request.plan = this.plan;
    this.request.isRescued = false;
    this.save();
  }

  /** A request that a dead process had is to be served from its start. */
  beginAgain(): void {
    if (this.isMarked(SAVED_ID)) this.restore();
    this.begin();
    this.request.isRescued = true;
  }

  /** Whether there is a request in the buffers that may not be answered. */
  get hasRequest(): boolean {
    const { words } = this.request;
    return (words[this.commitId]! | words[this.commitId + 1]!) !== 0;
  }

  /** Whether the reply to it is complete. */
  get isReplied(): boolean {
    return this.isMarked(REPLIED);
  }

  /** The reply is complete. */
  markReplied(): void {
    this.mark(REPLIED);
  }

  /** Word index of the commit id. */
  get commitId(): number {
    return this.header + P.RING_COMMIT_ID / 4;
  }

  private isMarked(mark: number): boolean {
    const { words } = this.request;
    return words[this.marks + mark] === words[this.commitId] && words[this.marks + mark + 1] === words[this.commitId + 1];
  }

  private mark(mark: number): void {
    const { words } = this.request;
    words[this.marks + mark + 1] = words[this.commitId + 1]!;
    words[this.marks + mark] = words[this.commitId]!;
  }

  private save(): void {
    const { words } = this.request;
    const { header, saved } = this;
    for (let i = 0; i < P.IN_HEADER_BYTES / 4; i++) words[saved + i] = words[header + i]!;
    const length = words[header + P.RING_PAYLOAD_BYTES / 4]!;
    words[saved + SAVED_LENGTH / 4] = length;
    this.copySaved(this.payload, saved + SAVED_PAYLOAD / 4, length);
    this.mark(SAVED_ID);
  }

  private restore(): void {
    const { words } = this.request;
    const { header, saved } = this;
    for (let i = 0; i < P.IN_HEADER_BYTES / 4; i++) words[header + i] = words[saved + i]!;
    const length = words[saved + SAVED_LENGTH / 4]!;
    words[header + P.RING_PAYLOAD_BYTES / 4] = length;
    this.copySaved(saved + SAVED_PAYLOAD / 4, this.payload, length);
  }

  /** Copies the words of a payload that are saved. */
  private copySaved(from: number, to: number, length: number): void {
    const { words } = this.request;
    const count = Math.min((length + 3) >>> 2, SAVED_PAYLOAD_BYTES / 4);
    for (let i = 0; i < count; i++) words[to + i] = words[from + i]!;
  }

  private writeIovec(index: number, at: number, bytes: number): void {
    const r = this.request;
    const iovec = this.header + (IOVECS + index * IOVEC_BYTES) / 4;
    const address = r.io.address + at;
    r.words[iovec] = address % 2 ** 32;
    r.words[iovec + 1] = Math.floor(address / 2 ** 32);
    r.words[iovec + 2] = bytes;
    r.words[iovec + 3] = 0;
  }

  /** Address of the iovecs. */
  get iovecs(): number {
    return this.request.io.address + this.header * 4 + IOVECS;
  }
}

export class RingQueues {
  private readonly ring: Uring;
  private readonly device: number;
  private readonly entries: RingEntry[] = [];
  private live = 0;
  private isRegistering = false;
  /** Where blocks pass on their way into the kernel's cache. Nobody looks at them here, so one place does for all. */
  private readonly passage = ioBuffer(DEFERRED_BLOCKS_MAX * BLOCK_BYTES);

  /** With the entries from number `firstEntry` on of `entryCount` whose memory is mapped. */
  constructor(ring: Uring, device: number, shares: readonly QueueShare[], firstEntry: number, entryCount: number) {
    this.ring = ring;
    this.device = device;
    const io = { bytes: new Uint8Array(viewMemory(RING_BASE, entriesBytes(entryCount))), address: RING_BASE };
    const words = wordsOf(io);
    for (const { queue, entries } of shares) {
      for (let i = 0; i < entries; i++) {
        const number = firstEntry + this.entries.length;
        this.entries.push(new RingEntry(io, words, pageOf(number), payloadOf(number, entryCount), queue, number));
      }
    }
  }

  /**
   * Registers all entries; after another process died (`takeover`), answers first the requests that it had. When it returns, the
   * kernel has every entry that holds no request: a request that comes to a queue without entries is not handed over when one
   * is registered, but only with the next request or reply, and nobody might send any more. Throws UringUnavailable if the
   * kernel refuses an entry.
   */
  register(takeover: boolean): void {
    this.live = this.entries.length;
    this.isRegistering = true;
    this.ring.endWithThread(FOR_NOTHING * ENTRIES_MAX);
    this.entries.forEach((entry, tag) => {
      if (takeover && entry.hasRequest) this.rescue(entry, tag);
      else this.prepareRegistration(entry, tag);
    });
    // Twice: what had been committed before comes back at once, and is to be registered anew.
    this.submit();
    this.submit();
    this.isRegistering = false;
  }

  private submit(): void {
    const result = this.ring.submit();
    if (result < 0) throw new UringUnavailable(`io_uring_enter failed (error ${-result})`);
    this.completeAll();
  }

  private completeAll(): void {
    while (this.ring.next()) this.complete(this.ring.completionTag, this.ring.completionResult);
  }

  private rescue(entry: RingEntry, tag: number): void {
    if (entry.isReplied) {
      entry.isCommittedAgain = true;
      this.prepareCommit(entry, tag);
    } else {
      entry.beginAgain();
      this.serveEntry(tag);
    }
  }

  private prepareRegistration(entry: RingEntry, tag: number): void {
    entry.isCommittedAgain = false;
    const at = this.ring.prepare(this.device, P.RING_REGISTER, tag);
    const { sqes } = this.ring;
    sqes[at + SQE.address] = entry.iovecs % 2 ** 32;
    sqes[at + SQE.address + 1] = Math.floor(entry.iovecs / 2 ** 32);
    sqes[at + SQE.length] = 2;
    sqes[at + SQE.payload + QUEUE] = entry.queue;
  }

  /** Serves requests until the connection ends. Throws if the ring fails otherwise. */
  run(): void {
    while (this.live > 0) {
      const result = this.ring.enter(1);
      if (result < 0 && result !== -EINTR) throw new Error(`io_uring_enter failed with error ${-result}`);
      this.completeAll();
    }
  }

  private complete(tag: number, result: number): void {
    if (tag >= ENTRIES_MAX) this.completeRead(tag % ENTRIES_MAX, Math.floor(tag / ENTRIES_MAX), result);
    else if (result === 0) this.accept(tag);
    else if (result === -ENOENT && this.entries[tag]!.isCommittedAgain) this.prepareRegistration(this.entries[tag]!, tag);
    else this.lose(result);
  }

  /**
   * An entry came back without a request: the connection ends, and with it all others. A reply that is committed when the
   * connection has just been aborted gets ECONNABORTED.
   */
  private lose(result: number): void {
    if (this.isRegistering) throw new UringUnavailable(`registering failed (error ${-result})`);
    if (result !== -ENOTCONN && result !== -ENODEV && result !== -ECONNABORTED)
      throw new Error(`an entry of the FUSE ring failed with error ${-result}`);
    this.live--;
  }

  private accept(tag: number): void {
    const entry = this.entries[tag]!;
    entry.isCommittedAgain = false;
    entry.begin();
    this.serveEntry(tag);
  }

  /** Serves the request of an entry, from its start: it may be the second time. */
  private serveEntry(tag: number): void {
    const entry = this.entries[tag]!;
    const r = entry.request;
    const received = r.words[entry.header + P.RING_PAYLOAD_BYTES / 4]!;
    const expected = r.words[r.head + P.IN_LENGTH]! - P.IN_HEADER_BYTES - argumentsBytes(opcodeOf(r));
    r.payloadBytes = Math.min(received, expected, WRITE_BYTES_MAX);
    if (entry.deferrals < DEFERRALS_MAX) allowDeferral();
    else forgetDeferral();
    const result = serve(r, entry.started);
    forbidDeferral();
    if (result === DEFERRED) this.awaitBlocks(entry, tag);
    else if (result === READING) this.fetchRuns(entry, tag);
    else this.answer(entry, tag, result);
  }

  /** Asks for the blocks that the request was deferred for. */
  private awaitBlocks(entry: RingEntry, tag: number): void {
    entry.deferrals++;
    const { fd } = currentDevice();
    const bytes = deferredCount * BLOCK_BYTES;
    this.ring.prepareRead(fd!, this.passage.address, bytes, deferredBlock * BLOCK_BYTES, tag + FOR_DEFERRAL * ENTRIES_MAX);
  }

  /** Asks for the blocks of a READ that are not at hand. */
  private fetchRuns(entry: RingEntry, tag: number): void {
    const { plan } = entry;
    const to = entry.request.io.address + entry.request.reply;
    const fd = planFd(plan);
    entry.gatherPages();
    entry.outstanding = plan.waiting;
    entry.hasFailed = false;
    for (let i = 0; i < plan.waiting; i++) {
      const run = plan.waitsFor[i]!;
      const address = to + plan.runAt[run]! * BLOCK_BYTES;
      const offset = plan.runBlock[run]! * BLOCK_BYTES;
      this.ring.prepareRead(fd, address, plan.runBlocks[run]! * BLOCK_BYTES, offset, tag + (FOR_RUN + run) * ENTRIES_MAX);
    }
  }

  /** A read of the device has ended, well or not; or what ends with the thread. */
  private completeRead(tag: number, purpose: number, result: number): void {
    if (purpose === FOR_NOTHING) return;
    const entry = this.entries[tag]!;
    if (purpose === FOR_DEFERRAL) {
      // What cannot be read this way is read in the ordinary one, which says what is wrong.
      if (result <= 0) entry.deferrals = DEFERRALS_MAX;
      return this.serveEntry(tag);
    }
    if (result !== entry.plan.runBlocks[purpose - FOR_RUN]! * BLOCK_BYTES) entry.hasFailed = true;
    if (--entry.outstanding === 0) this.finishReading(entry, tag);
  }

  /** All blocks of a READ have come. If they are not what they should be, it is served again, without a plan. */
  private finishReading(entry: RingEntry, tag: number): void {
    const { request, plan } = entry;
    if (!entry.hasFailed && provePlan(plan, request.io.address + request.reply)) {
      recordServed(request, entry.started, plan.length);
      this.answer(entry, tag, plan.length);
    } else {
      request.plan = null;
      this.serveEntry(tag);
    }
  }

  /** Prepares the reply. The unique number of the in header lies where that of the out header does. */
  private answer(entry: RingEntry, tag: number, result: number): void {
    const { words, head } = entry.request;
    words[head + P.OUT_ERROR] = result < 0 && result !== NO_REPLY ? result : 0;
    words[entry.header + P.RING_PAYLOAD_BYTES / 4] = Math.max(result, 0);
    entry.markReplied();
    this.prepareCommit(entry, tag);
  }

  private prepareCommit(entry: RingEntry, tag: number): void {
    const { words } = entry.request;
    const at = this.ring.prepare(this.device, P.RING_COMMIT_AND_FETCH, tag);
    const { sqes } = this.ring;
    sqes[at + SQE.payload + COMMIT_ID] = words[entry.commitId]!;
    sqes[at + SQE.payload + COMMIT_ID + 1] = words[entry.commitId + 1]!;
    sqes[at + SQE.payload + QUEUE] = entry.queue;
  }
}
