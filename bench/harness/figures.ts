/** Single figures of LCFS that are compared with nothing but each other. */
import type { Bench } from './bench.js';

export interface Figure {
  /** What was measured, as in `lookup, io_uring, same CPU`. */
  name: string;
  /** Lower is better for all units but those per second. */
  value: number;
  unit: string;
  /** Compared with what, as in `2.1 × the same CPU`. */
  note?: string;
}

/** Adds a row of one value for each. */
export function addFigures(bench: Bench, figures: readonly Figure[]): void {
  for (const { name, value, unit, note } of figures) {
    const better = unit.endsWith('/s') ? 'higher' : 'lower';
    bench.addRow({ metric: name, peer: 'lcfs', unit, better, values: [value], ...(note === undefined ? {} : { notes: note }) });
  }
}

/** `3.1 × what`, or `0.9 × what`. */
export function ratio(value: number, base: number, what: string): string {
  return `${(value / base).toFixed(2)} × ${what}`;
}
