/**
 * The snapshotter: containerd's snapshots are layers of the volume.
 *
 *   Prepare   a clone of the parent's layer; its directory below the mount point is the mount. Answered when it is durable
 *   View      nothing new: the parent's layer itself, mounted read-only. Without a parent, an empty sealed layer
 *   Commit    seals the layer, renames it and is answered when that is durable
 *   Remove    takes the snapshot away, and the layer with the last snapshot on it; its space comes back in the background
 *
 * What containerd wants to know of a snapshot – kind, parent, labels, times – is a property of the layer (snapshot.ts). A
 * layer may have several: then snapshots share it. That is how one copy serves everybody:
 *
 *   Prepare names the chain ID that the snapshot is going to have (TARGET_LABEL). If a layer with this chain ID is there,
 *   whoever made it, the answer is AlreadyExists, and containerd looks for a committed snapshot with that label and that
 *   parent. If no snapshot on the layer is like that, one is put there first: one more property, whatever the layer's size.
 *
 *   Clients that do not name it learn nothing; but when such a snapshot is committed under the name of a chain ID that is
 *   there, it becomes one more on that layer, and the layer that it had goes. The name may even be taken: containerd gives
 *   each only once, so it has forgotten the snapshot that bears it – its database was lost, or it died before it had noted
 *   the commit. AlreadyExists would end that pull; instead the new snapshot takes the old one's place on the same layer.
 *
 * So in each namespace a snapshot's parent is a snapshot of the same namespace or one that containerd chose to share, and
 * snapshots go in any order that containerd likes. The layers below are no copy of that tree: a layer may be built on one
 * whose last snapshot goes first, when the namespaces unpacked some layers each and share others. Such a layer is *kept*,
 * without a snapshot, until the last layer on it is gone.
 *
 * A layer's chain ID is what containerd claims it to be when it commits the snapshot: containerd has compared the digests
 * by then. If the layer came through the differ, the claim is compared with what the differ computed; if it is wrong, the
 * layer is not offered to anybody.
 *
 * containerd writes down what it has been answered, and flushes that. So what it will refer to is durable before: a snapshot
 * that a container may be started on, and one that it was told is there. Not so one that an image's layer is unpacked into: it
 * becomes durable with its commit, and after a crash containerd unpacks into another one.
 *
 * Everything here runs in one thread, and each call changes volume and index without a pause in between.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { nowHi, nowLo, nowNsec, readClock } from '../../engine/clock.js';
import { LcfsError } from '../../engine/errors.js';
import {
  createLayer,
  findLayer,
  holdLayer,
  layerInfo,
  releaseLayer,
  removeLayer,
  replaceLayer,
  updateLayer,
  type LayerInfo,
} from '../../engine/layers.js';
import type { LayerIndex } from '../../layout/constants.js';
import type { Durable } from '../durable.js';
import { exists, invalid, notFound, refused, unimplemented } from './failure.js';
import { parseFilters } from './filter.js';
import { STAGING_NAME, layerNameOf } from './layer-names.js';
import type { CommitRequest, Info, Mount, PrepareRequest, Timestamp, UsageResponse } from './messages.js';
import {
  CHAIN_ID,
  DIFF_ID,
  DIFF_SIZE,
  KEPT,
  ROLE,
  SOURCE,
  STAGING,
  TARGET_LABEL,
  checkKey,
  checkLabels,
  claimedChain,
  describe,
  propertyOf,
  stored,
  updateLabels,
  type Labels,
  type Snapshot,
  fsyncOf,
} from './snapshot.js';
import { SnapshotIndex, type Entry } from './snapshot-index.js';

/** What surrounds the snapshotter. */
export interface SnapshotterContext extends Durable {
  /** Where the volume is mounted. */
  mountpoint: string;
  /** Brings what programs wrote to a layer through memory mappings into the volume (fuse/mapped-writes.ts). */
  bringIn: (layer: string) => Promise<void>;
  /** Tells the kernel that a layer's name means something else now. */
  announce: (name: string) => void;
}

/** A layer that a diff is being applied to, and the snapshot that it is for. */
export interface Staging {
  readonly layer: LayerIndex;
  readonly name: string;
  readonly entry: Entry;
}

/** Digest and length of the tar that was applied. */
export interface Applied {
  readonly digest: string;
  readonly size: number;
}

/** Layers that would get a name which is taken get a number behind it; more than this, and something is wrong. */
const NAMES_MAX = 1000;

export class Snapshotter {
  readonly #context: SnapshotterContext;
  readonly #index = new SnapshotIndex();

  /** Reads what is on the volume, and removes what an earlier daemon could not. */
  constructor(context: SnapshotterContext) {
    this.#context = context;
    this.#index.load();
    this.cleanup();
  }

  // Making snapshots

  /** Throws CallFailure AlreadyExists, after making it true, if the volume has the layer that the snapshot is going to be. */
  async prepare(request: PrepareRequest): Promise<Mount[]> {
    const snapshot = this.#newSnapshot(request, 'active');
    const target = snapshot.labels[TARGET_LABEL];
    const isOffered = target !== undefined && this.#offer(target, snapshot);
    const mounts = isOffered ? [] : this.#mountsOf(this.#makeLayer(snapshot));
    if (isOffered || target === undefined) await this.#context.durable();
    if (isOffered) throw exists(`the volume has ${target} already`);
    return mounts;
  }

  async view(request: PrepareRequest): Promise<Mount[]> {
    const mounts = this.#mountsOf(this.#makeView(this.#newSnapshot(request, 'view')));
    await this.#context.durable();
    return mounts;
  }

  #makeView(snapshot: Snapshot): Entry {
    if (snapshot.parent !== '') return this.#share(snapshot, this.#entry(snapshot.parent).layer);
    const entry = this.#makeLayer(snapshot);
    updateLayer(entry.layer, { seal: true });
    return entry;
  }

  #newSnapshot({ key, parent, labels }: PrepareRequest, kind: 'active' | 'view'): Snapshot {
    checkKey(key);
    if (parent !== '' && this.#entry(parent).kind !== 'committed')
      throw invalid(`snapshot "${parent}" is not committed: it cannot be a parent`);
    if (this.#index.get(key) !== undefined) throw exists(`snapshot "${key}" exists already`);
    const created = now();
    return { key, kind, parent, labels: checkLabels(labels), created, updated: created };
  }

  /** A new layer for a snapshot: a clone of its parent's. */
  #makeLayer(snapshot: Snapshot): Entry {
    const parent = snapshot.parent === '' ? undefined : this.#layerOf(this.#entry(snapshot.parent)).name;
    const name = freeName(snapshot.key);
    const layer = createLayer(name, { parent, fsync: fsyncOf(snapshot.labels), properties: stored(snapshot) });
    this.#context.announce(name);
    return this.#enter(snapshot, layer);
  }

  /** One more snapshot on a layer that is there. */
  #share(snapshot: Snapshot, layer: LayerIndex): Entry {
    this.#layerAt(layer);
    updateLayer(layer, { properties: stored(snapshot) });
    return this.#enter(snapshot, layer);
  }

  #enter(snapshot: Snapshot, layer: LayerIndex): Entry {
    const entry = { ...snapshot, layer };
    this.#index.put(entry);
    this.#index.uses.note(layer);
    return entry;
  }

  /** Sees to it that there is a committed snapshot with the label `target` and the parent of `wanted`, if a layer allows it. */
  #offer(target: string, wanted: Snapshot): boolean {
    const layers = this.#index.layersOfChain(target).filter((layer) => find(layer) !== null);
    if (layers.length === 0) return false;
    const snapshots = layers.flatMap((layer) => this.#index.on(layer));
    const known = snapshots.find(({ kind, parent }) => kind === 'committed' && parent === wanted.parent);
    if (known !== undefined) this.#index.uses.note(known.layer);
    if (known?.labels[TARGET_LABEL] === target) return true;
    if (known === undefined) this.#share({ ...wanted, key: this.#keyFor(target, wanted.key), kind: 'committed' }, layers[0]!);
    else this.#relabel(known, { ...known.labels, [TARGET_LABEL]: target });
    return true;
  }

  /** Key for an offered snapshot: as containerd would name it, in the namespace and with the number of the one asked for. */
  #keyFor(target: string, key: string): string {
    const proper = key.replace(/^([^/]*\/\d+\/).*$/s, `$1${target}`);
    return this.#index.get(proper) === undefined ? proper : key;
  }

  async commit(request: CommitRequest): Promise<void> {
    const entry = this.#index.get(request.key);
    if (entry?.kind === 'active') await this.#context.bringIn(this.#layerOf(entry).name);
    this.#commit(request);
    await this.#context.checkpoint();
  }

  #commit({ name, key, labels, parent }: CommitRequest): void {
    checkKey(name);
    const present = this.#index.get(name);
    if (present !== undefined && this.#index.chainOf(present.layer) === undefined) throw exists(`snapshot "${name}" exists already`);
    const entry = this.#entry(key);
    if (entry.kind !== 'active') throw refused(`snapshot "${key}" is not active: it cannot be committed`);
    if (parent !== '' && parent !== entry.parent) throw invalid(`snapshot "${key}" has another parent than "${parent}"`);
    const created = now();
    this.#settle(entry, { key: name, kind: 'committed', parent: entry.parent, labels: checkLabels(labels), created, updated: created });
  }

  /** Seals the snapshot's layer, or gives it up for one with the same contents. */
  #settle(entry: Entry, snapshot: Snapshot): void {
    const info = this.#layerOf(entry);
    const chain = this.#chainFor(entry, snapshot, info.properties[DIFF_ID]);
    const twin = this.#twinFor(entry, snapshot.key, chain);
    if (twin === undefined) return this.#seal(entry, snapshot, info, chain);
    this.#share(snapshot, twin);
    this.remove(entry.key);
  }

  /** A layer with the contents that the snapshot has now. Throws CallFailure AlreadyExists if its name is taken by another. */
  #twinFor(entry: Entry, name: string, chain: string | null): LayerIndex | undefined {
    const present = this.#index.get(name);
    if (present === undefined) return chain === null ? undefined : this.#index.layersOfChain(chain).find((layer) => find(layer) !== null);
    if (chain !== this.#index.chainOf(present.layer) || this.#isBuiltOn(entry, name)) throw exists(`snapshot "${name}" exists already`);
    return present.layer;
  }

  #isBuiltOn(entry: Entry, key: string): boolean {
    for (let at: Entry | undefined = entry; at !== undefined; at = this.#index.get(at.parent)) if (at.parent === key) return true;
    return false;
  }

  #seal(entry: Entry, snapshot: Snapshot, info: LayerInfo, chain: string | null): void {
    const newName = freeName(snapshot.key);
    const properties = { [propertyOf(entry.key)]: null, ...stored(snapshot), [CHAIN_ID]: chain };
    updateLayer(entry.layer, { newName, seal: true, properties });
    this.#index.drop(entry.key);
    this.#enter(snapshot, entry.layer);
    if (chain !== null) this.#index.know(entry.layer, chain, info.properties[SOURCE]);
    for (const changed of [info.name, newName]) this.#context.announce(changed);
  }

  /** What the layer may be offered as; null: nothing that is known for sure. */
  #chainFor(entry: Entry, snapshot: Snapshot, diffId: string | undefined): string | null {
    const claimed = claimedChain(snapshot.key, { ...entry.labels, ...snapshot.labels });
    if (claimed === null || diffId === undefined) return claimed;
    const below = this.#chainBelow(entry);
    return below === undefined || chainId(below, diffId) === claimed ? claimed : null;
  }

  /** Chain ID of the parent; empty if there is none, undefined if it is not known. */
  #chainBelow({ parent }: Snapshot): string | undefined {
    return parent === '' ? '' : this.#index.chainOf(this.#entry(parent).layer);
  }

  // Looking

  mounts(key: string): Mount[] {
    const entry = this.#entry(key);
    if (entry.kind === 'committed') throw refused(`snapshot "${key}" is committed: it is mounted by a view or a snapshot of it`);
    return this.#mountsOf(entry);
  }

  #mountsOf(entry: Entry): Mount[] {
    const source = join(this.#context.mountpoint, 'layers', this.#layerOf(entry).name);
    return [{ type: 'bind', source, target: '', options: ['rbind', entry.kind === 'active' ? 'rw' : 'ro'] }];
  }

  stat(key: string): Info {
    return describe(this.#entry(key));
  }

  /** Namespace of containerd that mounts of a layer were given to last; empty: to none. */
  namespaceOf(layer: LayerIndex): string {
    const entries = this.#index.on(layer);
    const mounted = entries.findLast(({ kind }) => kind !== 'committed') ?? entries.at(-1);
    return /^([^/]+)\/\d+\//.exec(mounted?.key ?? '')?.[1] ?? '';
  }

  /** What the snapshot takes itself, without its parents. A view takes nothing. */
  usage(key: string): UsageResponse {
    const entry = this.#entry(key);
    const { ownBytes, inodes, parentIndex } = this.#layerOf(entry);
    if (entry.kind === 'view') return { size: 0, inodes: 0 };
    const inherited = parentIndex === undefined ? 0 : layerInfo(parentIndex).inodes;
    return { size: ownBytes, inodes: Math.max(0, inodes - inherited) };
  }

  /** Throws CallFailure InvalidArgument before the first snapshot if a filter does not parse. */
  list(filters: readonly string[]): Iterable<Info> {
    const matches = parseFilters(filters);
    return Array.from(this.#index.all())
      .filter((entry) => matches({ ...entry, name: entry.key }))
      .map(describe);
  }

  // Changing

  update(given: Partial<Info>, paths: readonly string[]): Info {
    const entry = this.#entry(given.name ?? '');
    return describe(this.#relabel(entry, updateLabels(entry.labels, given.labels ?? {}, paths)));
  }

  #relabel(entry: Entry, labels: Labels): Entry {
    const { layer, ...snapshot } = entry;
    const { fsync } = this.#layerOf(entry);
    // A layer that is sealed is not written any more, and several snapshots may share it.
    if (entry.kind === 'active' && fsyncOf(labels) !== fsync) updateLayer(layer, { fsync: fsyncOf(labels) ?? null });
    return this.#share({ ...snapshot, labels, updated: now() }, layer);
  }

  /** Containerd goes on cleaning up after FailedPrecondition, and gives up after anything else but NotFound. */
  remove(key: string): void {
    const entry = this.#entry(key);
    if (this.#index.childrenOf(key) > 0) throw refused(`cannot remove snapshot "${key}": it has children`);
    if (this.#index.on(entry.layer).length > 1) updateLayer(entry.layer, { properties: { [propertyOf(key)]: null }, frees: true });
    else this.#removeLast(entry);
    this.#index.drop(key);
  }

  /** Removes the only snapshot of a layer, and the layer if nothing is built on it. */
  #removeLast(entry: Entry): void {
    const info = this.#layerOf(entry);
    if (info.children === 0) return this.#removeLayer(info);
    updateLayer(entry.layer, { properties: { [propertyOf(entry.key)]: null, [ROLE]: KEPT }, frees: true });
    this.#index.roles.set(entry.layer, KEPT);
  }

  #removeLayer({ index, name, parentIndex }: LayerInfo): void {
    removeLayer(index);
    this.#index.forget(index);
    this.#context.announce(name);
    if (parentIndex !== undefined && this.#index.roles.has(parentIndex)) this.#tryRemove(parentIndex);
  }

  /** Removes layers that nobody needs any more. Their space, and that of removed snapshots, comes back in the background. */
  cleanup(): void {
    for (const layer of this.#index.roles.keys()) this.#tryRemove(layer);
  }

  /** Removes a layer without snapshots, unless it is still in use. */
  #tryRemove(layer: LayerIndex): void {
    try {
      const info = find(layer);
      if (info === null) this.#index.forget(layer);
      else if (info.children === 0) this.#removeLayer(info);
    } catch (error) {
      if (!(error instanceof LcfsError && error.code === 'busy')) throw error;
    }
  }

  // Applying diffs

  /** Makes a clone beside an active snapshot's layer, for a diff. Throws CallFailure if it is no such layer. */
  stage(layer: LayerIndex): Staging {
    const entry = this.#activeOn(layer);
    return this.#stageOn(entry, this.#layerOf(entry).parent);
  }

  /**
   * Gives a snapshot the contents that it would have with a blob, if another snapshot came from the same blob upon the same
   * contents. Nothing is read or written for that. Null: there is no such snapshot.
   */
  reuse(layer: LayerIndex, blob: string): Applied | null {
    const entry = this.#activeOn(layer);
    const source = this.#sourceOf(entry, blob);
    const twins = source === null ? [] : this.#index.layersOfSource(source).map(find);
    const twin = twins.find((info) => info !== null);
    if (!twin) return null;
    const applied = { digest: twin.properties[DIFF_ID]!, size: Number(twin.properties[DIFF_SIZE]) };
    this.adopt(this.#stageOn(entry, twin.name), blob, applied);
    return applied;
  }

  #activeOn(layer: LayerIndex): Entry {
    const entry = this.#index.on(layer).find(({ kind }) => kind === 'active');
    if (entry === undefined) throw unimplemented(`layer ${layer} is no active snapshot`);
    return entry;
  }

  #sourceOf(entry: Entry, blob: string): string | null {
    const below = this.#chainBelow(entry);
    return below === undefined ? null : `${below} ${blob}`;
  }

  #stageOn(entry: Entry, parent: string | undefined): Staging {
    const { layer } = entry;
    const name = `${STAGING_NAME}${layer}`;
    const present = findLayer(name);
    if (present >= 0 && this.#index.roles.has(present)) throw refused(`a diff is being applied to snapshot "${entry.key}" already`);
    if (present >= 0) throw refused(`somebody has made a layer "${name}", which the differ needs: remove it`);
    const staging = createLayer(name, { parent, properties: { [ROLE]: STAGING } });
    holdLayer(name);
    this.#index.roles.set(staging, STAGING);
    return { layer: staging, name, entry };
  }

  /** Puts the layer with the diff in the place of the snapshot's, unless that has changed since. */
  adopt({ layer, name, entry }: Staging, blob: string, { digest, size }: Applied): void {
    const { layer: replaced, ...snapshot } = this.#entry(entry.key);
    if (snapshot.kind !== 'active' || replaced !== entry.layer)
      throw refused(`snapshot "${entry.key}" is not what the diff was for any more`);
    const finalName = this.#layerAt(replaced).name;
    releaseLayer(name);
    const diff = { [DIFF_ID]: digest, [DIFF_SIZE]: String(size), [SOURCE]: this.#sourceOf(entry, blob) };
    replaceLayer(replaced, layer, { [ROLE]: null, ...diff, ...stored(snapshot) });
    this.#index.forget(replaced);
    this.#index.roles.delete(layer);
    this.#enter(snapshot, layer);
    for (const changed of [name, finalName]) this.#context.announce(changed);
  }

  /** Removes the layer of a diff that failed. */
  discard({ layer, name }: Staging): void {
    if (this.#index.roles.get(layer) !== STAGING) return;
    if (findLayer(name) >= 0) releaseLayer(name);
    this.#tryRemove(layer);
  }

  // Layers that containerd does not know any more (lcfs gc)

  /** The snapshots on a layer, and when containerd last asked for one of them (undefined: not yet). */
  snapshotsOn(layer: LayerIndex): { snapshots: Snapshot[]; used: number | undefined } {
    return { snapshots: this.#index.on(layer), used: this.#index.uses.of(layer) };
  }

  /** Removes a layer with all its snapshots. Throws LcfsError `busy` if it is in use or something is built on it. */
  removeAll(layer: LayerIndex): void {
    const info = find(layer);
    if (info === null) return this.#index.forget(layer);
    const built = this.#index.on(layer).find(({ key }) => this.#isBuiltOnElsewhere(key, layer));
    if (built !== undefined) throw new LcfsError('busy', `snapshot "${built.key}" of layer "${info.name}" has children`);
    this.#removeLayer(info);
  }

  #isBuiltOnElsewhere(key: string, layer: LayerIndex): boolean {
    const here = this.#index.on(layer).filter(({ parent }) => parent === key).length;
    return this.#index.childrenOf(key) > here;
  }

  // Entries and their layers

  #entry(key: string): Entry {
    const entry = this.#index.get(key);
    if (entry === undefined) throw notFound(`snapshot "${key.slice(0, 300)}" does not exist`);
    this.#index.uses.note(entry.layer);
    return entry;
  }

  #layerOf(entry: Entry): LayerInfo {
    return this.#layerAt(entry.layer);
  }

  /** Describes a layer. One that was removed behind the driver's back takes its snapshots along. */
  #layerAt(layer: LayerIndex): LayerInfo {
    const info = find(layer);
    if (info !== null) return info;
    this.#index.forget(layer);
    throw notFound(`layer ${layer} was removed, and its snapshots with it`);
  }
}

/** Describes a layer; null if it is gone. */
function find(layer: LayerIndex): LayerInfo | null {
  try {
    const info = layerInfo(layer);
    return info.state === 'removing' ? null : info;
  } catch (error) {
    if (error instanceof LcfsError && error.code === 'not-found') return null;
    throw error;
  }
}

/** The chain ID of a diff upon a chain; `below` is empty for the first. */
export function chainId(below: string, diffId: string): string {
  return below === '' ? diffId : `sha256:${createHash('sha256').update(`${below} ${diffId}`).digest('hex')}`;
}

/** A name for the layer of a snapshot. Someone else may have taken the proper one. */
function freeName(key: string): string {
  const proper = layerNameOf(key);
  for (let number = 1; number < NAMES_MAX; number++) {
    const name = number === 1 ? proper : `${proper.slice(0, 250)}~${number}`;
    if (findLayer(name) < 0) return name;
  }
  throw exists(`a layer named "${proper}" exists already`);
}

function now(): Timestamp {
  readClock();
  return { seconds: nowHi * 2 ** 32 + nowLo, nanos: nowNsec };
}
