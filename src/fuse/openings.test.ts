import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Random } from '../../test/support/volume.js';
import { endForgotten, listOpenings, useOpenFiles } from './open-files.js';
import { COUNTED, OPENINGS_BYTES, Openings, PASSING, flagsOf, type Opening } from './openings.js';
import { OPENINGS_AT, newTables } from './tables.js';

const memory = (): SharedArrayBuffer => new SharedArrayBuffer(OPENINGS_BYTES);

describe('openings that a process left', () => {
  it('are looked at until the kernel does not know them', () => {
    const tables = newTables();
    const table = new Openings(tables.memory, tables.at + OPENINGS_AT);
    for (let ino = 2; ino < 6; ino++) table.add(COUNTED, ino, 0, 7, ino, 0, 0);
    useOpenFiles(tables, true);
    const later = endForgotten(listOpenings(), ({ ino }) => ino < 4);
    const inodes = (): number[] => listOpenings().map(([, { ino }]) => ino);
    assert.deepEqual(inodes(), [2, 3]);
    table.remove(later[0]![0]);
    const last = endForgotten(later, () => true);
    assert.deepEqual(
      last.map(([, { ino }]) => ino),
      [3],
    );
    assert.deepEqual(
      endForgotten(last, () => false),
      [],
    );
    assert.deepEqual(inodes(), []);
  });
});

describe('the table of openings', () => {
  it('knows what a handle stands for until it is closed, and who opened it', () => {
    const table = new Openings(memory(), 0);
    const handle = table.add(PASSING, 8, 1, 7, 12, 3, 40);
    assert.equal(flagsOf(handle), PASSING);
    assert.deepEqual(table.openingOf(handle), { flags: PASSING, layer: 7, ino: 12, contents: 3, backing: 40 } satisfies Opening);
    assert.deepEqual([table.handleOf(8, 1), table.handleOf(8, 2), table.handleOf(10, 1)], [handle, 0, 0]);
    assert.equal(table.isOpen(handle), true);
    table.remove(handle);
    assert.equal(table.isOpen(handle), false);
    assert.equal(table.handleOf(8, 1), 0);
  });

  it('knows which files of which layers are open for reading and writing', () => {
    const table = new Openings(memory(), 0);
    table.add(PASSING, 2, 0, 7, 11, 3, 40);
    const first = table.add(COUNTED, 4, 0, 7, 12, 0, 0);
    const second = table.add(COUNTED, 6, 0, 7, 12, 0, 0);
    table.add(COUNTED, 8, 0, 0xffff_fffe, 0xffff_fffd, 0, 0);
    assert.deepEqual([table.writtenIn(7), table.writtenIn(0xffff_fffe), table.writtenIn(3)], [[12], [0xffff_fffd], []]);
    assert.deepEqual(table.layersWritten(), [7, 0xffff_fffe]);
    table.remove(first);
    assert.deepEqual(table.writtenIn(7), [12]);
    table.remove(second);
    assert.deepEqual([table.writtenIn(7), table.layersWritten()], [[], [0xffff_fffe]]);
  });

  it('never takes a later opening for an earlier one', () => {
    const table = new Openings(memory(), 0);
    const first = table.add(COUNTED, 2, 0, 1, 2, 0, 0);
    table.remove(first);
    const second = table.add(COUNTED, 4, 0, 1, 2, 0, 0);
    assert.notEqual(second, first);
    assert.deepEqual([table.isOpen(first), table.isOpen(second)], [false, true]);
  });

  it('is the same for who comes after a death, wherever that was', (t) => {
    const chance = new Random();
    t.diagnostic(`LCFS_SEED=${chance.seed}`);
    const bytes = memory();
    const words = new Int32Array(bytes);
    const open = new Map<number, number>();
    let table = new Openings(bytes, 0);
    for (let i = 1; i < 20_000; i++) {
      if (chance.below(5) < 3 || open.size === 0) open.set(table.add(COUNTED, i, 0, 1, i, 0, 0), i);
      else {
        const [handle] = chance.pick([...open.keys()].slice(0, 20).map((key) => [key]));
        table.remove(handle!);
        open.delete(handle!);
      }
      if (chance.below(1000) > 0) continue;
      // The stack is lost, as if its changes had not been completed.
      words[0] = chance.next();
      table = new Openings(bytes, 0);
      const left = table.recover().map(({ ino }) => ino);
      assert.deepEqual(
        left.toSorted((a, b) => a - b),
        [...open.values()],
      );
      for (const handle of open.keys()) assert.ok(table.isOpen(handle));
    }
    assert.equal([...table.all()].length, open.size);
  });
});
