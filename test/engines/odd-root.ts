/** A root file system with everything that a file system can hold, made on the host and packed with tar. */
import {
  chmodSync,
  chownSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { run } from '../../scripts/lib/run.js';

/** cap_net_raw+ep in the form that a file has it: version 2, effective. */
const CAPABILITY = '0x0100000200200000000000000000000000000000';
const LONG = 'n'.repeat(255);

/** Makes the tar `file`. */
export async function makeOddRoot(file: string): Promise<void> {
  const root = join(dirname(file), 'odd-root');
  mkdirSync(root);
  const at = (path: string): string => join(root, path);
  mkdirSync(at('deep/er/still'), { recursive: true });
  writeFileSync(at('empty'), '');
  writeFileSync(at('deep/er/file'), 'content\n');
  writeFileSync(at(LONG), 'a name of 255 bytes');
  writeFileSync(at('größe – 漢字'), 'a name in UTF-8');
  writeFileSync(at('with space\tand tab'), '');
  writeFileSync(at('large'), Buffer.alloc(3_000_001, 'LCFS'));
  writeFileSync(at('sparse'), 'start');
  truncateSync(at('sparse'), 5_000_000);
  makePermissions(at);
  makeLinks(at);
  await makeSpecial(at);
  for (let i = 0, path = root; i < 12; i++, path = join(path, LONG.slice(0, 200))) mkdirSync(join(path, LONG.slice(0, 200)));
  await run('tar', ['-C', root, '--numeric-owner', '--xattrs', '--xattrs-include=*', '--sparse', '-cf', file, '.']);
  rmSync(root, { recursive: true });
}

function makePermissions(at: (path: string) => string): void {
  for (const [name, mode] of [
    ['suid', 0o4755],
    ['sgid', 0o2755],
    ['secret', 0o000],
    ['all', 0o777],
  ] as const) {
    writeFileSync(at(name), name);
    chmodSync(at(name), mode);
  }
  mkdirSync(at('sticky'));
  chmodSync(at('sticky'), 0o1777);
  mkdirSync(at('shared'));
  chownSync(at('shared'), 1000, 1000);
  chmodSync(at('shared'), 0o2775);
  writeFileSync(at('owned'), 'owned');
  chownSync(at('owned'), 12_345, 54_321);
  writeFileSync(at('high-ids'), '');
  chownSync(at('high-ids'), 3_000_000_000, 4_000_000_000);
  writeFileSync(at('old'), '');
  utimesSync(at('old'), 1, 1);
  writeFileSync(at('future'), '');
  utimesSync(at('future'), 4_102_444_800, 4_102_444_800);
}

function makeLinks(at: (path: string) => string): void {
  writeFileSync(at('first-name'), 'many names');
  linkSync(at('first-name'), at('deep/second-name'));
  linkSync(at('first-name'), at('deep/er/third-name'));
  symlinkSync('deep/er', at('link'));
  symlinkSync('/absolute/and/dangling', at('dangling'));
  symlinkSync('x'.repeat(3000), at('long-link'));
  symlinkSync('first-name', at('aged-link'));
  lutimesSync(at('aged-link'), 1_000_000_000, 1_000_000_000);
}

async function makeSpecial(at: (path: string) => string): Promise<void> {
  await run('mknod', [at('null'), 'c', '1', '3']);
  await run('mknod', [at('disk'), 'b', '259', '1048575']);
  await run('mkfifo', [at('fifo')]);
  writeFileSync(at('capable'), 'binary');
  await run('setfattr', ['-n', 'security.capability', '-v', CAPABILITY, at('capable')]);
}
