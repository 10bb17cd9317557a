/**
 * All snapshots in memory, as a look-up by key: loaded from the properties of the layers once, and kept up to date by the
 * one thread that changes snapshots. What is true is on the volume; this only finds it.
 *
 * Several snapshots may share a layer: views of it, and committed ones under other names (see snapshotter.ts).
 */
import { listLayers } from '../../engine/layers.js';
import { DAMAGED_PROPERTY } from '../../engine/properties.js';
import { LastUses } from '../claims.js';
import type { LayerIndex } from '../../layout/constants.js';
import { CHAIN_ID, ROLE, SOURCE, snapshotsIn, type Snapshot } from './snapshot.js';

export interface Entry extends Snapshot {
  readonly layer: LayerIndex;
}

export class SnapshotIndex {
  readonly #byKey = new Map<string, Entry>();
  readonly #byLayer = new Map<LayerIndex, Set<string>>();
  /** Key -> number of snapshots whose parent it is. */
  readonly #children = new Map<string, number>();
  readonly #chains = new Claims();
  readonly #sources = new Claims();
  /** Layers that belong to the driver but hold no snapshot. */
  readonly roles = new Map<LayerIndex, string>();
  /** When containerd last asked for a snapshot on a layer, or was offered one. */
  readonly uses = new LastUses<LayerIndex>();

  load(): void {
    for (const { index, properties } of listLayers()) {
      for (const snapshot of snapshotsIn(properties)) this.put({ ...snapshot, layer: index });
      // A damaged layer is no longer what its digests say, and is offered to nobody.
      const isWhole = properties[DAMAGED_PROPERTY] === undefined;
      if (properties[CHAIN_ID] !== undefined && isWhole) this.know(index, properties[CHAIN_ID], properties[SOURCE]);
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

  // What contents are known as

  /** Notes the chain ID of a layer that will not change any more, and what the differ made it from, if it did. */
  know(layer: LayerIndex, chain: string, source?: string): void {
    this.#chains.add(layer, chain);
    if (source !== undefined) this.#sources.add(layer, source);
  }

  chainOf(layer: LayerIndex): string | undefined {
    return this.#chains.of(layer);
  }

  /** The layers with this chain ID, the oldest first. */
  layersOfChain(chain: string): LayerIndex[] {
    return this.#chains.holders(chain);
  }

  /** The layers that were made from this, the oldest first. */
  layersOfSource(source: string): LayerIndex[] {
    return this.#sources.holders(source);
  }

  /** Forgets everything about a layer that is gone. */
  forget(layer: LayerIndex): void {
    for (const { key } of this.on(layer)) this.drop(key);
    this.roles.delete(layer);
    this.uses.forget(layer);
    this.#chains.remove(layer);
    this.#sources.remove(layer);
  }
}

/** One text for each of some layers, and the layers for each text. */
class Claims {
  readonly #texts = new Map<LayerIndex, string>();
  readonly #layers = new Map<string, Set<LayerIndex>>();

  add(layer: LayerIndex, text: string): void {
    this.remove(layer);
    this.#texts.set(layer, text);
    this.#layers.set(text, (this.#layers.get(text) ?? new Set()).add(layer));
  }

  of(layer: LayerIndex): string | undefined {
    return this.#texts.get(layer);
  }

  holders(text: string): LayerIndex[] {
    return [...(this.#layers.get(text) ?? [])];
  }

  remove(layer: LayerIndex): void {
    const text = this.#texts.get(layer);
    if (text === undefined) return;
    this.#texts.delete(layer);
    const layers = this.#layers.get(text)!;
    layers.delete(layer);
    if (layers.size === 0) this.#layers.delete(text);
  }
}
