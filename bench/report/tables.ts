/** Rows as Markdown tables: a line for each metric, a column for each peer. */
import { advantage, figure } from '../harness/print.js';
import { median } from '../harness/statistics.js';
import type { Row } from '../harness/types.js';
import { orderPeers } from './chart.js';
import { isSameMeasurement, type Verdict } from './aims.js';

const LONG_MS = 200;

export function table(head: readonly string[], lines: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), `|${head.map((_, i) => (i === 0 ? ' --- |' : ' ---: |')).join('')}`, ...lines.map(line)].join('\n');
}

/** All rows of one part on one disk. */
export function resultTables(rows: readonly Row[]): string {
  const peers = orderPeers(rows.map((row) => row.peer));
  if (peers.length === 1) return singleTable(rows);
  return [comparisonTable(rows, peers), ioTable(rows, peers), processorTable(rows, peers), failures(rows)]
    .filter((text) => text !== '')
    .join('\n\n');
}

/** What only LCFS was measured for. */
function singleTable(rows: readonly Row[]): string {
  const lines = rows.map((row) => [metricName(row), `${summary(row)} ${row.unit}`, String(row.values.length), row.notes ?? '']);
  return table(['', 'median [range]', 'N', ''], lines);
}

/** Median, range and number of repetitions of each peer, and how LCFS compares with two of them. */
function comparisonTable(rows: readonly Row[], peers: readonly string[]): string {
  const bases = ['overlay2', 'overlayfs', 'fuse-overlayfs'].filter((peer) => peers.includes(peer));
  const head = ['', ...peers, ...bases.map((peer) => `LCFS against ${peer}`)];
  const lines = groups(rows).map((group) => {
    const name = `${metricName(group[0]!)}, ${group[0]!.unit}`;
    return [name].concat(
      peers.map((peer) => summary(find(group, peer))),
      bases.map((peer) => times(group, peer)),
    );
  });
  return table(head, lines);
}

/** Writes, data and flushes that reached the device; only where they were counted. */
function ioTable(rows: readonly Row[], peers: readonly string[]): string {
  const counted = groups(rows).filter((group) => group.some((row) => row.writes.length > 0));
  if (counted.length === 0) return '';
  const lines = counted.map((group) => [metricName(group[0]!)].concat(peers.map((peer) => io(find(group, peer)))));
  return `What reached the device: writes / MB written / flushes (medians)\n\n${table(['', ...peers], lines)}`;
}

function io(row: Row | undefined): string {
  if (row === undefined || row.writes.length === 0) return '';
  return [median(row.writes), median(row.bytesWritten) / 1e6, median(row.flushes)].map(figure).join(' / ');
}

/** Where the time goes; only of what takes long enough for the kernel's steps of 10 ms. */
function processorTable(rows: readonly Row[], peers: readonly string[]): string {
  const long = groups(rows).filter((group) => group.some((row) => median(row.busyMs) >= LONG_MS));
  if (long.length === 0) return '';
  const lines = long.map((group) => [metricName(group[0]!)].concat(peers.map((peer) => processorTime(find(group, peer)))));
  return `Processor time in s: everything / Docker and containerd / what serves the storage (medians)\n\n${table(['', ...peers], lines)}`;
}

function processorTime(row: Row | undefined): string {
  if (row === undefined || row.busyMs.length === 0) return '';
  return [row.busyMs, row.engineMs, row.storageMs].map((times) => seconds(median(times))).join(' / ');
}

/** Nothing is what there is no process for. */
const seconds = (ms: number): string => (ms === 0 ? '–' : (ms / 1000).toFixed(2));

function failures(rows: readonly Row[]): string {
  const failed = rows.filter((row) => row.failed !== undefined);
  return failed.map((row) => `* ${row.peer} failed at *${metricName(row)}*: ${row.failed}`).join('\n');
}

/** Rows of the same measurement, in the order in which they were made. */
export function groups(rows: readonly Row[]): Row[][] {
  const found: Row[][] = [];
  for (const row of rows) {
    const group = found.find(([first]) => isSameMeasurement(first!, row));
    if (group === undefined) found.push([row]);
    else group.push(row);
  }
  return found;
}

export function find(group: readonly Row[], peer: string): Row | undefined {
  return group.find((row) => row.peer === peer && row.values.length > 0);
}

const metricName = (row: Row): string => (row.x === undefined ? row.metric : `${row.metric}, ${row.x.toLocaleString('en')}`);

/** As in `12.3 [11.8–14.0] ×5`. */
function summary(row: Row | undefined): string {
  if (row === undefined || row.values.length === 0) return '';
  const middle = figure(median(row.values));
  if (row.values.length === 1) return `${middle} ×1`;
  return `${middle} [${figure(Math.min(...row.values))}–${figure(Math.max(...row.values))}] ×${row.values.length}`;
}

function times(group: readonly Row[], peer: string): string {
  const [ours, other] = [find(group, 'lcfs'), find(group, peer)];
  return ours === undefined || other === undefined ? '' : `**${advantage(ours, other).toFixed(2)} ×**`;
}

export function verdictTable(verdicts: readonly Verdict[]): string {
  const lines = verdicts.map((one) => [one.metric, one.disk, one.wanted, one.measured, one.met ? 'met' : `missed by ${one.missedBy}`]);
  return table(['', 'disk', 'wanted', 'measured', ''], lines);
}
