/**
 * What the entries of the intent log look like, in memory and on the device.
 *
 * An entry: length in words, generation, origin (low, high word), place; then items, each beginning with a word that says
 * which it is:
 *   TREE    owner                        the records that follow belong to this layer's tree or to the catalog
 *   PUT     record                       a record as it lies in a tree page: key0, type and length, hi, lo, value
 *   DELETE  key0, type, hi, lo
 *   ALLOC   block, count                 data blocks that were allocated
 *   FREE    block, count                 data blocks that were freed
 *   STATE   layer, LAYER_STATE_WORDS     the layer's record, without what is counted again
 *   NEW     layer, parent, quota, time, flags   a layer was made; time: seconds (low, high word), nanoseconds
 *   GROW    blocks                       the volume has this many blocks
 */
import { W } from '../layout/memory.js';
import { LcfsError } from './errors.js';
import { recordWords } from './tree.js';

export const ENTRY = { length: 0, generation: 1, originLo: 2, originHi: 3, place: 4, items: 5 } as const;
export const TREE = 1;
export const PUT = 2;
export const DELETE = 3;
export const ALLOC = 4;
export const FREE = 5;
export const STATE = 6;
export const NEW = 7;
export const GROW = 8;

/** Words of STATE behind the layer's index. */
export const LAYER_STATE_WORDS = 7;

/** Words of the item at a word. */
export function itemWords(at: number): number {
  switch (W[at]) {
    case TREE:
    case GROW:
      return 2;
    case PUT:
      return 1 + recordWords(at + 1);
    case DELETE:
      return 5;
    case ALLOC:
    case FREE:
      return 3;
    case STATE:
      return 2 + LAYER_STATE_WORDS;
    case NEW:
      return 8;
    default:
      throw new LcfsError('corrupt', `the intent log has an item of kind ${W[at]} (LG2)`);
  }
}
