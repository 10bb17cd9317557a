import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { onlineCpus, parseCpuList, pinThread, possibleCpus } from './affinity.js';

describe('CPUs', () => {
  it('reads lists as the kernel writes them', () => {
    assert.deepEqual(parseCpuList('0\n'), [0]);
    assert.deepEqual(parseCpuList('0-3,8,10-11\n'), [0, 1, 2, 3, 8, 10, 11]);
    assert.deepEqual(parseCpuList('\n'), []);
  });

  it('finds those of this machine', () => {
    const possible = possibleCpus();
    assert.ok(onlineCpus().every((cpu) => possible.includes(cpu)));
  });

  it('keeps a thread where it was put', () => {
    const cpu = onlineCpus().at(-1)!;
    assert.equal(pinThread([cpu]), 0);
    const status = readFileSync('/proc/thread-self/status', 'latin1');
    assert.deepEqual(parseCpuList(/^Cpus_allowed_list:\s*(.*)$/m.exec(status)![1]!), [cpu]);
    assert.equal(pinThread(onlineCpus()), 0);
    assert.ok(pinThread([8000]) < 0);
  });
});
