/**
 * Announcements to the kernel of changes that it did not make itself. Any thread of the process may send them, given the
 * number of a /dev/fuse descriptor of the connection, except one that is just handling a request: the kernel takes the
 * inode lock of the directory, which the sender of that request may hold. No engine lock may be held either, as some
 * FUSE request may need it before the kernel can take its own.
 */
import { GLOBAL_LAYER, type Ino, type LayerIndex } from '../layout/constants.js';
import { ENOENT } from '../linux/errno.js';
import { addressOf, errno, write } from '../linux/libc.js';
import { LAYERS_INO, nodeLow } from './node.js';
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

/** Forgets the attributes and ACLs of an inode and, if `contents`, what is cached of its data or entries. */
export function announceInode(device: number, layer: LayerIndex, ino: Ino, contents: boolean): number {
  message[BODY] = nodeLow(ino);
  message[BODY + 1] = layer;
  // A negative offset leaves the data alone; length 0 means up to the end.
  message.fill(contents ? 0 : 0xffff_ffff, BODY + 2, BODY + 4);
  message.fill(0, BODY + 4, BODY + 6);
  return send(device, P.NOTIFY_INVAL_INODE, 24);
}

/** Forgets the name in a directory, with all that lies below it. */
export function announceEntry(device: number, layer: LayerIndex, dir: Ino, name: Uint8Array): number {
  message[BODY] = nodeLow(dir);
  message[BODY + 1] = layer;
  message[BODY + 2] = name.length;
  message[BODY + 3] = 0;
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

/** Whether the kernel still knows the inode. Its cached attributes go on the way. */
export function kernelKnows(device: number, layer: LayerIndex, ino: Ino): boolean {
  return announceInode(device, layer, ino, false) !== -ENOENT;
}
