/**
 * INIT: what this server and the kernel agree on for the life of a connection.
 *
 * Wanted, where the kernel offers it:
 *   ASYNC_READ, ASYNC_DIO      several reads ahead, and parts of one O_DIRECT call, at a time
 *   BIG_WRITES, MAX_PAGES      requests of up to 1 MiB
 *   ATOMIC_O_TRUNC             open(O_TRUNC) is one request; the truncation and the open succeed or fail together
 *   PARALLEL_DIROPS            lookups in one directory do not wait for each other
 *   DO_READDIRPLUS, …_AUTO     attributes come with the listing where the kernel expects to need them
 *   CACHE_SYMLINKS             the targets of links never change
 *   POSIX_ACL, DONT_MASK       the kernel checks ACLs; the engine gives new inodes theirs, or applies the umask
 *   HANDLE_KILLPRIV_V2         the engine takes set-user-ID bits and capabilities away on writing, so that the kernel does
 *                              not have to ask for security.capability before each write
 *   SETXATTR_EXT               setting an ACL may take the set-group-ID bit away
 *   EXPLICIT_INVAL_DATA        cached data goes only when told: nobody else changes files. AUTO_INVAL_DATA would drop it
 *                              after each write of our own, because the time of modification changed
 *   ABORT_ERROR                an abort through the control file can be told from an unmount
 *   OVER_IO_URING              if the transport is to be the ring
 *   PASSTHROUGH                if files are to be shared (sharing.ts). A file system may then be one layer of an overlayfs, not two
 *
 * The content mount (content.ts) only reads, so it takes no more than what makes that fast.
 *
 * Not wanted: WRITEBACK_CACHE (the engine always has everything that was written), POSIX_LOCKS and FLOCK_LOCKS (locks
 * are the kernel's business: nobody else uses the files), EXPORT_SUPPORT (file handles work for what the kernel has
 * cached), ALLOW_IDMAP (would hide who lists extended attributes), SECURITY_CTX and CREATE_SUPP_GROUP (names.ts).
 */
import { EPROTO } from '../linux/errno.js';
import * as P from './protocol.js';
import { argument, clearReply, type Request } from './request.js';

/** Pages of the largest request, the kernel's own default limit: 256 × 4 KiB = 1 MiB. */
export const REQUEST_PAGES_MAX = 256;
export const WRITE_BYTES_MAX = REQUEST_PAGES_MAX * 4096;

/** Reads ahead and the like that may be under way at once, before they wait in the kernel, and when it calls itself congested. */
const BACKGROUND_MAX = 128;
const CONGESTION_THRESHOLD = 96;

const WANTED =
  P.ASYNC_READ |
  P.ATOMIC_O_TRUNC |
  P.BIG_WRITES |
  P.DONT_MASK |
  P.DO_READDIRPLUS |
  P.READDIRPLUS_AUTO |
  P.ASYNC_DIO |
  P.PARALLEL_DIROPS |
  P.POSIX_ACL |
  P.ABORT_ERROR |
  P.MAX_PAGES |
  P.CACHE_SYMLINKS |
  P.EXPLICIT_INVAL_DATA |
  P.HANDLE_KILLPRIV_V2 |
  P.SETXATTR_EXT |
  P.INIT_EXT;

const WANTED_FOR_CONTENT =
  P.ASYNC_READ | P.BIG_WRITES | P.PARALLEL_DIROPS | P.ABORT_ERROR | P.MAX_PAGES | P.EXPLICIT_INVAL_DATA | P.INIT_EXT;

/** File systems between a file of the mount and the device: its content file. */
const STACK_DEPTH = 1;

/** What depends on how the connection is to be used. */
export interface Wishes {
  readonly uring: boolean;
  readonly passthrough: boolean;
  /** It is the connection of the content mount. */
  readonly content: boolean;
}

/** What came out of the negotiation. */
export interface Negotiated {
  readonly minor: number;
  readonly setxattrExtended: boolean;
  readonly uring: boolean;
  readonly passthrough: boolean;
}

/** Answers INIT; the length of the reply, or a negative error number if the kernel speaks another protocol. */
export function negotiate(r: Request, wishes: Wishes): number {
  if (argument(r, P.INIT_MAJOR) < P.FUSE_MAJOR || argument(r, P.INIT_MINOR) < P.FUSE_MINOR_MIN) return -EPROTO;
  const readahead = argument(r, P.INIT_READAHEAD);
  const minor = Math.min(argument(r, P.INIT_MINOR), P.FUSE_MINOR);
  const flags = argument(r, P.INIT_FLAGS) & (wishes.content ? WANTED_FOR_CONTENT : WANTED);
  const flags2 = offeredFlags2(r) & ((wishes.uring ? P.OVER_IO_URING : 0) | (wishes.passthrough ? P.PASSTHROUGH : 0));
  clearReply(r, P.INIT_OUT_BYTES);
  const words = r.words.subarray(r.replyWord, r.replyWord + P.INIT_OUT_BYTES / 4);
  words[P.INIT_OUT_MAJOR] = P.FUSE_MAJOR;
  words[P.INIT_OUT_MINOR] = minor;
  words[P.INIT_OUT_READAHEAD] = readahead;
  words[P.INIT_OUT_FLAGS] = flags;
  words[P.INIT_OUT_BACKGROUND] = BACKGROUND_MAX | (CONGESTION_THRESHOLD << 16);
  words[P.INIT_OUT_WRITE_MAX] = WRITE_BYTES_MAX;
  words[P.INIT_OUT_TIME_GRANULARITY] = 1;
  words[P.INIT_OUT_PAGES] = REQUEST_PAGES_MAX;
  words[P.INIT_OUT_FLAGS2] = flags2;
  words[P.INIT_OUT_STACK_DEPTH] = (flags2 & P.PASSTHROUGH) === 0 ? 0 : STACK_DEPTH;
  return P.INIT_OUT_BYTES;
}

function offeredFlags2(r: Request): number {
  const present = (argument(r, P.INIT_FLAGS) & P.INIT_EXT) !== 0 && r.payloadBytes >= 4;
  return present ? argument(r, P.INIT_FLAGS2) : 0;
}

/** Reads the outcome from the reply that `negotiate` made. */
export function negotiated(r: Request): Negotiated {
  const words = r.words.subarray(r.replyWord);
  return {
    minor: words[P.INIT_OUT_MINOR]!,
    setxattrExtended: (words[P.INIT_OUT_FLAGS]! & P.SETXATTR_EXT) !== 0,
    uring: (words[P.INIT_OUT_FLAGS2]! & P.OVER_IO_URING) !== 0,
    passthrough: (words[P.INIT_OUT_FLAGS2]! & P.PASSTHROUGH) !== 0,
  };
}
