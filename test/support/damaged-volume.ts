/**
 * A volume with some of everything, whose contents are known, and what becomes of it when bytes of it are damaged.
 *
 * `damageRounds(seed, rounds)` damages it anew in each round – bits flipped, blocks zeroed or exchanged, one or several, in use
 * or not –, looks at it, changes it, repairs it, and looks at it again. It throws if anything is shown that was never written,
 * if check misses what a reader meets, if repair leaves something that check finds, or loses what it does not name. A process
 * that ends has failed as well.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import crypto from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { BLOCK_BYTES, LOG_START_BLOCK, ROOT_INO, type Ino, type LayerIndex } from '../../src/layout/constants.js';
import { EIO, ENODATA, ENOENT, EROFS } from '../../src/linux/errno.js';
import { isDirectory, isRegular, isSymlink } from '../../src/linux/mode.js';
import { ioBuffer } from '../../src/linux/libc.js';
import { checkVolume } from '../../src/engine/check.js';
import { checkpoint } from '../../src/engine/checkpoint.js';
import { LcfsError } from '../../src/engine/errors.js';
import { read } from '../../src/engine/file.js';
import { getInode } from '../../src/engine/inode.js';
import { createLayer, findLayer, listLayers, removeLayer, setProperty } from '../../src/engine/layers.js';
import { flushLog, logBlocksFor } from '../../src/engine/log-device.js';
import { reapLeftOrphans, reclaimAll } from '../../src/engine/maintenance.js';
import type { Damage } from '../../src/engine/mend.js';
import { readLink } from '../../src/engine/namespace.js';
import { RECIPE_CHUNK_BYTES, appendRecipeChunk } from '../../src/engine/recipe.js';
import { repairVolume, type RepairReport } from '../../src/engine/repair.js';
import { blockIsTaken } from '../../src/engine/space.js';
import { abandonVolume, closeVolume, formatVolume, openVolume, openedLog } from '../../src/engine/volume.js';
import { getXattr, setXattr } from '../../src/engine/xattr.js';
import { DIRECTORY, find, foundStat, linkTo, make, makeSymlink, move, put, remove } from './files.js';
import { MIB, Random } from './volume.js';

const BLOCKS = 4096;
const CACHE = { cacheBytes: 4 * MIB };
const io = ioBuffer(1 << 20);

/** What is known of a path. */
interface Known {
  mode: number;
  contents: Buffer | null;
  target: string | null;
  attributes: Map<string, Buffer>;
}

type Contents = Map<string, Known>;

export interface DamageFigures {
  rounds: number;
  /** Volumes that could not be opened before they were repaired. */
  unopenable: number;
  /** Paths that were looked at, before and after repair. */
  looked: number;
  /** Of those, how many gave EIO before, and how many were lost or gave EIO after repair. */
  failedBefore: number;
  failedAfter: number;
  /** Volumes that repair brought back to be sound, but for blocks of data that cannot be read. */
  repaired: number;
  /** Repairs that could not be done, as there was no volume any more: both superblocks damaged. */
  beyondRepair: number;
}

// Making

function parentOf(layer: LayerIndex, path: string): { dir: Ino; name: string } {
  const parts = path.slice(1).split('/');
  const name = parts.pop()!;
  let dir: Ino = ROOT_INO;
  for (const part of parts) dir = find(layer, dir, part);
  return { dir, name };
}

class Maker {
  readonly layer: LayerIndex;
  readonly known: Contents;
  constructor(layer: LayerIndex, inherited: Contents = new Map()) {
    this.layer = layer;
    this.known = new Map(inherited);
  }

  folder(path: string): void {
    const { dir, name } = parentOf(this.layer, path);
    assert.ok(make(this.layer, dir, name, DIRECTORY) > 0);
    this.known.set(path, { mode: DIRECTORY, contents: null, target: null, attributes: new Map() });
  }

  file(path: string, contents: Buffer, offset = 0): void {
    const { dir, name } = parentOf(this.layer, path);
    const found = find(this.layer, dir, name);
    const ino = found > 0 ? found : make(this.layer, dir, name);
    assert.equal(put(this.layer, ino, offset, contents), contents.length);
    const before = this.known.get(path)?.contents ?? Buffer.alloc(0);
    const all = Buffer.alloc(Math.max(before.length, offset + contents.length));
    before.copy(all);
    contents.copy(all, offset);
    this.known.set(path, { mode: 0o100644, contents: all, target: null, attributes: this.known.get(path)?.attributes ?? new Map() });
  }

  symlink(path: string, target: string): void {
    const { dir, name } = parentOf(this.layer, path);
    assert.ok(makeSymlink(this.layer, dir, name, target) > 0);
    this.known.set(path, { mode: 0o120777, contents: null, target, attributes: new Map() });
  }

  attribute(path: string, key: string, value: Buffer): void {
    const { dir, name } = parentOf(this.layer, path);
    const bytes = Buffer.from(key);
    io.bytes.set(value);
    assert.equal(setXattr(this.layer, find(this.layer, dir, name), bytes, 0, bytes.length, io.bytes, 0, value.length, 0, false), 0);
    const known = this.known.get(path)!;
    this.known.set(path, { ...known, attributes: new Map(known.attributes).set(key, value) });
  }

  hardLink(path: string, to: string): void {
    const from = parentOf(this.layer, path);
    const into = parentOf(this.layer, to);
    assert.ok(linkTo(this.layer, find(this.layer, from.dir, from.name), into.dir, into.name) >= 0);
    this.known.set(to, this.known.get(path)!);
  }

  rename(path: string, to: string): void {
    const from = parentOf(this.layer, path);
    const into = parentOf(this.layer, to);
    assert.ok(move(this.layer, from.dir, from.name, into.dir, into.name) >= 0);
    this.known.set(to, this.known.get(path)!);
    this.known.delete(path);
  }

  remove(path: string): void {
    const { dir, name } = parentOf(this.layer, path);
    assert.ok(remove(this.layer, dir, name) >= 0);
    this.known.delete(path);
  }
}

function textOf(what: string, length: number): Buffer {
  return Buffer.alloc(length, `${what};`);
}

/** A layer with folders, files of all sizes, links, attributes, an orphan and a recipe. */
function fillBase(m: Maker, name: string): void {
  for (let d = 0; d < 6; d++) m.folder(`/dir${d}`);
  m.folder('/dir0/deep');
  for (let i = 0; i < 150; i++) m.file(`/dir${i % 6}/file${i}`, textOf(`${name} ${i}`, 40 + i * 61));
  for (let i = 0; i < 40; i++) m.symlink(`/dir0/deep/link${i}`, `${'to/'.repeat(i * 20)}${name}${i}`);
  for (let i = 0; i < 30; i++)
    m.attribute(`/dir1/file${i * 6 + 1 > 149 ? 1 : i * 6 + 1}`, `user.a${i}`, textOf(`${name} attribute ${i}`, 20 + i * 90));
  for (let i = 0; i < 120; i++) m.file('/scattered', textOf(`${name} piece ${i}`, BLOCK_BYTES), i * 3 * BLOCK_BYTES);
  m.file('/large', textOf(`${name} large`, 600_000));
  m.hardLink('/dir2/file2', '/dir3/second-name');
  m.file('/orphan', textOf('orphan', 9000));
  m.remove('/orphan');
}

function writeRecipe(layer: LayerIndex): void {
  const bytes = Buffer.alloc(RECIPE_CHUNK_BYTES, 7);
  for (let chunk = 0; chunk < 20; chunk++) assert.equal(appendRecipeChunk(layer, chunk, bytes, 0, bytes.length), 0);
}

interface Original {
  image: Buffer;
  /** Blocks that the last checkpoint refers to. */
  used: number[];
  /** Whether a block is never damaged. */
  isSpared: (block: number) => boolean;
  layers: Map<string, Contents>;
}

/** `withLog`: the last changes are in the intent log only, as after a crash. */
function makeOriginal(path: string, withLog: boolean): Original {
  formatVolume(path, { bytes: BLOCKS * BLOCK_BYTES, force: true });
  openVolume(path, CACHE);
  const base = new Maker(createLayer('base', { properties: { 'test.key': 'v'.repeat(3000) } }));
  fillBase(base, 'base');
  writeRecipe(base.layer);
  const other = new Maker(createLayer('other'));
  fillBase(other, 'other');
  checkpoint();
  const middle = new Maker(createLayer('middle', { parent: 'base' }), base.known);
  for (let i = 0; i < 150; i += 7) middle.file(`/dir${i % 6}/file${i}`, textOf(`middle ${i}`, 100 + i * 45));
  middle.rename('/dir4/file4', '/dir5/renamed');
  middle.folder('/new');
  for (let i = 0; i < 40; i++) middle.file(`/new/n${i}`, textOf(`new ${i}`, 3000));
  checkpointTwice();
  createLayer('clone', { parent: 'middle' });
  const top = new Maker(createLayer('top', { parent: 'middle' }), middle.known);
  for (let i = 0; i < 40; i += 2) top.remove(`/new/n${i}`);
  top.file('/scattered', textOf('top', 5000), 100_000);
  const sibling = new Maker(createLayer('sibling', { parent: 'base' }), base.known);
  sibling.file('/dir1/file1', textOf('sibling', 9000));
  for (let i = 0; i < 40; i += 3) other.file(`/dir${i % 6}/later${i}`, textOf(`later ${i}`, 200 + i * 300));
  for (let i = 0; i < 40; i++) createLayer(`small${i}`, { properties: { n: `${i}`.repeat(60) } });
  createLayer('gone', { parent: 'base' });
  removeLayer('gone');
  if (withLog) crash();
  else close();
  openVolume(path, { ...CACHE, readOnly: true });
  assert.equal(openedLog().entries > 0, withLog);
  // What becomes of a damaged log, or of one that the superblock which is left does not lead to, has tests of its own.
  const isSpared = (block: number): boolean => isOfLog(block) || (withLog && block < LOG_START_BLOCK);
  const used = Array.from({ length: BLOCKS }, (_, block) => block).filter((block) => blockIsTaken(block) && !isSpared(block));
  abandonVolume();
  const layers = new Map<string, Contents>([
    ['base', base.known],
    ['middle', middle.known],
    ['clone', middle.known],
    ['top', top.known],
    ['sibling', sibling.known],
    ['other', other.known],
  ]);
  return { image: readFileSync(path), used, isSpared, layers };
}

/** So both superblocks lead to the same files. */
function checkpointTwice(): void {
  for (const value of ['1', '2']) {
    setProperty('base', 'last', value);
    checkpoint();
  }
}

function close(): void {
  checkpointTwice();
  closeVolume();
}

/** With a batch behind the one that matters: of the last batch nobody knows whether its data was ever there. */
function crash(): void {
  assert.ok(flushLog());
  setProperty('base', 'last', '3');
  assert.ok(flushLog());
  abandonVolume();
}

function isOfLog(block: number): boolean {
  return block >= LOG_START_BLOCK && block < LOG_START_BLOCK + logBlocksFor(BLOCKS);
}

// Looking

/** The inode of a path; a negative error number. */
function resolve(layer: LayerIndex, path: string): number {
  let at: number = ROOT_INO;
  for (const part of path.slice(1).split('/')) {
    at = find(layer, at, part);
    if (at < 0) return at;
  }
  return at;
}

/** 0 if the path is what it was, else how it failed; fails the test if it is something else. */
function look(layer: LayerIndex, path: string, known: Known, changedMode: boolean): number {
  const ino = resolve(layer, path);
  if (ino < 0) return ino;
  const failed = getInode(layer, ino);
  if (failed < 0) return failed;
  const { mode, size } = foundStat();
  assert.equal(mode >>> 12, known.mode >>> 12, `type of ${path}`);
  if (!changedMode) assert.equal(mode, known.mode, `mode of ${path}`);
  if (isSymlink(mode)) return lookAtTarget(layer, path, ino, known);
  if (isRegular(mode)) assert.equal(size, known.contents!.length, `size of ${path}`);
  const answer = isDirectory(mode) ? 0 : lookAtContents(layer, path, ino, known.contents!);
  return lookAtAttributes(layer, path, ino, known) || answer;
}

function lookAtTarget(layer: LayerIndex, path: string, ino: Ino, known: Known): number {
  const length = readLink(layer, ino, io.bytes, 0);
  if (length >= 0) assert.equal(Buffer.from(io.bytes.subarray(0, length)).toString(), known.target, `target of ${path}`);
  return Math.min(length, 0);
}

/** Block by block, as some may be readable. */
function lookAtContents(layer: LayerIndex, path: string, ino: Ino, contents: Buffer): number {
  let answer = 0;
  for (let at = 0; at < contents.length; at += BLOCK_BYTES) {
    const length = read(layer, ino, at, BLOCK_BYTES, io, 0);
    if (length < 0) answer = length;
    else assert.ok(contents.subarray(at, at + BLOCK_BYTES).equals(io.bytes.subarray(0, length)), `${path} has foreign contents at ${at}`);
  }
  return answer;
}

function lookAtAttributes(layer: LayerIndex, path: string, ino: Ino, known: Known): number {
  let answer = 0;
  for (const [key, value] of known.attributes) {
    const name = Buffer.from(key);
    const length = getXattr(layer, ino, name, 0, name.length, io.bytes, 0, 65_536);
    if (length < 0) answer = length;
    else assert.ok(value.equals(io.bytes.subarray(0, length)), `attribute ${key} of ${path}`);
  }
  return answer;
}

/** Paths that are not what they were, by layer and path, with the error. */
function lookAtAll(layers: Map<string, Contents>, repaired: readonly Damage[] | null): Map<string, number> {
  const failures = new Map<string, number>();
  for (const [name, contents] of layers) {
    const layer = tryFind(name);
    const remade = new Set((repaired ?? []).filter((each) => each.layer === layer && each.kind === 'inode').map((each) => each.path));
    const lostAcl = new Set((repaired ?? []).filter((each) => each.layer === layer && each.kind === 'attributes').map((each) => each.path));
    for (const [path, known] of contents) {
      const answer = layer < 0 ? layer : look(layer, path, known, remade.has(path) || lostAcl.has(path));
      if (answer < 0) failures.set(`${name}:${path}`, answer);
    }
  }
  return failures;
}

function tryFind(name: string): number {
  try {
    const found = findLayer(name);
    return found < 0 ? -ENOENT : found;
  } catch (error) {
    assert.ok(error instanceof LcfsError && error.code === 'io', String(error));
    return -EIO;
  }
}

/** Some of everything; every answer is allowed that says that it cannot be done. */
function change(random: Random): void {
  const answers: number[] = [];
  for (const name of ['top', 'other', 'sibling']) {
    const layer = tryFind(name);
    if (layer < 0) continue;
    for (let i = 0; i < 10; i++) answers.push(changeOnce(layer, random));
  }
  for (const answer of answers) assert.ok(answer >= 0 || [-EIO, -EROFS, -ENOENT].includes(answer), `a change ended with ${answer}`);
  allow(() => createLayer('fresh', { parent: 'middle' }));
  allow(() => removeLayer('fresh'));
  allow(() => removeLayer('sibling'));
  allow(() => setProperty('other', 'key', 'value'));
  reclaimAll();
  allow(() => checkpoint());
}

function changeOnce(layer: LayerIndex, random: Random): number {
  const i = random.below(150);
  const dir = resolve(layer, `/dir${i % 6}`);
  if (dir < 0) return dir;
  switch (random.below(4)) {
    case 0:
      return Math.min(0, make(layer, dir, `made${random.next()}`));
    case 1:
      return remove(layer, dir, `file${i}`);
    case 2:
      return move(layer, dir, `file${i}`, ROOT_INO, `moved${random.next()}`);
    default: {
      const ino = find(layer, dir, `file${i}`);
      return ino < 0 ? ino : Math.min(0, put(layer, ino, random.below(9000), textOf('changed', 6000)));
    }
  }
}

function allow(work: () => unknown): void {
  try {
    work();
  } catch (error) {
    assert.ok(error instanceof LcfsError, String((error as Error).stack));
  }
}

// Damaging

/** Damages an image and says how. */
function damage(image: Buffer, original: Original, random: Random, at: number): string {
  const inUse = random.below(8) > 0;
  const anywhere = random.below(BLOCKS);
  const block =
    at >= 0 ? original.used[at % original.used.length]! : inUse || original.isSpared(anywhere) ? random.pick(original.used) : anywhere;
  const start = block * BLOCK_BYTES;
  switch (random.below(4)) {
    case 0: {
      const byte = start + random.below(BLOCK_BYTES);
      image[byte]! ^= 1 << random.below(8);
      return `bit in byte ${byte - start} of block ${block}`;
    }
    case 1:
      image.fill(0, start, start + BLOCK_BYTES);
      return `block ${block} zeroed`;
    case 2:
      for (let i = 0; i < 512; i++) image[start + i] = random.next() >>> 8;
      return `sector of block ${block} overwritten`;
    default: {
      const other = random.pick(original.used) * BLOCK_BYTES;
      const held = Buffer.from(image.subarray(start, start + BLOCK_BYTES));
      image.copyWithin(start, other, other + BLOCK_BYTES);
      held.copy(image, other);
      return `blocks ${block} and ${other / BLOCK_BYTES} exchanged`;
    }
  }
}

/** Looks at a damaged volume and works on it. */
function examine(path: string, original: Original, random: Random, figures: DamageFigures): void {
  try {
    openVolume(path, CACHE);
  } catch (error) {
    assert.ok(error instanceof LcfsError && error.code === 'corrupt', String((error as Error).stack));
    figures.unopenable++;
    return;
  }
  try {
    const { errorCount, damage: named } = checkVolume({ data: true });
    const failures = lookAtAll(original.layers, null);
    figures.failedBefore += failures.size;
    for (const [where, answer] of failures) assert.ok(answer === -EIO, `${where} answers ${answer}`);
    if (failures.size > 0) assert.ok(errorCount > 0, 'check found nothing');
    assertNamed(failures, named);
    reapLeftOrphans();
    change(random);
  } finally {
    abandonVolume();
  }
}

/** Each failure is in a layer that check names, and its path is named unless a page of the tree is lost. */
function assertNamed(failures: Map<string, number>, named: readonly Damage[]): void {
  const paths = new Set(named.map((each) => `${each.layer}:${each.path}`));
  const torn = new Set(named.filter((each) => each.kind === 'tree').map((each) => each.layer));
  for (const where of failures.keys()) {
    const [name, path] = where.split(':') as [string, string];
    const layer = tryFind(name);
    if (layer >= 0) assert.ok(torn.has(layer) || paths.has(`${layer}:${path}`), `${where} is not named`);
  }
}

function tryRepair(path: string, dryRun: boolean): RepairReport | null {
  try {
    openVolume(path, { ...CACHE, forRepair: true, readOnly: dryRun });
  } catch (error) {
    assert.ok(error instanceof LcfsError && error.code === 'corrupt', String((error as Error).stack));
    return null;
  }
  try {
    return repairVolume(true);
  } finally {
    abandonVolume();
  }
}

/** Repairs a damaged volume, and proves what is left. */
function repair(path: string, original: Original, random: Random, figures: DamageFigures): void {
  const foreseen = tryRepair(path, true);
  const report = tryRepair(path, false);
  if (report === null || foreseen === null) {
    figures.beyondRepair++;
    return;
  }
  assert.deepEqual(report.damage, foreseen.damage, 'the dry run says what repair will find');
  openVolume(path, CACHE);
  try {
    assertSoundButForData();
    const failures = lookAtAll(original.layers, report.damage);
    figures.failedAfter += failures.size;
    for (const [where, answer] of failures)
      assert.ok([-EIO, -ENOENT, -ENODATA].includes(answer), `${where} answers ${answer} after repair`);
    assertExplained(failures, report);
    reapLeftOrphans();
    change(random);
    for (const name of Array.from(listLayers(), (layer) => layer.name).toReversed()) allow(() => removeLayer(name));
    reclaimAll();
    checkpoint();
    assertSoundButForData();
    figures.repaired++;
  } finally {
    abandonVolume();
  }
}

function assertSoundButForData(): void {
  assert.deepEqual(
    checkVolume({ data: true }).errors.filter((error) => !error.includes('has a wrong checksum')),
    [],
  );
}

/** What is gone was named: the path, or a folder on the way to it, or its layer; by name only where a tree page is lost. */
function assertExplained(failures: Map<string, number>, report: RepairReport): void {
  if (report.log.leftOut.length > 0) return; // what was done last, and is not named one by one
  const paths = new Set(report.damage.map((each) => `${each.layer}:${each.path}`));
  const torn = new Set(report.damage.filter((each) => each.kind === 'tree').map((each) => each.layer));
  for (const where of failures.keys()) {
    const [name, path] = where.split(':') as [string, string];
    const layer = tryFind(name);
    if (layer < 0) assert.ok(report.notes.length > 0, `layer ${name} is gone, and nothing is said of it`);
    else assert.ok(torn.has(layer) || paths.has(`${layer}:${path}`), `${where} is not named`);
  }
}

/** The keys of the volume are taken from the seed as well, so that it is the same each time. */
function withKeys<T>(random: Random, work: () => T): T {
  const { randomFillSync } = crypto;
  crypto.randomFillSync = ((buffer: Uint32Array) => buffer.map((_, i) => (buffer[i] = random.next()))) as never;
  syncBuiltinESMExports();
  try {
    return work();
  } finally {
    crypto.randomFillSync = randomFillSync;
    syncBuiltinESMExports();
  }
}

/** Runs so many rounds in a folder, on a volume that was closed or that has a log. Blocks in use are damaged one after another, then at random. Throws what is wrong. */
export function damageRounds(folder: string, seed: number, rounds: number, withLog: boolean): DamageFigures {
  const random = new Random(seed);
  const original = withKeys(random, () => makeOriginal(join(folder, 'original'), withLog));
  const path = join(folder, 'damaged');
  const figures = { rounds, unopenable: 0, looked: 0, failedBefore: 0, failedAfter: 0, repaired: 0, beyondRepair: 0 };
  const paths = [...original.layers.values()].reduce((sum, contents) => sum + contents.size, 0);
  const stride = Math.max(1, original.used.length / rounds);
  for (let round = 0; round < rounds; round++) {
    const image = Buffer.from(original.image);
    const damages = [damage(image, original, random, Math.floor(round * stride))];
    while (random.below(3) === 0) damages.push(damage(image, original, random, -1));
    try {
      writeFileSync(path, image);
      examine(path, original, random, figures);
      writeFileSync(path, image);
      repair(path, original, random, figures);
    } catch (error) {
      throw new Error(`seed ${seed}, round ${round}: ${damages.join(', ')}: ${(error as Error).message}`, { cause: error });
    }
    figures.looked += 2 * paths;
  }
  return figures;
}
