/**
 * What is wanted of LCFS, as conditions on rows. The report shows each with what was measured, met or not.
 *
 *   factor   at least so many times as good as another peer, in the same run
 *   growth   a value at one x is at most so many times that at another
 *   most     a value is at most so much
 */
import { advantage } from '../harness/print.js';
import { median } from '../harness/statistics.js';
import type { Disk, Row } from '../harness/types.js';

interface Where {
  /** Which rows: by their metric, and by their x where it has several. */
  metric: RegExp;
  x?: number;
  disk: Disk;
}

export type Aim = Where &
  (
    | { kind: 'factor'; least: number; versus: string }
    | { kind: 'growth'; from: number; to: number; most: number }
    | { kind: 'most'; most: number; unit: string }
  );

const factor = (disk: Disk, metric: RegExp, least: number, x?: number): Aim[] => {
  const where = { metric, disk, ...(x === undefined ? {} : { x }) };
  const aim: Aim = { kind: 'factor', ...where, least, versus: 'overlay2' };
  return disk === 'slow' ? [aim] : [aim, { ...aim, least: 1, versus: 'fuse-overlayfs' }];
};

/** On the fast disk everything is also to be faster than fuse-overlayfs. containerd's part has overlayfs by its own snapshotter. */
export const AIMS: readonly Aim[] = [
  ...factor('fast', /^import a root/, 3),
  ...factor('fast', /^pull [^,]*$/, 1.25),
  { kind: 'factor', metric: /^pull and unpack/, disk: 'fast', least: 1.25, versus: 'overlayfs' },
  ...factor('fast', /^docker build/, 1.3),
  ...factor('fast', /^create and remove a container/, 1.7, 20),
  ...factor('fast', /^create and remove a container/, 1.7, 100),
  ...factor('fast', /^run and remove a container/, 1.1, 20),
  ...factor('fast', /^run and remove a container/, 1.1, 100),
  { kind: 'growth', metric: /^create and remove a container/, disk: 'fast', from: 20, to: 100, most: 1 },
  { kind: 'growth', metric: /^run and remove a container/, disk: 'fast', from: 20, to: 100, most: 1 },
  ...factor('fast', /^first write/, 1000),
  { kind: 'growth', metric: /^page cache/, disk: 'fast', from: 1, to: 100, most: 1.1 },
  ...factor('fast', /warm.*\bread|\bread.*warm|mmap/, 0.95),
  ...factor('fast', /warm.*\bfind\b|\bfind\b.*warm|C compile/, 0.95),
  ...factor('fast', /\buntar\b|\brm -rf\b|\bgit clone\b|\bnpm ci\b/, 0.8),
  ...factor('slow', /^docker build/, 5),
  ...factor('slow', /^pull [^,]*$/, 2.5),
  ...factor('slow', /^create and remove a container/, 10, 20),
  ...factor('slow', /^run and remove a container/, 4, 20),
  { kind: 'most', metric: /^CPU of the daemon per FUSE request, uring/, disk: 'fast', most: 4, unit: 'µs' },
];

export interface Verdict {
  part: string;
  metric: string;
  disk: Disk;
  wanted: string;
  measured: string;
  met: boolean;
  /** As in `0.85 of what is wanted`; empty if it is met. */
  missedBy: string;
}

/** What the rows say about the aims; those that nothing was measured for are left out. */
export function judge(rows: readonly Row[]): Verdict[] {
  return AIMS.flatMap((aim) => {
    const ours = rows.filter((row) => row.peer === 'lcfs' && matches(aim, row) && row.values.length > 0);
    if (aim.kind === 'growth') return growth(aim, ours);
    return ours.flatMap((row) => (aim.kind === 'factor' ? compared(aim, row, rows) : atMost(aim, row)));
  });
}

function matches(aim: Aim, row: Row): boolean {
  return row.disk === aim.disk && aim.metric.test(row.metric) && (aim.x === undefined || row.x === aim.x);
}

type Of<K extends Aim['kind']> = Extract<Aim, { kind: K }>;

function compared({ least, versus }: Of<'factor'>, row: Row, rows: readonly Row[]): Verdict[] {
  const other = rows.find((one) => one.peer === versus && isSameMeasurement(one, row) && one.values.length > 0);
  if (other === undefined) return [];
  const measured = advantage(row, other);
  return [verdict(row, `≥ ${least} × ${versus}`, `${measured.toFixed(2)} ×`, measured / least)];
}

export function isSameMeasurement(one: Row, other: Row): boolean {
  return one.part === other.part && one.metric === other.metric && one.x === other.x && one.disk === other.disk;
}

function growth({ from, to, most }: Of<'growth'>, ours: readonly Row[]): Verdict[] {
  return ours
    .filter((row) => row.x === to)
    .flatMap((row) => {
      const base = ours.find((other) => other.x === from && other.metric === row.metric);
      if (base === undefined) return [];
      const measured = median(row.values) / median(base.values);
      return [verdict(row, `≤ ${most} × that at ${from}`, `${measured.toFixed(2)} ×`, most / measured)];
    });
}

function atMost({ most, unit }: Of<'most'>, row: Row): Verdict[] {
  const measured = median(row.values);
  return [verdict(row, `≤ ${most} ${unit}`, `${measured.toFixed(1)} ${row.unit}`, most / measured)];
}

/** @param share how much of what is wanted was reached; 1 or more: all of it */
function verdict(row: Row, wanted: string, measured: string, share: number): Verdict {
  const metric = row.x === undefined ? row.metric : `${row.metric}, ${row.x}`;
  const met = share >= 1;
  const missedBy = met ? '' : `${Math.ceil((1 - share) * 100)} %`;
  return { part: row.part, metric, disk: row.disk, wanted, measured, met, missedBy };
}
