/**
 * The line between a supervisor and its serving process (handover.ts): one JSON value a line. This is the end of the
 * serving process; that of the supervisor is in serving-process.ts.
 *
 * It is also how a process learns that its supervisor is gone: one that serves goes on, but nobody would start another one
 * after it; one that waits is of no use any more.
 */
import { writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { LINE_FD, type FromServing, type Handover, type ToServing } from './handover.js';

export class Line {
  #isOpen = true;
  #standby: number | null = null;
  /** Settles when this process is told to take over. */
  readonly turn: Promise<Handover>;
  #takeOver!: (handover: Handover) => void;
  /** Called when the supervisor has ended. */
  onGone = (): void => {};

  constructor() {
    this.turn = new Promise((settle) => (this.#takeOver = settle));
    const socket = new Socket({ fd: LINE_FD, readable: true, writable: false });
    socket.on('error', () => {});
    socket.once('close', () => {
      this.#isOpen = false;
      this.#standby = null;
      this.onGone();
    });
    const lines = createInterface({ input: socket, crlfDelay: Infinity });
    lines.on('error', () => {}); // passed on from the socket
    lines.on('line', (text) => this.#hear(JSON.parse(text) as ToServing));
  }

  /** Whether there is a supervisor that hears. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Pid of the process that waits to take over; null: there is none. */
  get standby(): number | null {
    return this.#standby;
  }

  /** Returns when the message is on its way, whatever comes after. */
  send(message: FromServing): void {
    try {
      writeSync(LINE_FD, `${JSON.stringify(message)}\n`);
    } catch {
      // Nobody hears it; `onGone` tells.
    }
  }

  #hear(message: ToServing): void {
    if (message.kind === 'standby') this.#standby = message.pid;
    else this.#takeOver(message.handover);
  }
}
