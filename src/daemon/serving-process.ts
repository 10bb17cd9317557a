/** A serving process, as its supervisor sees it: started with what is handed over to it, heard, and waited for. */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Duplex } from 'node:stream';
import { LINE_FD, encodeHandover, type FromServing, type Handover, type ToServing } from './handover.js';
import { waitsForMount } from './processes.js';
import type { Failure } from './protocol.js';

/** What it is started as: to serve at once, or to wait until the one that serves dies. */
export type Command = 'serve' | 'standby';

/** How a serving process ended. */
export interface End {
  /** Exit code; null: a signal ended it. */
  readonly code: number | null;
  readonly signal: string | null;
  /** Whether it was to serve, and knew. */
  readonly began: boolean;
  /** Whether it had begun to serve. */
  readonly served: boolean;
  /** What it said why it could not begin; null: nothing. */
  readonly failure: Failure | null;
  /** Whether it might begin to serve with another transport. */
  readonly withoutRing: boolean;
  /** Whether threads of it are left, which wait for the mount and end when it is served again. */
  readonly lingers: boolean;
  /** What it said is to come after it; undefined: nothing. */
  readonly next: (FromServing & { kind: 'handing-over' }) | undefined;
}

/**
 * For what a process that makes room still does: calls of engines, a minute, and a checkpoint. One that takes longer hangs, and is
 * killed: the next one finds everything. Overridden by tests.
 */
const FAREWELL_MS = 1000 * Number(process.env['LCFS_FAREWELL'] ?? 300);
/** Between two looks at whether a process has ended but for threads that wait for it. */
const LOOK_MS = 2000;

export class ServingProcess {
  readonly pid: number;
  /** Settles when it serves (true) or has ended before (false). */
  readonly started: Promise<boolean>;
  readonly ended: Promise<End>;
  readonly #child: ChildProcess | null;
  readonly #waits: () => void;
  #began: boolean;
  #served = false;
  #failure: Failure | null = null;
  #withoutRing = false;
  #next: End['next'];
  #isGone = false;
  #lingers = false;

  /** `waits` is called when it is ready to take over. */
  constructor(handover: Handover, command: Command = 'serve', waits: () => void = () => {}) {
    this.#began = command === 'serve';
    this.#waits = waits;
    this.#child = this.#trySpawn(handover, command);
    this.pid = this.#child?.pid ?? 0;
    this.ended = new Promise((settle) => this.#await(settle));
    this.started = new Promise((settle) => this.#listen(settle));
  }

  /** Whether nothing is left of it. */
  get isGone(): boolean {
    return this.#isGone;
  }

  /** Whether it is about to make room for another one. */
  get isHandingOver(): boolean {
    return this.#next !== undefined;
  }

  /** What cannot be said any more is of no use. */
  tell(message: ToServing): void {
    this.#line?.write(`${JSON.stringify(message)}\n`);
  }

  get #line(): Duplex | null {
    return (this.#child?.stdio[LINE_FD] ?? null) as Duplex | null;
  }

  signal(name: NodeJS.Signals): void {
    this.#child?.kill(name);
  }

  /** A program that cannot be started is one that ended at once. */
  #trySpawn(handover: Handover, command: Command): ChildProcess | null {
    try {
      return spawnServing(handover, command);
    } catch (error) {
      this.#fail(error as Error);
      return null;
    }
  }

  #fail(error: Error): void {
    this.#failure = { code: 'io', message: `it cannot be started: ${error.message}` };
  }

  #await(ended: (end: End) => void): void {
    if (this.#child === null) {
      this.#isGone = true;
      return ended(this.#describeEnd(1, null));
    }
    this.#child.once('error', (error) => {
      this.#fail(error);
      this.#isGone = true;
      ended(this.#describeEnd(1, null));
    });
    this.#child.once('close', (code, signal) => {
      this.#isGone = true;
      ended(this.#describeEnd(code, signal));
    });
    this.#watch(ended);
  }

  /** It may end and yet never be gone: a thread that was waiting for the mount when it died waits for the next process. */
  #watch(ended: (end: End) => void): void {
    const timer = setInterval(() => {
      const lingered = this.#lingers;
      this.#lingers = !this.#isGone && waitsForMount(this.pid);
      if (lingered && this.#lingers) ended(this.#describeEnd(null, null));
      if (this.#isGone || (lingered && this.#lingers)) clearInterval(timer);
    }, LOOK_MS).unref();
  }

  #listen(started: (served: boolean) => void): void {
    void this.ended.then(() => started(false));
    const input = this.#line;
    if (input === null) return;
    const line = createInterface({ input, crlfDelay: Infinity });
    // It has ended, which `ended` tells. Readers of lines pass errors of their input on.
    for (const end of [input, line]) end.on('error', () => {});
    line.on('line', (text) => this.#hear(JSON.parse(text) as FromServing, started));
  }

  #hear(message: FromServing, started: (served: boolean) => void): void {
    if (message.kind === 'waiting') this.#waits();
    else if (message.kind === 'taking-over') this.#began = true;
    else if (message.kind === 'failure') {
      this.#failure = message.failure;
      this.#withoutRing = message.withoutRing;
    } else if (message.kind === 'handing-over') {
      this.#next = message;
      setTimeout(() => this.signal('SIGKILL'), FAREWELL_MS).unref();
    } else {
      this.#served = true;
      started(true);
    }
  }

  #describeEnd(code: number | null, signal: string | null): End {
    return {
      code,
      signal,
      began: this.#began,
      served: this.#served,
      failure: this.#failure,
      withoutRing: this.#withoutRing,
      lingers: code === null && signal === null,
      next: this.#next,
    };
  }
}

/** A session of its own keeps what is typed at a terminal from it: the supervisor passes on what it should hear. */
function spawnServing(handover: Handover, name: Command): ChildProcess {
  const { settings, program } = handover;
  const [command, ...words] = program.words;
  const args = [...words, name, settings.device, settings.mountpoint];
  const env = { ...process.env, ...encodeHandover(handover) };
  return spawn(command!, args, { detached: true, cwd: '/', stdio: stdioOf(handover), env });
}

/** Descriptors keep their numbers, so that numbers in what is handed over mean the same on both sides. */
function stdioOf({ settings, descriptors }: Handover): StdioOptions {
  const stdio: ('ignore' | 'pipe' | number)[] = ['ignore', settings.logShape.fd, settings.logShape.fd, 'pipe'];
  const last = Math.max(LINE_FD, ...descriptors);
  while (stdio.length <= last) stdio.push('ignore');
  for (const fd of descriptors) stdio[fd] = fd;
  return stdio as StdioOptions;
}

/** In words, for the log. */
export function describeEnd({ code, signal, failure, lingers }: End): string {
  if (lingers) return 'has ended but for threads that wait for the mount, and for the next process';
  const how = signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`;
  return failure === null ? how : `${how}: ${failure.message}`;
}
