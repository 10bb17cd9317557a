/**
 * A random life of the volume that is open: layers come, are cloned, committed and removed, archives are unpacked, and files
 * are made, written, cut, linked, moved and removed in all layers that can be written. One call of `act` does one thing.
 *
 * What a full volume or the rules refuse is part of life; an error of the device is not, as this one has none.
 */
import assert from 'node:assert/strict';
import { LayerImport } from '../../src/archive/import.js';
import { DIRECTORY as TAR_DIRECTORY, FILE, HARD_LINK, SYMLINK } from '../../src/archive/tar-format.js';
import { SET_MODE, newAttributeChange, setAttributes } from '../../src/engine/attributes.js';
import { LcfsError } from '../../src/engine/errors.js';
import { KEEP_SIZE, PUNCH_HOLE, allocate, copyRange, truncate } from '../../src/engine/file.js';
import { commitLayer, createLayer, listLayers, removeLayer, renameLayer, sealLayer, setProperty } from '../../src/engine/layers.js';
import type { LayerInfo } from '../../src/engine/layers.js';
import { RENAME_EXCHANGE, lastUnlinkedIno, reapAllOrphans, reapOrphan } from '../../src/engine/namespace.js';
import { reclaimStep } from '../../src/engine/reclaim.js';
import { removeXattr, setXattr } from '../../src/engine/xattr.js';
import { GLOBAL_LAYER, type Ino, type LayerIndex } from '../../src/layout/constants.js';
import { EIO } from '../../src/linux/errno.js';
import { archive, type EntrySpec } from '../support/archives.js';
import {
  DIRECTORY,
  ROOT,
  bytesOf,
  find,
  linkTo,
  make,
  makeSymlink,
  move,
  oneIn,
  put,
  randomBytes,
  remove,
  removeDir,
} from '../support/files.js';
import type { Random } from '../support/volume.js';

const LAYERS_MAX = 12;
const FOLDERS = ['a', 'b', 'c', 'dir'];
const NAMES = 16;
const change = newAttributeChange();

export class Life {
  readonly #random: Random;
  readonly #commit: (work: () => void) => void;

  /** `commit` surrounds what is durable when it returns: it learns that everything done so far was acknowledged. */
  constructor(random: Random, commit: (work: () => void) => void) {
    this.#random = random;
    this.#commit = commit;
  }

  /** Does one thing, without a checkpoint of its own unless `mayCommit`. */
  act(mayCommit: boolean): void {
    try {
      this.#act(mayCommit);
    } catch (error) {
      // A name that is taken, a parent that is being removed, a full volume.
      if (!(error instanceof LcfsError) || error.code === 'io' || error.code === 'corrupt') throw error;
    }
  }

  #act(mayCommit: boolean): void {
    const random = this.#random;
    const layers = Array.from(listLayers());
    const kind = random.below(24);
    if (kind === 0) this.#createLayer(layers);
    else if (kind === 1) this.#removeLayer(layers);
    else if (kind === 2) this.#changeLayer(layers, mayCommit);
    else if (kind === 3) reclaimStep();
    else if (kind === 4 && mayCommit) this.#import(this.#writable(layers));
    else if (kind === 5) reapAllOrphans(this.#writable(layers));
    else changeFiles(this.#writable(layers), random);
  }

  #name(): string {
    return `layer${this.#random.below(1_000_000)}`;
  }

  #writable(layers: readonly LayerInfo[]): LayerIndex {
    const writable = layers.filter((layer) => layer.state === 'writable').map((layer) => layer.index);
    return this.#random.pick([...writable, GLOBAL_LAYER]);
  }

  #createLayer(layers: readonly LayerInfo[]): void {
    if (layers.length >= LAYERS_MAX) return this.#removeLayer(layers);
    const properties = oneIn(this.#random, 3) ? { text: 'x'.repeat(this.#random.below(9000)) } : {};
    const parent = layers.length > 0 && !oneIn(this.#random, 4) ? this.#random.pick(layers).name : undefined;
    createLayer(this.#name(), { parent, properties });
  }

  #removeLayer(layers: readonly LayerInfo[]): void {
    const leaves = layers.filter((layer) => layer.children === 0);
    if (leaves.length > 2) removeLayer(this.#random.pick(leaves).name);
  }

  #changeLayer(layers: readonly LayerInfo[], mayCommit: boolean): void {
    if (layers.length === 0) return;
    const { name } = this.#random.pick(layers);
    const kind = this.#random.below(4);
    if (kind === 0) setProperty(name, 'text', oneIn(this.#random, 3) ? null : 'y'.repeat(this.#random.below(9000)));
    else if (kind === 1) renameLayer(name, this.#name());
    else if (kind === 2) sealLayer(name);
    else if (mayCommit) this.#commit(() => commitLayer(name, this.#name()));
  }

  #import(layer: LayerIndex): void {
    const work = new LayerImport(layer, { recipe: oneIn(this.#random, 2) });
    try {
      const bytes = archive(...randomEntries(this.#random));
      for (let at = 0; at < bytes.length; at += 8192) work.write(bytes.subarray(at, at + 8192));
      work.finish();
    } finally {
      work.abort();
    }
  }
}

function randomEntries(random: Random): EntrySpec[] {
  const entries: EntrySpec[] = [{ path: 'unpacked/', type: TAR_DIRECTORY, mode: 0o755 }];
  for (let i = 0; i < 2 + random.below(12); i++) {
    const path = `unpacked/file${i}`;
    entries.push({ path, type: FILE, data: Buffer.from(randomBytes(random, random.below(20_000))), xattrs: { 'user.k': `v${i}` } });
    if (oneIn(random, 4)) entries.push({ path: `${path}.again`, type: HARD_LINK, linkPath: path });
    if (oneIn(random, 4)) entries.push({ path: `${path}.link`, type: SYMLINK, linkPath: path });
  }
  if (oneIn(random, 2)) entries.push({ path: `.wh.name${random.below(NAMES)}` });
  return entries;
}

/** Does something to the files of a layer. */
function changeFiles(layer: LayerIndex, random: Random): void {
  const result = fileOperation(layer, random);
  assert.notEqual(result, -EIO, 'a sound device gives no EIO');
}

/** A directory: the root, or one below it, which may have to be made. Negative if that fails. */
function someFolder(layer: LayerIndex, random: Random): number {
  if (oneIn(random, 2)) return ROOT;
  const name = random.pick(FOLDERS);
  const found = find(layer, ROOT, name);
  return found > 0 ? found : make(layer, ROOT, name, DIRECTORY);
}

function fileOperation(layer: LayerIndex, random: Random): number {
  const dir = someFolder(layer, random);
  if (dir < 0) return dir;
  const name = `name${random.below(NAMES)}`;
  const ino = find(layer, dir, name);
  const kind = random.below(16);
  if (ino < 0 || kind === 0) return makeSomething(layer, dir, name, random);
  if (kind < 5) return rearrange(layer, dir, name, ino, random);
  return changeContents(layer, ino, random);
}

function makeSomething(layer: LayerIndex, dir: Ino, name: string, random: Random): number {
  if (oneIn(random, 6)) return makeSymlink(layer, dir, name, 'to/'.repeat(random.below(300)) + name);
  const ino = make(layer, dir, name);
  return ino < 0 ? ino : put(layer, ino, 0, randomBytes(random, random.below(20_000)));
}

function rearrange(layer: LayerIndex, dir: Ino, name: string, ino: Ino, random: Random): number {
  const target = someFolder(layer, random);
  if (target < 0) return target;
  const other = `name${random.below(NAMES)}`;
  switch (random.below(5)) {
    case 0:
      return linkTo(layer, ino, target, other);
    case 1:
      return move(layer, dir, name, target, other, oneIn(random, 3) ? RENAME_EXCHANGE : 0);
    case 2:
      return removeDir(layer, ROOT, random.pick(FOLDERS));
    default: {
      const result = remove(layer, dir, name);
      return result < 0 || oneIn(random, 4) ? result : reapOrphan(layer, lastUnlinkedIno);
    }
  }
}

function changeContents(layer: LayerIndex, ino: Ino, random: Random): number {
  const attribute = bytesOf(`user.${random.below(4)}`);
  switch (random.below(10)) {
    case 0:
      return truncate(layer, ino, random.below(100_000), false);
    case 1:
      return allocate(layer, ino, PUNCH_HOLE | KEEP_SIZE, random.below(60_000), 1 + random.below(60_000));
    case 2:
      return setXattr(layer, ino, attribute, 0, attribute.length, randomBytes(random, 6000), 0, random.below(6000), 0, false);
    case 3:
      return removeXattr(layer, ino, attribute, 0, attribute.length);
    case 4:
      change.mode = 0o100600 | random.below(0o100);
      return setAttributes(layer, ino, SET_MODE, change);
    case 5:
      return copyRange(layer, ino, 0, layer, ino, 65_536, 1 + random.below(20_000));
    default:
      return put(layer, ino, random.below(80_000), randomBytes(random, 1 + random.below(30_000)));
  }
}
