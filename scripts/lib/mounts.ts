/** Mounts below a directory: what has to go before the directory can. */
import { readFileSync } from 'node:fs';
import { MOMENT_MS } from './limits.js';
import { tryRun } from './run.js';

/** Mount points at or below a directory, deepest (latest) first. */
export function mountsBelow(directory: string): string[] {
  const points = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => decode(line.split(' ')[4] ?? ''));
  return points.filter((point) => point === directory || point.startsWith(`${directory}/`)).toReversed();
}

/** mountinfo writes space, tab, newline and backslash in octal. */
function decode(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** Unmounts everything at or below a directory, lazily where it is still in use or nobody answers. */
export async function unmountBelow(directory: string): Promise<void> {
  for (const point of mountsBelow(directory)) {
    const gone = await tryRun('umount', [point], { timeoutMs: MOMENT_MS }).then(
      ({ status }) => status === 0,
      () => false,
    );
    if (!gone) await tryRun('umount', ['-l', point], { timeoutMs: MOMENT_MS });
  }
}
