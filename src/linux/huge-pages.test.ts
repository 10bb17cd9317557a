/** Memory files keep what they hold when they get huge pages; whether there are any is up to the system. */
import assert from 'node:assert/strict';
import { closeSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { HUGE_BYTES, gatherPages } from './huge-pages.js';
import { createMemoryFile, mapMemoryFileAt, unmapMemoryFile, viewMemory } from './memory-file.js';

const BASE = 0x4a00_0000_0000;

/** KiB of huge pages that are mapped from memory files. */
function hugeKibibytes(): number {
  const text = readFileSync('/proc/self/smaps_rollup', 'latin1');
  return ['ShmemPmdMapped', 'FilePmdMapped'].reduce((sum, name) => sum + Number(new RegExp(`${name}:\\s+(\\d+)`).exec(text)?.[1] ?? 0), 0);
}

test('what lies around an address is gathered, and stays what it is', (t) => {
  const fd = createMemoryFile('test', 2 * HUGE_BYTES);
  mapMemoryFileAt(fd, 2 * HUGE_BYTES, BASE);
  try {
    const words = new Uint32Array(viewMemory(BASE, 2 * HUGE_BYTES));
    for (let i = 0; i < words.length; i += 1000) words[i] = i;
    const before = hugeKibibytes();
    gatherPages(BASE + HUGE_BYTES + 12_345);
    t.diagnostic(`${hugeKibibytes() - before} KiB in huge pages`);
    for (let i = 0; i < words.length; i++) if (words[i] !== (i % 1000 === 0 ? i : 0)) assert.fail(`word ${i} is ${words[i]}`);
  } finally {
    unmapMemoryFile(BASE, 2 * HUGE_BYTES);
    closeSync(fd);
  }
});
