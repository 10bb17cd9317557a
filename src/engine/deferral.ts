/**
 * Deferral: a thread that serves many requests does not wait for the device on account of one.
 *
 * While a request is being served deferrably, a read that would have to wait for the device throws `deferral` instead. The
 * operation ends like one that failed – locks and pins are given back, nothing has happened –, the thread asks for the
 * blocks and serves other requests, and when they have come the request is served again, from the start.
 *
 * Invariants
 *  DF1  A request is deferred only while it may be served again: before its first change of anything that outlives it, its
 *       own arguments included. Whoever makes such a change says so (`forbidDeferral`); from then on reads wait.
 *  DF2  Once a request is deferred no operation begins before it is served again: a handler that makes something else of
 *       the error that it sees can do no harm by it.
 */
import type { BlockNumber } from '../layout/constants.js';

/** What is thrown. There is one, as throwing must cost little; what it waits for is in `deferredBlock` and `deferredCount`. */
export const deferral = new (class Deferral extends Error {})('a read was deferred where nobody expects it');

let allowed = false;

/** The blocks that the request waits for; no count: it was not deferred. */
export let deferredBlock: BlockNumber = 0;
export let deferredCount = 0;

/** A request is served from its start, and may be deferred. */
export function allowDeferral(): void {
  allowed = true;
  deferredCount = 0;
}

/** A request is served from its start, and waits for its reads. */
export function forgetDeferral(): void {
  allowed = false;
  deferredCount = 0;
}

/** From here on this thread waits for its reads. */
export function forbidDeferral(): void {
  allowed = false;
}

export function mayDefer(): boolean {
  return allowed;
}

/** Whether the request that was served last has to be served again. */
export function isDeferred(): boolean {
  return deferredCount > 0;
}

/** The request has to be served again when `count` blocks have come. */
export function putAside(block: BlockNumber, count: number): void {
  allowed = false;
  deferredBlock = block;
  deferredCount = count;
}

/** The same from within an operation, which ends. */
export function defer(block: BlockNumber, count: number): never {
  putAside(block, count);
  throw deferral;
}
