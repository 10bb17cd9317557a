/**
 * What a part of the benchmark works with: the peers, and `compare`, which does a piece of work on each of them.
 *
 * Repetitions alternate: in each, every peer has its turn, and each time another one begins, so that whatever else the
 * machine does meets all of them alike. Before and after each piece of work everything is written out (`Peer.settle`), so
 * that the I/O that is counted is that of the work and all of it; a slow disk is slow only for the work itself. The first round warms up and is not counted. A peer that
 * fails is reported with its row and takes no further part in that comparison; the others go on.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { BtrfsPeer, FuseOverlayfsPeer, Overlay2Peer, VfsPeer } from './kernel-peers.js';
import { LcfsPeer } from './lcfs-peer.js';
import { LoopDisk, SLOW_IOPS } from './loop-disk.js';
import type { Peer, PeerOptions } from './peer.js';
import { printRow } from './print.js';
import { busyMs, processorMs } from './processor-time.js';
import { type Disk, type PeerName, PEERS, type Row } from './types.js';
import type { Undo } from './undo.js';

export interface BenchOptions {
  /** On the disk that is measured; loop devices' files and mount points go here. */
  folder: string;
  /** A tmpfs. */
  runFolder: string;
  runs: number;
  quick: boolean;
  volumeBytes: number;
  undo: Undo;
}

export interface Comparison {
  metric: string;
  /** `ms` of wall-clock time unless told; another unit needs `work` to return the value. */
  unit?: string;
  better?: 'lower' | 'higher';
  x?: number;
  /** Instead of `x`, for work that gives a value for each of several x: it returns them in this order. What was counted at the
   * device is kept with the last. */
  points?: readonly number[];
  /** All unless told. */
  peers?: readonly PeerName[];
  /** Repetitions; `bench.runs` unless told. */
  runs?: number;
  /** Whether a round that is not counted goes before; only on the fast disk, and so unless told otherwise. */
  warmUp?: boolean;
  /** Whether everything was dropped from all caches before. */
  cold?: boolean;
  /** Whether the time ends only when everything is durable. Only for work that returns no value of its own. */
  durable?: boolean;
  notes?: string;
  /** Before each repetition, not measured. */
  prepare?(peer: Peer, round: number): Promise<unknown> | void;
  /** What is measured. Its value (or values, for `points`), or nothing: then it is the time that it took. */
  work(peer: Peer, round: number): Promise<unknown>;
  /** After each repetition, not measured; also after one that failed. */
  after?(peer: Peer, round: number): Promise<unknown> | void;
}

const COUNTS = ['reads', 'bytesRead', 'writes', 'bytesWritten', 'flushes', 'busyMs', 'engineMs', 'storageMs'] as const;
type Count = (typeof COUNTS)[number];

/** What is kept of a row beside its values; nothing yet. */
export const noCounts = (): Record<Count, number[]> => ({
  reads: [],
  bytesRead: [],
  writes: [],
  bytesWritten: [],
  flushes: [],
  busyMs: [],
  engineMs: [],
  storageMs: [],
});

/** A peer in a comparison. */
interface Taker {
  name: PeerName;
  rows: Row[];
  spentMs: number;
}

/** For LCFS and overlay2, which the aims are about, and for the others, which have one repetition on the slow disk. */
const BUDGET_MS: Readonly<Record<Disk, number>> = { fast: 200_000, slow: 250_000 };
const BUDGET_OF_OTHERS_MS: Readonly<Record<Disk, number>> = { fast: 15_000, slow: 0 };
const CONSTRUCTORS: Readonly<Record<PeerName, new (options: PeerOptions) => Peer>> = {
  lcfs: LcfsPeer,
  overlay2: Overlay2Peer,
  btrfs: BtrfsPeer,
  'fuse-overlayfs': FuseOverlayfsPeer,
  vfs: VfsPeer,
};

export class Bench {
  readonly options: BenchOptions;
  readonly rows: Row[] = [];
  /** The disk that is being measured now. */
  disk: Disk = 'fast';
  /** Name of the part that is running. */
  part = '';
  #peers = new Map<PeerName, Promise<Peer>>();

  constructor(options: BenchOptions) {
    this.options = options;
  }

  get runs(): number {
    return this.options.runs;
  }

  get quick(): boolean {
    return this.options.quick;
  }

  get undo(): Undo {
    return this.options.undo;
  }

  /** A folder on the disk of the machine, not on that of a peer, for what a part needs. It goes at the end of the run. */
  folder(name: string): string {
    const path = join(this.options.folder, 'work', name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  /** A peer, whose disk is formatted and mounted the first time. */
  peer(name: PeerName): Promise<Peer> {
    let peer = this.#peers.get(name);
    if (peer === undefined) this.#peers.set(name, (peer = this.#makePeer(name)));
    return peer;
  }

  async lcfs(): Promise<LcfsPeer> {
    return (await this.peer('lcfs')) as LcfsPeer;
  }

  async #makePeer(name: PeerName): Promise<Peer> {
    if (this.undo.ending) throw new Error('the benchmark was interrupted');
    const { volumeBytes, undo, quick } = this.options;
    const folder = join(this.options.folder, name);
    mkdirSync(folder, { recursive: true });
    const disk = await LoopDisk.create(join(folder, 'disk.img'), volumeBytes, !quick, undo);
    const runFolder = join(this.options.runFolder, String(PEERS.indexOf(name)));
    const peer = new CONSTRUCTORS[name]({ name, disk, folder, runFolder, undo });
    await peer.start();
    return peer;
  }

  /** Does something that is not measured on each of the peers, with fast disks. Returns the peers where it worked. */
  async prepare(names: readonly PeerName[], what: string, once: (peer: Peer) => Promise<unknown>): Promise<PeerName[]> {
    const good: PeerName[] = [];
    for (const name of names) {
      try {
        const peer = await this.peer(name);
        peer.disk.throttle(0);
        await once(peer);
        await peer.settle();
        good.push(name);
      } catch (error) {
        console.error(`${what} on ${name} failed, which takes no part: ${message(error)}`);
      }
    }
    return good;
  }

  /** Does the work on all peers in turn, several times, and adds a row for each. Returns the rows. */
  async compare(comparison: Comparison): Promise<Row[]> {
    const takers = (comparison.peers ?? PEERS).map((name): Taker => ({ name, rows: this.#rows(comparison, name), spentMs: 0 }));
    const runs = comparison.runs ?? this.runs;
    const warmUp = (comparison.warmUp ?? true) && this.disk === 'fast' && !this.quick;
    for (let round = warmUp ? -1 : 0; round < runs; round++) {
      for (const taker of rotate(takers, round + 1)) {
        if (taker.rows[0]!.failed !== undefined || taker.spentMs > this.budgetMs(taker.name)) continue;
        const time = await this.#repetition(comparison, taker, round);
        if (round >= 0) taker.spentMs += time;
      }
    }
    const rows = takers.flatMap((taker) => taker.rows);
    for (const row of rows) this.addRow(row);
    return rows;
  }

  /** A peer whose repetitions of something (not the preparation) have taken this long does no more of them. */
  protected budgetMs(name: PeerName): number {
    return name === 'lcfs' || name === 'overlay2' ? BUDGET_MS[this.disk] : BUDGET_OF_OTHERS_MS[this.disk];
  }

  #rows(comparison: Comparison, peer: string): Row[] {
    return (comparison.points ?? [comparison.x]).map((x) => this.#row(comparison, peer, x));
  }

  #row({ metric, unit = 'ms', better = 'lower', notes }: Comparison, peer: string, x: number | undefined): Row {
    const row: Row = { part: this.part, metric, peer, disk: this.disk, unit, better, values: [], ...noCounts() };
    if (x !== undefined) row.x = x;
    if (notes !== undefined) row.notes = notes;
    return row;
  }

  /** Adds a row that was made in another way than by `compare`. */
  addRow(row: Omit<Row, 'part' | 'disk' | Count> & Partial<Row>): void {
    const full = { part: this.part, disk: this.disk, ...noCounts(), ...row };
    this.rows.push(full);
    printRow(full, this.rows);
  }

  /** One repetition on one peer; what fails is kept in its rows. Returns the milliseconds that the work took. */
  async #repetition(comparison: Comparison, { name, rows }: Taker, round: number): Promise<number> {
    try {
      if (this.undo.ending) throw new Error('the benchmark was interrupted');
      const peer = await this.peer(name);
      try {
        return await this.#measure(comparison, peer, rows, round);
      } finally {
        peer.disk.throttle(0);
        await comparison.after?.(peer, round);
      }
    } catch (error) {
      for (const row of rows) row.failed = message(error);
      return 0;
    }
  }

  async #measure(comparison: Comparison, peer: Peer, rows: readonly Row[], round: number): Promise<number> {
    await comparison.prepare?.(peer, round);
    await (comparison.cold === true ? peer.dropCaches() : peer.settle());
    if (this.disk === 'slow') peer.disk.throttle(SLOW_IOPS);
    const before = counted(peer);
    const started = performance.now();
    const value = await comparison.work(peer, round);
    if (comparison.durable === true) await peer.settle();
    const time = performance.now() - started;
    peer.disk.throttle(0);
    await peer.settle();
    if (round < 0) return time;
    keepValues(rows, value, time);
    const after = counted(peer);
    for (const name of COUNTS) rows.at(-1)![name].push(after[name] - before[name]);
    return time;
  }
}

function counted(peer: Peer): Record<Count, number> {
  const times = { busyMs: busyMs(), engineMs: processorMs(peer.enginePids), storageMs: processorMs(peer.pids) };
  return { ...peer.disk.counters(), ...times };
}

function keepValues(rows: readonly Row[], value: unknown, time: number): void {
  if (Array.isArray(value)) for (const [i, row] of rows.entries()) row.values.push((value as number[])[i]!);
  else rows[0]!.values.push(typeof value === 'number' ? value : time);
}

function rotate<T>(items: readonly T[], by: number): T[] {
  const at = items.length === 0 ? 0 : by % items.length;
  return [...items.slice(at), ...items.slice(0, at)];
}

const message = (error: unknown): string => (error instanceof Error ? error.message : String(error)).split('\n').slice(0, 3).join(' ');
