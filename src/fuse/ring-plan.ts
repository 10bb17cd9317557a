/**
 * Which thread serves which ring queue. The kernel has one queue for each possible CPU, all of which need an entry before
 * any request flows. A CPU that works gets a thread pinned to it; the queues of the others, from which a request can only
 * come once the CPU is plugged in, are spread over those threads.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { closeDevice, openDevice } from './device.js';
import { ENTRY_MEMORY_BYTES } from './ring-memory.js';
import { UringUnavailable, Uring } from '../linux/uring.js';

const PARAMETER = '/sys/module/fuse/parameters/enable_uring';
const DISABLED = '/proc/sys/kernel/io_uring_disabled';

/**
 * Requests that a queue takes before they wait in the kernel. A thread serves them one after another, so more would only
 * let one system call answer more of them: 8 × (1 MiB + 4 KiB) for each CPU, 16 MiB with two.
 */
export const QUEUE_ENTRIES = 8;
/** Memory of all entries together. With 8 CPUs or more, queues get fewer entries; the least is one. */
const MEMORY_BYTES_MAX = 64 * 2 ** 20;
/** Beyond this many CPUs a thread serves several of them; each thread costs some 5 MiB. */
export const RING_THREADS_MAX = 24;

/** Entries of one queue. */
export interface QueueShare {
  readonly queue: number;
  readonly entries: number;
}

/** How a thread gets its requests. */
export type WorkerRole =
  /** From /dev/fuse, through this one of the connection's descriptors. `beside` rings, for what nobody waits for. */
  | { readonly kind: 'device'; readonly descriptor: number; readonly beside: boolean }
  /** From the ring queues named, on the CPUs named, with the entries from number `firstEntry` on. */
  | { readonly kind: 'ring'; readonly shares: readonly QueueShare[]; readonly cpus: readonly number[]; readonly firstEntry: number };

/** How much of both a connection needs at most. */
export interface RingNeeds {
  /** Requests of a CPU at once. */
  readonly entries: number;
  readonly threads: number;
}

export const SERVE_ALL: RingNeeds = { entries: QUEUE_ENTRIES, threads: RING_THREADS_MAX };

/** Entries that a role has. */
export function entriesOf(role: WorkerRole): number {
  return role.kind === 'ring' ? role.shares.reduce((sum, share) => sum + share.entries, 0) : 0;
}

/** Roles of the ring threads, whose entries are counted from `firstEntry` on, and of the thread that serves /dev/fuse beside them. */
export function ringRoles(possible: readonly number[], online: readonly number[], needs = SERVE_ALL, firstEntry = 0): WorkerRole[] {
  const entries = Math.min(needs.entries, queueEntries(possible.length, online.length));
  const count = Math.min(online.length, needs.threads);
  const roles: WorkerRole[] = [{ kind: 'device', descriptor: 0, beside: true }];
  let entry = firstEntry;
  for (let thread = 0; thread < count; thread++) {
    const cpus = online.filter((_, index) => index % count === thread);
    const others = possible.filter((cpu) => !online.includes(cpu)).filter((_, index) => index % count === thread);
    const shares: QueueShare[] = [...cpus.map((queue) => ({ queue, entries })), ...others.map((queue) => ({ queue, entries: 1 }))];
    const role: WorkerRole = { kind: 'ring', shares, cpus, firstEntry: entry };
    roles.push(role);
    entry += entriesOf(role);
  }
  return roles;
}

/** Entries for the queue of a working CPU; those of the others have one. */
export function queueEntries(possible: number, online: number): number {
  const affordable = Math.floor(MEMORY_BYTES_MAX / ENTRY_MEMORY_BYTES) - (possible - online);
  return Math.min(QUEUE_ENTRIES, Math.max(1, Math.floor(affordable / online)));
}

function parameter(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1').trim();
  } catch {
    return undefined;
  }
}

/** Makes the kernel offer FUSE over io_uring; a string says why it can't. */
export function allowUring(log: (line: string) => void): string | undefined {
  // Opening the device loads the module, without which there is no parameter.
  closeDevice(openDevice());
  if (parameter(DISABLED) === '2') return `io_uring is disabled (${DISABLED})`;
  const enabled = parameter(PARAMETER);
  if (enabled === undefined) return 'the kernel is older than Linux 6.14 or built without it';
  if (enabled !== 'Y') {
    try {
      writeFileSync(PARAMETER, 'Y');
    } catch (error) {
      return `${PARAMETER} is off and cannot be switched on: ${(error as Error).message}`;
    }
    log(`switched ${PARAMETER} on for FUSE over io_uring`);
  }
  return tryRing();
}

/** Makes a ring, to see whether this process may. */
function tryRing(): string | undefined {
  try {
    new Uring(1).close();
    return undefined;
  } catch (error) {
    if (error instanceof UringUnavailable) return error.message;
    throw error;
  }
}
