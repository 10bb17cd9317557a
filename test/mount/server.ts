/**
 * A process that serves a new volume for tests: `server.js VOLUME MOUNTPOINT TRANSPORT BYTES CACHE PASSTHROUGH`, started with
 * an IPC channel.
 * It says `ready`, then answers orders. When the channel closes, because the test is done or dead, it takes the mount away
 * whatever its state, and ends.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { checkVolume } from '../../src/engine/check.js';
import { checkpoint } from '../../src/engine/checkpoint.js';
import { createLayer, findLayer, removeLayer, renameLayer, sealLayer } from '../../src/engine/layers.js';
import { lockExclusive, unlockExclusive } from '../../src/engine/locks.js';
import { dropCleanPages } from '../../src/engine/pager.js';
import { acquireSlot, releaseSlot, slotLockWord } from '../../src/engine/slots.js';
import { clearStats, readStats } from '../../src/engine/stats.js';
import { closeVolume, formatVolume, openVolume } from '../../src/engine/volume.js';
import { MappedWrites } from '../../src/fuse/mapped-writes.js';
import { Openings } from '../../src/fuse/openings.js';
import { OPENINGS_AT } from '../../src/fuse/tables.js';
import { startFuse, type FuseSession, type StopOptions, type Transport } from '../../src/fuse/session.js';
import { LcfsError } from '../../src/engine/errors.js';
import { exitNow } from '../../src/linux/libc.js';
import { dropPages } from '../../src/linux/page-cache.js';

export type Order =
  | { readonly order: 'create'; readonly name: string; readonly parent?: string; readonly quotaBytes?: number }
  | { readonly order: 'seal' | 'remove'; readonly name: string }
  | { readonly order: 'rename'; readonly name: string; readonly newName: string }
  | { readonly order: 'stop'; readonly options: StopOptions }
  | { readonly order: 'start' }
  /** Lets go what the kernel has cached of the device, with `cool` also our own pages. */
  | { readonly order: 'cool' | 'coolDevice' }
  | { readonly order: 'check' | 'count' }
  /**
   * Brings in what was written to a layer through mappings; `blocked`: while nothing can be changed in the layer for a second.
   * `forgetful`: as if the table of openings had been too small.
   */
  | { readonly order: 'bringIn'; readonly name: string; readonly blocked?: boolean; readonly forgetful?: boolean }
  /** Counts the requests of a layer from zero, or tells how many there were by kind. */
  | { readonly order: 'clearRequests' | 'countRequests'; readonly layer: string };

export interface Report {
  readonly kind: 'ready' | 'done' | 'failed' | 'ended';
  readonly transport?: Transport;
  readonly connection?: number;
  readonly passthrough?: boolean;
  /** Shared files that are open. */
  readonly sharedFiles?: number;
  /** Backing ids that nobody uses. */
  readonly keptIds?: number;
  /** READ requests so far. */
  readonly reads?: number;
  readonly message?: string;
  readonly code?: string;
  readonly errors?: readonly string[];
  /** Requests by kind. */
  readonly counts?: Readonly<Record<string, number>>;
  readonly refusedOpens?: number;
  /** Whether it was said that all is there while nothing could come. */
  readonly early?: boolean;
}

const [volume, mountpoint, transport, bytes, cache, passthrough] = process.argv.slice(2) as [
  string,
  string,
  Transport | 'auto',
  string,
  string,
  'auto' | 'off',
];

function tell(report: Report): void {
  process.send!(report);
}

formatVolume(volume, { bytes: Number(bytes) });
const handle = openVolume(volume, { cacheBytes: Number(cache) });
let session: FuseSession;

async function start(): Promise<void> {
  session = await startFuse(handle, { mountpoint, source: volume, transport, passthrough });
  void session.ended.then(() => tell({ kind: 'ended' }));
  tell({ kind: 'ready', transport: session.transport, connection: session.connection, passthrough: session.passthrough });
}

async function obey(order: Order): Promise<Report> {
  if (order.order === 'check') return { kind: 'done', errors: checkVolume({ data: true }).errors };
  if (order.order === 'count')
    return { kind: 'done', sharedFiles: session.sharedFiles(), keptIds: session.held().kept, reads: countReads() };
  if (order.order === 'countRequests') return requestsOf(order.layer);
  if (order.order === 'bringIn') return { kind: 'done', early: await bringIn(order) };
  if (order.order === 'clearRequests') clearStats(findLayer(order.layer));
  else if (order.order === 'cool' || order.order === 'coolDevice') cool(order.order === 'cool');
  else if (order.order === 'start') await start();
  else if (order.order === 'stop') await session.stop(order.options);
  else changeLayer(order);
  return { kind: 'done' };
}

async function bringIn({ name, blocked, forgetful }: Order & { order: 'bringIn' }): Promise<boolean> {
  const { tables } = session.mapped;
  if (forgetful === true) new Openings(tables.memory, tables.at + OPENINGS_AT).lose();
  const slot = blocked === true ? acquireSlot(findLayer(name)) : 0;
  if (slot !== 0) lockExclusive(slotLockWord(slot));
  let isIn = false;
  const brought = new MappedWrites(session.mapped).bringIn(name).then(() => (isIn = true));
  brought.catch(() => {});
  if (slot !== 0) await delay(1000);
  const early = slot !== 0 && isIn;
  if (slot !== 0) unblock(slot);
  await brought;
  return early;
}

function unblock(slot: number): void {
  unlockExclusive(slotLockWord(slot));
  releaseSlot(slot);
}

function countReads(): number {
  const reads = readStats().flatMap(({ operations }) => operations.filter(({ kind }) => kind === 'read'));
  return reads.reduce((sum, { count }) => sum + count, 0);
}

function requestsOf(layer: string): Report {
  const operations = readStats(findLayer(layer)).flatMap((stats) => stats.operations);
  const counts = Object.fromEntries(operations.map(({ kind, count }) => [kind, count]));
  return { kind: 'done', counts, refusedOpens: operations.find(({ kind }) => kind === 'open')?.errors ?? 0 };
}

function cool(pages: boolean): void {
  checkpoint();
  if (pages) dropCleanPages();
  dropPages(handle.fd, 0, 0);
}

function changeLayer(order: Order): void {
  if (order.order === 'create') {
    createLayer(order.name, {
      ...(order.parent === undefined ? {} : { parent: order.parent }),
      ...(order.quotaBytes === undefined ? {} : { quotaBytes: order.quotaBytes }),
    });
  } else if (order.order === 'seal') sealLayer(order.name);
  else if (order.order === 'remove') removeLayer(order.name);
  else if (order.order === 'rename') renameLayer(order.name, order.newName);
  if ('name' in order) session.invalidateLayer(order.name);
  if ('newName' in order) session.invalidateLayer(order.newName);
}

process.on('message', (order: Order) => {
  obey(order).then(tell, (error: Error) => {
    const code = error instanceof LcfsError ? { code: error.code } : {};
    tell({ kind: 'failed', message: error.message, ...code });
  });
});

/** The test is gone, or done. */
process.on('disconnect', () => {
  const giveUp = setTimeout(() => exitNow(1), 10_000);
  session.stop({ lazy: true, timeoutMs: 1000 }).then(
    () => {
      clearTimeout(giveUp);
      closeVolume();
      exitNow(0);
    },
    () => exitNow(1),
  );
});

await start();
