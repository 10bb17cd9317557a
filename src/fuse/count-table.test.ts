import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { Worker, isMainThread, workerData } from 'node:worker_threads';
import { Random } from '../../test/support/volume.js';
import { COUNT_TABLE_BYTES, CountTable } from './count-table.js';

const THREADS = 3;
const ROUNDS = 30_000;
const KEYS = 20;

/** Counts up and down; what a key carries must be of the thread that began to count it, for as long as anybody counts. */
function race(memory: SharedArrayBuffer, id: number): void {
  const table = new CountTable(memory, 0);
  const chance = new Random(id);
  for (let round = 0; round < ROUNDS; round++) {
    const ino = 2 + chance.below(KEYS);
    const number = table.take(7, ino) || table.put(7, ino, id * 1000 + ino);
    assert.equal(number % 1000, ino);
    assert.equal(table.numberOf(7, ino), number);
    const dropped = table.drop(7, ino);
    assert.ok(dropped === 0 || dropped === number);
  }
}

if (!isMainThread) race(workerData.memory as SharedArrayBuffer, workerData.id as number);
else describe('a table of counters', describeTable);

function describeTable(): void {
  it('counts, keeps the first number and forgets with the last', () => {
    const table = new CountTable(new SharedArrayBuffer(COUNT_TABLE_BYTES), 0);
    assert.equal(table.take(1, 2), 0);
    assert.equal(table.put(1, 2, 5), 5);
    assert.equal(table.put(1, 2, 6), 5);
    assert.equal(table.take(1, 2), 5);
    assert.deepEqual([table.numberOf(1, 2), table.numberOf(1, 3), table.keys()], [5, 0, 1]);
    assert.deepEqual([table.drop(1, 2), table.drop(1, 2), table.drop(1, 2), table.drop(1, 2)], [0, 0, 5, 0]);
    assert.equal(table.keys(), 0);
  });

  it('does what a map does', () => {
    const table = new CountTable(new SharedArrayBuffer(COUNT_TABLE_BYTES), 0);
    const model = new Map<string, { number: number; count: number }>();
    const chance = new Random();
    console.log(`# seed of the random operations: LCFS_SEED=${chance.seed}`);
    for (let i = 0; i < 50_000; i++) {
      const [layer, ino] = [chance.pick([0, 1, 0xffff_fff0]), 2 + chance.below(2000)];
      const key = `${layer} ${ino}`;
      const counted = model.get(key);
      if (chance.below(2) === 0) {
        const number = table.put(layer, ino, i + 1);
        if (number === 0) continue;
        assert.equal(number, counted?.number ?? i + 1);
        model.set(key, { number, count: (counted?.count ?? 0) + 1 });
      } else {
        assert.equal(table.drop(layer, ino), counted?.count === 1 ? counted.number : 0);
        if (counted !== undefined && --counted.count === 0) model.delete(key);
      }
    }
    assert.equal(table.keys(), model.size);
  });

  it('says when it has no room', () => {
    const table = new CountTable(new SharedArrayBuffer(COUNT_TABLE_BYTES), 0);
    let placed = 0;
    for (let ino = 2; ino < 100_000; ino++) if (table.put(3, ino, ino) === ino) placed++;
    assert.ok(placed > 20_000 && placed < 30_000, `${placed} keys`);
    assert.equal(table.keys(), placed);
    for (let ino = 2; ino < 100_000; ino++) table.drop(3, ino);
    assert.equal(table.keys(), 0);
  });

  it('is one for all threads', async () => {
    const memory = new SharedArrayBuffer(COUNT_TABLE_BYTES);
    const workers = Array.from({ length: THREADS }, (_, id) => new Worker(new URL(import.meta.url), { workerData: { memory, id } }));
    for (const [code] of await Promise.all(workers.map((worker) => once(worker, 'exit')))) assert.equal(code, 0);
    assert.equal(new CountTable(memory, 0).keys(), 0);
  });
}
