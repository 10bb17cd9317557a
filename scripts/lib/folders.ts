/**
 * Where volumes, images and the data of private Docker Engines are put. /tmp is often a file system in memory, too small
 * for them and no fair ground for a comparison; /var/tmp is on a disk. TMPDIR, where it is set, goes before both.
 */
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';

const TEMPORARY = process.env['TMPDIR'] ?? '/var/tmp';

/** Downloads and built root file systems that later runs use again. */
export const CACHE = join(TEMPORARY, 'lcfs-test-cache');

/** Makes a new folder whose name starts with `prefix`. Names are short: a socket's path has at most 107 bytes. */
export function makeFolder(prefix: string): string {
  return mkdtempSync(join(TEMPORARY, prefix));
}
