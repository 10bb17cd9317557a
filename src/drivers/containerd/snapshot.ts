/**
 * A snapshot as containerd knows it, and how it is kept: as a property of the layer that holds its files. The property is
 * put, moved and removed in the same change of the catalog as the layer itself, so the two never disagree, crashes
 * included.
 */
import type { FsyncMode } from '../../engine/layers.js';
import { KIND_ACTIVE, KIND_COMMITTED, KIND_VIEW, type Info, type Timestamp } from './messages.js';
import { layerNameOf } from './layer-names.js';
import { invalid } from './failure.js';

export type Kind = 'active' | 'view' | 'committed';
export type Labels = Readonly<Record<string, string>>;

export interface Snapshot {
  readonly key: string;
  readonly kind: Kind;
  /** Key of the snapshot below; empty: none. */
  readonly parent: string;
  readonly labels: Labels;
  readonly created: Timestamp;
  readonly updated: Timestamp;
}

/** Properties of layers that this driver sets. Snapshots have keys that begin with SNAPSHOT. */
const SNAPSHOT = 'containerd/';
/** What the layer's contents are known as: the digest of all the diffs up to it. */
export const CHAIN_ID = 'chain-id';
/** Digest and length of the tar that the layer was made from by the differ. */
export const DIFF_ID = 'diff-id';
export const DIFF_SIZE = 'diff-size';
/** What the differ made the layer from: the chain ID of what was there before, and the digest of the blob. */
export const SOURCE = 'diff-source';
/** Why a layer without snapshots is there: one of the values below. */
export const ROLE = 'containerd.role';
/** A diff is being applied to it. */
export const STAGING = 'staging';
/** Its snapshots are removed, but layers are built on it. */
export const KEPT = 'kept';

/** Label by which a client says which chain ID the snapshot is going to have. */
export const TARGET_LABEL = 'containerd.io/snapshot.ref';

/** Label that says what fsync promises in the snapshot: strict or relaxed; without, what the daemon says. */
export const FSYNC_LABEL = 'containerd.io/snapshot/lcfs.fsync';

const LABEL_BYTES_MAX = 4096;
const KEY_BYTES_MAX = 4096;
const KINDS: Readonly<Record<Kind, number>> = { active: KIND_ACTIVE, view: KIND_VIEW, committed: KIND_COMMITTED };
const CHAIN = /^sha256:[0-9a-f]{64}$/;

/** Key of the property that a snapshot is kept in. */
export function propertyOf(key: string): string {
  return SNAPSHOT + layerNameOf(key);
}

/** Whether containerd had the layer with these properties made. */
export function isOfContainerd(properties: Readonly<Record<string, string>>): boolean {
  return properties[ROLE] !== undefined || Object.keys(properties).some((key) => key.startsWith(SNAPSHOT));
}

/** Property and value for `updateLayer`. */
export function stored(snapshot: Snapshot): Record<string, string> {
  const { key, kind, parent, labels, created, updated } = snapshot;
  return { [propertyOf(key)]: JSON.stringify({ key, kind, parent, labels, created, updated }) };
}

/** The snapshots among the properties of a layer. */
export function snapshotsIn(properties: Readonly<Record<string, string>>): Snapshot[] {
  return Object.entries(properties)
    .filter(([key]) => key.startsWith(SNAPSHOT))
    .map(([, value]) => JSON.parse(value) as Snapshot);
}

export function describe(snapshot: Snapshot): Info {
  const { key, kind, parent, labels, created, updated } = snapshot;
  return { name: key, parent, kind: KINDS[kind], createdAt: created, updatedAt: updated, labels };
}

export function checkKey(key: string): void {
  if (key === '') throw invalid('a snapshot needs a key');
  if (Buffer.byteLength(key) > KEY_BYTES_MAX) throw invalid(`key "${key.slice(0, 100)}…" is longer than ${KEY_BYTES_MAX} bytes`);
}

/** Labels as they are kept: those without a value are none. Throws CallFailure InvalidArgument for one that is too long. */
export function checkLabels(labels: Labels): Labels {
  const kept = Object.entries(labels).filter(([, value]) => value !== '');
  for (const [key, value] of kept) {
    if (Buffer.byteLength(key) + Buffer.byteLength(value) > LABEL_BYTES_MAX)
      throw invalid(`label "${key.slice(0, 100)}" has more than ${LABEL_BYTES_MAX} bytes with its value`);
  }
  return Object.fromEntries(kept);
}

/** What the labels say of fsync. Throws CallFailure InvalidArgument if it is nothing that there is. */
export function fsyncOf(labels: Labels): FsyncMode | undefined {
  const mode = labels[FSYNC_LABEL];
  if (mode === undefined || mode === 'strict' || mode === 'relaxed') return mode;
  throw invalid(`label ${FSYNC_LABEL}: "${mode.slice(0, 100)}" is neither strict nor relaxed`);
}

/** Labels after an update of the fields `paths` (none: all labels). Throws CallFailure InvalidArgument for other fields. */
export function updateLabels(labels: Labels, given: Labels, paths: readonly string[]): Labels {
  const result = new Map(Object.entries(labels));
  for (const path of paths.length === 0 ? ['labels'] : paths) {
    if (path === 'labels') {
      result.clear();
      for (const [key, value] of Object.entries(given)) result.set(key, value);
    } else if (path.startsWith('labels.')) {
      const key = path.slice('labels.'.length);
      result.set(key, Object.hasOwn(given, key) ? given[key]! : '');
    } else throw invalid(`field "${path.slice(0, 100)}" of a snapshot cannot be changed, only labels can`);
  }
  return checkLabels(Object.fromEntries(result));
}

/**
 * The chain ID that a snapshot claims to have: by its label, or by its name – containerd's keys are
 * `<namespace>/<number>/<name>`, and images' snapshots are named after their chain ID.
 */
export function claimedChain(key: string, labels: Labels): string | null {
  const claimed = labels[TARGET_LABEL] ?? key.replace(/^[^/]*\/\d+\//, '');
  return CHAIN.test(claimed) ? claimed : null;
}
