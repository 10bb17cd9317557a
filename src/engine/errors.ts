/**
 * Three kinds of failure, kept apart:
 * - expected ones are negative errno numbers that engine calls return;
 * - what the control plane refuses is an LcfsError, whose message names the thing, the cause and the way out;
 * - a bug stops the process: `fail` names the broken invariant. State that may be half-changed is never used again;
 *   the volume opens again at its last checkpoint.
 */
import { complain } from '../linux/complain.js';

export type ErrorCode =
  | 'invalid' // the request makes no sense as it stands
  | 'not-found'
  | 'exists'
  | 'busy' // in use by somebody
  | 'state' // not in this state of the layer
  | 'full' // no space or over quota
  | 'corrupt' // the device holds something that is not what was written
  | 'io'; // the device failed

export class LcfsError extends Error {
  readonly code: ErrorCode;
  constructor(code: ErrorCode, message: string) {
    super(message);
    this.name = 'LcfsError';
    this.code = code;
  }
}

/** Thrown from within the tree and the pager when a block cannot be read or is not what was written; ends as EIO. */
export class BlockError extends Error {
  readonly block: number;
  constructor(block: number, message: string) {
    super(message);
    this.name = 'BlockError';
    this.block = block;
  }
}

/** Records that each have a right shape do not go together. Ends as EIO, as what is there cannot be what was meant. */
export function inconsistent(what: string, a = 0, b = 0): BlockError {
  return new BlockError(0, `the volume is damaged: ${what} (${a}, ${b}); lcfs check tells more`);
}

/** An invariant does not hold. */
export class Bug extends Error {}

/** Reports a broken invariant. Never returns. */
export function fail(invariant: string, a = 0, b = 0): never {
  const bug = new Bug(`invariant ${invariant} does not hold (${a}, ${b})`);
  complain(String(bug.stack));
  throw bug;
}
