/** Changes between two layers as Docker shows them: a list, and the space they take. */
import { DELETED, diffLayers, type Change } from '../engine/diff.js';
import { foundAt, getInode, inodeSize } from '../engine/inode.js';
import { findLayer } from '../engine/layers.js';
import type { LayerIndex } from '../layout/constants.js';
import { inodeLinks } from '../layout/records.js';
import { kindOf, S_IFDIR } from '../linux/mode.js';
import { InoSet } from './ino-set.js';

/** A change in the form of `docker diff`. */
export interface PathChange {
  /** 0 modified, 1 added, 2 deleted. */
  kind: 0 | 1 | 2;
  /** With a leading slash. */
  path: Buffer;
}

const DIRECTORY_KIND = kindOf(S_IFDIR);
const SLASH = Buffer.from('/');

/**
 * What makes `layer` out of `base` (null: out of nothing), directories before what they hold. A directory in which names
 * came or went is modified, as its time changed; one that only holds a modified file is not, as with overlay2.
 * Throws LcfsError.
 */
export function* changes(layer: string, base: string | null): Generator<PathChange> {
  for (const { kind, path } of diffLayers(layer, base)) yield { kind, path: Buffer.concat([SLASH, path]) };
}

/**
 * Bytes of the files that were added or modified, each file counted once however many names it has: what Docker shows as
 * the size of a container. Throws LcfsError.
 */
export function diffSize(layer: string, base: string | null): number {
  const index = findLayer(layer);
  const counted = new InoSet();
  let bytes = 0;
  for (const change of diffLayers(layer, base)) bytes += sizeOf(index, change, counted);
  return bytes;
}

function sizeOf(layer: LayerIndex, change: Change, counted: InoSet): number {
  if (change.kind === DELETED || change.type === DIRECTORY_KIND) return 0;
  // What is gone since the comparison counts for nothing.
  if (getInode(layer, change.ino) < 0) return 0;
  if (inodeLinks(foundAt) > 1 && !counted.add(change.ino)) return 0;
  return inodeSize(foundAt);
}
