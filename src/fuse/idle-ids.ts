/**
 * Backing ids that nobody uses for the moment. Making one and closing it again takes 12 µs, a third of opening and reading a
 * small file that is cached, and programs open the same files over and over. So an id is kept when its last opening ends,
 * until another one takes its place: each content file has one place, by hash.
 *
 * Place: word 0 lock, then layer + 1 (0: free), inode number, id. Nothing is called while a place is locked. A place whose owner
 * died has a lock that is never given back, and is not to be trusted (`recover`).
 */
import type { Ino, LayerIndex } from '../layout/constants.js';

const PLACE_BITS = 12;
const PLACES = 1 << PLACE_BITS;
const PLACE_WORDS = 4;
const LAYER = 1;
const INO = 2;
const ID = 3;
/** An id holds an inode of the kernel: 4,096 of them take some 5 MiB. 64 KiB here. */
export const IDLE_IDS_BYTES = PLACES * PLACE_WORDS * 4;

const SPINS = 200;

export class IdleIds {
  private readonly words: Int32Array;

  constructor(memory: SharedArrayBuffer, at: number) {
    this.words = new Int32Array(memory, at, IDLE_IDS_BYTES / 4);
  }

  /** Keeps an id. Returns the one that had the place before, which is to be closed; 0 if there was none. */
  keep(layer: LayerIndex, ino: Ino, id: number): number {
    const { words } = this;
    const place = this.enter(layer, ino);
    const before = words[place + LAYER] === 0 ? 0 : words[place + ID]!;
    words[place + LAYER] = (layer + 1) | 0;
    words[place + INO] = ino;
    words[place + ID] = id;
    this.leave(place);
    return before;
  }

  /** Takes the id of a content file, if it is here; otherwise 0. */
  take(layer: LayerIndex, ino: Ino): number {
    const { words } = this;
    const place = this.enter(layer, ino);
    const isHere = words[place + LAYER] === ((layer + 1) | 0) && words[place + INO] === ino;
    const id = isHere ? words[place + ID]! : 0;
    if (isHere) words[place + LAYER] = 0;
    this.leave(place);
    return id;
  }

  /** How many are kept. */
  count(): number {
    let count = 0;
    for (let place = 0; place < this.words.length; place += PLACE_WORDS) if (Atomics.load(this.words, place + LAYER) !== 0) count++;
    return count;
  }

  /** The layers that ids are kept of. */
  layers(): Set<LayerIndex> {
    const layers = new Set<LayerIndex>();
    for (let place = 0; place < this.words.length; place += PLACE_WORDS) {
      const layer = Atomics.load(this.words, place + LAYER);
      if (layer !== 0) layers.add((layer - 1) >>> 0);
    }
    return layers;
  }

  /** Takes all ids of a layer. */
  takeLayer(layer: LayerIndex): number[] {
    const { words } = this;
    const ids: number[] = [];
    for (let place = 0; place < words.length; place += PLACE_WORDS) {
      if (words[place + LAYER] !== ((layer + 1) | 0)) continue;
      const id = this.take(layer, words[place + INO]!);
      if (id !== 0) ids.push(id);
    }
    return ids;
  }

  /**
   * After a death, while nobody else uses the table: what somebody was just changing is given up, and so is an id of
   * `inUse`. Returns the ids given up that are not in use, which are to be closed.
   */
  recover(inUse: ReadonlySet<number>): number[] {
    const { words } = this;
    const given: number[] = [];
    for (let place = 0; place < words.length; place += PLACE_WORDS) {
      const id = words[place + ID]!;
      if (words[place] === 0 && (words[place + LAYER] === 0 || !inUse.has(id))) continue;
      // Whether the place is taken is unknown if it is locked; an id that is closed already is closed in vain.
      if (id !== 0 && !inUse.has(id)) given.push(id);
      words.fill(0, place, place + PLACE_WORDS);
    }
    return given;
  }

  private enter(layer: LayerIndex, ino: Ino): number {
    const hash = Math.imul(Math.imul(ino, 0x9e37_79b1) ^ Math.imul(layer, 0x85eb_ca6b), 0xc2b2_ae35);
    const place = (hash >>> (32 - PLACE_BITS)) * PLACE_WORDS;
    for (let spins = 0; Atomics.compareExchange(this.words, place, 0, 1) !== 0; spins++) {
      if (spins >= SPINS) Atomics.wait(this.words, place, 1, 1);
    }
    return place;
  }

  private leave(place: number): void {
    Atomics.store(this.words, place, 0);
  }
}
