/** The names of an inode, from its back references. */
import { DIRENT, LINK, type Ino, type LayerIndex } from '../layout/constants.js';
import { B } from '../layout/memory.js';
import { linkParent, recordHi, recordKey0, recordLo } from '../layout/records.js';
import { abandon, beginRead, end } from './operation.js';
import { find, next, recordBytes, recordType, seek, valueOf } from './tree.js';

/** Inode and kind stand before the name. */
const NAME_OFFSET = 8;

export interface LinkName {
  /** The directory that has the name. */
  readonly dir: Ino;
  readonly name: Uint8Array;
}

/** All names of an inode. None if it has none, if it or the layer is gone, or if they cannot be read. */
export function namesOf(layer: LayerIndex, ino: Ino): LinkName[] {
  const names: LinkName[] = [];
  if (beginRead(layer) < 0) return names;
  try {
    for (const { dir, hi, lo } of linksOf(ino)) {
      const record = find(dir, DIRENT, hi, lo);
      if (record !== 0) names.push({ dir, name: nameAt(record) });
    }
    end(0);
  } catch (error) {
    abandon(error);
  }
  return names;
}

function linksOf(ino: Ino): { dir: Ino; hi: number; lo: number }[] {
  const links = [];
  for (let record = seek(ino, LINK, 0, 0); record !== 0 && isLinkOf(record, ino); record = next()) {
    links.push({ dir: linkParent(valueOf(record)), hi: recordHi(record), lo: recordLo(record) });
  }
  return links;
}

const isLinkOf = (record: number, ino: Ino): boolean => recordKey0(record) === ino && recordType(record) === LINK;

function nameAt(record: number): Uint8Array {
  const at = valueOf(record) * 4;
  return B.slice(at + NAME_OFFSET, at + recordBytes(record));
}
