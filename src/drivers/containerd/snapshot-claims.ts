/**
 * Which snapshots containerd knows. It is asked for all of them, in every namespace, under the name that its configuration
 * gives to our socket.
 *
 * containerd has names of its own for snapshots, within a namespace; ours are `<namespace>/<number>/<name>`. A namespace may
 * refer to a snapshot that was made for another one, under the chain ID that the snapshot has by its label. So a snapshot
 * counts as known if any namespace has one with its name, or with the chain ID that it is offered under. That errs on the safe
 * side after containerd has lost its database and made some of the snapshots anew.
 */
import { realpathSync } from 'node:fs';
import { LcfsError } from '../../engine/errors.js';
import type { ClaimingDriver, Claims, NamedLayer } from '../claims.js';
import { GrpcClient } from './client.js';
import { CONTENT_METHODS } from './content-store.js';
import { CallFailure } from './failure.js';
import * as M from './messages.js';
import { method } from './method.js';
import { TARGET_LABEL, type Snapshot } from './snapshot.js';
import { METHODS } from './snapshots-service.js';
import type { Snapshotter } from './snapshotter.js';

export const LIST_NAMESPACES = method('/containerd.services.namespaces.v1.Namespaces/List', M.NamespacesRequest, M.NamespacesResponse);

export interface Sockets {
  /** Ours. */
  socket: string;
  /** Containerd's own. */
  address: string;
}

/** Names of all snapshots that containerd has with us. Throws LcfsError `state` if it does not tell. */
export async function namesInContainerd({ socket, address }: Sockets): Promise<Set<string>> {
  const client = new GrpcClient(address);
  try {
    return await listNames(client, await ourName(client, { socket, address }));
  } catch (error) {
    if (!(error instanceof CallFailure)) throw error;
    throw new LcfsError('state', `containerd on ${address} does not tell its snapshots: ${error.message}`);
  } finally {
    client.close();
  }
}

/** What containerd's configuration calls us. */
async function ourName(client: GrpcClient, { socket, address }: Sockets): Promise<string> {
  const { plugins } = await client.call(CONTENT_METHODS.plugins, { filters: ['type==io.containerd.snapshotter.v1'] });
  const ours = plugins.find(({ exports }) => isSame(exports?.['address'], socket));
  if (ours?.id !== undefined) return ours.id;
  throw new LcfsError('state', `containerd on ${address} has no snapshotter on ${socket}: its configuration names another socket`);
}

function isSame(path: string | undefined, socket: string): boolean {
  return path !== undefined && (path === socket || realPath(path) === realPath(socket));
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

async function listNames(client: GrpcClient, snapshotter: string): Promise<Set<string>> {
  const names = new Set<string>();
  const { namespaces } = await client.call(LIST_NAMESPACES, { filter: '' });
  for (const { name } of namespaces) {
    client.headers['containerd-namespace'] = name ?? '';
    for await (const { info } of client.stream(METHODS.list, { snapshotter, filters: [] }))
      for (const snapshot of info) names.add(snapshot.name ?? '');
  }
  return names;
}

/** Whether a snapshot is one of those that containerd has `names` of. */
export function isKnown({ key, labels }: Pick<Snapshot, 'key' | 'labels'>, names: ReadonlySet<string>): boolean {
  return names.has(key.replace(/^[^/]*\/\d+\//, '')) || names.has(labels[TARGET_LABEL] ?? '');
}

export class SnapshotClaims implements ClaimingDriver {
  readonly #snapshotter: Snapshotter;
  readonly #sockets: Sockets;

  constructor(snapshotter: Snapshotter, sockets: Sockets) {
    this.#snapshotter = snapshotter;
    this.#sockets = sockets;
  }

  async claims(layers: readonly NamedLayer[]): Promise<Claims> {
    // Listing lets containerd ask us for every snapshot that it has, which counts as a use; so this is looked at before.
    const on = new Map(layers.map(({ index }) => [index, this.#snapshotter.snapshotsOn(index)]));
    const names = await namesInContainerd(this.#sockets);
    const known = [...on].filter(([, { snapshots }]) => snapshots.some((snapshot) => isKnown(snapshot, names)));
    const used = [...on].flatMap(([index, { used: time }]): [number, number][] => (time === undefined ? [] : [[index, time]]));
    return { asked: `containerd on ${this.#sockets.address}`, known: known.map(([index]) => index), used: new Map(used) };
  }

  async removeUnclaimed({ index, name }: NamedLayer, since: number): Promise<void> {
    const { used } = this.#snapshotter.snapshotsOn(index);
    if ((used ?? 0) >= since) throw new LcfsError('busy', `containerd has just used layer "${name}"`);
    this.#snapshotter.removeAll(index);
  }
}
