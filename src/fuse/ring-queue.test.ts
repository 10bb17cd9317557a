/** When a thread says that it serves, the kernel has all its entries; with a ring that only writes down what it is told. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ENOENT } from '../linux/errno.js';
import { close } from '../linux/libc.js';
import { createMemoryFile, viewMemory } from '../linux/memory-file.js';
import type { Uring } from '../linux/uring.js';
import { MARKS, RING_BASE, entriesBytes, mapEntries, pageOf, unmapEntries } from './ring-memory.js';
import { RingQueues } from './ring-queue.js';
import * as P from './protocol.js';

const ENTRIES = 4;
const DEVICE = 7;
/** As the kernel's: a power of two, with room for all. */
const SUBMISSIONS = 16;
const SQE_WORDS = 32;

let file = -1;
before(() => {
  file = createMemoryFile('entries', entriesBytes(ENTRIES));
  mapEntries(file, ENTRIES);
});
after(() => {
  unmapEntries(ENTRIES);
  close(file);
});

/** Knows no request any more: whoever commits one is told so at once. Whoever registers waits for a request that never comes. */
class KernelWithoutRequests {
  readonly sqes = new Int32Array(SUBMISSIONS * SQE_WORDS);
  readonly registered = new Set<number>();
  completionTag = 0;
  completionResult = 0;
  private prepared: { command: number; tag: number }[] = [];
  private completions: { tag: number; result: number }[] = [];

  endWithThread(): void {
    // No thread ends here.
  }

  prepare(fd: number, command: number, tag: number): number {
    assert.equal(fd, DEVICE);
    this.prepared.push({ command, tag });
    return (this.prepared.length % SUBMISSIONS) * SQE_WORDS;
  }

  submit(): number {
    for (const { command, tag } of this.prepared.splice(0)) {
      if (command === P.RING_REGISTER) this.registered.add(tag);
      else this.completions.push({ tag, result: -ENOENT });
    }
    return 0;
  }

  enter(): number {
    return this.submit();
  }

  next(): boolean {
    const completion = this.completions.shift();
    if (completion === undefined) return false;
    this.completionTag = completion.tag;
    this.completionResult = completion.result;
    return true;
  }
}

function queues(kernel: KernelWithoutRequests): RingQueues {
  return new RingQueues(kernel as unknown as Uring, DEVICE, [{ queue: 0, entries: ENTRIES }], 0, ENTRIES);
}

/** Makes an entry look as after a request whose reply was committed. */
function leaveReply(entry: number): void {
  const words = new Uint32Array(viewMemory(RING_BASE, entriesBytes(ENTRIES)));
  const page = pageOf(entry) / 4;
  const id = 2 * (entry + 1);
  words[page + P.RING_COMMIT_ID / 4] = id;
  for (const mark of [0, 2]) words[page + MARKS / 4 + mark] = id;
}

test('fresh entries are registered', () => {
  const kernel = new KernelWithoutRequests();
  queues(kernel).register(false);
  assert.equal(kernel.registered.size, ENTRIES);
});

test('after a death no entry is left for later, though each had been answered', () => {
  for (let entry = 0; entry < ENTRIES; entry++) leaveReply(entry);
  const kernel = new KernelWithoutRequests();
  queues(kernel).register(true);
  assert.equal(kernel.registered.size, ENTRIES);
});
