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

const AGE = /^(\d+(?:\.\d+)?)\s*([smhd]?)$/i;
const AGE_SECONDS: Readonly<Record<string, number>> = { '': 1, s: 1, m: 60, h: 3600, d: 86_400 };

/** Seconds that `text` means, e.g. `90`, `30m`, `1h`, `2d`. Throws commander's InvalidArgumentError. */
export function parseAge(text: string): number {
  const match = AGE.exec(text.trim());
  if (match === null) throw new InvalidArgumentError(`'${text}' is not a time; write a number and s, m, h or d, as in 30m.`);
  return Number(match[1]) * AGE_SECONDS[match[2]!.toLowerCase()]!;
}

/** Roughly how long ago: `45 s`, `12 min`, `5 h`, `3 d`. */
export function formatAge(seconds: number): string {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return seconds < 2 * 86_400 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86_400)} d`;
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
