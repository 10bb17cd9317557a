/**
 * The process that waits to take over when the one that serves dies. Starting a process takes longer than all that it has to do
 * then, so it is started before, with the least claim on the CPUs until it is needed. It has nothing open but what is handed over,
 * and what it is to serve it is told then.
 *
 * Its own end while it waits does no harm: another one is started later.
 */
import { setPatience } from '../linux/cpu-group.js';
import type { End, ServingProcess } from './serving-process.js';

/** After serving has begun: whoever waited for that goes first. */
const AFTER_MS = 2000;
/** What ends while it only waits would perhaps do so again. */
const RETRY_MS = 60_000;

export interface StandbyOptions {
  /** Starts a process that waits; it calls `waits` when it is ready to take over. */
  readonly start: (waits: () => void) => ServingProcess;
  /** Called when a process is ready, with its pid, and when it is not there any more. */
  readonly changed: (pid: number | null) => void;
  /** Called with how one ended while it waited. */
  readonly ended: (end: End) => void;
}

export class Standby {
  readonly #options: StandbyOptions;
  #process: ServingProcess | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: StandbyOptions) {
    this.#options = options;
  }

  /** Sees to it that one waits, in a moment. */
  begin(): void {
    this.#beginAfter(AFTER_MS);
  }

  #beginAfter(delayMs: number): void {
    clearTimeout(this.#timer);
    if (this.#process === undefined) this.#timer = setTimeout(() => this.#start(), delayMs);
  }

  #start(): void {
    const process = this.#options.start(() => this.#isMine(process) && this.#options.changed(process.pid));
    this.#process = process;
    setPatience(process.pid, true);
    void process.ended.then((end) => this.#isMine(process) && this.#lose(end));
  }

  #isMine(process: ServingProcess): boolean {
    return this.#process === process;
  }

  #lose(end: End): void {
    this.#process = undefined;
    this.#options.changed(null);
    this.#options.ended(end);
    this.#beginAfter(RETRY_MS);
  }

  /** The one that waits, or is about to, to be told to take over; it is the caller's from now on. undefined: there is none. */
  take(): ServingProcess | undefined {
    clearTimeout(this.#timer);
    const process = this.#process;
    this.#process = undefined;
    if (process !== undefined) setPatience(process.pid, false);
    return process;
  }

  /** Ends it. Settles when it is gone. */
  async drop(): Promise<void> {
    const process = this.take();
    process?.signal('SIGKILL');
    await process?.ended;
  }
}
