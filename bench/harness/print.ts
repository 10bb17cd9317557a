/** Rows as lines of text, for who watches the benchmark run. */
import { median } from './statistics.js';
import type { Row } from './types.js';

/** @param rows those before, for the one that this is compared with */
export function printRow(row: Row, rows: readonly Row[]): void {
  const value = row.values.length === 0 ? `failed: ${row.failed ?? 'no value'}` : `${figure(median(row.values))} ${row.unit}`;
  const name = row.x === undefined ? row.metric : `${row.metric} (${row.x})`;
  const counts = row.writes.length === 0 ? '' : `  ${figure(median(row.writes))} writes, ${figure(median(row.flushes))} flushes`;
  console.error(`${row.disk}  ${name.padEnd(48)} ${row.peer.padEnd(16)} ${value.padStart(12)}${counts}${factor(row, rows)}`);
}

/** As in `  1.85 times as fast`, for a row that is compared with the one of LCFS. */
function factor(row: Row, rows: readonly Row[]): string {
  if (row.peer === 'lcfs' || row.values.length === 0) return '';
  const same = (other: Row): boolean =>
    other.peer === 'lcfs' && other.part === row.part && other.metric === row.metric && other.x === row.x && other.disk === row.disk;
  const ours = rows.find((other) => same(other) && other.values.length > 0);
  return ours === undefined ? '' : `  LCFS is ${advantage(ours, row).toFixed(2)} times as good`;
}

/** How many times better the median of `row` is than that of `other`. */
export function advantage(row: Row, other: Row): number {
  const quotient = median(other.values) / median(row.values);
  return row.better === 'lower' ? quotient : 1 / quotient;
}

/** A number with three digits that mean something. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return '–';
  if (value === 0) return '0';
  const magnitude = Math.abs(value);
  if (magnitude >= 100) return Math.round(value).toLocaleString('en');
  return value.toFixed(magnitude >= 10 ? 1 : magnitude >= 1 ? 2 : 3);
}
