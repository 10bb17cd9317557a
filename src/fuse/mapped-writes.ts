/**
 * What programs wrote through memory mappings, brought into the volume: before a layer is sealed, compared or exported, and
 * before a checkpoint that was asked for.
 *
 * Linux keeps it in its page cache until it writes it back. syncfs(2) makes it begin, but waits for no FUSE server; whoever looks
 * at the layer then finds what was there before, zeros as a rule. fdatasync(2) of a file waits until its WRITE requests are
 * answered. So:
 *
 *   1. the table of openings tells which files of the layer are open for reading and writing (open-files.ts). A mapping, and a
 *      WRITE that is under way for one that is gone, keep their opening
 *   2. their private inodes are opened by nodeid (linux/inode-handle.ts), whatever names they have by now; the kernel asks nobody for
 *      that. A shared inode can't be mapped for writing
 *   3. another program waits for them (linux/write-back.ts)
 *
 * A layer whose files nobody has open for writing costs a look at the table. What is written meanwhile may or may not be there.
 */
import { closeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { LcfsError } from '../engine/errors.js';
import { foundAt, getInode } from '../engine/inode.js';
import { layerInfo, listLayers, type LayerInfo } from '../engine/layers.js';
import { beginRead, end, opRecord } from '../engine/operation.js';
import { takesChanges } from '../engine/read-only.js';
import { GLOBAL_LAYER, ROOT_INO, type Ino, type LayerIndex } from '../layout/constants.js';
import { inodeMode, layerNextIno } from '../layout/records.js';
import { ESTALE } from '../linux/errno.js';
import { openNode } from '../linux/inode-handle.js';
import { isRegular } from '../linux/mode.js';
import { deviceOfMount } from '../linux/mount.js';
import { writeBack } from '../linux/write-back.js';
import { nodeLow } from './node.js';
import { Openings } from './openings.js';
import { OPENINGS_AT, type Tables } from './tables.js';

/** The mount that programs use. Plain data, for any thread of the process that serves it. */
export interface MappedMount {
  readonly mountpoint: string;
  /** Number of its device. */
  readonly device: number;
  readonly tables: Tables;
}

/** Files that one program waits for: descriptors of this process meanwhile. */
const FILES_AT_ONCE = 200;

/** For a thread that is attached to the volume and serves no requests. */
export class MappedWrites {
  readonly #mount: MappedMount;
  readonly #openings: Openings;

  constructor(mount: MappedMount) {
    this.#mount = mount;
    this.#openings = new Openings(mount.tables.memory, mount.tables.at + OPENINGS_AT);
  }

  /**
   * Returns when everything is in the volume that was written to a layer through mappings before the call. Nothing can come into one
   * that is sealed. Throws LcfsError: `not-found`; `io` if something could not be stored; `state` if the mount cannot be reached.
   */
  async bringIn(layer: string | LayerIndex): Promise<void> {
    const info = layerInfo(layer);
    if (info.state !== 'writable' || !takesChanges()) return;
    const files = this.#openings.mayBeLost() ? regularFiles(info.index) : this.#openings.writtenIn(info.index);
    if (files.length > 0) await this.#bringInFiles(info, files);
  }

  /** The same for all layers. */
  async bringInAll(): Promise<void> {
    const layers = this.#openings.mayBeLost() ? allLayers() : this.#openings.layersWritten();
    for (const layer of layers) await this.#bringInIfThere(layer);
  }

  async #bringInIfThere(layer: LayerIndex): Promise<void> {
    try {
      await this.bringIn(layer);
    } catch (error) {
      if (!(error instanceof LcfsError) || error.code !== 'not-found') throw error;
    }
  }

  async #bringInFiles(layer: LayerInfo, files: readonly Ino[]): Promise<void> {
    const mount = await this.#open();
    try {
      for (let from = 0; from < files.length; from += FILES_AT_ONCE)
        await bringIn(mount.fd, layer, files.slice(from, from + FILES_AT_ONCE));
    } finally {
      await mount.close();
    }
  }

  /** Nothing of the mount is kept open, so that it can be unmounted. */
  async #open(): ReturnType<typeof open> {
    const { mountpoint, device } = this.#mount;
    const file = await open(mountpoint).catch((error: Error) => {
      throw new LcfsError('state', `cannot bring in what programs wrote through memory mappings: ${error.message}`);
    });
    if (deviceOfMount(file.fd) === device) return file;
    await file.close();
    throw new LcfsError(
      'state',
      `cannot bring in what programs wrote through memory mappings: the volume is not mounted on ${mountpoint} any more. End these programs first`,
    );
  }
}

function allLayers(): LayerIndex[] {
  return [GLOBAL_LAYER, ...Array.from(listLayers(), ({ index }) => index)];
}

/** Regular files of a layer, where the table of openings was too small once. */
function regularFiles(layer: LayerIndex): Ino[] {
  if (beginRead(layer) < 0) return [];
  const next = layerNextIno(opRecord());
  end(0);
  const files: Ino[] = [];
  for (let ino = ROOT_INO + 1; ino < next; ino++) if (getInode(layer, ino) >= 0 && isRegular(inodeMode(foundAt))) files.push(ino);
  return files;
}

async function bringIn(mount: number, layer: LayerInfo, files: readonly Ino[]): Promise<void> {
  const opened: number[] = [];
  try {
    for (const ino of files) {
      const fd = openNode(mount, layer.index, nodeLow(ino));
      if (fd >= 0) opened.push(fd);
      // What the kernel does not know it holds nothing back for.
      else if (fd !== -ESTALE) throw new Error(`a file cannot be opened by its number (error ${-fd})`);
    }
    if (opened.length > 0) await writeBack(opened);
  } catch (error) {
    throw failure(layer, error as Error);
  } finally {
    for (const fd of opened) closeSync(fd);
  }
}

function failure({ name }: LayerInfo, { message }: Error): LcfsError {
  return new LcfsError(
    'io',
    `what programs wrote to layer "${name}" through memory mappings could not all be stored: ${message}. ` +
      `The kernel says so once: the same call again goes on without what was lost`,
  );
}
