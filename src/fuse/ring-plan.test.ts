import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { QUEUE_ENTRIES, RING_THREADS_MAX, entriesOf, queueEntries, ringRoles } from './ring-plan.js';
import { ENTRY_MEMORY_BYTES } from './ring-memory.js';

const cpus = (count: number): number[] => Array.from({ length: count }, (_, cpu) => cpu);

describe('the plan of ring threads', () => {
  it('pins a thread to each CPU, with one more for /dev/fuse', () => {
    assert.deepEqual(ringRoles(cpus(2), cpus(2)), [
      { kind: 'device', descriptor: 0, beside: true },
      { kind: 'ring', shares: [{ queue: 0, entries: QUEUE_ENTRIES }], cpus: [0], firstEntry: 0 },
      { kind: 'ring', shares: [{ queue: 1, entries: QUEUE_ENTRIES }], cpus: [1], firstEntry: QUEUE_ENTRIES },
    ]);
  });

  it('gives every possible CPU an entry, whether it works or not', () => {
    for (const [possible, online] of [
      [4, [1, 3]],
      [128, cpus(8)],
      [64, cpus(64)],
      [256, cpus(1)],
    ] as [number, number[]][]) {
      const roles = ringRoles(cpus(possible), online).filter((role) => role.kind === 'ring');
      const queues = roles.flatMap((role) => role.shares.map((share) => share.queue)).toSorted((a, b) => a - b);
      assert.deepEqual(queues, cpus(possible));
      assert.ok(roles.every((role) => role.cpus.length > 0 && role.shares.every((share) => share.entries >= 1)));
      assert.ok(roles.length <= RING_THREADS_MAX);
      for (const cpu of online) {
        const role = roles.find((role) => role.shares.some((share) => share.queue === cpu))!;
        assert.ok(role.cpus.includes(cpu));
      }
    }
  });

  it('takes no more threads and entries than are needed', () => {
    const roles = ringRoles(cpus(8), cpus(8), { entries: 4, threads: 4 }).filter((role) => role.kind === 'ring');
    assert.equal(roles.length, 4);
    assert.ok(roles.every((role) => role.cpus.length === 2 && role.shares.every((share) => share.entries === 4)));
  });

  it('gives each entry a number of its own', () => {
    const roles = ringRoles(cpus(9), [0, 1, 2, 5], undefined, 100).filter((role) => role.kind === 'ring');
    let next = 100;
    for (const role of roles) {
      assert.equal(role.firstEntry, next);
      next += entriesOf(role);
    }
    assert.equal(next, 100 + 4 * QUEUE_ENTRIES + 5);
  });

  it('keeps within its memory', () => {
    for (let online = 1; online <= 32; online++) {
      const bytes = queueEntries(32, online) * online * ENTRY_MEMORY_BYTES + (32 - online) * ENTRY_MEMORY_BYTES;
      assert.ok(bytes <= 64 * 2 ** 20, `${online} CPUs`);
    }
    assert.equal(queueEntries(512, 512), 1);
  });
});
