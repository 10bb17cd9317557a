/**
 * Requests about the names in a directory: LOOKUP and everything that makes, moves or removes a name.
 *
 * The engine gives new inodes their permissions (DONT_MASK is negotiated, since with a default ACL the umask does not
 * count) and applies the rules of set-group-ID directories. Whether the caller may do what he asks is decided by the
 * kernel (`default_permissions`), and so is stripping the set-group-ID bit for those outside the directory's group, which
 * the VFS does before it sends the mode. Groups therefore need not travel with requests (CREATE_SUPP_GROUP).
 */
import { create, createSymlink, createTemporary, link, lookup, removeDirectory, rename, unlink } from '../engine/namespace.js';
import { EEXIST, EINVAL, ENOENT, EPERM, ESTALE, EXDEV } from '../linux/errno.js';
import { S_IALLUGO, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFMT, S_IFREG, S_IFSOCK } from '../linux/mode.js';
import { isPrivate, isSynthetic, nodeIno } from './node.js';
import * as P from './protocol.js';
import { replyCreated, replyEntry, replyNegative } from './reply.js';
import { argument, extensionBytes, gidOf, inoOf, layerOf, nameLength, stringLength, uidOf, type Request } from './request.js';
import { contentsChanged, leaveShared } from './sharing.js';

const RENAME_FLAGS = P.RENAME_NOREPLACE | P.RENAME_EXCHANGE | P.RENAME_WHITEOUT;

export function lookupName(r: Request): number {
  const length = nameLength(r, r.payload);
  if (length < 0) return length;
  const layer = layerOf(r);
  const ino = lookup(layer, inoOf(r), r.bytes, r.payload, length);
  if (ino === -ENOENT) return replyNegative(r);
  return ino < 0 ? ino : replyEntry(r, layer, ino);
}

/** Sets the extensions at the end of the payload aside; false if there can't be that many. */
function withoutExtensions(r: Request): boolean {
  r.payloadBytes -= extensionBytes(r);
  return r.payloadBytes >= 0;
}

function createNode(r: Request, mode: number, umask: number, rdev: number): number {
  if (!withoutExtensions(r)) return -EINVAL;
  const length = nameLength(r, r.payload);
  if (length < 0) return length;
  return create(layerOf(r), inoOf(r), r.bytes, r.payload, length, mode, umask, uidOf(r), gidOf(r), rdev);
}

/** Types that mknod can make. */
function isNode(mode: number): boolean {
  const type = mode & S_IFMT;
  return type === S_IFREG || type === S_IFIFO || type === S_IFSOCK || type === S_IFCHR || type === S_IFBLK;
}

/** The permissions, with the type that belongs to the request. */
const typed = (type: number, mode: number): number => type | (mode & S_IALLUGO);

export function makeNode(r: Request): number {
  const mode = argument(r, P.MKNOD_MODE);
  if (!isNode(mode)) return -EINVAL;
  const ino = createNode(r, typed(mode & S_IFMT, mode), argument(r, P.MKNOD_UMASK), argument(r, P.MKNOD_RDEV));
  return ino < 0 ? ino : replyEntry(r, layerOf(r), ino);
}

export function makeDirectory(r: Request): number {
  const mode = typed(S_IFDIR, argument(r, P.MKDIR_MODE));
  const ino = createNode(r, mode, argument(r, P.MKDIR_UMASK), 0);
  return ino < 0 ? ino : replyEntry(r, layerOf(r), ino);
}

export function createFile(r: Request): number {
  const ino = createNode(r, typed(S_IFREG, argument(r, P.CREATE_MODE)), argument(r, P.CREATE_UMASK), 0);
  // The name came into being behind the kernel's back. ESTALE makes it look the name up and open what it finds, with its
  // permission checks, instead of opening here something the caller may have no right to.
  if (ino === -EEXIST && (argument(r, P.CREATE_FLAGS) & P.O_EXCL) === 0) return -ESTALE;
  return ino < 0 ? ino : replyCreated(r, layerOf(r), ino);
}

/** O_TMPFILE. The name that comes along is always "/". */
export function createUnnamed(r: Request): number {
  const layer = layerOf(r);
  const mode = typed(S_IFREG, argument(r, P.CREATE_MODE));
  const ino = createTemporary(layer, inoOf(r), mode, argument(r, P.CREATE_UMASK), uidOf(r), gidOf(r));
  return ino < 0 ? ino : replyCreated(r, layer, ino);
}

export function makeSymlink(r: Request): number {
  if (!withoutExtensions(r)) return -EINVAL;
  const length = nameLength(r, r.payload);
  if (length < 0) return length;
  const target = r.payload + length + 1;
  const targetBytes = stringLength(r, target);
  if (targetBytes <= 0) return targetBytes === 0 ? -ENOENT : targetBytes;
  const layer = layerOf(r);
  const { bytes, payload } = r;
  const ino = createSymlink(layer, inoOf(r), bytes, payload, length, bytes, target, targetBytes, uidOf(r), gidOf(r));
  return ino < 0 ? ino : replyEntry(r, layer, ino);
}

/** 0 if the node in the arguments at `word` lies in the layer of the request, otherwise the error of a link or rename. */
function sameLayer(r: Request, word: number): number {
  const low = argument(r, word);
  const high = argument(r, word + 1);
  if (isSynthetic(high, low)) return -EPERM;
  return high === layerOf(r) ? 0 : -EXDEV;
}

export function makeLink(r: Request): number {
  const length = nameLength(r, r.payload);
  if (length < 0) return length;
  const refused = sameLayer(r, P.LINK_OLD_NODE);
  if (refused < 0) return refused;
  const layer = layerOf(r);
  const low = argument(r, P.LINK_OLD_NODE);
  if (!isPrivate(low)) {
    const stale = leaveShared(r, layer, nodeIno(low));
    if (stale < 0) return stale;
  }
  const ino = link(layer, nodeIno(low), inoOf(r), r.bytes, r.payload, length);
  if (ino < 0) return ino;
  const replied = replyEntry(r, layer, ino);
  if (!isPrivate(low)) contentsChanged(layer, ino);
  return replied;
}

export function unlinkName(r: Request): number {
  const length = nameLength(r, r.payload);
  return length < 0 ? length : unlink(layerOf(r), inoOf(r), r.bytes, r.payload, length);
}

export function removeDirectoryName(r: Request): number {
  const length = nameLength(r, r.payload);
  return length < 0 ? length : removeDirectory(layerOf(r), inoOf(r), r.bytes, r.payload, length);
}

export function renameName(r: Request): number {
  return renameWith(r, 0);
}

export function renameWithFlags(r: Request): number {
  const flags = argument(r, P.RENAME2_FLAGS);
  return (flags & ~RENAME_FLAGS) !== 0 ? -EINVAL : renameWith(r, flags);
}

function renameWith(r: Request, flags: number): number {
  const length = nameLength(r, r.payload);
  if (length < 0) return length;
  const newAt = r.payload + length + 1;
  const newLength = nameLength(r, newAt);
  if (newLength < 0) return newLength;
  const refused = sameLayer(r, P.RENAME_NEW_DIRECTORY);
  if (refused < 0) return refused;
  const newDirectory = nodeIno(argument(r, P.RENAME_NEW_DIRECTORY));
  return rename(layerOf(r), inoOf(r), r.bytes, r.payload, length, newDirectory, r.bytes, newAt, newLength, flags);
}
