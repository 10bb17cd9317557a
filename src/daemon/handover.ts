/**
 * What a supervisor hands over to a serving process when it starts one: a few words as JSON in the environment, and
 * descriptors under the numbers that the words name. A serving process of another version of LCFS may get it (`lcfs
 * upgrade`), so it has a version, of which both must know the same.
 *
 * Descriptor LINE_FD is the line between the two: lines of JSON, both ways.
 */
import { LcfsError, type ErrorCode } from '../engine/errors.js';
import type { LogMemory } from '../engine/log-memory.js';
import { servingDescriptors, type ServingState } from '../fuse/serving.js';
import { closeOnExec } from '../linux/descriptors.js';
import type { Failure } from './protocol.js';
import type { Program } from './program.js';
import type { Settings } from './settings.js';

/** Raised with every change of what is handed over, be it in memory (intent log, tables of shared files). */
export const HANDOVER_VERSION = 2;
export const LINE_FD = 3;
const VARIABLE = 'LCFS_HANDOVER';

/** Exit codes of a serving process besides 0 (ended in order) and 1 (could not start, or could not close the volume). */
export const EXIT_BUG = 70;
/** It has stopped between two requests, for another process to carry on. */
export const EXIT_HANDED_OVER = 75;

/** A socket in the file system, or the link that leads to it. */
export interface SocketFile {
  readonly service: 'control' | 'containerd' | 'docker';
  readonly path: string;
  /** Tells it from one that another process has put there since. */
  readonly inode: number;
}

/** Listening sockets: their descriptors, and where clients find them. */
export interface Listeners {
  readonly control: number;
  readonly containerd: number | null;
  readonly docker: number | null;
  readonly files: readonly SocketFile[];
}

/** What serving processes before this one came to. */
export interface Past {
  /** How many of them died. */
  readonly deaths: number;
  /** The last that died; null: none has. */
  readonly lastDeath: { readonly at: string; readonly cause: string } | null;
  /** The last upgrade; null: there was none. `failure` says why the program from before serves again. */
  readonly lastUpgrade: { readonly at: string; readonly version: string; readonly failure: string | null } | null;
}

export interface Handover {
  readonly version: number;
  /** Pid of the supervisor. */
  readonly supervisor: number;
  readonly program: Program;
  readonly settings: Settings;
  readonly listeners: Listeners;
  /** Memory of the intent log. */
  readonly log: LogMemory;
  /** The mount. */
  readonly serving: ServingState;
  /** Memory file for the notes of the Docker driver (drivers/notes.ts). */
  readonly notes: number;
  /** All descriptors that are handed over, LINE_FD and the standard ones excepted. */
  readonly descriptors: readonly number[];
  /** Whether another process served before. */
  readonly takeover: boolean;
  /**
   * Pid of a serving process that has ended but for threads that wait for the mount; null: there is none. It has its lock on
   * the volume until it is gone.
   */
  readonly beside: number | null;
  /** Why nothing may be changed; null: changes are allowed. */
  readonly readOnly: string | null;
  readonly past: Past;
}

/** To a serving process, or one that waits to become one. */
export type ToServing =
  /** The process that served is no more: this one is to serve. */
  | { readonly kind: 'take-over'; readonly handover: Handover }
  /** Which process waits for that; null: none. */
  | { readonly kind: 'standby'; readonly pid: number | null };

/** From the serving process to its supervisor. */
export type FromServing =
  /** It can take over at once. */
  | { readonly kind: 'waiting' }
  /** It has heard that it is to do so. */
  | { readonly kind: 'taking-over' }
  | { readonly kind: 'ready' }
  /** `withoutRing`: it might work with another transport. */
  | { readonly kind: 'failure'; readonly failure: Failure; readonly withoutRing: boolean }
  /** It is about to end with EXIT_HANDED_OVER: the next one is to be `program` (null: the same), with or without leave to change. */
  | { readonly kind: 'handing-over'; readonly program: Program | null };

export function encodeHandover(handover: Handover): NodeJS.ProcessEnv {
  return { [VARIABLE]: JSON.stringify(handover) };
}

/** All descriptors that are handed over, LINE_FD and the standard ones excepted. */
export function descriptorsOf({ listeners, log, serving, notes, settings }: Omit<Handover, 'descriptors'>): number[] {
  const { control, containerd, docker } = listeners;
  const all = [control, containerd, docker, log.fd, notes, settings.logShape.fd, ...servingDescriptors(serving)];
  return all.filter((fd) => fd !== null && fd > 2) as number[];
}

/** In a serving process: takes what was handed over. Throws LcfsError if there is nothing, or of another version. */
export function takeHandover(): Handover {
  const text = process.env[VARIABLE];
  if (text === undefined) throw new LcfsError('invalid', 'lcfs serve is started by lcfs daemon only');
  delete process.env[VARIABLE];
  const handover = JSON.parse(text) as Handover;
  refuseVersion(handover.version);
  for (const fd of handover.descriptors) closeOnExec(fd);
  return handover;
}

/** Throws LcfsError `state` if this software can't carry on what one with `version` of the handover began. */
export function refuseVersion(version: number): void {
  if (version === HANDOVER_VERSION) return;
  throw new LcfsError(
    'state',
    `the daemon that runs hands over version ${version} of its state, and this lcfs takes version ${HANDOVER_VERSION}: stop it with lcfs stop and start it again with lcfs daemon`,
  );
}

/** The error that a failure, told by another process, stands for. */
export function errorOf(failure: Failure): LcfsError {
  return new LcfsError(failure.code as ErrorCode, failure.message);
}
