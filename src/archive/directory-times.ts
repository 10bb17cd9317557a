/**
 * Keeps the modification times of directories as the archive wants them, although every file created in a directory
 * changes its time.
 *
 * Before the first change in a directory its time is noted; `restore` puts all noted times back. An entry for a directory
 * that is noted already replaces the note. If there are too many notes they are all put back and forgotten; a directory
 * that is changed again later is noted again, with the time that was just restored. So a directory that is not noted
 * always has the time it shall have, and memory is bounded whatever the archive's order.
 *
 * A directory of a lower layer that the archive changes something in, but has no entry for, keeps its time.
 */
import { newAttributeChange, SET_MTIME, setAttributes } from '../engine/attributes.js';
import { foundAt, getInode } from '../engine/inode.js';
import type { Ino, LayerIndex } from '../layout/constants.js';
import { inodeMtimeHi, inodeMtimeLo, inodeMtimeNsec } from '../layout/records.js';
import { ESTALE } from '../linux/errno.js';
import type { TarTime } from './pax.js';
import { check } from './refusal.js';

/** Words of a time; about 100 bytes each as objects. */
interface NotedTime {
  readonly lo: number;
  readonly hi: number;
  readonly nsec: number;
}

const NOTES_MAX = 8192;
const WORD_RANGE = 0x1_0000_0000;

export class DirectoryTimes {
  readonly #layer: LayerIndex;
  readonly #notes = new Map<Ino, NotedTime>();
  readonly #change = newAttributeChange();

  constructor(layer: LayerIndex) {
    this.#layer = layer;
  }

  /** To be called before anything in the directory changes. */
  note(dir: Ino): void {
    if (this.#notes.has(dir)) return;
    if (this.#notes.size === NOTES_MAX) this.restore();
    check(getInode(this.#layer, dir));
    this.#notes.set(dir, { lo: inodeMtimeLo(foundAt), hi: inodeMtimeHi(foundAt), nsec: inodeMtimeNsec(foundAt) });
  }

  /** The directory was given this time as its own. */
  replace(dir: Ino, time: TarTime): void {
    if (!this.#notes.has(dir)) return;
    this.#notes.set(dir, { lo: time.seconds % WORD_RANGE, hi: Math.floor(time.seconds / WORD_RANGE), nsec: time.nanoseconds });
  }

  /** Puts all times back. */
  restore(): void {
    for (const [dir, time] of this.#notes) this.#restoreOne(dir, time);
    this.#notes.clear();
  }

  /** The directory may have been removed meanwhile; its number is not used again. */
  #restoreOne(dir: Ino, time: NotedTime): void {
    this.#change.mtimeLo = time.lo;
    this.#change.mtimeHi = time.hi;
    this.#change.mtimeNsec = time.nsec;
    const result = setAttributes(this.#layer, dir, SET_MTIME, this.#change);
    if (result !== -ESTALE) check(result);
  }
}
