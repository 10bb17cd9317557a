/**
 * The catalog: the B+tree of the volume itself. Layers, their names, properties and children, and the block groups.
 * Callers hold CATALOG_LOCK; those that change it also the checkpoint lock (shared). See docs/FORMAT.md for the keys.
 */
import { CATALOG_OWNER, CHILD, LAYER, LAYER_NAME, NAME, PROPERTY, REMOVING, type LayerIndex } from '../layout/constants.js';
import { B, W } from '../layout/memory.js';
import { CATALOG_ROOT } from './arena.js';
import { fail, inconsistent } from './errors.js';
import { hashHi, hashLo, hashName } from './hash.js';
import { refuseBrokenCatalog } from './read-only.js';
import { find, findForUpdate, insert, next, recordBytes, recordType, remove, seek, useTree, valueOf } from './tree.js';

/** Throws BlockError if a change of the catalog was cut off. */
export function useCatalog(): void {
  refuseBrokenCatalog();
  useTree(CATALOG_ROOT, CATALOG_OWNER, 0);
}

/** The bytes of a record's value from byte `skip` on, copied. */
function bytesOf(record: number, skip: number): Buffer {
  const at = valueOf(record) * 4;
  return Buffer.from(B.subarray(at + skip, at + recordBytes(record)));
}

function nameEquals(record: number, bytes: Uint8Array, at: number, length: number): boolean {
  if (recordBytes(record) !== length + 4) return false;
  const stored = (valueOf(record) + 1) * 4;
  for (let i = 0; i < length; i++) if (B[stored + i] !== bytes[at + i]) return false;
  return true;
}

/** Index of the layer with this name, -1 if there is none. Makes no objects. */
export function findName(bytes: Uint8Array, at: number, length: number): LayerIndex | -1 {
  const record = findNameRecord(bytes, at, length);
  return record === 0 ? -1 : W[valueOf(record)]!;
}

function findNameRecord(bytes: Uint8Array, at: number, length: number): number {
  useCatalog();
  hashName(0, bytes, at, length);
  const hi = hashHi;
  const lo = hashLo;
  for (let record = seek(0, NAME, hi, lo); record !== 0 && isNameIn(record, hi, lo); record = next()) {
    if (nameEquals(record, bytes, at, length)) return record;
  }
  return 0;
}

function isNameIn(record: number, hi: number, lo: number): boolean {
  return W[record] === 0 && recordType(record) === NAME && W[record + 2] === hi && (W[record + 3]! & ~15) >>> 0 === lo;
}

/** Enters a name that is new. */
export function addName(name: Buffer, layer: LayerIndex): void {
  useCatalog();
  hashName(0, name, 0, name.length);
  for (let collision = 0; collision < 16; collision++) {
    if (find(0, NAME, hashHi, (hashLo | collision) >>> 0) !== 0) continue;
    const value = valueOf(insert(0, NAME, hashHi, (hashLo | collision) >>> 0, name.length + 4));
    W[value] = layer;
    B.set(name, (value + 1) * 4);
    B.set(name, valueOf(insert(layer, LAYER_NAME, 0, 0, name.length)) * 4);
    return;
  }
  fail('catalog: fewer than 16 layer names share 60 bits of hash');
}

/** Removes the name of a layer. */
export function removeName(layer: LayerIndex): void {
  const name = layerName(layer);
  const record = findNameRecord(name, 0, name.length);
  if (record === 0) fail('catalog: each layer name leads to its layer', layer);
  remove(0, NAME, W[record + 2]!, W[record + 3]!);
  remove(layer, LAYER_NAME, 0, 0);
}

/** Name of a layer; empty for one that is being removed. */
export function layerName(layer: LayerIndex): Buffer {
  useCatalog();
  const record = find(layer, LAYER_NAME, 0, 0);
  return record === 0 ? Buffer.alloc(0) : bytesOf(record, 0);
}

// Before the first change all that it will change is read, and must be as it should

/** For a layer that is about to be made. */
export function foreseeNewLayer(layer: LayerIndex, parent: LayerIndex): void {
  useCatalog();
  const isThere = find(layer, LAYER, 0, 0) !== 0 || find(layer, LAYER_NAME, 0, 0) !== 0 || find(layer, PROPERTY, 0, 0) !== 0;
  if (isThere || (parent !== 0 && find(parent, CHILD, 0, layer) !== 0)) throw inconsistent('a layer to come is there', layer, parent);
}

/** For a layer whose name is about to be removed. */
export function foreseeName(layer: LayerIndex): void {
  const name = layerName(layer);
  if (name.length === 0 || findName(name, 0, name.length) !== layer) throw inconsistent('a layer has no name that leads to it', layer);
}

/** For a layer that is about to be taken out. */
export function foreseeRemoval(layer: LayerIndex, parent: LayerIndex): void {
  foreseeName(layer);
  if (find(0, REMOVING, 0, layer) !== 0) throw inconsistent('a layer is removed already', layer);
  if (parent !== 0 && find(parent, CHILD, 0, layer) === 0) throw inconsistent('a layer is no child of its parent', layer, parent);
}

export function addChild(parent: LayerIndex, child: LayerIndex): void {
  useCatalog();
  insert(parent, CHILD, 0, child, 0);
}

export function removeChild(parent: LayerIndex, child: LayerIndex): void {
  useCatalog();
  remove(parent, CHILD, 0, child);
}

export function childrenOf(parent: LayerIndex): LayerIndex[] {
  useCatalog();
  const children: LayerIndex[] = [];
  for (let record = seek(parent, CHILD, 0, 0); record !== 0 && W[record] === parent && recordType(record) === CHILD; record = next()) {
    children.push(W[record + 3]!);
  }
  return children;
}

export function addRemoving(layer: LayerIndex): void {
  useCatalog();
  insert(0, REMOVING, 0, layer, 0);
}

export function removeRemoving(layer: LayerIndex): void {
  useCatalog();
  remove(0, REMOVING, 0, layer);
}

/** Some layer that is being removed, with an index not below `from`; -1 if there is none. */
export function nextRemoving(from: LayerIndex): LayerIndex | -1 {
  useCatalog();
  const record = seek(0, REMOVING, 0, from);
  return record !== 0 && W[record] === 0 && recordType(record) === REMOVING ? W[record + 3]! : -1;
}

export {
  find as findInCatalog,
  findForUpdate as updateInCatalog,
  insert as insertInCatalog,
  remove as removeFromCatalog,
  seek as seekInCatalog,
  next as nextInCatalog,
};
