/**
 * Reading directories.
 *
 * The cookie of an entry is the offset of its key (directory.ts): reading goes on behind that key, whether or not the
 * entry still exists. So each name that exists from the first call to the last is shown exactly once, whatever is added,
 * removed or renamed meanwhile. `.` has cookie (0, 1) and `..` (0, 2); hashes have a high word of at least 1.
 */
import { DIRENT, NAME_BYTES_MAX, type Ino, type LayerIndex } from '../layout/constants.js';
import { B } from '../layout/memory.js';
import { DIRENT_WORDS, direntIno, direntKind, recordHi, recordKey0, recordLo } from '../layout/records.js';
import { S_IFDIR, kindOf } from '../linux/mode.js';
import { findDirectory, parentOf } from './directory.js';
import { abandon, beginRead, end } from './operation.js';
import { recordBytes, recordType, seek, valueOf } from './tree.js';

/** Takes the entries of a directory, one after another. */
export interface DirectorySink {
  /**
   * `kind` is the file type, mode >> 12; the cookie is that of this entry. The name is valid during the call, in which
   * `readInodeInOperation` may be called. False: there is no room, the entry was not taken.
   */
  entry(ino: Ino, kind: number, cookieHi: number, cookieLo: number, bytes: Uint8Array, at: number, length: number): boolean;
}

const DOT_LO = 1;
const DOT_DOT_LO = 2;
const DOTS = new Uint8Array([0x2e, 0x2e]);
const DIRECTORY_KIND = kindOf(S_IFDIR);

/** The name of the current entry: the record itself is out of reach as soon as the sink looks at an inode. */
const name = new Uint8Array(NAME_BYTES_MAX);

/** Offers the entries behind the cookie (0, 0: from the start) until the sink is full or there are no more; 0, -ESTALE or -ENOTDIR. */
export function readDirectory(layer: LayerIndex, dir: Ino, cookieHi: number, cookieLo: number, sink: DirectorySink): number {
  const slot = beginRead(layer);
  if (slot < 0) return slot;
  let result: number;
  try {
    result = offerEntries(dir, cookieHi, cookieLo, sink);
  } catch (error) {
    return abandon(error);
  }
  return end(result);
}

function offerEntries(dir: Ino, hi: number, lo: number, sink: DirectorySink): number {
  const at = findDirectory(dir);
  if (at < 0) return at;
  if (hi === 0) {
    if (lo < DOT_LO && !sink.entry(dir, DIRECTORY_KIND, 0, DOT_LO, DOTS, 0, 1)) return 0;
    if (lo < DOT_DOT_LO && !sink.entry(parentOf(dir), DIRECTORY_KIND, 0, DOT_DOT_LO, DOTS, 0, 2)) return 0;
    lo = Math.max(lo, DOT_DOT_LO);
  }
  for (;;) {
    const record = lo === 0xffff_ffff ? seek(dir, DIRENT, hi + 1, 0) : seek(dir, DIRENT, hi, lo + 1);
    if (record === 0 || recordKey0(record) !== dir || recordType(record) !== DIRENT) return 0;
    hi = recordHi(record);
    lo = recordLo(record);
    if (!offer(record, hi, lo, sink)) return 0;
  }
}

function offer(record: number, hi: number, lo: number, sink: DirectorySink): boolean {
  const value = valueOf(record);
  const from = (value + DIRENT_WORDS) * 4;
  const length = recordBytes(record) - DIRENT_WORDS * 4;
  for (let i = 0; i < length; i++) name[i] = B[from + i]!;
  return sink.entry(direntIno(value), direntKind(value), hi, lo, name, 0, length);
}
