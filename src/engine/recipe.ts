/**
 * Recipes: bytes that a layer keeps beside its files, out of sight of those who mount it. An archive's headers lie there,
 * so that the archive can be put together again byte by byte (archive/recipe.ts, which alone knows what the bytes mean).
 *
 * The bytes lie in records (0, RECIPE, layer, chunk number) at the start of the layer's tree, RECIPE_CHUNK_BYTES in each but
 * the last. They go with the layer, and survive what the layer survives. Clones inherit the records with the rest of the
 * tree and pass over them: the key tells whose they are.
 */
import { RECIPE, VALUE_BYTES_MAX, type LayerIndex } from '../layout/constants.js';
import { B } from '../layout/memory.js';
import { EIO } from '../linux/errno.js';
import { abandon, beginRead, beginWrite, end } from './operation.js';
import { find, insert, recordBytes, valueOf } from './tree.js';

export const RECIPE_CHUNK_BYTES = VALUE_BYTES_MAX;

/**
 * Keeps `length` bytes, 1 to RECIPE_CHUNK_BYTES, of `bytes` from `at` on as the layer's chunk `index`, which is new. Returns
 * 0; -EROFS for a sealed layer, -ENOSPC, -ESTALE or -EIO.
 */
export function appendRecipeChunk(layer: LayerIndex, index: number, bytes: Uint8Array, at: number, length: number): number {
  const refused = beginWrite(layer, 0, 1);
  if (refused < 0) return refused;
  try {
    const value = valueOf(insert(0, RECIPE, layer, index, length)) * 4;
    for (let i = 0; i < length; i++) B[value + i] = bytes[at + i]!;
    return end(0);
  } catch (error) {
    return abandon(error);
  }
}

/** Copies the layer's chunk `index` to `out`. Returns its length, 0 if there is none; -ESTALE or -EIO. */
export function readRecipeChunk(layer: LayerIndex, index: number, out: Uint8Array): number {
  const refused = beginRead(layer);
  if (refused < 0) return refused;
  try {
    const record = find(0, RECIPE, layer, index);
    if (record === 0) return end(0);
    const length = recordBytes(record);
    if (length > out.length) return end(-EIO);
    const value = valueOf(record) * 4;
    out.set(B.subarray(value, value + length));
    return end(length);
  } catch (error) {
    return abandon(error);
  }
}
