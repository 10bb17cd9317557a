/** Data that is not what was written: every such read fails with EIO, and the log says where, at most once a second. */
import type { BlockNumber, Ino } from '../layout/constants.js';
import { complain } from '../linux/complain.js';
import { opLayer } from './operation.js';

const QUIET_MS = 1000;
let lastReport = -QUIET_MS;
let unreported = 0;

/** Logs that a block of a file has a wrong checksum. Always false, for the caller to pass on. */
export function reportCorruption(ino: Ino, fileBlock: number, block: BlockNumber): false {
  const now = performance.now();
  if (now - lastReport < QUIET_MS) {
    unreported++;
    return false;
  }
  const more = unreported === 0 ? '' : ` (and ${unreported} more)`;
  complain(`layer ${opLayer()} inode ${ino}: file block ${fileBlock} in block ${block} has a wrong checksum${more}`);
  lastReport = now;
  unreported = 0;
  return false;
}
