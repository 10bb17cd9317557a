/**
 * Requests about extended attributes. Who may see and set which namespace is decided by the kernel, except for one rule
 * it leaves to the file system: names of `trusted.` are listed only for the superuser.
 */
import { getXattr, listXattr, removeXattr, setXattr } from '../engine/xattr.js';
import { E2BIG, EINVAL, ERANGE } from '../linux/errno.js';
import * as P from './protocol.js';
import { argument, copyToScratch, inoOf, layerOf, replyNumber, stringLength, uidOf, type Request } from './request.js';
import { attributesChanged } from './sharing.js';
import { NAME_BYTES_MAX } from '../layout/constants.js';

const TRUSTED = new TextEncoder().encode('trusted.');

/** Length of the attribute name at the start of the payload. Unlike names of files it may hold a slash. */
function attributeNameLength(r: Request, at: number): number {
  const length = stringLength(r, at);
  if (length <= 0) return -EINVAL;
  return length > NAME_BYTES_MAX ? -ERANGE : length;
}

/** Fixed arguments of SETXATTR: 16 bytes with SETXATTR_EXT. Set once, after INIT. */
let extended = true;

export function useExtendedSetxattr(value: boolean): void {
  extended = value;
}

export const setxattrBytes = (): number => (extended ? P.ARGUMENTS_BYTES[P.SETXATTR]! : P.SETXATTR_BYTES_OLD);

export function setAttribute(r: Request): number {
  const length = attributeNameLength(r, r.payload);
  if (length < 0) return length;
  const valueAt = r.payload + length + 1;
  const valueBytes = argument(r, P.SETXATTR_SIZE);
  if (valueBytes > r.payloadBytes - length - 1) return -EINVAL;
  const clearSgid = extended && (argument(r, P.SETXATTR_EXTRA) & P.SETXATTR_KILL_SGID) !== 0;
  const flags = argument(r, P.SETXATTR_FLAGS);
  const result = setXattr(layerOf(r), inoOf(r), r.bytes, r.payload, length, r.bytes, valueAt, valueBytes, flags, clearSgid);
  if (result === 0) attributesChanged(r);
  return result;
}

export function getAttribute(r: Request): number {
  const length = attributeNameLength(r, r.payload);
  if (length < 0) return length;
  const name = copyToScratch(r, r.payload, length);
  const size = argument(r, P.GETXATTR_SIZE);
  const room = Math.min(size, r.replyBytes);
  const result = getXattr(layerOf(r), inoOf(r), r.bytes, name, length, r.bytes, r.reply, room);
  return size === 0 && result >= 0 ? replyNumber(r, result) : result;
}

export function listAttributes(r: Request): number {
  const listed = listXattr(layerOf(r), inoOf(r), r.bytes, r.reply, P.XATTR_LIST_BYTES_MAX);
  // -ERANGE would ask the caller for a larger buffer, but there is none: the kernel takes no longer list.
  if (listed < 0) return listed === -ERANGE ? -E2BIG : listed;
  const length = uidOf(r) === 0 ? listed : withoutTrusted(r.bytes, r.reply, listed);
  const size = argument(r, P.GETXATTR_SIZE);
  if (size === 0) return replyNumber(r, length);
  return length > size ? -ERANGE : length;
}

/** Takes the names of `trusted.` out of the list at `at`; returns its new length. */
export function withoutTrusted(bytes: Uint8Array, at: number, length: number): number {
  let kept = at;
  for (let from = at, end = at + length; from < end;) {
    const next = bytes.indexOf(0, from) + 1;
    if (!startsWithTrusted(bytes, from)) {
      bytes.copyWithin(kept, from, next);
      kept += next - from;
    }
    from = next;
  }
  return kept - at;
}

function startsWithTrusted(bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < TRUSTED.length; i++) if (bytes[at + i] !== TRUSTED[i]) return false;
  return true;
}

export function removeAttribute(r: Request): number {
  const length = attributeNameLength(r, r.payload);
  if (length < 0) return length;
  const result = removeXattr(layerOf(r), inoOf(r), r.bytes, r.payload, length);
  if (result === 0) attributesChanged(r);
  return result;
}
