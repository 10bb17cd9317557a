/**
 * Importing whole archives: from a stream into a layer, or into a new layer that is not left behind if something fails.
 * The stream holds an uncompressed tar; back-pressure is that of reading it piece by piece.
 */
import { LcfsError } from '../engine/errors.js';
import { createLayer, findLayer, removeLayer } from '../engine/layers.js';
import type { LayerIndex } from '../layout/constants.js';
import { LayerImport, type ImportOptions, type ImportResult } from './layer-import.js';

export { LayerImport, type ImportOptions, type ImportResult } from './layer-import.js';

export type ByteStream = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

export interface StreamOptions extends ImportOptions {
  /** Told after each piece of the stream that is in the layer, with its length in bytes. */
  readonly written?: (bytes: number) => void;
}

export interface NewLayerOptions extends ImportOptions {
  /** Layer to build on; it is sealed. None: an empty layer. */
  readonly parent?: string;
  readonly quotaBytes?: number;
  readonly properties?: Record<string, string>;
}

/**
 * Applies the archive to a writable layer. Throws LcfsError; then the layer holds a part of the archive and is best
 * removed.
 */
export async function importLayer(stream: ByteStream, name: string, options: StreamOptions = {}): Promise<ImportResult> {
  const layer = findLayer(name);
  if (layer < 0) throw new LcfsError('not-found', `layer "${name}" does not exist`);
  return importInto(layer, stream, options);
}

async function importInto(layer: LayerIndex, stream: ByteStream, options: StreamOptions): Promise<ImportResult> {
  const work = new LayerImport(layer, options);
  try {
    for await (const chunk of stream) {
      work.write(chunk);
      options.written?.(chunk.length);
    }
    return work.finish();
  } finally {
    work.abort();
  }
}

/** Makes a layer and applies the archive to it. If anything fails, the layer is removed again. The layer stays writable. */
export async function importNewLayer(stream: ByteStream, name: string, options: NewLayerOptions = {}): Promise<ImportResult> {
  const { uids, gids, recipe = false, ...creation } = options;
  const layer = createLayer(name, creation);
  try {
    return await importInto(layer, stream, { recipe, ...(uids && { uids }), ...(gids && { gids }) });
  } catch (error) {
    throw removedAfter(name, error);
  }
}

/** Removes the unfinished layer; returns what to throw. */
function removedAfter(name: string, cause: unknown): unknown {
  try {
    removeLayer(name);
    return cause;
  } catch (error) {
    const text = (value: unknown): string => (value instanceof Error ? value.message : String(value));
    return new LcfsError('state', `${text(cause)}; the unfinished layer "${name}" could not be removed: ${text(error)}`);
  }
}
