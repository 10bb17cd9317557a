/**
 * What the driver of an engine can tell about the layers that were made through it, so that `lcfs gc` can find those that no
 * engine knows any more: after a crash in the middle of something, or when the engine's database was lost.
 *
 * A driver answers only after the engine was asked successfully. It also remembers when a layer was last worked on, because
 * an engine writes down what it has made or taken over a moment later: such a layer is not removed on the grounds of an
 * answer from before.
 */
import type { LayerIndex } from '../layout/constants.js';

export interface NamedLayer {
  readonly index: LayerIndex;
  readonly name: string;
}

export interface Claims {
  /** Who was asked, for people: `Docker in /var/lib/docker`. */
  readonly asked: string;
  /** Those of the layers that an engine knows. */
  readonly known: readonly LayerIndex[];
  /** Time of the last use by an engine, in milliseconds since 1970, of those that were used since this driver started. */
  readonly used: ReadonlyMap<LayerIndex, number>;
}

export interface ClaimingDriver {
  /** `places` tells where engines keep their data instead of where they said. Throws LcfsError if one can't be asked. */
  claims(layers: readonly NamedLayer[], places: readonly string[]): Promise<Claims>;
  /** Removes a layer. Throws LcfsError `busy` if it is in use, or was used since the time `since`. */
  removeUnclaimed(layer: NamedLayer, since: number): Promise<void>;
}

/** When layers were last worked on. Only those that are there. */
export class LastUses<Key> {
  readonly #times = new Map<Key, number>();

  note(layer: Key): void {
    this.#times.set(layer, Date.now());
  }

  forget(layer: Key): void {
    this.#times.delete(layer);
  }

  /** Milliseconds since 1970; undefined: not yet. */
  of(layer: Key): number | undefined {
    return this.#times.get(layer);
  }
}
