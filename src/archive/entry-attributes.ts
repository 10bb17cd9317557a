/**
 * Gives an inode the attributes of its entry, in the order that keeps them from undoing each other: the owner first, as a
 * change of owner clears set-id bits and capabilities; then extended attributes; permissions and times last.
 */
import { newAttributeChange, SET_ATIME, SET_GID, SET_MODE, SET_MTIME, SET_SIZE, SET_UID, setAttributes } from '../engine/attributes.js';
import { foundAt } from '../engine/inode.js';
import { setXattr } from '../engine/xattr.js';
import type { Ino, LayerIndex } from '../layout/constants.js';
import { inodeGid, inodeUid } from '../layout/records.js';
import { EOPNOTSUPP } from '../linux/errno.js';
import type { TarTime } from './pax.js';
import { check, Refusal } from './refusal.js';
import { DIRECTORY, FILE, HARD_LINK, type Xattr } from './tar-format.js';
import type { TarEntry } from './tar-reader.js';

const USER = 'user.';
const XATTR_NAME_BYTES_MAX = 255;
/** What nanoseconds since 1970 in 64 bits can express. The engines take times outside of it for 1970. */
const SECONDS_MAX = 9_223_372_036;
const WORD_RANGE = 0x1_0000_0000;
const EPOCH: TarTime = { seconds: 0, nanoseconds: 0 };

export class EntryAttributes {
  readonly #layer: LayerIndex;
  readonly #change = newAttributeChange();

  constructor(layer: LayerIndex) {
    this.#layer = layer;
  }

  /** Makes `uid` and `gid` the owner, unless they are. The inode is the one that `foundAt` shows. */
  setOwner(ino: Ino, uid: number, gid: number): void {
    if (inodeUid(foundAt) === uid && inodeGid(foundAt) === gid) return;
    this.#change.uid = uid;
    this.#change.gid = gid;
    check(setAttributes(this.#layer, ino, SET_UID | SET_GID, this.#change));
  }

  /** Makes a file longer, with a hole at its end. */
  setSize(ino: Ino, size: number): void {
    this.#change.size = size;
    check(setAttributes(this.#layer, ino, SET_SIZE, this.#change));
  }

  /** Everything else, permissions not for a symbolic link. */
  complete(ino: Ino, entry: TarEntry, isLink: boolean): void {
    for (const xattr of entry.xattrs) if (mayHave(entry, xattr)) this.#setXattr(ino, xattr);
    this.#setTimes(entry);
    this.#change.mode = entry.mode;
    check(setAttributes(this.#layer, ino, isLink ? SET_ATIME | SET_MTIME : SET_ATIME | SET_MTIME | SET_MODE, this.#change));
  }

  #setTimes(entry: TarEntry): void {
    const change = this.#change;
    const mtime = bounded(entry.mtime);
    // An access time before the last modification says nothing.
    const atime = entry.atime === null ? mtime : later(bounded(entry.atime), mtime);
    change.mtimeLo = mtime.seconds % WORD_RANGE;
    change.mtimeHi = Math.floor(mtime.seconds / WORD_RANGE);
    change.mtimeNsec = mtime.nanoseconds;
    change.atimeLo = atime.seconds % WORD_RANGE;
    change.atimeHi = Math.floor(atime.seconds / WORD_RANGE);
    change.atimeNsec = atime.nanoseconds;
  }

  #setXattr(ino: Ino, { name, value }: Xattr): void {
    if (name.length === 0 || name.length > XATTR_NAME_BYTES_MAX)
      throw new Refusal('the name of an extended attribute is empty or longer than 255 bytes');
    const result = setXattr(this.#layer, ino, name, 0, name.length, value, 0, value.length, 0, false);
    // Namespaces that do not exist here are left out.
    if (result !== -EOPNOTSUPP) check(result);
  }
}

/** As Linux: only files and directories have attributes that users set. */
function mayHave(entry: TarEntry, { name }: Xattr): boolean {
  return entry.type === FILE || entry.type === DIRECTORY || entry.type === HARD_LINK || name.toString('latin1', 0, USER.length) !== USER;
}

/** The modification time that `complete` gives. */
export function bounded(time: TarTime): TarTime {
  return time.seconds >= 0 && time.seconds <= SECONDS_MAX ? time : EPOCH;
}

function later(a: TarTime, b: TarTime): TarTime {
  const isLater = a.seconds > b.seconds || (a.seconds === b.seconds && a.nanoseconds > b.nanoseconds);
  return isLater ? a : b;
}
