/** Sizes as people write and read them: 256M, 20G, 1.5T. The units are powers of 1024. */
import { InvalidArgumentError } from 'commander';

const UNITS = ['', 'K', 'M', 'G', 'T', 'P'];
const SIZE = /^(\d+(?:\.\d+)?)\s*([KMGTP]?)(?:i?B)?$/i;

/** Bytes that `text` means, e.g. `256M`, `20GiB`, `4096`. Throws commander's InvalidArgumentError (exit code 2). */
export function parseSize(text: string): number {
  const match = SIZE.exec(text.trim());
  const bytes = match === null ? NaN : Math.floor(Number(match[1]) * 1024 ** UNITS.indexOf(match[2]!.toUpperCase()));
  if (!Number.isSafeInteger(bytes)) throw new InvalidArgumentError(`'${text}' is not a size; write a number and K, M, G or T, as in 256M.`);
  return bytes;
}

/** Like `parseSize`, and more than zero. */
export function parsePositiveSize(text: string): number {
  const bytes = parseSize(text);
  if (bytes === 0) throw new InvalidArgumentError('The size must be more than zero.');
  return bytes;
}

/** Seconds from a tenth to an hour. */
export function parseSeconds(text: string): number {
  const seconds = /^\d+(\.\d+)?$/.test(text) ? Number(text) : NaN;
  if (!(seconds >= 0.1 && seconds <= 3600)) {
    throw new InvalidArgumentError(`'${text}' is not a number of seconds; write one from 0.1 to 3600.`);
  }
  return seconds;
}

/** Three significant digits: `20.0 GiB`, `512 B`. */
export function formatSize(bytes: number): string {
  let unit = 0;
  let value = bytes;
  // 1000 rather than 1024, so that no number has four digits.
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  if (unit === 0) return `${bytes} B`;
  return `${value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ${UNITS[unit]}iB`;
}

/** A duration in the unit that suits it: `12 µs`, `3.4 ms`, `1.2 s`. */
export function formatMicroseconds(microseconds: number): string {
  if (microseconds < 1000) return `${trim(microseconds)} µs`;
  if (microseconds < 1_000_000) return `${trim(microseconds / 1000)} ms`;
  return `${trim(microseconds / 1_000_000)} s`;
}

function trim(value: number): string {
  return value < 10 ? value.toFixed(1) : value.toFixed(0);
}
