/** The load of requests.ts in JavaScript, for machines without a compiler: load.js KIND FOLDER ROUND COUNT -> µs each. */
import { constants, openSync, statSync, writeSync } from 'node:fs';
import { ioBuffer } from '../../src/linux/libc.js';

const BLOCK_BYTES = 4096;
const FILE_BLOCKS = 1024;

const [kind, folder, round, countText] = process.argv.slice(2) as [string, string, string, string];
const count = Number(countText);
process.chdir(folder);

function writes(): void {
  const fd = openSync('load', constants.O_RDWR | constants.O_CREAT | constants.O_DIRECT, 0o600);
  const block = ioBuffer(BLOCK_BYTES).bytes.fill(0x78);
  for (let i = 0; i < count; i++) writeSync(fd, block, 0, BLOCK_BYTES, (i % FILE_BLOCKS) * BLOCK_BYTES);
}

function lookups(): void {
  for (let i = 0; i < count; i++) statSync(`absent-${round}-${i}`, { throwIfNoEntry: false });
}

const started = performance.now();
if (kind === 'write') writes();
else lookups();
console.log(((performance.now() - started) * 1000) / count);
