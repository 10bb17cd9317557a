/** For the tests of this folder: layers from archives, and what is in a layer as objects. */
import { createHash } from 'node:crypto';
import { LcfsError } from '../../src/engine/errors.js';
import { createLayer, findLayer, removeLayer } from '../../src/engine/layers.js';
import { foundStat, get, list, ROOT, stat } from './files.js';
import { readLink } from '../../src/engine/namespace.js';
import { getXattr, listXattr } from '../../src/engine/xattr.js';
import type { Ino, LayerIndex } from '../../src/layout/constants.js';
import { isDirectory, isRegular, isSymlink } from '../../src/linux/mode.js';
import { exportLayer } from '../../src/archive/export.js';
import { pushInPieces } from './archives.js';
import type { IdMaps } from '../../src/archive/id-map.js';
import { LayerImport, type ImportOptions, type ImportResult } from '../../src/archive/import.js';

/** Applies an archive to a layer; piece 0 is the whole in one. */
export function apply(name: string, bytes: Buffer, piece = 0, options: ImportOptions = {}): ImportResult {
  const work = new LayerImport(findLayer(name), options);
  try {
    pushInPieces(bytes, piece || bytes.length || 1, (chunk) => work.write(chunk));
    return work.finish();
  } finally {
    work.abort();
  }
}

/** A new layer with the archive in it. */
export function layerOf(name: string, bytes: Buffer, parent?: string): LayerIndex {
  const index = createLayer(name, { parent });
  apply(name, bytes);
  return index;
}

/** Message with which the archive is refused. The layer is removed. */
export function refusal(name: string, bytes: Buffer, parent?: string, piece = 0): string {
  createLayer(name, { parent });
  try {
    apply(name, bytes, piece);
  } catch (error) {
    if (!(error instanceof LcfsError)) throw error;
    return `${error.code}: ${error.message}`;
  } finally {
    removeLayer(name);
  }
  return 'accepted';
}

export function exported(layer: string, base: string | null, maps: IdMaps = {}): Buffer {
  return Buffer.concat([...exportLayer(layer, base, maps)]);
}

/** Every path of a layer (latin1) with a line that says what is there; times only of what the archive sets. */
export function dump(layer: LayerIndex): Map<string, string> {
  const lines = new Map<string, string>();
  const firstNames = new Map<Ino, string>();
  const visit = (dir: Ino, path: string): void => {
    for (const [name, { ino }] of [...list(layer, dir)].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
      if (name === '.' || name === '..') continue;
      const below = path === '' ? name : `${path}/${name}`;
      lines.set(below, describe(layer, ino, below, firstNames));
      if (isDirectory(stat(layer, ino).mode)) visit(ino, below);
    }
  };
  visit(ROOT, '');
  return lines;
}

/** Paths only. */
export function paths(layer: LayerIndex): string[] {
  return [...dump(layer).keys()];
}

export function describe(layer: LayerIndex, ino: Ino, path: string, firstNames: Map<Ino, string> = new Map()): string {
  const found = stat(layer, ino);
  const first = firstNames.get(ino);
  if (first === undefined) firstNames.set(ino, path);
  const parts = [found.mode.toString(8), `${found.uid}:${found.gid}`, `mtime ${Math.floor(found.mtime / 1e6)}`];
  if (first !== undefined) parts.push(`same as ${first}`);
  if (isRegular(found.mode)) parts.push(`${found.size} bytes ${contentHash(layer, ino, found.size)}`);
  if (isSymlink(found.mode)) parts.push(`-> ${linkTarget(layer, ino)}`);
  if (found.rdev !== 0) parts.push(`device ${found.rdev.toString(16)}`);
  for (const [name, value] of xattrsOf(layer, ino)) parts.push(`${name}=${value}`);
  return parts.join(' ');
}

export function linkTarget(layer: LayerIndex, ino: Ino): string {
  const target = Buffer.alloc(4096);
  return target.toString('latin1', 0, readLink(layer, ino, target, 0));
}

function contentHash(layer: LayerIndex, ino: Ino, size: number): string {
  const hash = createHash('sha1');
  for (let at = 0; at < size; at += 1 << 20) hash.update(get(layer, ino, at, 1 << 20) as Buffer);
  return hash.digest('hex').slice(0, 12);
}

/** Names with values in base 64. */
export function xattrsOf(layer: LayerIndex, ino: Ino): [string, string][] {
  const names = Buffer.alloc(65_536);
  const length = listXattr(layer, ino, names, 0, names.length);
  const texts = names.toString('latin1', 0, length).split('\0').filter(Boolean).toSorted();
  return texts.map((text) => [text, xattr(layer, ino, text).toString('base64')]);
}

export function xattr(layer: LayerIndex, ino: Ino, name: string): Buffer {
  const value = Buffer.alloc(65_536);
  return value.subarray(0, getXattr(layer, ino, Buffer.from(name), 0, name.length, value, 0, value.length));
}

export { foundStat };
