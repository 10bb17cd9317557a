/**
 * One of several threads that read, map, write and truncate the same shared files at once; ends with an error if it sees
 * something impossible. A file holds one letter over and over, of one writer at a time or of several in runs; and whoever
 * has it open from before sees it whole, as it was.
 */
import assert from 'node:assert/strict';
import { closeSync, constants, fstatSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { workerData } from 'node:worker_threads';
import * as sys from './syscalls.js';

const { O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = constants;
const { directory, role, id, files } = workerData as { directory: string; role: string; id: number; files: number };
const FILE_BYTES = 50_000;
const ROUNDS = 15;

const isLetter = (byte: number): boolean => byte >= 0x61 && byte <= 0x7a;

/** All bytes are letters, or zeros that a truncation left. */
function assertWhole(bytes: Uint8Array): void {
  const odd = bytes.findIndex((byte) => !isLetter(byte) && byte !== 0);
  assert.equal(odd, -1, `byte ${bytes[odd]} at ${odd}`);
}

function read(path: string): void {
  const fd = openSync(path, O_RDONLY);
  const buffer = Buffer.alloc(FILE_BYTES, 'a');
  for (let i = 0; i < 3; i++) {
    const length = readSync(fd, buffer, 0, FILE_BYTES, 0);
    assertWhole(buffer.subarray(0, length));
  }
  assert.ok(fstatSync(fd).size <= FILE_BYTES);
  closeSync(fd);
}

function map(path: string): void {
  const fd = openSync(path, O_RDONLY);
  // Only a file that nobody truncates may be looked at through a mapping.
  if (fstatSync(fd).size === FILE_BYTES) {
    const mapping = sys.mmap(fd, FILE_BYTES, true, true);
    mapping.cachedPages();
    mapping.unmap();
  }
  closeSync(fd);
}

function write(path: string): void {
  const fd = openSync(path, O_RDWR);
  const letters = Buffer.alloc(FILE_BYTES, String.fromCharCode(0x61 + id));
  assert.equal(writeSync(fd, letters, 0, FILE_BYTES, 0), FILE_BYTES);
  const back = Buffer.alloc(FILE_BYTES, 'a');
  assertWhole(back.subarray(0, readSync(fd, back, 0, FILE_BYTES, 0)));
  closeSync(fd);
}

function truncate(path: string, round: number): void {
  if (round % 3 === 0) closeSync(openSync(path, O_WRONLY | O_TRUNC));
  else assert.equal(sys.truncate(path, (round * 7919) % FILE_BYTES), 0);
  assert.ok(statSync(path).size <= FILE_BYTES);
}

for (let round = 0; round < ROUNDS; round++) {
  for (let file = 0; file < files; file++) {
    const path = join(directory, String((file * (id + 1)) % files));
    if (role === 'reader') read(path);
    else if (role === 'mapper') map(path);
    // Half of the files stay shared for a while.
    else if (file % 2 === round % 2 && round > 2) {
      if (role === 'writer') write(path);
      else truncate(path, round);
    }
  }
}
