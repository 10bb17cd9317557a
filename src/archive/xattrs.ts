/** Extended attributes of a file as far as they belong into an archive. */
import { getXattr, listXattr } from '../engine/xattr.js';
import { XATTR_BYTES_MAX, type Ino, type LayerIndex } from '../layout/constants.js';
import type { Xattr } from './tar-format.js';

const CAPABILITY = 'security.capability';
/** Attributes that overlayfs keeps for itself: they would change what an overlay mount shows. */
const OVERLAY = ['trusted.overlay.', 'user.overlay.'];

/** Revision 3 of a capability (linux/capability.h) ends with the root id of a user namespace. */
const REVISION_3 = 3;
const REVISION_2_BYTES = 20;

const value = Buffer.alloc(XATTR_BYTES_MAX);

/** What is lost between listing and reading is left out. */
export function exportedXattrs(layer: LayerIndex, ino: Ino): Xattr[] {
  const found: Xattr[] = [];
  for (const text of namesOf(layer, ino)) {
    const name = Buffer.from(text, 'latin1');
    const length = getXattr(layer, ino, name, 0, name.length, value, 0, value.length);
    if (length >= 0) found.push({ name, value: portable(text, Buffer.from(value.subarray(0, length))) });
  }
  return found;
}

function namesOf(layer: LayerIndex, ino: Ino): string[] {
  const length = listXattr(layer, ino, value, 0, 0);
  if (length <= 0) return [];
  const list = Buffer.alloc(length);
  const listed = listXattr(layer, ino, list, 0, list.length);
  const names = list.toString('latin1', 0, Math.max(listed, 0)).split('\0');
  return names.filter((name) => name !== '' && isPortable(name));
}

function isPortable(name: string): boolean {
  if (name.startsWith('security.')) return name === CAPABILITY;
  return !OVERLAY.some((prefix) => name.startsWith(prefix));
}

/** The engines know capabilities without a namespace only. */
function portable(name: string, bytes: Buffer): Buffer {
  if (name !== CAPABILITY || bytes.length <= REVISION_2_BYTES || bytes[3] !== REVISION_3) return bytes;
  const cut = Buffer.from(bytes.subarray(0, REVISION_2_BYTES));
  cut[3] = REVISION_3 - 1;
  return cut;
}
