/**
 * The line between a supervisor and its serving process (handover.ts): one JSON value a line. This is the end of the
 * serving process; that of the supervisor is in serving-process.ts.
 *
 * Nothing but the serving process's own messages travels on it so far, yet it is also how a serving process learns that its
 * supervisor is gone: then it goes on serving, but nobody would start another one after it.
 */
import { writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { LINE_FD, type FromServing } from './handover.js';

export class Line {
  #isOpen = true;

  /** `onGone` is called when the supervisor has ended. */
  constructor(onGone: () => void) {
    const socket = new Socket({ fd: LINE_FD, readable: true, writable: false });
    socket.on('error', () => {});
    socket.once('close', () => {
      this.#isOpen = false;
      onGone();
    });
    socket.resume();
    socket.unref();
  }

  /** Whether there is a supervisor that hears. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Returns when the message is on its way, whatever comes after. */
  send(message: FromServing): void {
    try {
      writeSync(LINE_FD, `${JSON.stringify(message)}\n`);
    } catch {
      // Nobody hears it; `onGone` tells.
    }
  }
}
