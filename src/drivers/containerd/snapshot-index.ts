/**
 * All snapshots in memory, as a look-up by key: loaded from the properties of the layers once, and kept up to date by the
 * one thread that changes snapshots. What is true is on the volume; this only finds it.
 *
 * Several snapshots may share a layer: views of it, and committed ones under other names (see snapshotter.ts).
 */
import { listLayers } from '../../engine/layers.js';
import type { LayerIndex } from '../../layout/constants.js';
import { CHAIN_ID, ROLE, snapshotsIn, type Snapshot } from './snapshot.js';

export interface Entry extends Snapshot {
  readonly layer: LayerIndex;
}

export class SnapshotIndex {
  readonly #byKey = new Map<string, Entry>();
  readonly #byLayer = new Map<LayerIndex, Set<string>>();
  /** Key -> number of snapshots whose parent it is. */
  readonly #children = new Map<string, number>();
  readonly #layerOfChain = new Map<string, LayerIndex>();
  readonly #chainOfLayer = new Map<LayerIndex, string>();
  /** Layers that belong to the driver but hold no snapshot. */
  readonly roles = new Map<LayerIndex, string>();

  load(): void {
    for (const { index, properties } of listLayers()) {
      for (const snapshot of snapshotsIn(properties)) this.put({ ...snapshot, layer: index });
      if (properties[CHAIN_ID] !== undefined) this.know(index, properties[CHAIN_ID]);
      if (properties[ROLE] !== undefined) this.roles.set(index, properties[ROLE]);
    }
  }

  get(key: string): Entry | undefined {
    return this.#byKey.get(key);
  }

  all(): Iterable<Entry> {
    return this.#byKey.values();
  }

  childrenOf(key: string): number {
    return this.#children.get(key) ?? 0;
  }

  /** The snapshots that share a layer. */
  on(layer: LayerIndex): Entry[] {
    return Array.from(this.#byLayer.get(layer) ?? [], (key) => this.#byKey.get(key)!);
  }

  /** Enters a snapshot, or what has changed about it. */
  put(entry: Entry): void {
    this.drop(entry.key);
    this.#byKey.set(entry.key, entry);
    const keys = this.#byLayer.get(entry.layer) ?? new Set();
    this.#byLayer.set(entry.layer, keys.add(entry.key));
    if (entry.parent !== '') this.#children.set(entry.parent, this.childrenOf(entry.parent) + 1);
  }

  drop(key: string): void {
    const entry = this.#byKey.get(key);
    if (entry === undefined) return;
    this.#byKey.delete(key);
    const keys = this.#byLayer.get(entry.layer)!;
    keys.delete(key);
    if (keys.size === 0) this.#byLayer.delete(entry.layer);
    if (entry.parent !== '') this.#countDown(entry.parent);
  }

  #countDown(parent: string): void {
    const left = this.childrenOf(parent) - 1;
    if (left === 0) this.#children.delete(parent);
    else this.#children.set(parent, left);
  }

  // Chain IDs

  /** Notes what a layer's contents are known as. The first layer with a chain ID is the one that is offered. */
  know(layer: LayerIndex, chain: string): void {
    this.#chainOfLayer.set(layer, chain);
    if (!this.#layerOfChain.has(chain)) this.#layerOfChain.set(chain, layer);
  }

  chainOf(layer: LayerIndex): string | undefined {
    return this.#chainOfLayer.get(layer);
  }

  layerOf(chain: string): LayerIndex | undefined {
    return this.#layerOfChain.get(chain);
  }

  /** Forgets everything about a layer that is gone. */
  forget(layer: LayerIndex): void {
    for (const { key } of this.on(layer)) this.drop(key);
    this.roles.delete(layer);
    const chain = this.#chainOfLayer.get(layer);
    this.#chainOfLayer.delete(layer);
    if (chain !== undefined && this.#layerOfChain.get(chain) === layer) this.#replaceInChain(chain);
  }

  #replaceInChain(chain: string): void {
    this.#layerOfChain.delete(chain);
    for (const [layer, known] of this.#chainOfLayer) if (known === chain) return void this.#layerOfChain.set(chain, layer);
  }
}
