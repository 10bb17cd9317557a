/** Layers into which nobody has written yet. */
import { foundAt, getInode } from '../engine/inode.js';
import type { LayerInfo } from '../engine/layers.js';
import { BLOCK_BYTES, ROOT_INO } from '../layout/constants.js';
import { inodeBtimeLo, inodeBtimeNsec, inodeCtimeLo, inodeCtimeNsec } from '../layout/records.js';

/** Whether a layer is as it was made. */
export function isUntouched({ index, parentIndex, ownBytes, inodes }: LayerInfo): boolean {
  if (parentIndex !== undefined) return ownBytes === 0;
  if (ownBytes > BLOCK_BYTES || inodes > 1 || getInode(index, ROOT_INO) < 0) return false;
  return inodeCtimeLo(foundAt) === inodeBtimeLo(foundAt) && inodeCtimeNsec(foundAt) === inodeBtimeNsec(foundAt);
}
