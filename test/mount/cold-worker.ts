/** A thread that does random things to files below a folder of a mount, and to a model of them, and compares. */
import assert from 'node:assert/strict';
import {
  appendFileSync,
  linkSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  renameSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { workerData } from 'node:worker_threads';
import { Random } from '../support/volume.js';

export interface ColdTask {
  readonly folder: string;
  readonly seed: number;
  readonly steps: number;
}

const { folder, seed, steps } = workerData as ColdTask;
const chance = new Random(seed);
/** Contents of files, by name; links share theirs. */
const files = new Map<string, { data: Buffer }>();
const NAMES = 300;

const pathOf = (name: string): string => join(folder, name);
const someName = (): string => `${'n'.repeat(1 + chance.below(100))}${chance.below(NAMES)}`;
const someFile = (): string | undefined => (files.size === 0 ? undefined : chance.pick([...files.keys()]));

function someData(): Buffer {
  const data = Buffer.alloc(chance.pick([0, 10, 5000, 30_000, 300_000]));
  for (let at = 0; at + 4 <= data.length; at += 500) data.writeUInt32LE(chance.next(), at);
  return data;
}

function write(name: string): void {
  const data = someData();
  writeFileSync(pathOf(name), data);
  const file = files.get(name);
  if (file === undefined) files.set(name, { data });
  else file.data = data;
}

function append(name: string): void {
  const data = someData();
  appendFileSync(pathOf(name), data);
  const file = files.get(name)!;
  file.data = Buffer.concat([file.data, data]);
}

function truncate(name: string): void {
  const size = chance.below(200_000);
  truncateSync(pathOf(name), size);
  const file = files.get(name)!;
  file.data = Buffer.concat([file.data.subarray(0, size), Buffer.alloc(Math.max(0, size - file.data.length))]);
}

function rename(name: string): void {
  const to = someName();
  renameSync(pathOf(name), pathOf(to));
  if (files.get(to) === files.get(name)) return; // rename(2) does nothing for two names of one file
  files.set(to, files.get(name)!);
  files.delete(name);
}

function link(name: string): void {
  const to = someName();
  if (files.has(to)) return;
  linkSync(pathOf(name), pathOf(to));
  files.set(to, files.get(name)!);
}

function unlink(name: string): void {
  unlinkSync(pathOf(name));
  files.delete(name);
}

function compare(name: string): void {
  const { data } = files.get(name)!;
  assert.equal(statSync(pathOf(name)).size, data.length);
  assert.ok(readFileSync(pathOf(name)).equals(data), `contents of ${name}`);
}

function step(): void {
  const name = someFile();
  if (name === undefined || chance.below(5) === 0) return write(someName());
  chance.pick([append, truncate, rename, link, unlink, compare, compare, compare])(name);
}

mkdirSync(folder);
symlinkSync('x'.repeat(3000), join(folder, '..', `link-${seed}`));
for (let i = 0; i < steps; i++) step();
assert.deepEqual(readdirSync(folder).toSorted(), [...files.keys()].toSorted());
for (const name of files.keys()) compare(name);
assert.equal(readlinkSync(join(folder, '..', `link-${seed}`)), 'x'.repeat(3000));
