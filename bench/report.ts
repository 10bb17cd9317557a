/** Figures of the benchmark: how they are collected, reduced and printed. */

export interface Figure {
  /** What was measured, as in `lookup, io_uring, same CPU`. */
  name: string;
  /** Lower is better for all units but those per second. */
  value: number;
  unit: string;
  /** Compared with what, as in `2.1 × the same CPU`. */
  note?: string;
}

export interface Part {
  title: string;
  figures: Figure[];
}

/** The value below which `share` of the samples lie. */
export function quantile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
}

export function median(samples: readonly number[]): number {
  return quantile(samples, 0.5);
}

/** `3.1 × what`, or `0.9 × what`. */
export function ratio(value: number, base: number, what: string): string {
  return `${(value / base).toFixed(2)} × ${what}`;
}

export function printPart(part: Part): void {
  console.log(`\n${part.title}`);
  const width = Math.max(...part.figures.map((figure) => figure.name.length));
  for (const { name, value, unit, note } of part.figures) {
    console.log(`  ${name.padEnd(width)}  ${value.toFixed(digits(value)).padStart(9)} ${unit}${note === undefined ? '' : `   ${note}`}`);
  }
}

/** Three digits that mean something. */
function digits(value: number): number {
  return value >= 100 ? 0 : value >= 10 ? 1 : 2;
}
