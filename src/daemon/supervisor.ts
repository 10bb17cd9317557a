/**
 * The supervisor of a volume: a small process that starts the process which serves it, holds what must outlive that, and has
 * another one serve when it dies, begun before if possible (standby.ts). It has no volume open and never looks at the mount, as it
 * would have to wait for its own child there.
 *
 *   the serving process …                      the supervisor …
 *   ended in order (exit code 0 or 1)          ends with the same code
 *   handed over (EXIT_HANDED_OVER)             starts the next one, of another program if that was asked for
 *   could not begin to serve after an upgrade  starts the program from before again
 *   died in any other way                      starts it again as crash-policy.ts says, or ends
 *   died, but threads of it wait for the mount the same: the next process answers them, and then they end
 *
 * What it holds: the listening sockets, its part of the volume's lock, the mount with the memory that goes with it, the memory
 * of the intent log, and notes of the drivers. If the supervisor
 * itself dies, the serving process has all of that as well and goes on; there is only nobody left to start another one.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { LcfsError } from '../engine/errors.js';
import { createLogMemory } from '../engine/log-memory.js';
import { claimDevice } from '../engine/volume-device.js';
import { dropServing, letGoOfMount, prepareServing, type ServingState } from '../fuse/serving.js';
import { createMemoryFile } from '../linux/memory-file.js';
import { CrashPolicy, DEATHS_MAX } from './crash-policy.js';
import {
  EXIT_BUG,
  EXIT_HANDED_OVER,
  descriptorsOf,
  HANDOVER_VERSION,
  errorOf,
  type Handover,
  type Listeners,
  type Past,
} from './handover.js';
import { closeListeners, makeListeners, removeSocketFiles } from './listeners.js';
import { plainLog } from './log-line.js';
import { refuseSecondDaemon } from './opening.js';
import { thisProgram, type Program } from './program.js';
import { ServingProcess, describeEnd, type End } from './serving-process.js';
import { Standby } from './standby.js';
import { prepareMountpoint, prepareSocketFolder, type Settings } from './settings.js';

/** Opening replays a log of limited length: what takes longer than this hangs. */
const START_PATIENCE_MS = 120_000;

export class Supervisor {
  readonly #settings: Settings;
  readonly #log: ReturnType<typeof plainLog>;
  readonly #policy = new CrashPolicy();
  /** Settles with the exit code when nothing is served any more. */
  readonly ended: Promise<number>;
  #end!: (code: number) => void;
  #listeners!: Listeners;
  /** null: there is no mount. */
  #serving: ServingState | null = null;
  readonly #memory = createLogMemory();
  readonly #notes = createMemoryFile('lcfs-notes', 0);
  #child: ServingProcess | undefined;
  /** One that lingers, if there is one. */
  #before: ServingProcess | undefined;
  readonly #standby: Standby;
  #program = thisProgram();
  #past: Past = { deaths: 0, lastDeath: null, lastUpgrade: null };
  #readOnly: string | null = null;
  #isClaimed = false;
  /** A signal that came while nobody served. */
  #signal: NodeJS.Signals | null = null;
  #serves = false;
  #hasServed = false;

  private constructor(settings: Settings) {
    this.#settings = settings;
    this.#log = plainLog(settings.logShape, 'supervisor');
    this.ended = new Promise((settle) => (this.#end = settle));
    this.#standby = new Standby({
      start: (waits) => new ServingProcess(this.#handover(true), 'standby', waits),
      changed: (pid) => this.#child?.tell({ kind: 'standby', pid }),
      ended: (end) => this.#log('warn', `the process that waits to take over ${describeEnd(end)}`),
    });
  }

  /** Returns when the volume is mounted. Throws LcfsError if that fails; nothing is left of it then. */
  static async start(settings: Settings): Promise<Supervisor> {
    const supervisor = new Supervisor(settings);
    prepareMountpoint(settings.mountpoint, (text) => supervisor.#log('warn', text));
    // Sockets and the log are for root alone; the working directory must not keep a file system busy.
    process.umask(0o077);
    process.chdir('/');
    prepareSocketFolder(settings.control);
    await refuseSecondDaemon(settings);
    supervisor.#claim(false);
    supervisor.#listeners = await makeListeners(settings);
    for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(name, () => supervisor.#passOn(name));
    try {
      supervisor.#prepare(settings.transport);
      await supervisor.#begin();
    } catch (error) {
      supervisor.#letGo();
      throw error;
    }
    return supervisor;
  }

  #prepare(transport: Settings['transport']): void {
    const { mountpoint, device, passthrough, fsync } = this.#settings;
    const hearsSync = fsync === 'strict';
    const log = (text: string): void => this.#log('info', text);
    this.#serving = prepareServing({ mountpoint, source: device, transport, passthrough, hearsSync, log });
  }

  async #begin(): Promise<void> {
    if (!(await this.#spawn(false)) && !(await this.#beginWithoutRing())) throw startFailure(await this.#child!.ended);
    this.#hasServed = true;
    this.#serving = letGoOfMount(this.#serving!);
    // A volume that was just made has no lock of ours yet.
    this.#claim(true);
    void this.#supervise();
  }

  /** With a choice of transports the second one is tried. */
  async #beginWithoutRing(): Promise<boolean> {
    const { withoutRing, failure } = await this.#child!.ended;
    if (!withoutRing || this.#settings.transport !== 'auto') return false;
    this.#log('info', `FUSE over io_uring is not to be had (${failure?.message}), using /dev/fuse`);
    this.#dropServing();
    this.#prepare('devfuse');
    return this.#spawn(false);
  }

  #claim(serving: boolean): void {
    if (this.#isClaimed) return;
    try {
      claimDevice(this.#settings.device, serving);
      this.#isClaimed = true;
    } catch (error) {
      const isMissing = error instanceof LcfsError && error.code === 'not-found';
      // It may be made with --format; if not, the serving process says so.
      if (!isMissing || serving) throw error;
    }
  }

  /** Passes a signal on to the process that serves, or to the next one. */
  #passOn(name: NodeJS.Signals): void {
    const isHeard = this.#serves && !this.#child!.isHandingOver;
    if (isHeard || !this.#hasServed) this.#child?.signal(name);
    else this.#signal = name;
  }

  /** Has the volume served by another process; false if that ends before it serves. */
  async #spawn(takeover: boolean): Promise<boolean> {
    this.#before = [this.#child, this.#before].find((each) => each?.isGone === false);
    const handover = this.#handover(takeover);
    const standby = takeover ? this.#standby.take() : undefined;
    if (standby === undefined) return this.#serve(new ServingProcess(handover));
    standby.tell({ kind: 'take-over', handover });
    if (await this.#serve(standby)) return true;
    // One that never heard of it was dead already, and nothing has been tried.
    return (await standby.ended).began ? false : this.#serve(new ServingProcess(handover));
  }

  async #serve(child: ServingProcess): Promise<boolean> {
    this.#serves = false;
    this.#child = child;
    const impatience = setTimeout(() => child.signal('SIGKILL'), START_PATIENCE_MS);
    this.#serves = await child.started;
    clearTimeout(impatience);
    if (this.#serves) {
      this.#sendSignal(child);
      if (this.#settings.standby === 'on') this.#standby.begin();
    }
    return this.#serves;
  }

  #sendSignal(child: ServingProcess): void {
    if (this.#signal !== null) child.signal(this.#signal);
    this.#signal = null;
  }

  #handover(takeover: boolean): Handover {
    const handover = {
      version: HANDOVER_VERSION,
      supervisor: process.pid,
      program: this.#program,
      settings: this.#settings,
      listeners: this.#listeners,
      log: this.#memory,
      serving: this.#serving!,
      notes: this.#notes,
      takeover,
      beside: this.#before?.pid ?? null,
      readOnly: this.#readOnly,
      past: this.#past,
    };
    return { ...handover, descriptors: descriptorsOf(handover) };
  }

  async #supervise(): Promise<void> {
    for (;;) {
      const end = await this.#child!.ended;
      this.#serves = false;
      const code = await this.#followUp(end);
      if (code === null) continue;
      await this.#standby.drop();
      this.#letGo();
      this.#end(code);
      return;
    }
  }

  /** Sees to it that a volume is served again. Returns the code to end with, or null. */
  async #followUp(end: End): Promise<number | null> {
    if (end.served && (end.code === 0 || end.code === 1)) return end.code;
    // Killed on its way to handing over, it has handed over as well.
    const hasHandedOver = end.code === EXIT_HANDED_OVER || end.code === null;
    if (hasHandedOver && end.next !== undefined) return this.#handOver(end.next.program);
    return this.#survive(end);
  }

  async #survive(end: End): Promise<number | null> {
    const cause = describeEnd(end);
    this.#past = { ...this.#past, deaths: this.#past.deaths + 1, lastDeath: { at: new Date().toISOString(), cause } };
    this.#log('error', `the serving process ${cause}`);
    const verdict = this.#policy.died(performance.now());
    if (verdict === 'end') return this.#giveUp();
    if (verdict === 'read-only') this.#readOnly ??= readOnlyReason(cause, this.#settings.mountpoint);
    await this.#spawn(true);
    return null;
  }

  async #handOver(program: Program | null): Promise<number | null> {
    if (program === null) {
      this.#policy.resume();
      this.#readOnly = null;
      await this.#spawn(true);
      return null;
    }
    await this.#standby.drop(); // it would run the program from before
    const before = this.#program;
    this.#program = program;
    const upgrade = { at: new Date().toISOString(), version: program.version };
    this.#past = { ...this.#past, lastUpgrade: { ...upgrade, failure: null } };
    if (await this.#spawn(true)) return null;
    const failure = `the program for it (${program.words.join(' ')}) ${describeEnd(await this.#child!.ended)}`;
    this.#log('error', `upgrade failed: ${failure}; LCFS ${before.version} serves on`);
    this.#program = before;
    this.#past = { ...this.#past, lastUpgrade: { ...upgrade, failure } };
    await this.#spawn(true);
    return null;
  }

  #giveUp(): number {
    const { mountpoint, device } = this.#settings;
    this.#log(
      'fatal',
      `the serving process dies even while nothing is changed, and is not started again: ${mountpoint} is served no longer. ` +
        `Prove the volume with lcfs check ${device}, then start it again with lcfs daemon`,
    );
    return EXIT_BUG;
  }

  #dropServing(): void {
    if (this.#serving !== null) dropServing(this.#serving);
    this.#serving = null;
  }

  /** Nothing is served any more: what a serving process would have taken away goes, and who still waits gets errors. */
  #letGo(): void {
    removeSocketFiles(this.#listeners.files);
    closeListeners(this.#listeners);
    this.#dropServing();
  }
}

function startFailure(end: End): LcfsError {
  if (end.failure !== null) return errorOf(end.failure);
  return errorOf({ code: 'internal', message: `the daemon ended while it started: it ${describeEnd(end)}` });
}

function readOnlyReason(cause: string, mountpoint: string): string {
  return (
    `the serving process died ${DEATHS_MAX} times within a minute (the last one ${cause}), so nothing is changed any more: ` +
    `reading works. Find the cause in the log, then allow changes with lcfs resume ${mountpoint}`
  );
}

/** From -1000 (never) to 1000 (first of all): below that of the serving process, which is started again if it is ended. */
const OOM_SCORE_ADJUSTMENT = -950;

/** When memory runs out, others go first. */
export function spareSupervisor(): void {
  try {
    const present = Number(readFileSync('/proc/self/oom_score_adj', 'utf8'));
    writeFileSync('/proc/self/oom_score_adj', String(Math.min(present, OOM_SCORE_ADJUSTMENT)));
  } catch {
    // Not allowed in every container; nothing depends on it.
  }
}
