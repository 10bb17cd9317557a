/**
 * What the daemon and the threads of drivers say to each other.
 *
 * A thread begins with `ready`. Then the daemon may ask for claims (claims.ts) and removals, each answered under its number,
 * and says last how long calls that are under way may take until the thread has to end.
 */
import type { MessagePort } from 'node:worker_threads';
import { BlockError, LcfsError, type ErrorCode } from '../engine/errors.js';
import type { ClaimingDriver, NamedLayer } from './claims.js';

export type Question =
  | { kind: 'claims'; layers: readonly NamedLayer[]; places: readonly string[] }
  | { kind: 'remove'; layer: NamedLayer; since: number };

/** To the thread. */
export type DriverRequest = { graceMs: number } | { id: number; question: Question };

export type DriverAnswer = { kind: 'answer'; id: number } & ({ value: unknown } | { code: ErrorCode; message: string });

/** From the thread. */
export type DriverMessage = { kind: 'ready' } | { kind: 'log'; level: 'info' | 'warn' | 'error'; message: string } | DriverAnswer;

/** Listens to the daemon, in the thread of a driver. `stop` is called once, and nothing is answered afterwards. */
export function listenToDaemon(port: MessagePort, driver: ClaimingDriver, stop: (graceMs: number) => void): void {
  port.on('message', (request: DriverRequest) => {
    if ('id' in request) return void answer(port, driver, request.id, request.question);
    port.removeAllListeners('message');
    stop(request.graceMs);
  });
}

/** What is no refusal ends the thread, and with it the process. */
async function answer(port: MessagePort, driver: ClaimingDriver, id: number, question: Question): Promise<void> {
  try {
    const value = question.kind === 'claims' ? driver.claims(question.layers, question.places) : remove(driver, question);
    port.postMessage({ kind: 'answer', id, value: await value } satisfies DriverMessage);
  } catch (error) {
    if (!(error instanceof LcfsError || error instanceof BlockError)) throw error;
    const code = error instanceof LcfsError ? error.code : 'io';
    port.postMessage({ kind: 'answer', id, code, message: error.message } satisfies DriverMessage);
  }
}

function remove(driver: ClaimingDriver, { layer, since }: Question & { kind: 'remove' }): Promise<void> {
  return driver.removeUnclaimed(layer, since);
}
