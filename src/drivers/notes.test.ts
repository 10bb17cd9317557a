import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { test } from 'node:test';
import { createMemoryFile } from '../linux/memory-file.js';
import { NOTE_BYTES, Notes } from './notes.js';

function withFile(work: (fd: number) => void): void {
  const fd = createMemoryFile('lcfs-test-notes', 0);
  try {
    work(fd);
  } finally {
    closeSync(fd);
  }
}

/** What a process that comes later finds. */
const readAgain = (fd: number): Record<string, number> => Object.fromEntries(new Notes<number>(fd).read());

test('notes are found by those who come later', () =>
  withFile((fd) => {
    const notes = new Notes<number>(fd);
    assert.deepEqual(notes.read(), new Map());
    for (const [index, key] of ['a', 'b', 'c'].entries()) notes.put(key, index);
    notes.put('b', 7);
    notes.drop('a');
    notes.drop('unknown');
    assert.deepEqual(readAgain(fd), { b: 7, c: 2 });
  }));

test('places of notes that were dropped are used again, also by another process', () =>
  withFile((fd) => {
    const first = new Notes<number>(fd);
    first.read();
    for (let i = 0; i < 100; i++) {
      first.put(String(i), i);
      first.drop(String(i));
    }
    const second = new Notes<number>(fd);
    second.read();
    second.put('x', 1);
    second.put('y', 2);
    assert.deepEqual(readAgain(fd), { x: 1, y: 2 });
  }));

test('a note that has no room is not kept, nor what it replaces', () =>
  withFile((fd) => {
    const notes = new Notes<string>(fd);
    notes.read();
    notes.put('long', 'short');
    notes.put('long', 'x'.repeat(NOTE_BYTES));
    notes.put('full', 'ä'.repeat((NOTE_BYTES - '{"key":"full","note":""}'.length) / 2));
    assert.deepEqual([...new Notes<string>(fd).read().keys()], ['full']);
  }));

test('without a file nothing is kept', () => {
  const notes = new Notes<number>(null);
  assert.equal(notes.read().size, 0);
  notes.put('a', 1);
  notes.drop('a');
});
