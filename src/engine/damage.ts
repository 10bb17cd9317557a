/**
 * Naming what damage hits: paths in each layer that has it. The catalog's lock is held, and no path in use.
 *
 * A layer without pages of its own is its parent under another name and has what that has.
 */
import { LAYER, LAYER_REMOVING, type BlockNumber, type LayerIndex } from '../layout/constants.js';
import { W } from '../layout/memory.js';
import { LAYER_WORDS, layerNextIno, layerParent, layerRootBlockAt, layerRootOwner, layerState } from '../layout/records.js';
import { CATALOG_ROOT, scratchAt } from './arena.js';
import { planLayer, type Damage } from './mend.js';
import { eachPage, surveyLayer } from './survey.js';
import { recordType, valueOf } from './tree.js';

/** The thread's scratch from this word on holds the layer record that is looked at. */
const RECORD = 64;

/** What is lost or cannot be read, layer by layer, `bad` being blocks of data. */
export function damageOf(bad: ReadonlySet<BlockNumber>): Damage[] {
  const damage = new Map<LayerIndex, Damage[]>();
  for (const [layer, record] of readableLayers()) damage.set(layer, damageOfLayer(layer, record, bad, damage));
  return [...damage.values()].flat();
}

/** The layer records that can be read, oldest first. */
export function readableLayers(): Map<LayerIndex, Uint32Array> {
  const layers = new Map<LayerIndex, Uint32Array>();
  eachPage(CATALOG_ROOT, {
    record: (record) => {
      if (recordType(record) === LAYER) layers.set(W[record]!, W.slice(valueOf(record), valueOf(record) + LAYER_WORDS));
    },
  });
  return layers;
}

/** Of one layer; `before`: that of the layers before it. */
export function damageOfLayer(
  layer: LayerIndex,
  words: Uint32Array,
  bad: ReadonlySet<BlockNumber>,
  before: ReadonlyMap<LayerIndex, Damage[]>,
): Damage[] {
  const record = scratchAt + RECORD;
  W.set(words, record);
  if (layerState(record) === LAYER_REMOVING) return [];
  const inherited = layerRootOwner(record) === layer ? undefined : before.get(layerParent(record));
  if (inherited !== undefined) return inherited.map((each) => ({ ...each, layer }));
  return planLayer(layer, surveyLayer(layerRootBlockAt(record)), layerNextIno(record), (block) => bad.has(block)).damage;
}
