/** What `lcfs status` shows. */
import { FRAME_COUNT, SYNC_INTERVAL_MS } from '../engine/arena.js';
import { readOnlyReason } from '../engine/read-only.js';
import { scrubInfo } from '../engine/scrub.js';
import { volumeInfo } from '../engine/volume.js';
import type { FuseSession } from '../fuse/session.js';
import { BLOCK_BYTES } from '../layout/constants.js';
import { I } from '../layout/memory.js';
import { HANDOVER_VERSION, type Handover } from './handover.js';
import type { Line } from './line.js';
import { PROTOCOL_VERSION, type Scrub, type Status } from './protocol.js';
import { packageVersion } from './version.js';

export function describeStatus(
  { settings, supervisor, readOnly, past }: Handover,
  line: Pick<Line, 'isOpen' | 'standby'>,
  session: Pick<FuseSession, 'transport' | 'passthrough' | 'held'>,
  started: Date,
): Status {
  const info = volumeInfo();
  const { total, used, free } = info.blocks;
  return {
    protocol: PROTOCOL_VERSION,
    version: packageVersion(),
    pid: process.pid,
    supervisor: line.isOpen ? supervisor : null,
    standby: line.standby,
    handover: HANDOVER_VERSION,
    ...past,
    started: started.toISOString(),
    volume: info.path,
    uuid: info.uuid,
    mountpoint: settings.mountpoint,
    control: settings.control,
    containerd: settings.containerd,
    docker: settings.docker,
    transport: session.transport,
    passthrough: session.passthrough,
    files: session.held(),
    fsync: settings.fsync,
    readOnly: readOnly ?? readOnlyReason(),
    // The volume counts the generation that is being written.
    generation: info.generation - 1,
    blocks: { total, used, free },
    blockBytes: BLOCK_BYTES,
    layers: info.layers,
    removing: info.removing,
    cache: { bytes: info.cacheBytes, bytesMax: FRAME_COUNT * BLOCK_BYTES },
    syncerSeconds: I[SYNC_INTERVAL_MS]! / 1000,
    scrub: describeScrub(),
    memoryBytes: process.memoryUsage.rss(),
  };
}

export function describeScrub(): Scrub {
  const info = scrubInfo();
  return { ...info, lastEnded: info.lastEnded?.toISOString() ?? null };
}
