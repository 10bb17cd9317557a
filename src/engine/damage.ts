/**
 * Naming what damage hits: paths in each layer that has it. The catalog's lock is held, and no path in use.
 *
 * A layer without pages of its own is its parent under another name and has what that has.
 */
import { GLOBAL_LAYER, LAYER, LAYER_REMOVING, NAME, type BlockNumber, type LayerIndex } from '../layout/constants.js';
import { B, W } from '../layout/memory.js';
import { LAYER_WORDS, layerNextIno, layerParent, layerRootBlockAt, layerRootOwner, layerState } from '../layout/records.js';
import { CATALOG_ROOT, scratchAt } from './arena.js';
import { GLOBAL_NAME } from './layers.js';
import { planLayer, type Damage } from './mend.js';
import { eachPage, surveyLayer } from './survey.js';
import { recordBytes, recordType, valueOf } from './tree.js';

/** The thread's scratch from this word on holds the layer record that is looked at. */
const RECORD = 64;

/** What is lost or cannot be read, layer by layer, `bad` being blocks of data. */
export function damageOf(bad: ReadonlySet<BlockNumber>): Damage[] {
  const damage = new Map<LayerIndex, Damage[]>();
  const { layers, named } = readableLayers();
  for (const [layer, record] of layers) damage.set(layer, damageOfLayer(layer, record, bad, damage));
  const lost = [...named].filter(([layer]) => !layers.has(layer)).map(([layer, name]) => lostLayer(layer, name));
  return [...lost, ...[...damage].flatMap(([layer, each]) => withName(each, nameOf(layer, named.get(layer))))];
}

export function withName(damage: readonly Damage[], layerName: string): Damage[] {
  return damage.map((each) => ({ ...each, layerName }));
}

export function nameOf(layer: LayerIndex, name: Buffer | undefined): string {
  return layer === GLOBAL_LAYER ? GLOBAL_NAME : (name?.toString() ?? '');
}

/** A layer of which the catalog has lost all but the name. */
export function lostLayer(layer: LayerIndex, name: Buffer): Damage {
  return {
    layer,
    layerName: name.toString(),
    ino: 0,
    path: null,
    kind: 'tree',
    text: 'the record of the layer is lost, and all of the layer with it',
  };
}

/** The layer records that can be read, oldest first, and the layers that have a name. */
function readableLayers(): { layers: Map<LayerIndex, Uint32Array>; named: Map<LayerIndex, Buffer> } {
  const layers = new Map<LayerIndex, Uint32Array>();
  const named = new Map<LayerIndex, Buffer>();
  eachPage(CATALOG_ROOT, {
    record: (record) => {
      const value = valueOf(record);
      if (recordType(record) === LAYER) layers.set(W[record]!, W.slice(value, value + LAYER_WORDS));
      else if (recordType(record) === NAME) named.set(W[value]!, Buffer.from(B.slice(value * 4 + 4, value * 4 + recordBytes(record))));
    },
  });
  return { layers, named };
}

function damageOfLayer(
  layer: LayerIndex,
  words: Uint32Array,
  bad: ReadonlySet<BlockNumber>,
  before: ReadonlyMap<LayerIndex, Damage[]>,
): Damage[] {
  const record = scratchAt + RECORD;
  W.set(words, record);
  if (layerState(record) === LAYER_REMOVING) return [];
  const inherited = layerRootOwner(record) === layer ? undefined : before.get(layerParent(record));
  if (inherited !== undefined) return Array.from(inherited, (each) => ({ ...each, layer }));
  return planLayer(layer, surveyLayer(layerRootBlockAt(record)), layerNextIno(record), (block) => bad.has(block)).damage;
}
