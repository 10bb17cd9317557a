/**
 * Names of inodes towards the kernel.
 *
 * A nodeid is 64 bits: high word = layer index, low word = inode number * 2, plus 1 if it is *private*. One without bit 0 is
 * *shared*: a file whose contents other layers have as well, opened with passthrough (sharing.ts). A regular file may have
 * been given out under both, the private one later: they are two inodes of the kernel, and one of the engine.
 *
 * Inode numbers start at 2, which leaves numbers 0 and 1 of the global layer for the two directories that exist only here:
 *
 *   nodeid 1                     root of the mount      -> `layers`, `global`
 *   nodeid 3                     `layers`               -> one entry for each layer
 *   nodeid (0, 5)                `global`, root directory of layer 0
 *   nodeid (layer, 5)            `layers/<name>`, root directory of that layer
 *
 * Nodeids are never reused: neither are layer indexes, nor inode numbers within a lineage. What users see as st_ino is
 * layer * 2^32 + inode number, unique within the mount.
 */
import { GLOBAL_LAYER, ROOT_INO, type Ino } from '../layout/constants.js';

/** Inode numbers, within layer 0, of the synthetic directories. */
export const MOUNT_ROOT_INO = 0;
export const LAYERS_INO = 1;

/** What users see as st_ino of the synthetic directories; no layer has this index. */
export const SYNTHETIC_INO_HI = 0xffff_ffff;

/** Low word of a private nodeid. */
export const nodeLow = (ino: Ino): number => (ino * 2 + 1) >>> 0;
/** Low word of a shared nodeid. */
export const sharedLow = (ino: Ino): number => (ino * 2) >>> 0;
/** Inode number from the low word of a nodeid. */
export const nodeIno = (low: number): Ino => low >>> 1;
export const isPrivate = (low: number): boolean => (low & 1) === 1;

/** Nodeid 1 or 3: a directory that no layer holds. */
export const isSynthetic = (high: number, low: number): boolean => high === GLOBAL_LAYER && nodeIno(low) < ROOT_INO;
