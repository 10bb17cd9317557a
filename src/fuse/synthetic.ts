/**
 * The two directories that no layer holds: the root of the mount and `layers`. They can be looked up, listed and statted;
 * everything else is EPERM, as layers are made and removed by the layer operations and not with mkdir.
 *
 * Listings of `layers` go stale without the kernel's doing, yet the kernel caches them, like all. The thread that served
 * one therefore rings `onListed`, and the session drops that listing from the kernel's cache right after.
 */
import { forbidDeferral } from '../engine/deferral.js';
import { LcfsError } from '../engine/errors.js';
import { succeeds } from './failure.js';
import { findLayerBytes, layerIndices, layerInfo } from '../engine/layers.js';
import { getInode } from '../engine/inode.js';
import { GLOBAL_LAYER, BLOCK_BYTES, ROOT_INO } from '../layout/constants.js';
import { EIO, ENODATA, ENOENT } from '../linux/errno.js';
import { S_IFDIR, kindOf } from '../linux/mode.js';
import { plainSink, plusSink, type DirentSink } from './directory.js';
import { LAYERS_INO, MOUNT_ROOT_INO, SYNTHETIC_INO_HI, nodeLow } from './node.js';
import * as P from './protocol.js';
import { FOREVER_SECONDS, replyLayerRoot, writeEntryHead } from './reply.js';
import { argument, argument64, clearReply, inoOf, nameLength, replyNumber, type Request } from './request.js';

const MODE = S_IFDIR | 0o755;
const KIND = kindOf(S_IFDIR);
/** The root has two subdirectories; counting layers as links of `layers` would be of use to nobody. */
const ROOT_LINKS = 4;
const LAYERS_LINKS = 2;
/** st_ino of the root, as is customary; inode numbers of layer 0 start at 2. */
const ROOT_USER_INO = 1;

const text = new TextEncoder();
const DOTS = text.encode('.');
const DOT_DOTS = text.encode('..');
const LAYERS = text.encode('layers');
const GLOBAL = text.encode('global');

/** Cookies of `.` and `..`; in `layers`, the one of a layer is its index + COOKIE_DOT_DOT (index 0 is not listed). */
const COOKIE_DOT = 1;
const COOKIE_DOT_DOT = 2;
const COOKIE_LAYERS = 3;
const COOKIE_GLOBAL = 4;

/** Layers asked for at a time: about as many as fit into a reply. */
const LAYER_BATCH = 100;

/** All times of both directories: when the mount was made. */
let createdSeconds = 0;

export function showCreated(seconds: number): void {
  createdSeconds = seconds;
}

let onListed = (): void => undefined;

/** `listed` is called after each part of a listing of `layers`. */
export function whenListed(listed: () => void): void {
  onListed = listed;
}

const isRoot = (ino: number): boolean => ino === MOUNT_ROOT_INO;

function isName(r: Request, length: number, name: Uint8Array): boolean {
  if (length !== name.length) return false;
  for (let i = 0; i < length; i++) if (r.bytes[r.payload + i] !== name[i]) return false;
  return true;
}

export function lookupSynthetic(r: Request): number {
  const length = nameLength(r, r.payload);
  if (length < 0) return length;
  if (!isRoot(inoOf(r))) return lookupLayer(r, length);
  if (isName(r, length, GLOBAL)) return replyLayer(r, GLOBAL_LAYER);
  return isName(r, length, LAYERS) ? replyLayersDirectory(r) : -ENOENT;
}

/** A name that is no layer is not remembered by the kernel: it may be one in a moment. */
function lookupLayer(r: Request, length: number): number {
  const layer = findLayerBytes(r.bytes, r.payload, length);
  return layer < 0 ? layer : replyLayer(r, layer);
}

/** A layer that is just being removed is gone. */
function replyLayer(r: Request, layer: number): number {
  return getInode(layer, ROOT_INO) < 0 ? -ENOENT : replyLayerRoot(r, layer);
}

function replyLayersDirectory(r: Request): number {
  clearReply(r, P.ENTRY_BYTES);
  writeEntryHead(r.words, r.replyWord, GLOBAL_LAYER, nodeLow(LAYERS_INO), FOREVER_SECONDS);
  writeSyntheticAttributes(r.words, r.replyWord + P.ENTRY_ATTR, LAYERS_INO);
  return P.ENTRY_BYTES;
}

/** Writes the struct fuse_attr, already cleared, of a synthetic directory at word `to`. */
function writeSyntheticAttributes(words: Uint32Array, to: number, ino: number): void {
  words[to + P.ATTR_INO] = isRoot(ino) ? ROOT_USER_INO : LAYERS_INO;
  words[to + P.ATTR_INO + 1] = isRoot(ino) ? 0 : SYNTHETIC_INO_HI;
  words[to + P.ATTR_ATIME] = createdSeconds;
  words[to + P.ATTR_MTIME] = createdSeconds;
  words[to + P.ATTR_CTIME] = createdSeconds;
  words[to + P.ATTR_MODE] = MODE;
  words[to + P.ATTR_LINKS] = isRoot(ino) ? ROOT_LINKS : LAYERS_LINKS;
  words[to + P.ATTR_BLOCK_BYTES] = BLOCK_BYTES;
}

export function getSyntheticAttributes(r: Request): number {
  clearReply(r, P.ATTR_OUT_BYTES);
  r.words[r.replyWord + P.ATTR_OUT_VALID] = FOREVER_SECONDS;
  writeSyntheticAttributes(r.words, r.replyWord + P.ATTR_OUT_ATTR, inoOf(r));
  return P.ATTR_OUT_BYTES;
}

export function getSyntheticStatx(r: Request): number {
  const ino = inoOf(r);
  clearReply(r, P.STATX_BYTES);
  const { words, replyWord: to } = r;
  words[to + P.STATX_VALID] = FOREVER_SECONDS;
  words[to + P.STATX_MASK] = P.STATX_MASK_ALL;
  words[to + P.STATX_BLOCK_BYTES] = BLOCK_BYTES;
  words[to + P.STATX_LINKS] = isRoot(ino) ? ROOT_LINKS : LAYERS_LINKS;
  words[to + P.STATX_MODE] = MODE;
  words[to + P.STATX_INO] = isRoot(ino) ? ROOT_USER_INO : LAYERS_INO;
  words[to + P.STATX_INO + 1] = isRoot(ino) ? 0 : SYNTHETIC_INO_HI;
  for (const time of [P.STATX_ATIME, P.STATX_BTIME, P.STATX_CTIME, P.STATX_MTIME]) words[to + time] = createdSeconds;
  return P.STATX_BYTES;
}

export function listSynthetic(r: Request): number {
  return list(r, plainSink);
}

export function listSyntheticPlus(r: Request): number {
  return list(r, plusSink);
}

function list(r: Request, sink: DirentSink): number {
  sink.begin(r);
  const cookie = argument64(r, P.IO_OFFSET);
  if (isRoot(inoOf(r))) listRoot(sink, cookie);
  else if (!succeeds(() => listAllLayers(sink, cookie))) return -EIO;
  return sink.length(r);
}

function listRoot(sink: DirentSink, cookie: number): void {
  const entry = (at: number, inoHi: number, ino: number, name: Uint8Array): boolean =>
    cookie >= at || sink.syntheticEntry(inoHi, ino, KIND, at, name);
  void (
    entry(COOKIE_DOT, 0, ROOT_USER_INO, DOTS) &&
    entry(COOKIE_DOT_DOT, 0, ROOT_USER_INO, DOT_DOTS) &&
    entry(COOKIE_LAYERS, SYNTHETIC_INO_HI, LAYERS_INO, LAYERS) &&
    entry(COOKIE_GLOBAL, GLOBAL_LAYER, ROOT_INO, GLOBAL)
  );
}

function listAllLayers(sink: DirentSink, cookie: number): void {
  forbidDeferral(); // calls of the control plane are not made for it
  onListed();
  if (cookie < COOKIE_DOT && !sink.syntheticEntry(SYNTHETIC_INO_HI, LAYERS_INO, KIND, COOKIE_DOT, DOTS)) return;
  if (cookie < COOKIE_DOT_DOT && !sink.syntheticEntry(0, ROOT_USER_INO, KIND, COOKIE_DOT_DOT, DOT_DOTS)) return;
  for (let from = cookie - COOKIE_DOT_DOT + 1; ;) {
    const layers = layerIndices(from, LAYER_BATCH);
    for (const layer of layers) if (!offerIfThere(sink, layer)) return;
    if (layers.length < LAYER_BATCH) return;
    from = layers.at(-1)! + 1;
  }
}

function offerIfThere(sink: DirentSink, layer: number): boolean {
  try {
    return offerLayer(sink, layer);
  } catch (error) {
    if (error instanceof LcfsError && error.code === 'not-found') return true;
    throw error;
  }
}

/** False if there is no room for it. A layer that was removed meanwhile is passed over. */
function offerLayer(sink: DirentSink, layer: number): boolean {
  const { name, state } = layerInfo(layer);
  if (state === 'removing' || name === '') return true;
  return sink.syntheticEntry(layer, ROOT_INO, KIND, layer + COOKIE_DOT_DOT, text.encode(name));
}

export function getSyntheticXattr(_r: Request): number {
  return -ENODATA;
}

export function listSyntheticXattrs(r: Request): number {
  return argument(r, P.GETXATTR_SIZE) === 0 ? replyNumber(r, 0) : 0;
}
