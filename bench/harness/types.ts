/**
 * What the parts of the benchmark, the harness and the report share.
 *
 *   peer   a storage under test: LCFS, or one that it is compared with
 *   disk   `fast`: the loop device as it is; `slow`: the same, throttled to a few hundred I/Os a second
 *   part   a group of measurements with a section of its own in the report
 *   row    what one peer gave for one metric on one disk: a value for each repetition
 */
import type { Bench } from './bench.js';

export const PEERS = ['lcfs', 'overlay2', 'btrfs', 'fuse-overlayfs', 'vfs'] as const;
export type PeerName = (typeof PEERS)[number];
export type Disk = 'fast' | 'slow';

export interface Row {
  part: string;
  metric: string;
  /** A PeerName, or what else was compared, as in `overlayfs snapshotter`. */
  peer: string;
  disk: Disk;
  unit: string;
  better: 'lower' | 'higher';
  /** Where the row lies on the x axis of a line chart, as a number of containers or layers. */
  x?: number;
  /** One for each repetition, in their order. Empty when the peer failed. */
  values: number[];
  /** What reached the loop device in each repetition, until all was written out. Empty where it was not counted. */
  reads: number[];
  bytesRead: number[];
  writes: number[];
  bytesWritten: number[];
  flushes: number[];
  /** Processor time in ms in each repetition, until all was written out: of everything on the machine, of Docker and its
   * containerd, and of the processes that serve the storage. Empty where it was not counted. */
  busyMs: number[];
  engineMs: number[];
  storageMs: number[];
  /** Why there are no (more) values of this peer. */
  failed?: string;
  notes?: string;
}

/** Changes with the meaning of what a result file has. */
export const FORMAT = 2;

/** One result file: all of one run. */
export interface Results {
  format: typeof FORMAT;
  /** ISO 8601. */
  started: string;
  seconds: number;
  quick: boolean;
  machine: Machine;
  /** What a throttled disk really did; absent if no slow disk was used. */
  throttle?: ThrottleProof;
  rows: Row[];
}

export interface Machine {
  cpu: string;
  cpus: number;
  memoryMiB: number;
  kernel: string;
  distribution: string;
  /** Versions of all programs that took part, by name. */
  versions: Record<string, string>;
  /** The disk below the loop devices. */
  disk: string;
  volumeBytes: number;
}

/** I/Os a second that were counted at a throttled loop device. */
export interface ThrottleProof {
  limit: number;
  directReads: number;
  directWrites: number;
  bufferedWrites: number;
}

export interface Part {
  name: string;
  /** What a person reads in `--help`. */
  description: string;
  /** On which disks it has something to measure. */
  disks: readonly Disk[];
  /** Runs once for each disk; adds rows to `bench`. */
  run(bench: Bench): Promise<void>;
}
