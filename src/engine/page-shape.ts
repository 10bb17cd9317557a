/**
 * Proves a page that came from the device beyond its checksum: that whoever walks it stays within it, and that each value has
 * the fields that its type promises. A checksum says that a page is what was written, not that a sane program wrote it; a
 * volume may come from elsewhere. So what uses records need not ask whether they have their fields.
 *
 * Invariants of every page that is in the cache
 *  PS1  Slots lie behind the header, records between the heap and the end of the page, and no record crosses the end.
 *  PS2  Keys ascend strictly. Inner pages are not empty; levels are below DEPTH_MAX, and a leaf's level is 0.
 *  PS3  Values have the length of their type. Blocks that they name lie on the volume, behind its superblocks and first bitmap.
 *  PS4  Lengths and numbers that loops run over, or that lead from record to record, are in their ranges: a layer's parent has a
 *       lower index than the layer.
 *
 * What holds between records of different pages – names and inodes, chunks of a value, counters – is not proved here.
 */
import {
  BLOCK_WORDS,
  CATALOG_OWNER,
  CHILD,
  DIRENT,
  EXTENT,
  EXTENT_BLOCKS_MAX,
  FILE_BYTES_MAX,
  GROUP,
  GROUP_BLOCKS,
  INODE,
  LAYER,
  LAYER_NAME,
  LAYER_REMOVING,
  LAYER_WRITABLE,
  LINK,
  NAME,
  NAME_BYTES_MAX,
  LOST_BLOCK,
  LOST_OWNER,
  ORPHAN,
  PAGE_HEADER_BYTES,
  PROPERTY,
  PROPERTY_BYTES_MAX,
  PROPERTY_KEY_BYTES_MAX,
  RECIPE,
  REMOVING,
  ROOT_INO,
  SYMLINK,
  SYMLINK_BYTES_MAX,
  VALUE_BYTES_MAX,
  XATTR,
  XATTR_BYTES_MAX,
} from '../layout/constants.js';
import { B, H, W } from '../layout/memory.js';
import {
  CHILD_WORDS,
  DIRENT_WORDS,
  EXTENT_WORDS,
  GROUP_WORDS,
  INODE_WORDS,
  LAYER_WORDS,
  LINK_WORDS,
  PROPERTY_WORDS,
  RECORD_WORDS,
  XATTR_WORDS,
  childBlock,
  extentBlock,
  extentLength,
  extentOwner,
  groupLive,
  inodeMode,
  inodeSizeHi,
  inodeSizeLo,
  layerParent,
  layerRootBlock,
  layerState,
  pageGarbage,
  pageHeap,
  pageLevelCount,
  pageOwner,
  propertyKeyBytes,
  propertyValueBytes,
  xattrNameBytes,
  xattrValueBytes,
} from '../layout/records.js';
import { isSymlink } from '../linux/mode.js';
import { TOTAL_BLOCKS } from './arena.js';

/** Height of a tree over 2^48 records at a fan-out of 64. */
export const DEPTH_MAX = 10;

const SLOTS_FROM = PAGE_HEADER_BYTES / 2;
/** Superblocks and both copies of the first bitmap. */
const FIRST_BLOCK = 4;
const CHUNK_MASK = 0xff;
const SLASH = 0x2f;
const DOT = 0x2e;

/** What is wrong with the page at a word address; null if nothing is. */
export function flawOf(page: number): string | null {
  const count = pageLevelCount(page) & 0xffff;
  const level = pageLevelCount(page) >>> 16;
  const heap = pageHeap(page);
  if (level >= DEPTH_MAX || (level > 0 && count === 0)) return 'its level';
  if (heap > BLOCK_WORDS || pageGarbage(page) > BLOCK_WORDS - heap || (SLOTS_FROM + count + 1) >>> 1 > heap) return 'its header';
  const inCatalog = pageOwner(page) === CATALOG_OWNER;
  let words = pageGarbage(page);
  for (let i = 0; i < count; i++) {
    const at = H[page * 2 + SLOTS_FROM + i]!;
    if (at < heap || at + RECORD_WORDS > BLOCK_WORDS) return `slot ${i}`;
    const record = page + at;
    const bytes = W[record + 1]! & 0xffff;
    const length = RECORD_WORDS + ((bytes + 3) >>> 2);
    words += length;
    if (bytes > VALUE_BYTES_MAX || at + length > BLOCK_WORDS) return `the length of record ${i}`;
    if (i > 0 && !ascends(page + H[page * 2 + SLOTS_FROM + i - 1]!, record)) return `the key of record ${i}`;
    if (!isSane(record, record + RECORD_WORDS, bytes, level, inCatalog)) return `record ${i}`;
  }
  return words === BLOCK_WORDS - heap ? null : 'its counts';
}

function ascends(before: number, record: number): boolean {
  if (W[before] !== W[record]) return W[before]! < W[record]!;
  const type = W[before + 1]! >>> 16;
  if (type !== W[record + 1]! >>> 16) return type < W[record + 1]! >>> 16;
  return W[before + 2] === W[record + 2] ? W[before + 3]! < W[record + 3]! : W[before + 2]! < W[record + 2]!;
}

function isSane(record: number, value: number, bytes: number, level: number, inCatalog: boolean): boolean {
  if (level > 0) return bytes === CHILD_WORDS * 4 && areBlocks(childBlock(value), 1);
  return inCatalog ? isCatalogRecord(record, value, bytes) : isFileRecord(record, value, bytes);
}

/** Whether blocks lie where pages and data may. */
function areBlocks(block: number, count: number): boolean {
  return block >= FIRST_BLOCK && block + count <= W[TOTAL_BLOCKS]!;
}

function isFileRecord(record: number, value: number, bytes: number): boolean {
  const ino = W[record]!;
  const type = W[record + 1]! >>> 16;
  if (ino === 0) return type === ORPHAN ? bytes === 0 && W[record + 3]! > ROOT_INO : type === RECIPE && bytes > 0;
  if (ino < ROOT_INO) return false;
  switch (type) {
    case INODE:
      return bytes === INODE_WORDS * 4 && isInode(value);
    case LINK:
      return bytes === LINK_WORDS * 4;
    case XATTR:
      return isChunk(record, bytes, XATTR_WORDS * 4, (W[record + 3]! & CHUNK_MASK) === 0 ? xattrBytes(value, bytes) : 0);
    case SYMLINK:
      return bytes > 0;
    case DIRENT:
      return isName((value + DIRENT_WORDS) * 4, bytes - DIRENT_WORDS * 4);
    case EXTENT:
      return bytes >= EXTENT_WORDS * 4 && isExtent(record, value, bytes);
    default:
      return true; // check reports it; nothing else looks at it
  }
}

function isInode(value: number): boolean {
  const size = inodeSizeHi(value) * 2 ** 32 + inodeSizeLo(value);
  return size <= (isSymlink(inodeMode(value)) ? SYMLINK_BYTES_MAX : FILE_BYTES_MAX);
}

function isExtent(record: number, value: number, bytes: number): boolean {
  const length = extentLength(value);
  if (length < 1 || length > EXTENT_BLOCKS_MAX || bytes !== (EXTENT_WORDS + length) * 4) return false;
  const isPlaced = extentOwner(value) === LOST_OWNER ? extentBlock(value) >= LOST_BLOCK : areBlocks(extentBlock(value), length);
  return W[record + 2] === 0 && W[record + 3]! + length <= 0xffff_ffff && isPlaced;
}

/** A name that a directory can have. */
function isName(at: number, length: number): boolean {
  if (length < 1 || length > NAME_BYTES_MAX) return false;
  for (let i = at; i < at + length; i++) if (B[i] === 0 || B[i] === SLASH) return false;
  return B[at] !== DOT || (length > 1 && (length > 2 || B[at + 1] !== DOT));
}

/** Bytes of header, name and value of an attribute; -1 if they are none. */
function xattrBytes(value: number, bytes: number): number {
  if (bytes < XATTR_WORDS * 4) return -1;
  const name = xattrNameBytes(value);
  const length = xattrValueBytes(value);
  return name < 1 || name > NAME_BYTES_MAX || length > XATTR_BYTES_MAX ? -1 : XATTR_WORDS * 4 + name + length;
}

function propertyBytes(value: number, bytes: number): number {
  if (bytes < PROPERTY_WORDS * 4) return -1;
  const key = propertyKeyBytes(value);
  const length = propertyValueBytes(value);
  return key < 1 || key > PROPERTY_KEY_BYTES_MAX || length > PROPERTY_BYTES_MAX ? -1 : PROPERTY_WORDS * 4 + key + length;
}

/** Whether a chunk has as many bytes as it must; `total` is that of all chunks and asked for the first one only. */
function isChunk(record: number, bytes: number, header: number, total: number): boolean {
  if ((W[record + 3]! & CHUNK_MASK) !== 0) return bytes > 0;
  return total > header && bytes === Math.min(total, VALUE_BYTES_MAX);
}

function isCatalogRecord(record: number, value: number, bytes: number): boolean {
  const index = W[record]!;
  switch (W[record + 1]! >>> 16) {
    case LAYER:
      return bytes === LAYER_WORDS * 4 && isLayer(index, value);
    case LAYER_NAME:
      return bytes > 0 && bytes <= NAME_BYTES_MAX;
    case CHILD:
      return bytes === 0 && W[record + 3]! > index;
    case PROPERTY:
      return isChunk(record, bytes, PROPERTY_WORDS * 4, (W[record + 3]! & CHUNK_MASK) === 0 ? propertyBytes(value, bytes) : 0);
    case NAME:
      return index === 0 && bytes > 4 && bytes <= 4 + NAME_BYTES_MAX;
    case GROUP:
      return bytes === GROUP_WORDS * 4 && index * GROUP_BLOCKS < W[TOTAL_BLOCKS]! && groupLive(value) <= 1;
    case REMOVING:
      return index === 0 && bytes === 0;
    default:
      return true;
  }
}

function isLayer(index: number, value: number): boolean {
  const state = layerState(value);
  if (state < LAYER_WRITABLE || state > LAYER_REMOVING) return false;
  return (layerParent(value) === 0 || layerParent(value) < index) && areBlocks(layerRootBlock(value), 1);
}
