/**
 * Layers that are being made of an archive: marked, so that nobody takes half a layer for a whole one. The mark is a property,
 * and becomes durable in the same order as what it is about. What a process that died was making, the one that takes over
 * removes; after a crash of the machine it is left to `lcfs gc`.
 */
import { LcfsError } from './errors.js';
import { listLayers, removeLayer, updateLayer } from './layers.js';
import type { LayerIndex } from '../layout/constants.js';

/** Property of such layers. */
export const UNFINISHED = 'lcfs.importing';

/** Properties of a new layer that is to be marked. */
export const UNFINISHED_MARK: Readonly<Record<string, string>> = { [UNFINISHED]: 'yes' };

export function markUnfinished(layer: LayerIndex): void {
  updateLayer(layer, { properties: UNFINISHED_MARK });
}

export function markFinished(layer: LayerIndex): void {
  updateLayer(layer, { properties: { [UNFINISHED]: null }, frees: true });
}

/** Removes what an earlier process left half-made. Returns the names. To be called before anybody else changes layers. */
export function removeUnfinished(): string[] {
  const names = Array.from(listLayers(), ({ name, properties }) => (UNFINISHED in properties ? name : '')).filter((name) => name !== '');
  return names.filter(tryRemove);
}

function tryRemove(name: string): boolean {
  try {
    removeLayer(name);
    return true;
  } catch (error) {
    // Somebody has cloned it: whoever that was wanted it as it was.
    if (error instanceof LcfsError) return false;
    throw error;
  }
}
