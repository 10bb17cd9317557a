/** One of several threads that work in the same directory at once; ends with an error if it sees something impossible. */
import assert from 'node:assert/strict';
import {
  closeSync,
  constants,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { workerData } from 'node:worker_threads';

const { directory, id } = workerData as { directory: string; id: number };
const ROUNDS = 150;

/** Files of its own must be as it left them, whatever others do. */
function own(round: number): void {
  const path = join(directory, `own ${id}`);
  const data = Buffer.alloc(1 + ((round * 7919) % 300_000), `${id} ${round} `);
  writeFileSync(path, data);
  assert.ok(readFileSync(path).equals(data));
  assert.equal(statSync(path).size, data.length);
  unlinkSync(path);
}

/** Names that all use: whatever happens, contents are whole. */
function shared(round: number): void {
  const path = join(directory, `shared ${round % 5}`);
  const temporary = join(directory, `temporary ${id}`);
  writeFileSync(temporary, `${id}`.repeat(5000));
  renameSync(temporary, path);
  const fd = openSync(path, constants.O_RDONLY);
  const buffer = Buffer.alloc(6000);
  const length = readSync(fd, buffer, 0, 6000, 0);
  closeSync(fd);
  assert.equal(length, 5000);
  assert.ok(buffer.subarray(1, length).every((byte) => byte === buffer[0]));
}

/** Everybody appends to the same file; no line may be lost or torn. */
function append(round: number): void {
  const fd = openSync(join(directory, 'log'), constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND);
  writeSync(fd, `line ${id} ${round}\n`);
  closeSync(fd);
}

/** Directories come and go. */
function directories(round: number): void {
  const path = join(directory, `directory ${id} ${round}`);
  mkdirSync(path);
  writeFileSync(join(path, 'a'), '');
  linkSync(join(path, 'a'), join(path, 'b'));
  assert.deepEqual(readdirSync(path).toSorted(), ['a', 'b']);
  rmSync(path, { recursive: true });
}

for (let round = 0; round < ROUNDS; round++) {
  own(round);
  shared(round);
  append(round);
  directories(round);
}
const lines = readFileSync(join(directory, 'log'), 'utf8')
  .split('\n')
  .filter((line) => line.startsWith(`line ${id} `));
assert.deepEqual(
  lines,
  Array.from({ length: ROUNDS }, (_, round) => `line ${id} ${round}`),
);
