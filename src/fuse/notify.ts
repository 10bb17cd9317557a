/**
 * Announcements to the kernel of changes that it did not make itself. Any thread of the process may send them, given the
 * number of a /dev/fuse descriptor of the connection, except one that is just handling a request: the kernel takes the
 * inode lock of the directory, which the sender of that request may hold. No engine lock may be held either, as some
 * FUSE request may need it before the kernel can take its own.
 */
import { namesOf } from '../engine/link-names.js';
import { GLOBAL_LAYER, type Ino, type LayerIndex } from '../layout/constants.js';
import { ENOENT } from '../linux/errno.js';
import { addressOf, errno, write } from '../linux/libc.js';
import { CONTENT_ROOT_LOW, contentLayerName } from './content-names.js';
import { LAYERS_INO, nodeLow, sharedLow } from './node.js';
import * as P from './protocol.js';

/** The out header, the largest body (24 bytes), a name of 255 bytes and its end, rounded up. */
const MESSAGE_BYTES = 512;
const BODY = P.OUT_HEADER_BYTES / 4;

const message = new Uint32Array(new SharedArrayBuffer(MESSAGE_BYTES));
const messageBytes = new Uint8Array(message.buffer);
const address = addressOf(message);

/** Sends the message with `bodyBytes` of body. Returns 0 or a negative error number; -ENOENT: the kernel knows no such thing. */
function send(device: number, code: number, bodyBytes: number): number {
  const bytes = P.OUT_HEADER_BYTES + bodyBytes;
  message[P.OUT_LENGTH] = bytes;
  message[P.OUT_ERROR] = code;
  message[P.OUT_UNIQUE] = 0;
  message[P.OUT_UNIQUE + 1] = 0;
  return write(device, address, bytes) < 0 ? -errno() : 0;
}

/**
 * Makes the kernel send all requests again that were read through descriptors of the connection and not answered: after the
 * process that had them died.
 */
export function askAgain(device: number): number {
  return send(device, P.NOTIFY_RESEND, 0);
}

/** Forgets the attributes and ACLs of a private inode and, if `contents`, what is cached of its data or entries. */
export function announceInode(device: number, layer: LayerIndex, ino: Ino, contents: boolean): number {
  return announceNode(device, layer, nodeLow(ino), contents);
}

function announceNode(device: number, layer: LayerIndex, low: number, contents: boolean): number {
  message[BODY] = low;
  message[BODY + 1] = layer;
  // A negative offset leaves the data alone; length 0 means up to the end.
  message.fill(contents ? 0 : 0xffff_ffff, BODY + 2, BODY + 4);
  message.fill(0, BODY + 4, BODY + 6);
  return send(device, P.NOTIFY_INVAL_INODE, 24);
}

/** Forgets the name in a directory, with all that lies below it. */
export function announceEntry(device: number, layer: LayerIndex, dir: Ino, name: Uint8Array): number {
  return announceName(device, layer, nodeLow(dir), name, 0);
}

function announceName(device: number, layer: LayerIndex, low: number, name: Uint8Array, flags: number): number {
  message[BODY] = low;
  message[BODY + 1] = layer;
  message[BODY + 2] = name.length;
  message[BODY + 3] = flags;
  const nameAt = P.OUT_HEADER_BYTES + 16;
  messageBytes.set(name, nameAt);
  messageBytes[nameAt + name.length] = 0;
  return send(device, P.NOTIFY_INVAL_ENTRY, 16 + name.length + 1);
}

/** The listing of `layers` is no longer what the kernel may have cached. */
export function announceLayerList(device: number): void {
  announceInode(device, GLOBAL_LAYER, LAYERS_INO, true);
}

/** A layer was created, renamed or removed: `name` no longer means what the kernel may have cached. */
export function announceLayer(device: number, name: string): void {
  announceEntry(device, GLOBAL_LAYER, LAYERS_INO, Buffer.from(name));
  announceLayerList(device);
}

/** The contents of a file that was shared were changed, or its names, while the kernel took it for the shared inode still. */
export function announceContents(device: number, layer: LayerIndex, ino: Ino): void {
  announceInode(device, layer, ino, true);
  announceNode(device, layer, sharedLow(ino), false);
  for (const { dir, name } of namesOf(layer, ino)) announceName(device, layer, nodeLow(dir), name, P.NOTIFY_EXPIRE_ONLY);
}

/** Permissions or the like of a file were changed through one of the two inodes that the kernel may have of it. */
export function announceAttributes(device: number, layer: LayerIndex, ino: Ino): void {
  announceInode(device, layer, ino, false);
  announceNode(device, layer, sharedLow(ino), false);
}

/** A layer was removed: what the kernel has cached of its contents goes. `device` is that of the content mount. */
export function announceContentLayer(device: number, layer: LayerIndex): void {
  announceName(device, 0, CONTENT_ROOT_LOW, Buffer.from(contentLayerName(layer)), 0);
}

/** Whether the kernel still knows a private inode. Its cached attributes go on the way. */
export function kernelKnows(device: number, layer: LayerIndex, ino: Ino): boolean {
  return announceNode(device, layer, nodeLow(ino), false) !== -ENOENT;
}

/** The same of a shared one. */
export function kernelKnowsShared(device: number, layer: LayerIndex, ino: Ino): boolean {
  return announceNode(device, layer, sharedLow(ino), false) !== -ENOENT;
}
