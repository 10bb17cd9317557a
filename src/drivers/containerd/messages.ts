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
