/**
 * Layers of snapshots are named after the snapshot's key: `ctr~` and the key with `~` for `/`, and with everything percent-
 * encoded that is not a letter, digit, `.`, `_` or `-`. So they have no colon or comma, which mean something in mount
 * options, and no name that another driver gives. A name that would be too long ends in a digest instead.
 */
import { createHash } from 'node:crypto';
import { NAME_BYTES_MAX } from '../../layout/constants.js';

const PREFIX = 'ctr~';
/** Begins the names of layers that diffs are being applied to. No key leads to such a name, as `+` would be encoded. */
export const STAGING_NAME = 'ctr+staging~';
const KEPT = /[A-Za-z0-9._-]/;
const DIGEST_DIGITS = 32;

/** Name of the layer of a snapshot; different keys have different names. */
export function layerNameOf(key: string): string {
  const name = PREFIX + [...Buffer.from(key)].map(encodeByte).join('');
  if (name.length <= NAME_BYTES_MAX) return name;
  const digest = createHash('sha256').update(key).digest('hex').slice(0, DIGEST_DIGITS);
  return `${name.slice(0, NAME_BYTES_MAX - DIGEST_DIGITS - 1)}~${digest}`;
}

function encodeByte(byte: number): string {
  const text = String.fromCharCode(byte);
  if (text === '/') return '~';
  return KEPT.test(text) ? text : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
}
