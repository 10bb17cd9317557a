/** Engine calls of the control plane throw what the hot path returns as a number. */
import { BlockError, LcfsError } from '../engine/errors.js';
import { complain } from '../linux/complain.js';

/** Whether `work` ends well; a device that fails is reported and makes it false. Anything else is a bug, and goes on up. */
export function succeeds(work: () => void): boolean {
  try {
    work();
    return true;
  } catch (error) {
    if (!(error instanceof BlockError) && !(error instanceof LcfsError)) throw error;
    complain(error.message);
    return false;
  }
}
