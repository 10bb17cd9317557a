import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { becomeIoFlusher, setNice } from './thread.js';

/** A field of /proc/thread-self/stat, counted from 1 as in proc(5). */
function field(index: number): number {
  const text = readFileSync('/proc/thread-self/stat', 'latin1');
  return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[index - 3]);
}

const PF_MEMALLOC_NOIO = 0x0008_0000;

describe('a thread', { skip: process.getuid!() !== 0 && 'this needs root' }, () => {
  it('comes before others', () => {
    setNice(-5);
    assert.equal(field(19), -5);
    setNice(0);
  });

  it('does not wait for the pages it writes', (t) => {
    if (!becomeIoFlusher()) return t.skip('this needs CAP_SYS_RESOURCE');
    assert.notEqual(field(9) & PF_MEMALLOC_NOIO, 0);
  });
});
