/**
 * Reference counts of mounted layers: Docker calls Get several times for one layer and Put as often. The engine refuses to
 * remove a layer while it is held.
 *
 * A Docker Engine that ends without its Puts leaves holds behind. They are counted for the engine (its Home) that took
 * them, and dropped when the same engine introduces itself again.
 *
 * The counts outlive the process (notes.ts). If it dies, Docker repeats the calls that it has got no answer to, and nobody
 * knows of those whether they have been counted. So a note also says how many answers are on their way, and whoever reads it
 * takes the higher count of the two possible ones: what is mounted stays held. Holds that may be one of these are *unsure*.
 * When Docker itself removes a layer that has no others, it is right.
 */
import { Notes } from '../notes.js';

/** What the engine offers (layers.ts); a parameter so that the counts can be tested alone. */
export interface HoldingEngine {
  /** Throws if there is no such layer. */
  hold(name: string): void;
  release(name: string): void;
}

export interface Hold {
  home: string;
  count: number;
  /** Calls that have been counted and are being answered. */
  gets: number;
  puts: number;
  /** How many of the holds may be calls that were counted twice. */
  unsure: number;
}

type Answering = 'gets' | 'puts';

export class Holds {
  readonly #engine: HoldingEngine;
  readonly #notes: Notes<Hold>;
  readonly #whenAnswered: (work: () => void) => void;
  /** Only layers that are mounted now. */
  readonly #held = new Map<string, Hold>();

  /** `whenAnswered` calls what it is given when the call that is being done has been answered. */
  constructor(engine: HoldingEngine, notes = new Notes<Hold>(null), whenAnswered: (work: () => void) => void = setImmediate) {
    this.#engine = engine;
    this.#notes = notes;
    this.#whenAnswered = whenAnswered;
    for (const [name, hold] of notes.read()) this.#restore(name, hold);
  }

  #restore(name: string, { home, count, gets, puts, unsure }: Hold): void {
    try {
      this.#engine.hold(name);
    } catch {
      return this.#notes.drop(name); // it was removed by then
    }
    this.#put(name, { home, count: count + puts, gets: 0, puts: 0, unsure: unsure + gets + puts });
  }

  #put(name: string, hold: Hold): void {
    this.#held.set(name, hold);
    this.#notes.put(name, hold);
  }

  /** Counts one more user; the first one holds the layer in the engine. Throws what the engine throws. */
  take(name: string, home: string): void {
    const hold = this.#held.get(name);
    if (hold === undefined) this.#engine.hold(name);
    this.#count(name, hold ?? { home, count: 0, gets: 0, puts: 0, unsure: 0 }, 'gets', 1);
  }

  /** Counts one user less. A layer that nobody holds, as after a restart of either side, stays as it is. */
  drop(name: string): void {
    const hold = this.#held.get(name);
    if (hold === undefined) return;
    if (hold.count === 1) this.#release(name);
    else this.#count(name, hold, 'puts', -1);
  }

  #count(name: string, hold: Hold, answering: Answering, by: number): void {
    hold.count += by;
    hold[answering]++;
    this.#put(name, hold);
    this.#whenAnswered(() => {
      hold[answering]--;
      if (this.#held.get(name) === hold) this.#notes.put(name, hold);
    });
  }

  /** Number of users of a layer. */
  count(name: string): number {
    return this.#held.get(name)?.count ?? 0;
  }

  /** Drops all holds of one Docker Engine. */
  dropAllOf(home: string): void {
    for (const [name, hold] of this.#held) if (hold.home === home) this.#release(name);
  }

  /** Drops all holds of a layer, whoever has them. */
  forget(name: string): void {
    if (this.#held.has(name)) this.#release(name);
  }

  /** Drops the holds of a layer if Docker, which wants to remove it, may have given back all of them. */
  forgetUnsure(name: string): void {
    const hold = this.#held.get(name);
    if (hold !== undefined && hold.count <= hold.unsure) this.#release(name);
  }

  #release(name: string): void {
    this.#held.delete(name);
    this.#notes.drop(name);
    this.#engine.release(name);
  }
}
