/**
 * The control protocol: HTTP and JSON over a unix socket that only root can reach.
 *
 * Version 1, all paths below `/v1/`. A layer name is one percent-encoded path segment.
 *
 *   GET    status                                          -> Status
 *   POST   stop            {force?}                        -> {}; answered when the volume is closed
 *   POST   upgrade         {words, version, handover}      -> {}; another serving process, of that program, takes over soon
 *   POST   resume                                          -> {}; another one takes over, which may change things again
 *   POST   commit                                          -> {generation}
 *   POST   syncer          {seconds}                       -> {seconds}
 *   POST   pcache          {bytes}                         -> {bytes}
 *   POST   flush           {kernel?}                       -> {pages}
 *   POST   grow                                            -> {blocks}
 *   POST   check           {data?}                         -> CheckReport
 *   POST   scrub           {action, rate?}                 -> Scrub; action: start, stop or status
 *   POST   gc              GcRequest                       -> GcReport
 *   GET    stats?layer=                                    -> LayerReport[]
 *   DELETE stats?layer=                                    -> {}
 *   GET    layers                                          -> lines of Layer
 *   POST   layers          {name, parent?, quotaBytes?, fsync?}    -> Layer
 *   GET    layers/NAME                                     -> Layer
 *   DELETE layers/NAME                                     -> {}
 *   POST   layers/NAME/commit {newName?}                   -> Layer
 *   GET    layers/NAME/diff?base=                          -> lines of Change
 *   PUT    layers/NAME/content?parent=   (body: a tar)     -> ImportReport
 *   GET    layers/NAME/content?base=&whole=1               -> a tar of what changed, or of everything
 *
 * "Lines" are JSON values, one a line, sent as they come up. Because a failure may come after the status line is out, an
 * answer that streams ends with the trailer `lcfs-result: ok`, or `lcfs-error` with the JSON of a Failure; an answer
 * without either was cut off.
 *
 * Failures have a status of 400 or above and the body {error: Failure}.
 */
import type { ErrorCode } from '../engine/errors.js';
import { LcfsError } from '../engine/errors.js';
import type { HeldFiles } from '../fuse/held.js';

export const PROTOCOL_VERSION = 1;
export const RESULT_TRAILER = 'lcfs-result';
export const ERROR_TRAILER = 'lcfs-error';

export interface Failure {
  code: ErrorCode | 'internal';
  message: string;
}

export interface Status {
  protocol: number;
  /** Version of the software. */
  version: string;
  /** Of the serving process. */
  pid: number;
  /** Pid of the process that would start another one, should the serving process die; null: it has died itself. */
  supervisor: number | null;
  /** Pid of the process that waits to take over then; null: there is none, or not yet. */
  standby: number | null;
  /** Version of what one serving process hands over to the next. */
  handover: number;
  /** How many serving processes died under this supervisor. */
  deaths: number;
  /** When the last of them died, and of what. */
  lastDeath: { at: string; cause: string } | null;
  /** When another program took over last, or tried to; `failure` says why the one from before serves. */
  lastUpgrade: { at: string; version: string; failure: string | null } | null;
  /** Of the serving process, ISO 8601. */
  started: string;
  /** Path of the device or file. */
  volume: string;
  uuid: string;
  mountpoint: string;
  control: string;
  /** Socket of the snapshotter and differ for containerd, if they run. */
  containerd: string | null;
  /** Socket of the Docker graph driver, if it runs. */
  docker: string | null;
  transport: string;
  /** Whether files that layers share have one copy in the page cache. */
  passthrough: boolean;
  files: HeldFiles;
  fsync: 'relaxed' | 'strict';
  /** Why the volume takes no changes any more; null as long as it does. */
  readOnly: string | null;
  /** Number of the last checkpoint. */
  generation: number;
  /** In blocks of `blockBytes`. */
  blocks: { total: number; used: number; free: number };
  blockBytes: number;
  /** Number of layers, the global one not counted. */
  layers: number;
  /** Removed layers whose space is still being given back. */
  removing: number;
  cache: { bytes: number; bytesMax: number };
  /** Longest time between a change and its checkpoint. */
  syncerSeconds: number;
  scrub: Scrub;
  /** Resident memory of the daemon. */
  memoryBytes: number;
}

export interface Layer {
  index: number;
  name: string;
  state: 'writable' | 'sealed' | 'removing';
  parent: string | null;
  depth: number;
  children: number;
  /** ISO 8601. */
  created: string;
  /** Space that the layer itself takes. */
  ownBytes: number;
  /** Limit of ownBytes; 0: none. */
  quotaBytes: number;
  /** What fsync promises in the layer; null: what the daemon says. */
  fsync: 'strict' | 'relaxed' | null;
  inodes: number;
  /** Users that hold the layer now, such as running containers. */
  holders: number;
  properties: Record<string, string>;
}

export interface Change {
  kind: 'added' | 'changed' | 'deleted';
  /** From the root of the layer, with a leading slash. */
  path: string;
  /** The path's bytes, where they are not UTF-8. */
  pathBase64?: string;
}

export interface ImportReport {
  layer: Layer;
  /** Length of the tar. */
  bytes: number;
  entries: number;
}

export interface Scrub {
  /** Bytes a second; 0: off. */
  rate: number;
  running: boolean;
  /** Whether a pass that was cut off by a restart goes on soon. */
  waiting: boolean;
  /** Of the pass that runs, or of the last one: what was read, and what was in use when it began. */
  doneBytes: number;
  totalBytes: number;
  /** Blocks of it that cannot be read, and those that were written again from memory. */
  damagedBlocks: number;
  mendedBlocks: number;
  /** Complete passes since the volume was opened. */
  passes: number;
  /** ISO 8601; null: no pass was complete yet. */
  lastEnded: string | null;
  lastDamagedBlocks: number | null;
}

export interface CheckReport {
  /** Sentences about the first of the errors. */
  errors: string[];
  /** None when the volume is sound. */
  errorCount: number;
  /** How many of them are blocks of data that cannot be read: those no repair can mend. */
  dataErrors: number;
  /** What is hit, in each layer that has it, one entry a path. */
  damage: DamageReport[];
  /** What was looked at; `lostBlocks` of files were found lost by an earlier repair, and are no errors. */
  counts: { layers: number; inodes: number; pages: number; dataBlocks: number; removingBlocks: number; lostBlocks: number };
  /** The intent log behind the last checkpoint, which was looked at as if it had been applied; null: there is none. */
  log: LogReport | null;
  /** What a repair did, or would do; null if there was none, or nothing for one to do. */
  repair: RepairReport | null;
}

export interface DamageReport {
  /** Layer index. */
  layer: number;
  layerName: string;
  /** 0: nothing that is in one inode. */
  ino: number;
  /** From the root of the layer; null where it is not known. */
  path: string | null;
  kind: 'data' | 'inode' | 'names' | 'attributes' | 'target' | 'archive' | 'tree';
  text: string;
}

export interface LogReport {
  /** Operations that are applied, by the next mount or by a repair. */
  operations: number;
  /** What cannot be applied, and why, in sentences. */
  leftOut: string[];
}

export interface RepairReport {
  /** False for a trial. */
  done: boolean;
  /** What is lost by it. */
  damage: DamageReport[];
  /** What else is done, in sentences. */
  notes: string[];
  log: LogReport | null;
}

export const ENGINES = ['containerd', 'docker'] as const;
export type EngineName = (typeof ENGINES)[number];

export interface GcRequest {
  /** Layers that no engine made, to be looked at as well. */
  names?: readonly string[];
  /** Layers that were made or used within this time stay. Default: an hour. */
  olderThanSeconds?: number | undefined;
  /** Remove what is found. */
  remove?: boolean;
  /** Where Docker Engines keep their data, instead of where they said. */
  dockerRoots?: readonly string[];
  /** Engines that are gone for good: nothing is known to them. */
  gone?: readonly EngineName[];
}

/** A layer that nobody knows any more. */
export interface LostLayer {
  index: number;
  name: string;
  /** Space that comes back with it. */
  ownBytes: number;
  /** Time since it was made or last used. */
  ageSeconds: number;
  why: string;
  removed: boolean;
  /** Why it could not be removed. */
  failure?: string;
}

export interface GcReport {
  /** Children before their parents. */
  layers: LostLayer[];
  /** Engines whose layers were left alone. */
  notAsked: { engine: EngineName; layers: number; why: string }[];
}

export interface OperationReport {
  kind: string;
  count: number;
  errors: number;
  totalMicroseconds: number;
  longestMicroseconds: number;
  /** Operations below 1 µs, then below 2, 4, 8 … µs. */
  histogram: number[];
}

export interface LayerReport {
  layer: string;
  operations: OperationReport[];
}

const STATUS_OF: Readonly<Record<Failure['code'], number>> = {
  invalid: 400,
  'not-found': 404,
  exists: 409,
  busy: 409,
  state: 409,
  full: 507,
  corrupt: 500,
  io: 500,
  internal: 500,
};

export function httpStatus(failure: Failure): number {
  return STATUS_OF[failure.code];
}

export function failureOf(error: unknown): Failure {
  if (error instanceof LcfsError) return { code: error.code, message: error.message };
  return { code: 'internal', message: error instanceof Error ? error.message : String(error) };
}
