/** What commands print: tables and JSON on stdout, progress on stderr when a terminal looks. */
import { Transform } from 'node:stream';
import { formatSize } from './sizes.js';

export function printLine(text: string): void {
  process.stdout.write(`${text}\n`);
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

/** Prints rows under headings, columns aligned; columns whose heading starts with `>` to the right. */
export function printTable(headings: readonly string[], rows: readonly (readonly string[])[]): void {
  const right = headings.map((heading) => heading.startsWith('>'));
  const all = [headings.map((heading) => heading.replace(/^>/, '')), ...rows];
  const widths = headings.map((_, column) => Math.max(...all.map((row) => row[column]!.length)));
  for (const row of all) {
    const cells = row.map((cell, column) => (right[column] ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)));
    printLine(cells.join('  ').trimEnd());
  }
}

/** A JSON array whose elements come one by one, so that a long list needs no memory. */
export class JsonList {
  #started = false;
  add(value: unknown): void {
    process.stdout.write(`${this.#started ? ',\n' : '[\n'}  ${JSON.stringify(value)}`);
    this.#started = true;
  }
  end(): void {
    process.stdout.write(this.#started ? '\n]\n' : '[]\n');
  }
}

/** A line on the terminal that is written over, at most ten times a second; nothing when stderr is no terminal. */
export class Progress {
  #last = 0;
  #shown = false;
  show(text: () => string): void {
    const now = Date.now();
    if (!process.stderr.isTTY || now - this.#last < 100) return;
    this.#last = now;
    this.#shown = true;
    process.stderr.write(`\r\x1b[K${text()}`);
  }
  /** Clears the line. */
  end(): void {
    if (this.#shown) process.stderr.write('\r\x1b[K');
    this.#shown = false;
  }
}

/** Passes bytes on and shows how many went by, `total` being the expected number if it is known. */
export function meter(progress: Progress, verb: string, total?: number): Transform {
  const started = Date.now();
  let bytes = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done): void {
      bytes += chunk.length;
      progress.show(() => meterText(verb, bytes, total, Date.now() - started));
      done(null, chunk);
    },
  });
}

export function meterText(verb: string, bytes: number, total: number | undefined, milliseconds: number): string {
  const of = total === undefined || total === 0 ? '' : ` of ${formatSize(total)} (${Math.floor((bytes / total) * 100)} %)`;
  return `${verb} ${formatSize(bytes)}${of}, ${formatSize(Math.round(bytes / Math.max(milliseconds / 1000, 0.001)))}/s`;
}
