import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { noCounts } from '../harness/bench.js';
import { median, quantile } from '../harness/statistics.js';
import type { Row } from '../harness/types.js';
import { judge } from './aims.js';
import { barChart, lineChart } from './chart.js';
import { readNotes } from './notes.js';
import { resultTables } from './tables.js';

function row(metric: string, peer: string, values: number[], more: Partial<Row> = {}): Row {
  return { part: 'containers', metric, peer, disk: 'fast', unit: 'ms', better: 'lower', values, ...noCounts(), ...more };
}

const CREATE = 'create and remove a container';

test('medians and quantiles', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  assert.ok(Number.isNaN(median([])));
  assert.equal(quantile([1, 2, 3, 4], 0.99), 4);
});

test('an aim compares medians of the same measurement, and says by how much it is missed', () => {
  const rows = [row(CREATE, 'lcfs', [10, 30, 20], { x: 20 }), row(CREATE, 'overlay2', [17, 17, 17], { x: 20 })];
  const slow = [row(CREATE, 'overlay2', [900], { x: 20, disk: 'slow' }), row(CREATE, 'overlay2', [900], { x: 100 })];
  const [verdict, ...others] = judge([...rows, ...slow]);
  assert.deepEqual(others, []);
  assert.deepEqual([verdict!.measured, verdict!.met, verdict!.missedBy], ['0.85 ×', false, '50 %']);
});

test('more is better where the row says so', () => {
  const metric = 'sequential read, warm';
  const more = { better: 'higher', unit: 'MB/s' } as const;
  const [verdict] = judge([row(metric, 'lcfs', [200], more), row(metric, 'overlay2', [100], more)]);
  assert.deepEqual([verdict!.measured, verdict!.met], ['2.00 ×', true]);
});

test('growth is judged between two points of the same metric', () => {
  const [verdict] = judge([row(CREATE, 'lcfs', [10], { x: 20 }), row(CREATE, 'lcfs', [12], { x: 100 })]);
  assert.deepEqual([verdict!.measured, verdict!.met], ['1.20 ×', false]);
});

test('a table has the peers side by side, and says who failed', () => {
  const text = resultTables([
    row('rmi', 'lcfs', [10, 12, 11], { writes: [5], bytesWritten: [1e6], flushes: [2], busyMs: [900], engineMs: [300], storageMs: [0] }),
    row('rmi', 'overlay2', [22, 22, 22]),
    row('rmi', 'vfs', [], { failed: 'no room' }),
  ]);
  assert.match(text, /\| rmi, ms \| 11\.0 \[10\.0–12\.0\] ×3 \| 22\.0 \[22\.0–22\.0\] ×3 \| {2}\| \*\*2\.00 ×\*\* \|/);
  assert.match(text, /\| rmi \| 5\.00 \/ 1\.00 \/ 2\.00 \|/);
  assert.match(text, /\| rmi \| 0\.90 \/ 0\.30 \/ – \|/);
  assert.match(text, /vfs failed at \*rmi\*: no room/);
});

test('notes take their figures from the rows, and have a place in the report', () => {
  const folder = mkdtempSync(join(tmpdir(), 'lcfs-notes-'));
  const file = join(folder, 'notes.md');
  const rows = [row(CREATE, 'lcfs', [10], { x: 20 }), row(CREATE, 'overlay2', [25], { x: 20 })];
  try {
    writeFileSync(
      file,
      `## end\n\nTakes {{containers; ${CREATE}@20; lcfs; fast}}, {{times: containers; ${CREATE}@20; overlay2; fast}} times.\n`,
    );
    assert.equal(readNotes(file, ['end'], rows).get('end'), 'Takes 10.0 ms, 2.50 times.');
    assert.throws(() => readNotes(file, ['method'], rows), /no place/);
    assert.equal(readNotes(join(folder, 'absent'), [], rows).size, 0);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('charts are well-formed drawings with the names of all series and a dark variant', () => {
  const sample = { median: 2, least: 1, most: 3 };
  const chart = { title: 'Title <1>', yName: 'ms', logarithmic: false, series: [{ peer: 'lcfs', samples: [sample, null] }] };
  for (const svg of [barChart({ ...chart, categories: ['a', 'b'] }, 1), lineChart({ ...chart, categories: [20, 100] })]) {
    assert.match(svg, /^<svg [\s\S]*<\/svg>\s*$/);
    assert.match(svg, />lcfs</);
    assert.match(svg, />Title &lt;1&gt;</);
    assert.match(svg, /prefers-color-scheme: dark/);
  }
});
