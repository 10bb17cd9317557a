/** The maintenance thread: attaches to the volume and works until `stopMaintenance`. */
import { workerData } from 'node:worker_threads';
import { runMaintenance } from '../engine/maintenance.js';
import { panic } from '../engine/operation.js';
import { attachVolume, type VolumeHandle } from '../engine/volume.js';

export interface MaintenanceWorkerData {
  handle: VolumeHandle;
}

try {
  attachVolume((workerData as MaintenanceWorkerData).handle);
  runMaintenance();
} catch (error) {
  panic(error);
}
