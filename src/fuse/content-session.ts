/**
 * The content mount (content.ts) while it is served: started before the mount whose files pass through to it, ended after
 * that.
 *
 * What a removed layer had in the kernel's caches goes when this thread notices, which looks now and then: nobody can reach
 * it any more, it only takes room.
 *
 * Openings of files that somebody kept, or maps, hold the mount. It is therefore ended by force: nobody is served by then.
 */
import { fstatSync } from 'node:fs';
import { getInode } from '../engine/inode.js';
import type { VolumeHandle } from '../engine/volume.js';
import { ROOT_INO, type LayerIndex } from '../layout/constants.js';
import { close } from '../linux/libc.js';
import { abortConnection } from '../linux/mount.js';
import { Threads, answerInit, openConnection, rolesFor, setReadAhead } from './connection.js';
import { closeDevice } from './device.js';
import { announceContentLayer } from './notify.js';
import { newOpenCounters } from './open-files.js';

export interface ContentSession {
  /** Descriptor of the mount. */
  readonly mount: number;
  /** Ends the mount: what still reads from it gets errors. */
  end(): Promise<void>;
}

const SUBTYPE = 'lcfs-contents';
/** Requests of a CPU at once: reads ahead of several programs that start. Each may take 1 MiB. */
const ENTRIES = 4;
const READ_AHEAD_KIB = 1024;
const SWEEP_MS = 5000;

/**
 * Starts the content mount of an open volume. `removed` is called when a layer is gone, before its contents are dropped. A
 * string says why there can't be a content mount.
 */
export async function startContents(
  handle: VolumeHandle,
  source: string,
  uring: boolean,
  log: (line: string) => void,
  removed: (layer: LayerIndex) => void,
): Promise<ContentSession | string> {
  const { device, mount } = openConnection({ source, subtype: SUBTYPE, readOnly: true });
  const negotiated = answerInit(device, { uring, passthrough: false, content: true });
  const layers = new Set<LayerIndex>();
  const task = { handle, device, negotiated, openCounters: newOpenCounters(), service: 'content', sharing: null } as const;
  const threads = new Threads(task, (message) => {
    if (message.kind === 'layer') layers.add(message.layer);
  });
  const ended = threads.ended.then(() => closeDevice(device));
  const refused = await threads.start(rolesFor(negotiated.uring, ENTRIES));
  if (refused !== undefined) {
    close(mount);
    await ended;
    return refused;
  }
  const minor = minorOf(mount);
  setReadAhead(minor, READ_AHEAD_KIB, log);
  const sweeper = setInterval(() => forgetRemoved(device, layers, removed), SWEEP_MS).unref();
  return { mount, end: () => endContents(minor, mount, sweeper, ended) };
}

function minorOf(mount: number): number {
  const { dev } = fstatSync(mount);
  return (dev & 0xff) | ((dev >>> 12) & ~0xff);
}

function forgetRemoved(device: number, layers: Set<LayerIndex>, removed: (layer: LayerIndex) => void): void {
  for (const layer of layers) {
    if (getInode(layer, ROOT_INO) === 0) continue;
    removed(layer);
    announceContentLayer(device, layer);
    layers.delete(layer);
  }
}

async function endContents(minor: number, mount: number, sweeper: NodeJS.Timeout, ended: Promise<void>): Promise<void> {
  clearInterval(sweeper);
  try {
    // The number is that of our mount as long as its descriptor is open.
    abortConnection(minor);
  } catch {
    // Somebody else ended it before.
  }
  close(mount);
  await ended;
}
