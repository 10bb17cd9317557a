/**
 * FORGET and BATCH_FORGET: the kernel drops inodes from its cache.
 *
 * Lookups are not counted, so memory does not grow with what the kernel knows. A FORGET matters for one kind of inode
 * only, the orphan (unlinked while it may be in use): it can't be looked up any more, so when the kernel drops it,
 * nobody can reach it and it is freed.
 *
 * A FORGET may be stale: the kernel drops an inode, looks it up anew, somebody opens and unlinks it, and only then the
 * FORGET is read. Before an orphan is freed the kernel is therefore asked whether it knows the inode; if it does, another
 * FORGET will follow. Asking can't find the inode on its way into the cache, since an orphan has no name to look up, and
 * a name can't be removed while it is being looked up. Of a file that was shared the kernel may know two inodes (S5 in
 * sharing.ts).
 */
import { INO_MAX, ROOT_INO, type Ino, type LayerIndex } from '../layout/constants.js';
import { inodeLinks } from '../layout/records.js';
import { forbidDeferral } from '../engine/deferral.js';
import { foundAt, getInode, isFoundFixed } from '../engine/inode.js';
import { freeOrphan, mayBeOrphan } from '../engine/orphans.js';
import { nodeIno } from './node.js';
import { kernelKnows, kernelKnowsShared } from './notify.js';
import * as P from './protocol.js';
import { argument, inoOf, layerOf, type Request } from './request.js';
import { isHeld } from './sharing.js';

/** What a handler returns when the request gets no reply. Beyond any error number. */
export const NO_REPLY = -0x1_0000;

/** Descriptor of /dev/fuse to ask the kernel through; -1 in tests, where no kernel knows anything. */
let device = -1;

export function useDevice(fd: number): void {
  device = fd;
}

export function forgetOne(r: Request): number {
  forget(layerOf(r), inoOf(r));
  return NO_REPLY;
}

export function forgetMany(r: Request): number {
  const room = Math.floor(r.payloadBytes / P.FORGET_ITEM_BYTES);
  const count = Math.min(argument(r, P.BATCH_FORGET_COUNT), room);
  for (let i = 0, at = r.payload / 4; i < count; i++, at += P.FORGET_ITEM_BYTES / 4) {
    forget(r.words[at + 1]!, nodeIno(r.words[at]!));
  }
  return NO_REPLY;
}

function forget(layer: number, ino: number): void {
  forbidDeferral(); // some of many may have been freed before
  if (ino < ROOT_INO || ino > INO_MAX || !mayBeOrphan(layer, ino)) return;
  reapIfForgotten(device, layer, ino, isHeld);
}

/** Frees an inode without names unless the kernel may still need it. `isHeld` tells whether it is open as a shared one. */
export function reapIfForgotten(fuse: number, layer: LayerIndex, ino: Ino, isHeld: (layer: LayerIndex, ino: Ino) => boolean): void {
  if (getInode(layer, ino) < 0 || inodeLinks(foundAt) !== 0) return;
  const isShared = isFoundFixed();
  if (fuse >= 0 && (kernelKnows(fuse, layer, ino) || (isShared && kernelKnowsShared(fuse, layer, ino)))) return;
  if (isShared || !isHeld(layer, ino)) freeOrphan(layer, ino);
}
