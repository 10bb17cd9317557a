import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { IDLE_IDS_BYTES, IdleIds } from './idle-ids.js';

describe('ids that are kept', () => {
  it('are taken once, by the content file that they belong to', () => {
    const ids = new IdleIds(new SharedArrayBuffer(IDLE_IDS_BYTES), 0);
    assert.equal(ids.keep(0, 2, 11), 0);
    assert.equal(ids.keep(0xffff_fff0, 2, 12), 0);
    assert.deepEqual([ids.take(1, 2), ids.take(0, 3)], [0, 0]);
    assert.deepEqual([ids.take(0, 2), ids.take(0, 2)], [11, 0]);
    assert.equal(ids.take(0xffff_fff0, 2), 12);
  });

  it('come back when another takes their place, so none is lost', () => {
    const ids = new IdleIds(new SharedArrayBuffer(IDLE_IDS_BYTES), 0);
    const kept = new Set<number>();
    const closed: number[] = [];
    for (let ino = 2; ino < 20_000; ino++) {
      kept.add(ino);
      const before = ids.keep(ino % 3, ino, ino);
      if (before !== 0) closed.push(before);
    }
    for (const id of closed) assert.ok(kept.delete(id));
    for (const layer of [0, 1, 2]) {
      for (const id of ids.takeLayer(layer)) {
        assert.equal(id % 3, layer);
        assert.ok(kept.delete(id));
      }
    }
    assert.equal(kept.size, 0);
  });
});
