/** Opening a volume for a daemon, once it is clear that no other daemon has it. */
import { LcfsError } from '../engine/errors.js';
import { formatVolume, holdsVolume, openVolume, type VolumeHandle } from '../engine/volume.js';
import type { Handover } from './handover.js';
import type { Logger } from './log.js';
import type { Settings } from './settings.js';
import { defaultSocket, removeIfStale } from './sockets.js';

/** Throws LcfsError if a daemon serves the mountpoint or the control socket already. */
export async function refuseSecondDaemon(settings: Settings): Promise<void> {
  for (const socket of new Set([settings.control, defaultSocket(settings.mountpoint)])) {
    if (await removeIfStale(socket)) continue;
    throw new LcfsError(
      'busy',
      `a daemon serves ${settings.mountpoint} already (control socket ${socket}): stop it with lcfs stop, or choose another mountpoint or --control`,
    );
  }
}

/** Opens the volume, or goes on where a process that died stopped; with --format, makes it first where there is none. One that is damaged is none to format. Throws LcfsError. */
export function openOrFormat({ settings, log: memory, takeover, beside }: Handover, log: Logger): VolumeHandle {
  const { device, cacheBytesMax, formatBytes } = settings;
  const options = { cacheBytes: cacheBytesMax, supervised: true, log: memory };
  if (takeover) return openVolume(device, { ...options, takeover, beside });
  try {
    return openVolume(device, options);
  } catch (error) {
    if (!settings.format || !(error instanceof LcfsError) || !['not-found', 'corrupt'].includes(error.code)) throw error;
    if (holdsVolume(device)) throw error;
  }
  formatVolume(device, { supervised: true, ...(formatBytes !== null && { bytes: formatBytes }) });
  log.info(`formatted ${device}`);
  return openVolume(device, options);
}
