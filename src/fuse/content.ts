/**
 * The content mount: a second FUSE mount of this process, attached nowhere, whose files are the contents behind shared
 * inodes (sharing.ts). All layers that inherit a file open the same content file by passthrough, so the kernel has its
 * pages once.
 *
 *   /<layer index, hex>/<inode number, hex>     data of a regular file as that sealed layer has it
 *
 *   nodeid (0, 1)                 root
 *   nodeid (layer, 3)             directory of the layer
 *   nodeid (layer, ino * 2)       content file
 *
 * Contents never change, so names, attributes and data are cached without limit; neither layer indexes nor inode numbers
 * are used again. There is one directory for each layer so that all of it can be dropped with one announcement when the
 * layer is removed.
 *
 * OPEN is answered with ENOSYS: the kernel then opens without asking, and keeps what it has cached. The mount is
 * read-only for the kernel, too: a page of it belongs to every container.
 */
import { foundAt, getInode, isFoundFixed, isFoundSealed } from '../engine/inode.js';
import { BLOCK_BYTES, INO_MAX, ROOT_INO, type Ino, type LayerIndex } from '../layout/constants.js';
import { inodeBlocks, inodeSizeHi, inodeSizeLo } from '../layout/records.js';
import { ENOENT, EROFS, ESTALE } from '../linux/errno.js';
import { S_IFDIR, S_IFREG } from '../linux/mode.js';
import { CONTENT_ROOT_LOW, parseHex } from './content-names.js';
import { sharedLow } from './node.js';
import * as P from './protocol.js';
import { readContents } from './reading.js';
import { FOREVER_SECONDS, writeEntryHead } from './reply.js';
import { clearReply, inoOf, layerOf, nameLength, nodeLowOf, type Request } from './request.js';

const LAYER_LOW = 3;

const DIRECTORY_MODE = S_IFDIR | 0o700;
const FILE_MODE = S_IFREG | 0o600;
const SECTORS_PER_BLOCK = BLOCK_BYTES / 512;

const layersSeen = new Set<LayerIndex>();
let onLayer = (_layer: LayerIndex): void => undefined;

/** `seen` is called when this thread first shows the kernel the directory of a layer. */
export function whenLayerSeen(seen: (layer: LayerIndex) => void): void {
  onLayer = seen;
}

function noteLayer(layer: LayerIndex): void {
  if (layersSeen.has(layer)) return;
  layersSeen.add(layer);
  onLayer(layer);
}

const isRoot = (r: Request): boolean => layerOf(r) === 0 && nodeLowOf(r) === CONTENT_ROOT_LOW;
const isLayer = (r: Request): boolean => nodeLowOf(r) === LAYER_LOW;

export function lookupContent(r: Request): number {
  const length = nameLength(r, r.payload);
  if (length < 0) return length;
  const number = parseHex(r.bytes, r.payload, length);
  if (number < 0) return -ENOENT;
  if (isRoot(r)) return lookupLayer(r, number);
  return isLayer(r) ? lookupFile(r, number) : -ENOENT;
}

function lookupLayer(r: Request, layer: LayerIndex): number {
  if (getInode(layer, ROOT_INO) < 0 || !isFoundSealed()) return -ENOENT;
  noteLayer(layer);
  return replyContentEntry(r, layer, LAYER_LOW);
}

function lookupFile(r: Request, ino: Ino): number {
  const layer = layerOf(r);
  if (ino < ROOT_INO || ino > INO_MAX || !isContent(layer, ino)) return -ENOENT;
  return replyContentEntry(r, layer, sharedLow(ino));
}

/** Whether a layer has contents of that number that never change. Fills `foundAt`. */
function isContent(layer: LayerIndex, ino: Ino): boolean {
  return getInode(layer, ino) === 0 && isFoundSealed() && isFoundFixed();
}

function replyContentEntry(r: Request, layer: LayerIndex, low: number): number {
  clearReply(r, P.ENTRY_BYTES);
  writeEntryHead(r.words, r.replyWord, layer, low, FOREVER_SECONDS);
  writeContentAttributes(r.words, r.replyWord + P.ENTRY_ATTR, layer, low);
  return P.ENTRY_BYTES;
}

/** Writes the struct fuse_attr, already cleared, at word `to`: of a file, the size is that of the inode found. */
function writeContentAttributes(words: Uint32Array, to: number, layer: LayerIndex, low: number): void {
  const isFile = (low & 1) === 0;
  words[to + P.ATTR_INO] = low;
  words[to + P.ATTR_INO + 1] = layer;
  words[to + P.ATTR_MODE] = isFile ? FILE_MODE : DIRECTORY_MODE;
  words[to + P.ATTR_LINKS] = isFile ? 1 : 2;
  words[to + P.ATTR_BLOCK_BYTES] = BLOCK_BYTES;
  if (!isFile) return;
  words[to + P.ATTR_SIZE] = inodeSizeLo(foundAt);
  words[to + P.ATTR_SIZE + 1] = inodeSizeHi(foundAt);
  words[to + P.ATTR_BLOCKS] = inodeBlocks(foundAt) * SECTORS_PER_BLOCK;
}

export function getContentAttributes(r: Request): number {
  const layer = layerOf(r);
  if (!isRoot(r) && !isLayer(r) && !isContent(layer, inoOf(r))) return -ESTALE;
  clearReply(r, P.ATTR_OUT_BYTES);
  r.words[r.replyWord + P.ATTR_OUT_VALID] = FOREVER_SECONDS;
  writeContentAttributes(r.words, r.replyWord + P.ATTR_OUT_ATTR, layer, nodeLowOf(r));
  return P.ATTR_OUT_BYTES;
}

/** Only the kernel has the number of a content file, from a LOOKUP that found contents which never change. */
export function readContent(r: Request): number {
  return readContents(r, layerOf(r), inoOf(r));
}

/** What would change something. */
export function refuseChange(): number {
  return -EROFS;
}
