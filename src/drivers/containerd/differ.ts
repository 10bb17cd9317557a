/**
 * The differ: layers of images without a file system in between.
 *
 *   Apply   a blob of containerd's content store, decompressed and digested on the way, straight into the engine
 *   Diff    the comparison of two layers' trees as a tar, compressed into the content store
 *
 * Both take mounts, as containerd knows nothing else; those that the snapshotter gave out lead to the layer. Everything
 * that is not such a mount, or not a plain layer, is answered with Unimplemented, and containerd's own differ takes over.
 *
 * A blob is applied to a clone of the snapshot's parent, which takes the snapshot's place when all of it is there and its
 * digest is right. So the snapshot has all of a diff or nothing, whatever fails – the blob, containerd, or this machine. It
 * also means that only a snapshot into which nobody has written yet can be replaced; others are left to containerd's differ.
 *
 * A blob that was applied to the same contents before, by whomever, is not applied again: the snapshot becomes a clone of
 * what came of it then.
 */
import { dirname, basename, join } from 'node:path';
import { findLayer, holdLayer, layerInfo, releaseLayer, type LayerInfo } from '../../engine/layers.js';
import type { LayerIndex } from '../../layout/constants.js';
import { isUntouched } from '../untouched.js';
import type { DiffTask, Result } from './diff-work.js';
import { unimplemented } from './failure.js';
import { TAR, TAR_GZIP, type ApplyRequest, type Descriptor, type DiffRequest, type Mount } from './messages.js';
import type { CallContext } from './rpc.js';
import type { Snapshotter } from './snapshotter.js';

/** What surrounds the differ. */
export interface DifferContext {
  /** Where the volume is mounted. */
  mountpoint: string;
  /** Containerd's own socket. */
  address: string;
  snapshotter: Snapshotter;
  /** Performs a task beside this thread. */
  run: (task: DiffTask, signal: AbortSignal) => Promise<Result>;
  /** Brings what programs wrote to a layer through memory mappings into the volume (fuse/mapped-writes.ts). */
  bringIn: (layer: string) => Promise<void>;
  /** Begins to write data out, so that the commit has less to wait for. */
  startFlush: () => void;
  /** Makes everything durable. */
  checkpoint: () => Promise<void>;
}

/** Layers of OCI and of Docker, as they are or compressed. */
const LAYER_TYPES =
  /^application\/vnd\.(oci\.image\.layer\.(nondistributable\.)?v1\.tar(\+gzip|\+zstd)?|docker\.image\.rootfs\.(foreign\.)?diff\.tar(\.gzip|\.zstd)?)$/;

/** The algorithms that the OCI image specification knows. */
const DIGESTS = /^(sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})$/;

export class Differ {
  readonly #context: DifferContext;

  constructor(context: DifferContext) {
    this.#context = context;
  }

  /** Returns the descriptor of the uncompressed layer. */
  async apply(request: ApplyRequest, call: CallContext): Promise<Partial<Descriptor>> {
    const { mediaType = '', digest = '', size = 0 } = request.diff ?? {};
    if (!LAYER_TYPES.test(mediaType) || Object.keys(request.payloads).length > 0)
      throw unimplemented(`layers of the type "${mediaType.slice(0, 100)}" are not applied here`);
    if (!DIGESTS.test(digest)) throw unimplemented(`digests of the form "${digest.slice(0, 100)}" are not known`);
    const layer = this.#layerOf(request.mounts);
    if (!request.mounts[0]!.options!.includes('rw') || !isUntouched(layer)) throw unimplemented('the snapshot has been written to');
    const known = this.#context.snapshotter.reuse(layer.index, digest);
    const result = known ?? (await this.#fill(layer.index, { digest, size, store: this.#storeFor(call, layer) }, call.signal));
    this.#context.startFlush();
    if (request.syncFs) await this.#context.checkpoint();
    return { mediaType: TAR, ...result };
  }

  async #fill(layer: LayerIndex, blob: Omit<DiffTask & { kind: 'apply' }, 'kind' | 'layer'>, signal: AbortSignal): Promise<Result> {
    const { snapshotter, run } = this.#context;
    const staging = snapshotter.stage(layer);
    try {
      const result = await run({ kind: 'apply', layer: staging.layer, ...blob }, signal);
      snapshotter.adopt(staging, blob.digest, result);
      return result;
    } catch (error) {
      snapshotter.discard(staging);
      throw error;
    }
  }

  /** Returns the descriptor of the new blob. */
  async diff(request: DiffRequest, call: CallContext): Promise<Partial<Descriptor>> {
    if (request.sourceDateEpoch !== null) throw unimplemented('times are not changed here');
    const layer = this.#layerOf(request.right);
    const base = request.left.length === 0 ? null : baseOf(this.#layerOf(request.left), layer);
    const mediaType = request.mediaType === '' ? TAR_GZIP : request.mediaType;
    const { ref, labels } = request;
    const names = base === null ? [layer.name] : [layer.name, base];
    for (const name of names) await this.#context.bringIn(name);
    const store = this.#storeFor(call, layer);
    const task = { kind: 'compare', layer: layer.name, base, mediaType, ref, labels, store } as const;
    return { mediaType, ...(await holding(names, () => this.#context.run(task, call.signal))) };
  }

  /** Containerd 1.7 does not say in which namespace it asks; the snapshot does. */
  #storeFor({ namespace, lease }: CallContext, { index }: LayerInfo): { address: string; namespace: string; lease: string } {
    const { address, snapshotter } = this.#context;
    return { address, namespace: namespace === '' ? snapshotter.namespaceOf(index) : namespace, lease };
  }

  /** The layer behind mounts that the snapshotter gave out. Throws CallFailure Unimplemented for others. */
  #layerOf(mounts: readonly Partial<Mount>[]): LayerInfo {
    const [mount] = mounts;
    const { type = '', source = '' } = mount ?? {};
    const isOurs = mounts.length === 1 && type === 'bind' && dirname(source) === join(this.#context.mountpoint, 'layers');
    if (!isOurs || findLayer(basename(source)) < 0) throw unimplemented('these mounts are not of LCFS');
    return layerInfo(basename(source));
  }
}

/**
 * Name of the layer to compare with; null: compare with nothing. Throws CallFailure Unimplemented if `left` is no ancestor
 * of `right`: only within a lineage do trees tell what has changed.
 */
function baseOf(left: LayerInfo, right: LayerInfo): string | null {
  for (let index: LayerIndex | undefined = right.index; index !== undefined; index = layerInfo(index).parentIndex)
    if (index === left.index) return left.name;
  if (left.parentIndex === undefined && isUntouched(left)) return null;
  throw unimplemented('these two snapshots have no common history');
}

/** Runs with layers held, so that they stay. */
async function holding<T>(names: readonly string[], work: () => Promise<T>): Promise<T> {
  const held: string[] = [];
  try {
    for (const name of names) {
      holdLayer(name);
      held.push(name);
    }
    return await work();
  } finally {
    for (const name of held) if (findLayer(name) >= 0) releaseLayer(name);
  }
}
