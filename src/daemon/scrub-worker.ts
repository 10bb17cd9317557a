/** The scrubbing thread: attaches to the volume and works until `endScrub`. */
import { workerData } from 'node:worker_threads';
import { panic } from '../engine/operation.js';
import { runScrub } from '../engine/scrub.js';
import { attachVolume } from '../engine/volume.js';
import type { MaintenanceWorkerData } from './maintenance-worker.js';

try {
  attachVolume((workerData as MaintenanceWorkerData).handle);
  runScrub();
} catch (error) {
  panic(error);
}
