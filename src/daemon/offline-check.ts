/** Checking a volume that no daemon serves, in this process, without changing it. */
import { LcfsError } from '../engine/errors.js';
import { checkVolume, type CheckResult } from '../engine/check.js';
import { abandonVolume, openVolume } from '../engine/volume.js';
import type { CheckReport } from './protocol.js';

/** Throws LcfsError: `busy` if a daemon serves the volume, `corrupt` if it can't even be opened. */
export function checkDevice(device: string, data: boolean, progress: (layer: number, done: number) => void): CheckReport {
  open(device);
  try {
    return describeCheck(checkVolume({ data, progress }));
  } finally {
    abandonVolume();
  }
}

function open(device: string): void {
  try {
    openVolume(device, { readOnly: true });
  } catch (error) {
    if (!(error instanceof LcfsError) || error.code !== 'busy') throw error;
    throw new LcfsError('busy', `${error.message}, or let its daemon check it with lcfs check --online ${device}`);
  }
}

export function describeCheck(result: CheckResult): CheckReport {
  const { errors, errorCount, ...counts } = result;
  return { errors, errorCount, counts };
}
