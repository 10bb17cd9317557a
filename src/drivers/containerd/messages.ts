/**
 * What travels between containerd and this driver: the messages of containerd.services.snapshots.v1, diff.v1, content.v1
 * and leases.v1, as far as they are used. Fields that are not declared are passed over.
 */
import { field, map, message, repeated, type Of } from './protobuf.js';

// Types that services share

export const Empty = message('Empty', {});

/** Seconds since 1970 and nanoseconds. */
export const Timestamp = message('Timestamp', { seconds: field(1, 'int64'), nanos: field(2, 'int32') });
export type Timestamp = Of<typeof Timestamp>;

export const FieldMask = message('FieldMask', { paths: repeated(1, 'string') });

export const Any = message('Any', { typeUrl: field(1, 'string'), value: field(2, 'bytes') });

export const Mount = message('Mount', {
  type: field(1, 'string'),
  source: field(2, 'string'),
  target: field(3, 'string'),
  options: repeated(4, 'string'),
});
export type Mount = Of<typeof Mount>;

export const Descriptor = message('Descriptor', {
  mediaType: field(1, 'string'),
  digest: field(2, 'string'),
  size: field(3, 'int64'),
  annotations: map(5, 'string'),
});
export type Descriptor = Of<typeof Descriptor>;

// Snapshots

export const KIND_VIEW = 1;
export const KIND_ACTIVE = 2;
export const KIND_COMMITTED = 3;

export const Info = message('Info', {
  name: field(1, 'string'),
  parent: field(2, 'string'),
  kind: field(3, 'int32'),
  createdAt: field(4, Timestamp),
  updatedAt: field(5, Timestamp),
  labels: map(6, 'string'),
});
export type Info = Of<typeof Info>;

/** Prepare and View. */
export const PrepareRequest = message('PrepareRequest', {
  snapshotter: field(1, 'string'),
  key: field(2, 'string'),
  parent: field(3, 'string'),
  labels: map(4, 'string'),
});
export type PrepareRequest = Of<typeof PrepareRequest>;

/** Prepare, View and Mounts. */
export const MountsResponse = message('MountsResponse', { mounts: repeated(1, Mount) });

/** Mounts, Remove, Stat and Usage. */
export const KeyRequest = message('KeyRequest', { snapshotter: field(1, 'string'), key: field(2, 'string') });

export const CommitRequest = message('CommitRequest', {
  snapshotter: field(1, 'string'),
  name: field(2, 'string'),
  key: field(3, 'string'),
  labels: map(4, 'string'),
  parent: field(5, 'string'),
});
export type CommitRequest = Of<typeof CommitRequest>;

export const InfoResponse = message('InfoResponse', { info: field(1, Info) });

export const UpdateRequest = message('UpdateRequest', {
  snapshotter: field(1, 'string'),
  info: field(2, Info),
  updateMask: field(3, FieldMask),
});

export const ListRequest = message('ListRequest', { snapshotter: field(1, 'string'), filters: repeated(2, 'string') });
export const ListResponse = message('ListResponse', { info: repeated(1, Info) });

export const UsageResponse = message('UsageResponse', { size: field(1, 'int64'), inodes: field(2, 'int64') });
export type UsageResponse = Of<typeof UsageResponse>;

export const CleanupRequest = message('CleanupRequest', { snapshotter: field(1, 'string') });

// Diffs

export const TAR = 'application/vnd.oci.image.layer.v1.tar';
export const TAR_GZIP = 'application/vnd.oci.image.layer.v1.tar+gzip';
export const TAR_ZSTD = 'application/vnd.oci.image.layer.v1.tar+zstd';

export const ApplyRequest = message('ApplyRequest', {
  diff: field(1, Descriptor),
  mounts: repeated(2, Mount),
  payloads: map(3, Any),
  syncFs: field(4, 'bool'),
});
export type ApplyRequest = Of<typeof ApplyRequest>;

export const ApplyResponse = message('ApplyResponse', { applied: field(1, Descriptor) });

export const DiffRequest = message('DiffRequest', {
  left: repeated(1, Mount),
  right: repeated(2, Mount),
  mediaType: field(3, 'string'),
  ref: field(4, 'string'),
  labels: map(5, 'string'),
  sourceDateEpoch: field(6, Timestamp),
});
export type DiffRequest = Of<typeof DiffRequest>;

export const DiffResponse = message('DiffResponse', { diff: field(3, Descriptor) });

// Contents

export const ContentInfo = message('ContentInfo', {
  digest: field(1, 'string'),
  size: field(2, 'int64'),
  createdAt: field(3, Timestamp),
  updatedAt: field(4, Timestamp),
  labels: map(5, 'string'),
});

export const ContentInfoRequest = message('ContentInfoRequest', { digest: field(1, 'string') });
export const ContentInfoResponse = message('ContentInfoResponse', { info: field(1, ContentInfo) });
export const ContentUpdateRequest = message('ContentUpdateRequest', { info: field(1, ContentInfo), updateMask: field(2, FieldMask) });

export const ReadRequest = message('ReadRequest', { digest: field(1, 'string'), offset: field(2, 'int64'), size: field(3, 'int64') });
export const ReadResponse = message('ReadResponse', { offset: field(1, 'int64'), data: field(2, 'bytes') });

export type ReadResponse = Of<typeof ReadResponse>;

export const WRITE_STAT = 0;
export const WRITE_DATA = 1;
export const WRITE_COMMIT = 2;

export const WriteRequest = message('WriteRequest', {
  action: field(1, 'int32'),
  ref: field(2, 'string'),
  total: field(3, 'int64'),
  expected: field(4, 'string'),
  offset: field(5, 'int64'),
  data: field(6, 'bytes'),
  labels: map(7, 'string'),
});
export type WriteRequest = Of<typeof WriteRequest>;

export const WriteResponse = message('WriteResponse', {
  action: field(1, 'int32'),
  startedAt: field(2, Timestamp),
  updatedAt: field(3, Timestamp),
  offset: field(4, 'int64'),
  total: field(5, 'int64'),
  digest: field(6, 'string'),
});
export type WriteResponse = Of<typeof WriteResponse>;

export const AbortRequest = message('AbortRequest', { ref: field(1, 'string') });

// Leases

export const LeaseRequest = message('LeaseRequest', { id: field(1, 'string'), labels: map(3, 'string') });

// Introspection

export const Plugin = message('Plugin', { type: field(1, 'string'), id: field(2, 'string'), exports: map(5, 'string') });
export const PluginsRequest = message('PluginsRequest', { filters: repeated(1, 'string') });
export const PluginsResponse = message('PluginsResponse', { plugins: repeated(1, Plugin) });

// Namespaces

export const Namespace = message('Namespace', { name: field(1, 'string') });
export const NamespacesRequest = message('NamespacesRequest', { filter: field(1, 'string') });
export const NamespacesResponse = message('NamespacesResponse', { namespaces: repeated(1, Namespace) });
