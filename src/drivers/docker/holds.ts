/**
 * Reference counts of mounted layers: Docker calls Get several times for one layer and Put as often. The engine refuses to
 * remove a layer while it is held.
 *
 * A Docker Engine that ends without its Puts leaves holds behind. They are counted for the engine (its Home) that took
 * them, and dropped when the same engine introduces itself again.
 */

/** What the engine offers (layers.ts); a parameter so that the counts can be tested alone. */
export interface HoldingEngine {
  hold(name: string): void;
  release(name: string): void;
}

interface Hold {
  home: string;
  count: number;
}

export class Holds {
  readonly #engine: HoldingEngine;
  /** Only layers that are mounted now. */
  readonly #held = new Map<string, Hold>();

  constructor(engine: HoldingEngine) {
    this.#engine = engine;
  }

  /** Counts one more user; the first one holds the layer in the engine. Throws what the engine throws. */
  take(name: string, home: string): void {
    const hold = this.#held.get(name);
    if (hold !== undefined) {
      hold.count++;
      return;
    }
    this.#engine.hold(name);
    this.#held.set(name, { home, count: 1 });
  }

  /** Counts one user less. A layer that nobody holds, as after a restart of either side, stays as it is. */
  drop(name: string): void {
    const hold = this.#held.get(name);
    if (hold === undefined) return;
    hold.count--;
    if (hold.count === 0) this.#release(name);
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

  #release(name: string): void {
    this.#held.delete(name);
    this.#engine.release(name);
  }
}
