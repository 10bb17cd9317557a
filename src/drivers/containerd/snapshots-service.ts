/** containerd.services.snapshots.v1: the calls of the snapshotter. */
import * as M from './messages.js';
import { method } from './method.js';
import type { Service } from './rpc.js';
import type { Snapshotter } from './snapshotter.js';

/** As many as containerd's own service sends at once. */
const LIST_BATCH = 100;

const path = (name: string): string => `/containerd.services.snapshots.v1.Snapshots/${name}`;

export const METHODS = {
  prepare: method(path('Prepare'), M.PrepareRequest, M.MountsResponse),
  view: method(path('View'), M.PrepareRequest, M.MountsResponse),
  mounts: method(path('Mounts'), M.KeyRequest, M.MountsResponse),
  commit: method(path('Commit'), M.CommitRequest, M.Empty),
  remove: method(path('Remove'), M.KeyRequest, M.Empty),
  stat: method(path('Stat'), M.KeyRequest, M.InfoResponse),
  update: method(path('Update'), M.UpdateRequest, M.InfoResponse),
  list: method(path('List'), M.ListRequest, M.ListResponse, 'server-stream'),
  usage: method(path('Usage'), M.KeyRequest, M.UsageResponse),
  cleanup: method(path('Cleanup'), M.CleanupRequest, M.Empty),
};

export function addSnapshots(service: Service, snapshotter: Snapshotter): void {
  service
    .unary(METHODS.prepare, async (request) => ({ mounts: await snapshotter.prepare(request as M.PrepareRequest) }))
    .unary(METHODS.view, async (request) => ({ mounts: await snapshotter.view(request as M.PrepareRequest) }))
    .unary(METHODS.mounts, ({ key }) => ({ mounts: snapshotter.mounts(key!) }))
    .unary(METHODS.commit, async (request) => {
      await snapshotter.commit(request as M.CommitRequest);
      return {};
    })
    .unary(METHODS.remove, ({ key }) => {
      snapshotter.remove(key!);
      return {};
    })
    .unary(METHODS.stat, ({ key }) => ({ info: snapshotter.stat(key!) }))
    .unary(METHODS.update, ({ info, updateMask }) => ({ info: snapshotter.update(info ?? {}, updateMask?.paths ?? []) }))
    .stream(METHODS.list, ({ filters }) => inBatches(snapshotter.list(filters!)))
    .unary(METHODS.usage, ({ key }) => snapshotter.usage(key!))
    .unary(METHODS.cleanup, () => {
      snapshotter.cleanup();
      return {};
    });
}

function* inBatches(infos: Iterable<M.Info>): Generator<{ info: M.Info[] }> {
  let batch: M.Info[] = [];
  for (const info of infos) {
    batch.push(info);
    if (batch.length < LIST_BATCH) continue;
    yield { info: batch };
    batch = [];
  }
  if (batch.length > 0) yield { info: batch };
}
