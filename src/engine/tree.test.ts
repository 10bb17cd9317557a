import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MIB, Random, withVolume } from '../../test/support/volume.js';
import { W } from '../layout/memory.js';
import { pageOwner } from '../layout/records.js';
import { CATALOG_LOCK, CHECKPOINT_LOCK, CATALOG_ROOT } from './arena.js';
import { useCatalog } from './catalog.js';
import { checkVolume } from './check.js';
import { checkpoint } from './checkpoint.js';
import { lockExclusive, lockShared, unlockExclusive, unlockShared } from './locks.js';
import { dropCleanPages } from './pager.js';
import { find, findForUpdate, insert, next, recordBytes, recordType, releasePath, remove, seek, seekFloor, valueOf } from './tree.js';

/** The tests use the catalog as a tree, below a record type that nothing else has. */
const TYPE = 99;

function inTree<T>(work: () => T): T {
  lockShared(CHECKPOINT_LOCK);
  lockExclusive(CATALOG_LOCK);
  useCatalog();
  try {
    return work();
  } finally {
    releasePath();
    unlockExclusive(CATALOG_LOCK);
    unlockShared(CHECKPOINT_LOCK);
  }
}

/** Removes what the tests put below the first key words [from, to): check knows no records of this type. */
function removeAll(from: number, to: number): void {
  inTree(() => {
    for (let k0 = from; k0 < to; k0++) {
      for (
        let record = seek(k0, TYPE, 0, 0);
        record !== 0 && W[record] === k0 && recordType(record) === TYPE;
        record = seek(k0, TYPE, 0, 0)
      ) {
        remove(k0, TYPE, W[record + 2]!, W[record + 3]!);
      }
    }
  });
}

type Model = Map<number, { bytes: number; word: number }>;

function fill(k0: number, k: number, bytes: number, word: number): void {
  W.fill(word, valueOf(insert(k0, TYPE, 0, k, bytes)), valueOf(find(k0, TYPE, 0, k)) + Math.ceil(bytes / 4));
}

function matches(record: number, expected: { bytes: number; word: number }): void {
  assert.equal(recordBytes(record), expected.bytes);
  for (let i = 0; i < Math.ceil(expected.bytes / 4); i++) assert.equal(W[valueOf(record) + i], expected.word);
}

function step(random: Random, model: Model, keys: number): void {
  const key = random.below(keys);
  const known = model.get(key);
  switch (random.below(known === undefined ? 2 : 4)) {
    case 0:
    case 1:
      if (known !== undefined) matches(find(7, TYPE, 0, key), known);
      else {
        const value = { bytes: random.below(4) === 0 ? random.below(977) : random.below(60), word: random.next() };
        fill(7, key, value.bytes, value.word);
        model.set(key, value);
      }
      break;
    case 2:
      known!.word = random.next();
      W.fill(known!.word, valueOf(findForUpdate(7, TYPE, 0, key)), valueOf(find(7, TYPE, 0, key)) + Math.ceil(known!.bytes / 4));
      break;
    case 3:
      assert.equal(remove(7, TYPE, 0, key), true);
      model.delete(key);
  }
}

function compareWhole(model: Model): void {
  const keys = [...model.keys()].toSorted((a, b) => a - b);
  let record = seek(7, TYPE, 0, 0);
  for (const key of keys) {
    assert.equal(W[record + 3], key);
    matches(record, model.get(key)!);
    record = next();
  }
  assert.ok(record === 0 || W[record] !== 7 || recordType(record) !== TYPE);
}

function compareFloors(random: Random, model: Model, keys: number): void {
  const sorted = [...model.keys()].toSorted((a, b) => a - b);
  for (let i = 0; i < 50; i++) {
    const key = random.below(keys);
    const expected = sorted.findLast((at) => at <= key);
    const record = seekFloor(7, TYPE, 0, key);
    if (expected === undefined) assert.ok(record === 0 || W[record] !== 7 || recordType(record) !== TYPE);
    else assert.equal(W[record + 3], expected);
  }
}

describe('tree', () => {
  test('random changes agree with a map, across checkpoints and an emptied cache', async () => {
    const random = new Random();
    console.log(`# seed ${random.seed}`);
    await withVolume(64 * MIB, () => {
      const model: Model = new Map();
      for (let round = 0; round < 60; round++) {
        const keys = 1 + random.below(3000);
        inTree(() => {
          for (let i = 0; i < 500; i++) step(random, model, keys);
          compareWhole(model);
          compareFloors(random, model, keys);
        });
        if (random.below(3) === 0) checkpoint();
        if (random.below(3) === 0) dropCleanPages();
      }
      removeAll(7, 8);
    });
  });

  test('pointers stay in order when keys come in front of those of a dropped first page', async () => {
    await withVolume(64 * MIB, () => {
      inTree(() => {
        // Keys in front of everything else in the catalog, three or four to a page, so that pages become empty unmerged.
        const put = (k: number): void => void (W[valueOf(insert(0, 0, 0, k, 976))] = k);
        for (let k = 1000; k < 1200; k += 2) put(k);
        for (let k = 1001; k < 1200; k += 2) put(k);
        for (let k = 1000; k < 1100; k++) assert.equal(remove(0, 0, 0, k), true);
        for (let k = 0; k < 1000; k++) put((k * 389) % 1000);
        for (let k = 0; k < 1200; k++) {
          if (k < 1000 || k >= 1100) assert.equal(W[valueOf(find(0, 0, 0, k))], k);
          else assert.equal(find(0, 0, 0, k), 0);
        }
      });
      assert.deepEqual(
        checkVolume().errors.filter((error) => error.includes('out of order')),
        [],
      );
      inTree(() => {
        for (let k = 0; k < 1200; k++) assert.equal(remove(0, 0, 0, k), k < 1000 || k >= 1100);
      });
    });
  });

  test('ascending keys fill pages', async () => {
    await withVolume(64 * MIB, () => {
      inTree(() => {
        for (let k = 0; k < 20_000; k++) fill(k, k, 96, k);
        for (let k = 0; k < 20_000; k += 97) matches(find(k, TYPE, 0, k), { bytes: 96, word: k });
      });
      // 20,000 records of 112 bytes and a slot are 560 full pages.
      assert.ok(countPages() < 620, `${countPages()} pages`);
      removeAll(0, 20_000);
    });
  });

  test('an emptied tree is a single leaf again', async () => {
    await withVolume(64 * MIB, () => {
      inTree(() => {
        for (let k = 0; k < 5000; k++) fill(9, (k * 7919) % 5000, 40, k);
        for (let k = 0; k < 5000; k++) assert.equal(remove(9, TYPE, 0, (k * 104_729) % 5000), true);
      });
      assert.ok(countPages() <= 2, `${countPages()} pages`);
    });
  });

  test('a key is not found under another type or offset', async () => {
    await withVolume(16 * MIB, () => {
      inTree(() => {
        insert(5, TYPE, 1, 2, 4);
        for (const [k0, type, hi, lo] of [
          [4, TYPE, 1, 2],
          [5, TYPE - 1, 1, 2],
          [5, TYPE, 0, 2],
          [5, TYPE, 1, 3],
          [5, TYPE, 0xffff_ffff, 2],
        ] as const) {
          assert.equal(find(k0, type, hi, lo), 0);
          assert.equal(remove(k0, type, hi, lo), false);
        }
        assert.notEqual(find(5, TYPE, 1, 2), 0);
        assert.equal(pageOwner(CATALOG_ROOT) >= 0, true);
        remove(5, TYPE, 1, 2);
      });
    });
  });
});

/** Pages of the catalog, counted through its free space: the group records and names are a handful. */
function countPages(): number {
  return inTree(() => {
    const seen = new Set<number>();
    for (let record = seek(0, 0, 0, 0); record !== 0; record = next()) seen.add(record >>> 10);
    return seen.size;
  });
}
