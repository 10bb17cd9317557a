import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BEHIND_BYTES, BehindTable } from './behind.js';
import { TICKETS_BYTES, Tickets } from './tickets.js';

describe('a ticket', () => {
  it('is good once, for the task and the node that it was given for', () => {
    const tickets = new Tickets(new SharedArrayBuffer(TICKETS_BYTES), 0);
    assert.deepEqual([tickets.show(1, 8, 5, 2), tickets.show(1, 10, 5, 4), tickets.show(1, 8, 6, 6)], [false, false, false]);
    assert.deepEqual([tickets.show(1, 8, 5, 8), tickets.show(1, 8, 5, 10), tickets.show(1, 8, 5, 12)], [true, false, true]);
  });

  it('has the same outcome for a request that is served again', () => {
    const tickets = new Tickets(new SharedArrayBuffer(TICKETS_BYTES), 0);
    assert.deepEqual([tickets.show(1, 8, 5, 2), tickets.show(1, 8, 5, 2)], [false, false]);
    assert.deepEqual([tickets.show(1, 8, 5, 4), tickets.show(1, 8, 5, 4), tickets.show(1, 8, 5, 6)], [true, true, false]);
  });
});

describe('what the kernel has still to be told', () => {
  it('is there for who comes after a death, but for what was struck off', () => {
    const memory = new SharedArrayBuffer(BEHIND_BYTES);
    const table = new BehindTable(memory, 0);
    const told = table.note({ what: 'contents', layer: 1, ino: 2 });
    const number = table.note({ what: 'released', layer: 0xffff_fff0, ino: 3 });
    table.strike(told);
    assert.deepEqual(new BehindTable(memory, 0).recover(), [{ number, behind: { what: 'released', layer: 0xffff_fff0, ino: 3 } }]);
    table.strike(number);
    assert.deepEqual(table.recover(), []);
  });

  it('has no end, and says when it is full', () => {
    const table = new BehindTable(new SharedArrayBuffer(BEHIND_BYTES), 0);
    const numbers = Array.from({ length: BEHIND_BYTES / 16 + 1 }, (_, ino) => table.note({ what: 'attributes', layer: 1, ino }));
    assert.equal(new Set(numbers).size, numbers.length);
    assert.equal(numbers.at(-1), -1);
    table.strike(-1);
    table.strike(numbers[7]!);
    assert.equal(table.note({ what: 'attributes', layer: 1, ino: 1 }), numbers[7]);
  });
});
