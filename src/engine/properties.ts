/**
 * Properties of layers: text under a key, kept in the catalog. Callers hold CATALOG_LOCK.
 *
 * A property lies in records (layer, PROPERTY, hash of its key), whose low twelve bits are a collision number (four bits)
 * and a chunk number (eight). Chunk 0 begins with the lengths of key and value; then come the key and the value, over as
 * many chunks of VALUE_BYTES_MAX bytes as they need: 135 for the longest.
 *
 * Invariant PR1: all chunks of a property but the last are full, and lie side by side.
 */
import { PROPERTY, PROPERTY_BYTES_MAX, PROPERTY_KEY_BYTES_MAX, VALUE_BYTES_MAX, type LayerIndex } from '../layout/constants.js';
import { B } from '../layout/memory.js';
import {
  PROPERTY_WORDS,
  propertyKeyBytes,
  propertyValueBytes,
  recordHi,
  recordKey0,
  recordLo,
  setPropertyKeyBytes,
  setPropertyValueBytes,
} from '../layout/records.js';
import { useCatalog } from './catalog.js';
import { LcfsError, fail, inconsistent } from './errors.js';
import { hashHi, hashLo, hashName } from './hash.js';
import { find, insert, next, recordBytes, recordType, remove, seek, valueOf } from './tree.js';

/** On layers that a repair found damaged: JSON with the time, and what was lost, the first of it in words. */
export const DAMAGED_PROPERTY = 'lcfs.damaged';

const CHUNK_BITS = 8;
const CHUNKS_MASK = (1 << CHUNK_BITS) - 1;
const COLLISIONS = 16;
const HASH_MASK = ~0xfff;
const HEADER_BYTES = PROPERTY_WORDS * 4;
/** Pages that putting or erasing a property changes beside those that hold its chunks: two paths of five levels, split. */
const BLOCKS_PER_PROPERTY = 24;

/** Throws LcfsError('invalid') if key or value are too long. */
export function checkProperty(key: string, value: string): void {
  const keyBytes = Buffer.byteLength(key);
  if (keyBytes > 0 && keyBytes <= PROPERTY_KEY_BYTES_MAX && Buffer.byteLength(value) <= PROPERTY_BYTES_MAX) return;
  throw new LcfsError(
    'invalid',
    `property "${key.slice(0, 100)}": a key has 1 to ${PROPERTY_KEY_BYTES_MAX} bytes, a value at most ${PROPERTY_BYTES_MAX}`,
  );
}

/** Number of records for a key and a value. */
function chunksFor(keyBytes: number, valueBytes: number): number {
  return Math.ceil((HEADER_BYTES + keyBytes + valueBytes) / VALUE_BYTES_MAX);
}

/**
 * Blocks to admit for `storeProperty`: each chunk that goes or comes may have a page of its own, and change its neighbour's.
 */
export function blocksToStore(layer: LayerIndex, key: string, value: string | null): number {
  useCatalog();
  const bytes = Buffer.from(key);
  const found = findProperty(layer, bytes);
  const old = found < 0 ? 0 : foreseeChunks(layer, hashHi, found);
  if (value !== null) foreseeNew(layer);
  return BLOCKS_PER_PROPERTY + 2 * (old + (value === null ? 0 : chunksFor(bytes.length, Buffer.byteLength(value))));
}

/** Reads the chunks of a property, all of which must be there, before the first is changed. Returns how many there are. */
function foreseeChunks(layer: LayerIndex, hi: number, lo: number): number {
  const chunks = chunksAt(layer, hi, lo);
  for (let chunk = 0; chunk < chunks; chunk++)
    if (find(layer, PROPERTY, hi, lo + chunk) === 0) throw inconsistent('a part of a property is missing', layer, chunk);
  return chunks;
}

/** Reads where a property with the hash of the last look-up will go. */
function foreseeNew(layer: LayerIndex): void {
  for (let collision = 0; collision < COLLISIONS; collision++)
    find(layer, PROPERTY, hashHi, ((hashLo & HASH_MASK) | (collision << CHUNK_BITS)) >>> 0);
}

/** The same for a layer that is not there yet. */
export function blocksToPut(key: string, value: string): number {
  return BLOCKS_PER_PROPERTY + 2 * chunksFor(Buffer.byteLength(key), Buffer.byteLength(value));
}

/** Blocks to admit for erasing all properties of a layer: every page that holds some of them is copied. */
export function blocksToErase(layer: LayerIndex): number {
  useCatalog();
  let chunks = 0;
  for (let record = seek(layer, PROPERTY, 0, 0); isProperty(record, layer); record = next()) chunks++;
  return chunks === 0 ? 0 : BLOCKS_PER_PROPERTY + 2 * chunks;
}

function isProperty(record: number, layer: LayerIndex): boolean {
  return record !== 0 && recordKey0(record) === layer && recordType(record) === PROPERTY;
}

/** All properties of a layer, in the order of their hashes. */
export function propertiesOf(layer: LayerIndex): Record<string, string> {
  useCatalog();
  const properties: Record<string, string> = {};
  let record = seek(layer, PROPERTY, 0, 0);
  while (isProperty(record, layer)) {
    if ((recordLo(record) & CHUNKS_MASK) !== 0) throw inconsistent('a property has no beginning', layer);
    const keyBytes = propertyKeyBytes(valueOf(record));
    const text = Buffer.allocUnsafe(keyBytes + propertyValueBytes(valueOf(record)));
    record = readChunks(record, text);
    properties[text.toString('utf8', 0, keyBytes)] = text.toString('utf8', keyBytes);
  }
  return properties;
}

/** Fills `text` with key and value of the property that begins at `first`. Returns the record behind it. */
function readChunks(first: number, text: Buffer): number {
  const [layer, hi, lo] = [recordKey0(first), recordHi(first), recordLo(first)];
  let record = first;
  let done = 0;
  for (let skip = HEADER_BYTES, chunk = 0; done < text.length || skip > 0; skip = 0, chunk++) {
    const isNext = isProperty(record, layer) && recordHi(record) === hi && recordLo(record) === lo + chunk;
    if (!isNext || done + recordBytes(record) - skip > text.length) throw inconsistent('a part of a property is missing', layer, chunk);
    const at = valueOf(record) * 4;
    text.set(B.subarray(at + skip, at + recordBytes(record)), done);
    done += recordBytes(record) - skip;
    record = next();
  }
  return record;
}

/** Sets a property, or removes it when `value` is null. */
export function storeProperty(layer: LayerIndex, key: string, value: string | null): void {
  useCatalog();
  const keyBytes = Buffer.from(key);
  const found = findProperty(layer, keyBytes);
  if (found >= 0) eraseChunks(layer, hashHi, found);
  if (value !== null) putChunks(layer, keyBytes, Buffer.from(value));
}

/** Low word of the key of chunk 0; -1 if there is no such property. Leaves the hash of the key in `hashHi` and `hashLo`. */
function findProperty(layer: LayerIndex, key: Buffer): number {
  hashName(layer, key, 0, key.length);
  const base = (hashLo & HASH_MASK) >>> 0;
  for (let collision = 0; collision < COLLISIONS; collision++) {
    const lo = (base | (collision << CHUNK_BITS)) >>> 0;
    const record = find(layer, PROPERTY, hashHi, lo);
    if (record !== 0 && isNamed(valueOf(record), key)) return lo;
  }
  return -1;
}

function isNamed(value: number, key: Buffer): boolean {
  const at = value * 4 + HEADER_BYTES;
  return propertyKeyBytes(value) === key.length && key.equals(B.subarray(at, at + key.length));
}

function chunksAt(layer: LayerIndex, hi: number, lo: number): number {
  const first = valueOf(find(layer, PROPERTY, hi, lo));
  return chunksFor(propertyKeyBytes(first), propertyValueBytes(first));
}

function eraseChunks(layer: LayerIndex, hi: number, lo: number): void {
  const chunks = chunksAt(layer, hi, lo);
  for (let chunk = 0; chunk < chunks; chunk++) remove(layer, PROPERTY, hi, lo + chunk);
}

/** Puts a property that is not there, with the hash of the last `findProperty`. */
function putChunks(layer: LayerIndex, key: Buffer, value: Buffer): void {
  const hi = hashHi;
  const lo = freeKey(layer);
  const text = Buffer.concat([key, value]);
  let stored = 0;
  for (let chunk = 0; chunk < chunksFor(key.length, value.length); chunk++) {
    const skip = chunk === 0 ? HEADER_BYTES : 0;
    const bytes = Math.min(VALUE_BYTES_MAX - skip, text.length - stored);
    const at = valueOf(insert(layer, PROPERTY, hi, lo + chunk, skip + bytes));
    if (chunk === 0) {
      setPropertyKeyBytes(at, key.length);
      setPropertyValueBytes(at, value.length);
    }
    B.set(text.subarray(stored, stored + bytes), at * 4 + skip);
    stored += bytes;
  }
}

function freeKey(layer: LayerIndex): number {
  for (let collision = 0; collision < COLLISIONS; collision++) {
    const lo = ((hashLo & HASH_MASK) | (collision << CHUNK_BITS)) >>> 0;
    if (find(layer, PROPERTY, hashHi, lo) === 0) return lo;
  }
  return fail('catalog: fewer than 16 property names share 52 bits of hash');
}

export function removeProperties(layer: LayerIndex): void {
  useCatalog();
  for (let record = seek(layer, PROPERTY, 0, 0); isProperty(record, layer); record = seek(layer, PROPERTY, 0, 0)) {
    remove(layer, PROPERTY, recordHi(record), recordLo(record));
  }
}
