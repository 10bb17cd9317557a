/**
 * The prose of the report, which people write: docs/benchmarks.notes.md. Each `## key` there is put into the report in its
 * place: `introduction`, `method`, the name of a part, or `end`. Figures of the results are not written into prose but
 * referred to, and take the values of the run that the report is made from:
 *
 *   {{part; metric; peer; disk}}         a median with its unit
 *   {{times: part; metric; peer; disk}}  how many times as good as this peer LCFS is
 *
 * where the metric may end with `@x` for a row with an x, as in `create and remove a container@100`.
 */
import { existsSync, readFileSync } from 'node:fs';
import { advantage, figure } from '../harness/print.js';
import { median } from '../harness/statistics.js';
import type { Row } from '../harness/types.js';

/** @param keys those that the report has a place for; others are refused */
export function readNotes(file: string, keys: readonly string[], rows: readonly Row[]): Map<string, string> {
  const notes = new Map<string, string>();
  if (!existsSync(file)) return notes;
  for (const section of readFileSync(file, 'utf8').split(/^## /m).slice(1)) {
    const [key, ...lines] = section.split('\n');
    if (!keys.includes(key!.trim())) throw new Error(`${file} has a section ${key}, for which the report has no place`);
    notes.set(key!.trim(), substitute(lines.join('\n').trim(), rows));
  }
  return notes;
}

function substitute(text: string, rows: readonly Row[]): string {
  return text.replace(/\{\{(times:)?\s*([^}]*)\}\}/g, (_, times: string | undefined, words: string) => {
    const [part, metric, peer, disk] = words.split(';').map((word) => word.trim()) as [string, string, string, string];
    const row = lookUp(rows, part, metric, peer, disk);
    if (row === undefined) return '(not measured)';
    if (times === undefined) return `${figure(median(row.values))} ${row.unit}`;
    const ours = lookUp(rows, part, metric, 'lcfs', disk);
    return ours === undefined ? '(not measured)' : advantage(ours, row).toFixed(2);
  });
}

function lookUp(rows: readonly Row[], part: string, metric: string, peer: string, disk: string): Row | undefined {
  const [name, x] = metric.split('@');
  const wanted = x === undefined ? undefined : Number(x);
  return rows.find(
    (row) =>
      row.part === part && row.metric === name && row.x === wanted && row.peer === peer && row.disk === disk && row.values.length > 0,
  );
}
