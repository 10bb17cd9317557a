/**
 * Recipes: what it takes beside the files of a layer to put the archive that they came from together again, byte by byte.
 *
 * A recipe is a sequence of steps, in the archive's order:
 *   bytes    as they stood there: headers, padding, what follows the end, and data that is in no file (of whiteouts)
 *   file     a range of an inode's contents. They are not stored a second time
 * Steps are gathered in pieces of PIECE_BYTES and compressed, as headers are mostly zeros: some 40 bytes an entry remain.
 *
 * Format: pieces, each a length (u32, little-endian) and as many bytes of deflate; a length of 0 ends the recipe. A piece
 * holds whole steps: a u32 length and those bytes, or FILE, the inode (u32), offset and length (f64).
 *
 * Invariant RC1: a recipe whose end was written leads to inodes that hold what the archive had, as long as nobody changes
 * the layer; `verify` finds inodes that the same archive removed again.
 */
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { LcfsError } from '../engine/errors.js';
import { foundAt, getInode, inodeSize } from '../engine/inode.js';
import { appendRecipeChunk, readRecipeChunk, RECIPE_CHUNK_BYTES } from '../engine/recipe.js';
import { FILE_BYTES_MAX, type Ino, type LayerIndex } from '../layout/constants.js';
import { causeOf } from './archive-error.js';
import { check, Refusal } from './refusal.js';

export type RecipeStep = Buffer | FileRange;

export interface FileRange {
  readonly ino: Ino;
  readonly offset: number;
  readonly length: number;
}

const PIECE_BYTES = 1 << 16;
const FILE = 0xffff_ffff;
const LENGTH_BYTES = 4;
const FILE_STEP_BYTES = 24;
/** A piece that does not shrink grows by a few bytes. */
const COMPRESSED_BYTES_MAX = PIECE_BYTES + 1024;
/** The lowest level: headers shrink to a tenth with it, and it takes a quarter of the time of the usual one. */
const LEVEL = 1;

/** Writes the recipe of a writable layer. All methods throw Refusal. */
export class RecipeWriter {
  readonly #layer: LayerIndex;
  readonly #piece = Buffer.allocUnsafeSlow(PIECE_BYTES);
  #filled = 0;
  /** Where in the piece the length of the last step stands, if that is one of bytes; otherwise -1. */
  #bytesAt = -1;
  /** The file step that the next data may continue. */
  #ino: Ino = 0;
  #offset = 0;
  #length = 0;
  readonly #chunk = Buffer.allocUnsafeSlow(RECIPE_CHUNK_BYTES);
  #chunkFilled = 0;
  #chunks = 0;

  /** Throws LcfsError if the layer has a recipe: it was made from another archive. */
  constructor(layer: LayerIndex) {
    if (hasRecipe(layer)) throw new LcfsError('state', 'the layer was made from an archive already, which it would have to give back');
    this.#layer = layer;
  }

  /** The archive goes on with these bytes. */
  bytes(bytes: Uint8Array, at: number, length: number): void {
    this.#endFile();
    for (let done = 0; done < length;) {
      const room = this.#roomForBytes();
      const part = Math.min(room, length - done);
      this.#piece.set(bytes.subarray(at + done, at + done + part), this.#filled);
      this.#piece.writeUInt32LE(this.#piece.readUInt32LE(this.#bytesAt) + part, this.#bytesAt);
      this.#filled += part;
      done += part;
    }
  }

  /** Begins a step of bytes unless there is one to go on with, and returns how many fit in, at least one. */
  #roomForBytes(): number {
    if (this.#filled + LENGTH_BYTES >= PIECE_BYTES) this.#endPiece();
    if (this.#bytesAt < 0) {
      this.#bytesAt = this.#filled;
      this.#filled = this.#piece.writeUInt32LE(0, this.#filled);
    }
    return PIECE_BYTES - this.#filled;
  }

  /** The archive goes on with data that is stored at `offset` of a file. */
  file(ino: Ino, offset: number, length: number): void {
    if (ino === this.#ino && offset === this.#offset + this.#length) this.#length += length;
    else {
      this.#endFile();
      this.#ino = ino;
      this.#offset = offset;
      this.#length = length;
    }
  }

  #endFile(): void {
    if (this.#length === 0) return;
    if (this.#filled + FILE_STEP_BYTES > PIECE_BYTES) this.#endPiece();
    let at = this.#piece.writeUInt32LE(FILE, this.#filled);
    at = this.#piece.writeUInt32LE(this.#ino, at);
    at = this.#piece.writeDoubleLE(this.#offset, at);
    this.#filled = this.#piece.writeDoubleLE(this.#length, at);
    this.#length = 0;
    this.#bytesAt = -1;
  }

  #endPiece(): void {
    if (this.#filled > 0) this.#store(deflateRawSync(this.#piece.subarray(0, this.#filled), { level: LEVEL }));
    this.#filled = 0;
    this.#bytesAt = -1;
  }

  #store(compressed: Uint8Array): void {
    const length = Buffer.alloc(LENGTH_BYTES);
    length.writeUInt32LE(compressed.length);
    this.#append(length);
    this.#append(compressed);
  }

  #append(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      const part = Math.min(bytes.length - at, RECIPE_CHUNK_BYTES - this.#chunkFilled);
      this.#chunk.set(bytes.subarray(at, at + part), this.#chunkFilled);
      this.#chunkFilled += part;
      at += part;
      if (this.#chunkFilled === RECIPE_CHUNK_BYTES) this.#endChunk();
    }
  }

  #endChunk(): void {
    if (this.#chunkFilled === 0) return;
    check(appendRecipeChunk(this.#layer, this.#chunks++, this.#chunk, 0, this.#chunkFilled));
    this.#chunkFilled = 0;
  }

  /** The archive is complete. */
  finish(): void {
    this.#endFile();
    this.#endPiece();
    this.#store(new Uint8Array(0));
    this.#endChunk();
  }

  /** To be called behind `finish` if the import removed something: what it removed may be data of the archive. */
  verify(): void {
    for (const step of recipeSteps(this.#layer)) {
      if (!('ino' in step)) continue;
      const found = getInode(this.#layer, step.ino);
      if (found < 0 || inodeSize(foundAt) < step.offset + step.length)
        throw new Refusal('it has several entries with data for one path, so it could not be given back as it is');
    }
  }
}

export function hasRecipe(layer: LayerIndex): boolean {
  return readRecipeChunk(layer, 0, Buffer.alloc(RECIPE_CHUNK_BYTES)) > 0;
}

/** The steps of a layer's recipe; bytes are valid until the next step. Throws LcfsError if there is no recipe, or no whole one. */
export function* recipeSteps(layer: LayerIndex): Generator<RecipeStep> {
  const stored = new StoredBytes(layer);
  for (;;) {
    const length = stored.take(LENGTH_BYTES).readUInt32LE();
    if (length === 0) return;
    if (length > COMPRESSED_BYTES_MAX) throw damaged('its length is out of range');
    yield* stepsOf(inflate(stored.take(length)));
  }
}

function inflate(compressed: Buffer): Buffer {
  try {
    return inflateRawSync(compressed, { maxOutputLength: PIECE_BYTES });
  } catch (error) {
    throw damaged((error as Error).message);
  }
}

function* stepsOf(piece: Buffer): Generator<RecipeStep> {
  for (let at = 0; at < piece.length;) {
    const length = at + LENGTH_BYTES <= piece.length ? piece.readUInt32LE(at) : Infinity;
    const end = at + (length === FILE ? FILE_STEP_BYTES : LENGTH_BYTES + length);
    if (end > piece.length) throw damaged('a step is cut off');
    yield length === FILE ? fileStep(piece, at) : piece.subarray(at + LENGTH_BYTES, end);
    at = end;
  }
}

function fileStep(piece: Buffer, at: number): { ino: Ino; offset: number; length: number } {
  const ino = piece.readUInt32LE(at + 4);
  const offset = piece.readDoubleLE(at + 8);
  const length = piece.readDoubleLE(at + 16);
  const areNumbers = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
  if (!areNumbers || offset + length > FILE_BYTES_MAX) throw damaged('a range of a file is out of range');
  return { ino, offset, length };
}

/** The bytes of a layer's chunks, one after the other. */
class StoredBytes {
  readonly #layer: LayerIndex;
  readonly #chunk = Buffer.allocUnsafeSlow(RECIPE_CHUNK_BYTES);
  #chunks = 0;
  #at = 0;
  #end = 0;

  constructor(layer: LayerIndex) {
    this.#layer = layer;
  }

  take(length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length);
    for (let done = 0; done < length;) {
      if (this.#at === this.#end) this.#next();
      const part = Math.min(length - done, this.#end - this.#at);
      bytes.set(this.#chunk.subarray(this.#at, this.#at + part), done);
      this.#at += part;
      done += part;
    }
    return bytes;
  }

  #next(): void {
    const length = readRecipeChunk(this.#layer, this.#chunks++, this.#chunk);
    if (length < 0) {
      const [code, cause] = causeOf(length);
      throw new LcfsError(code, `the recipe of the layer's archive cannot be read: ${cause}`);
    }
    if (length === 0) throw damaged('it ends early');
    this.#at = 0;
    this.#end = length;
  }
}

function damaged(cause: string): LcfsError {
  return new LcfsError('state', `the recipe of the layer's archive is not whole: ${cause}`);
}
