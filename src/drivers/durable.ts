/** How drivers make durable what they did, before they answer. For a thread that is attached to the volume. */
import { fdatasync } from 'node:fs';
import { promisify } from 'node:util';
import { makeDurable } from '../engine/durability.js';
import { checkpointForCaller } from '../engine/maintenance.js';
import type { VolumeHandle } from '../engine/volume.js';
import { shared } from './sharing.js';

const flush = promisify(fdatasync);

export interface Durable {
  /** Makes everything durable, with a checkpoint: for what has much data. */
  checkpoint: () => Promise<void>;
  /** Makes everything durable with a write of the log. */
  durable: () => Promise<void>;
}

/** Both reject with LcfsError('io') if the device failed. */
export function durableBy({ fd }: VolumeHandle): Durable {
  // Most of the work, the flush, is done beside this thread, which goes on serving; the checkpoint then has little to do.
  const checkpoint = async (): Promise<void> => {
    await flush(fd);
    checkpointForCaller();
  };
  return { checkpoint, durable: shared(makeDurable) };
}
