/** Tasks on the volume and its layers that are done soon. Each converts, calls the engine and describes the result. */
import { BLOCK_BYTES, GLOBAL_LAYER } from '../layout/constants.js';
import { checkpoint } from '../engine/checkpoint.js';
import { LcfsError } from '../engine/errors.js';
import { GLOBAL_NAME, commitLayer, createLayer, layerInfo, removeLayer, type FsyncMode, type LayerInfo } from '../engine/layers.js';
import { setSyncInterval } from '../engine/maintenance.js';
import { dropCleanPages, limitFrames } from '../engine/pager.js';
import { clearStats, dropStats, readStats, type LayerStats } from '../engine/stats.js';
import { growVolume } from '../engine/volume.js';
import type { MappedWrites } from '../fuse/mapped-writes.js';
import type { NamedLayer } from '../drivers/claims.js';
import type { Announce } from './announce.js';
import { surveyLayers } from './gc-survey.js';
import type { Layer, LayerReport } from './protocol.js';

export const volumeTasks = (announce: Announce, mapped: MappedWrites) => ({
  checkpoint: () => makeDurable(mapped),
  setSyncer: ({ seconds }: { seconds: number }) => ({ seconds: setSyncInterval(seconds) }),
  setCache: ({ bytes }: { bytes: number }) => ({ bytes: limitFrames(Math.floor(bytes / BLOCK_BYTES)) * BLOCK_BYTES }),
  dropCache: () => ({ pages: dropCleanPages() }),
  grow: () => ({ blocks: growVolume(), blockBytes: BLOCK_BYTES }),
  readStats: ({ layer }: { layer: string | null }) => readStats(layerNumber(layer)).map(reportStats),
  clearStats: ({ layer }: { layer: string | null }) => clearStats(layerNumber(layer)),
  /** Called now and then, so that layers that are gone make room in the counters. */
  sweepStats: () => dropStats((layer) => nameOf(layer) !== null),
  layer: ({ name }: { name: string }) => describeLayer(layerInfo(name === GLOBAL_NAME ? GLOBAL_LAYER : name)),
  surveyLayers: () => surveyLayers(),
  removeLost: (layer: NamedLayer) => removeLost(layer, announce),
  createLayer: (args: NewLayer) => create(args, announce, mapped),
  commitLayer: (args: Committed) => commit(args, announce, mapped),
  removeLayer: ({ name }: { name: string }) => remove(name, announce),
});

function layerNumber(name: string | null): number | undefined {
  if (name === null) return undefined;
  if (name === GLOBAL_NAME) return GLOBAL_LAYER;
  return layerInfo(name).index;
}

function reportStats(stats: LayerStats): LayerReport {
  if (stats.layer === null) return { layer: '(other layers)', operations: stats.operations };
  return { layer: nameOf(stats.layer) ?? `(removed layer ${stats.layer})`, operations: stats.operations };
}

/** Name of a layer; null for one that is gone or being removed, which has lost its name already. */
function nameOf(index: number): string | null {
  try {
    const { name, state } = layerInfo(index);
    return state === 'removing' ? null : name;
  } catch (error) {
    if (error instanceof LcfsError && error.code === 'not-found') return null;
    throw error;
  }
}

interface NewLayer {
  name: string;
  parent?: string;
  quotaBytes?: number;
  fsync?: FsyncMode;
}

async function makeDurable(mapped: MappedWrites): Promise<{ generation: number }> {
  await mapped.bringInAll();
  return { generation: checkpoint() };
}

/** A parent is sealed by it. */
async function create({ name, parent, quotaBytes, fsync }: NewLayer, announce: Announce, mapped: MappedWrites): Promise<Layer> {
  if (parent !== undefined) await mapped.bringIn(parent);
  const index = createLayer(name, { parent, quotaBytes, fsync });
  announce(name);
  return describeLayer(layerInfo(index));
}

interface Committed {
  name: string;
  newName?: string;
}

async function commit({ name, newName = name }: Committed, announce: Announce, mapped: MappedWrites): Promise<Layer> {
  await mapped.bringIn(name);
  commitLayer(name, newName);
  for (const changed of new Set([name, newName])) announce(changed);
  return describeLayer(layerInfo(newName));
}

function remove(name: string, announce: Announce): void {
  removeLayer(name);
  announce(name);
}

/** Removes a layer that was found a moment ago. */
function removeLost({ index, name }: NamedLayer, announce: Announce): void {
  if (layerInfo(index).holders > 0) throw new LcfsError('busy', `layer "${name}" is in use`);
  removeLayer(index);
  announce(name);
}

/** A layer as the protocol shows it. */
export function describeLayer(info: LayerInfo): Layer {
  const { index, name, state, depth, children, ownBytes, quotaBytes, inodes, holders, properties } = info;
  return {
    index,
    name,
    state,
    parent: info.parent ?? null,
    depth,
    children,
    created: info.created.toISOString(),
    ownBytes,
    quotaBytes,
    fsync: info.fsync ?? null,
    inodes,
    holders,
    properties,
  };
}
