/**
 * Walkers: ways through trees that are independent of the thread's path (tree.ts), so that two trees can be walked at
 * once, or one be walked while another is searched. A walker pins its pages; `close` it. Whoever uses one keeps the tree
 * from changing, by its lock or because the layer is sealed.
 */
import { W } from '../layout/memory.js';
import { childBlock } from '../layout/records.js';
import { unpinPage } from './pager.js';
import { pageCount, pageLevel, pinPointer, recordAt, recordType, valueOf } from './tree.js';

const DEPTH_MAX = 10;

/** Order of the keys of two records, as a comparison function gives it. */
export function compareKeys(a: number, b: number): number {
  return W[a]! - W[b]! || recordType(a) - recordType(b) || W[a + 2]! - W[b + 2]! || W[a + 3]! - W[b + 3]!;
}

/**
 * A position in a tree: at a record, or at a pointer to a page that was not entered yet. The first pointer of a page
 * stands for the key of the pointer to that page, as keys below it may be lower than its own.
 */
export class Walker {
  readonly #pages = new Int32Array(DEPTH_MAX);
  readonly #indices = new Int32Array(DEPTH_MAX);
  readonly #keys = new Float64Array(DEPTH_MAX * 4);
  #depth = 0;
  /** Address of the record at the position, an inner one if `isPointer`; 0 at the end. */
  record = 0;
  isPointer = false;

  /** Starts at the root that `pointer` (block, owner, generation) leads to, entered. Throws BlockError. */
  constructor(pointer: number) {
    this.#keys.fill(0, 0, 4);
    this.#push(pinPointer(pointer, -1));
  }

  /** Level of the page that the pointer at the position leads to. */
  get level(): number {
    return pageLevel(this.#pages[this.#depth - 1]!) - 1;
  }

  /** Page that holds the record at the position. */
  get page(): number {
    return this.#pages[this.#depth - 1]!;
  }

  /** Word `i` of the key that the position stands for: ino, type, offset high, offset low. */
  key(i: number): number {
    const inherited = this.isPointer && this.#indices[this.#depth - 1] === 0;
    if (inherited) return this.#keys[(this.#depth - 1) * 4 + i]!;
    return i === 1 ? recordType(this.record) : W[this.record + i]!;
  }

  /** Order of this position and another by the keys they stand for. */
  compare(other: Walker): number {
    for (let i = 0; i < 4; i++) if (this.key(i) !== other.key(i)) return this.key(i) - other.key(i);
    return 0;
  }

  /** Whether both stand at pointers to the same page. */
  sharesPageWith(other: Walker): boolean {
    return this.isPointer && other.isPointer && childBlock(valueOf(this.record)) === childBlock(valueOf(other.record));
  }

  /** Moves past the record, or past everything below the pointer. */
  skip(): void {
    this.#indices[this.#depth - 1]!++;
    this.#settle();
  }

  /** Enters the page that the pointer leads to. Throws BlockError. */
  enter(): void {
    const level = this.level;
    for (let i = 0; i < 4; i++) this.#keys[this.#depth * 4 + i] = this.key(i);
    this.#push(pinPointer(valueOf(this.record), level));
  }

  /** Moves to the next record of a leaf. */
  nextRecord(): void {
    this.skip();
    this.enterAll();
  }

  /** Enters pages until the position is at a record of a leaf. */
  enterAll(): void {
    while (this.record !== 0 && this.isPointer) this.enter();
  }

  close(): void {
    while (this.#depth > 0) unpinPage(this.#pages[--this.#depth]!);
    this.record = 0;
  }

  #push(page: number): void {
    this.#pages[this.#depth] = page;
    this.#indices[this.#depth] = 0;
    this.#depth++;
    this.#settle();
  }

  /** Leaves pages that are exhausted and takes up the record at the position. */
  #settle(): void {
    while (this.#depth > 0) {
      const page = this.#pages[this.#depth - 1]!;
      const index = this.#indices[this.#depth - 1]!;
      if (index < pageCount(page)) {
        this.record = recordAt(page, index);
        this.isPointer = pageLevel(page) > 0;
        return;
      }
      unpinPage(page);
      this.#depth--;
      if (this.#depth > 0) this.#indices[this.#depth - 1]!++;
    }
    this.record = 0;
  }
}
