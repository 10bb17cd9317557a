/**
 * From a request to the engine and back, for every transport alike.
 *
 * `serve` returns the length of the reply's body, a negative error number, or NO_REPLY; to a queue that allows it also DEFERRED
 * (to be served again, deferral.ts) or READING (reading.ts). It never throws on account of what a request contains: an
 * exception out of it is a bug, and the transport ends the process.
 *
 * A thread serves the volume or its content mount (content.ts). A table for each kind of node says who handles an opcode; what is in no table is ENOSYS, which the kernel remembers for
 * many operations and then does without: so the absence of OPENDIR, FLUSH, ACCESS, POLL,
 * IOCTL and the lock operations from the tables is deliberate.
 */
import { performance } from 'node:perf_hooks';
import { isDeferred } from '../engine/deferral.js';
import { setOrigin } from '../engine/origins.js';
import { syncVolume } from '../engine/durability.js';
import { recordOperation, statKind, type StatKind } from '../engine/stats.js';
import { EINVAL, EIO, ENOSYS, EPERM, ESTALE } from '../linux/errno.js';
import { FROM_THE_START, answerAgain } from './again.js';
import * as content from './content.js';
import * as data from './data.js';
import { listDirectory, listDirectoryPlus } from './directory.js';
import { NO_REPLY, forgetMany, forgetOne } from './forget.js';
import * as inodes from './inodes.js';
import * as names from './names.js';
import { isPrivate, isSynthetic } from './node.js';
import { releaseFile } from './open-files.js';
import * as P from './protocol.js';
import { READING } from './reading.js';
import { layerOf, nodeLowOf, opcodeOf, requestHigh, uniqueLow, wasBegun, type Request } from './request.js';
import { isSharing } from './sharing.js';
import { getStatistics, getVolumeStatistics } from './statfs.js';
import * as synthetic from './synthetic.js';
import * as xattrs from './xattrs.js';

export { NO_REPLY } from './forget.js';
export { READING } from './reading.js';

type Handler = (r: Request) => number;

const notKnown: Handler = () => -ENOSYS;
const notPermitted: Handler = () => -EPERM;
const stale: Handler = () => -ESTALE;
const silent: Handler = () => NO_REPLY;
const done: Handler = () => 0;

/** The highest error number the kernel takes; a wrong one would make it drop the reply. */
const ERROR_MAX = 511;

function table(fill: (handlers: Handler[]) => void): readonly Handler[] {
  const handlers = new Array<Handler>(P.OPCODES).fill(notKnown);
  handlers[P.FORGET] = handlers[P.BATCH_FORGET] = handlers[P.INTERRUPT] = silent;
  handlers[P.NOTIFY_REPLY] = silent;
  handlers[P.DESTROY] = done;
  fill(handlers);
  return handlers;
}

/** Inodes of layers. */
const OF_LAYERS = table((handlers) => {
  handlers[P.LOOKUP] = names.lookupName;
  handlers[P.FORGET] = forgetOne;
  handlers[P.BATCH_FORGET] = forgetMany;
  handlers[P.GETATTR] = inodes.getAttributes;
  handlers[P.SETATTR] = inodes.changeAttributes;
  handlers[P.READLINK] = inodes.readTarget;
  handlers[P.SYMLINK] = names.makeSymlink;
  handlers[P.MKNOD] = names.makeNode;
  handlers[P.MKDIR] = names.makeDirectory;
  handlers[P.UNLINK] = names.unlinkName;
  handlers[P.RMDIR] = names.removeDirectoryName;
  handlers[P.RENAME] = names.renameName;
  handlers[P.RENAME2] = names.renameWithFlags;
  handlers[P.LINK] = names.makeLink;
  handlers[P.CREATE] = names.createFile;
  handlers[P.TMPFILE] = names.createUnnamed;
  handlers[P.OPEN] = data.openFile;
  handlers[P.READ] = data.readFile;
  handlers[P.WRITE] = data.writeFile;
  handlers[P.FALLOCATE] = data.allocateRange;
  handlers[P.LSEEK] = data.seekFile;
  handlers[P.COPY_FILE_RANGE] = handlers[P.COPY_FILE_RANGE_64] = data.copyFileRange;
  handlers[P.FSYNC] = handlers[P.FSYNCDIR] = data.syncFile;
  handlers[P.RELEASE] = releaseFile;
  handlers[P.RELEASEDIR] = done;
  handlers[P.STATFS] = getStatistics;
  handlers[P.STATX] = inodes.getStatx;
  handlers[P.READDIR] = listDirectory;
  handlers[P.READDIRPLUS] = listDirectoryPlus;
  handlers[P.SETXATTR] = xattrs.setAttribute;
  handlers[P.GETXATTR] = xattrs.getAttribute;
  handlers[P.LISTXATTR] = xattrs.listAttributes;
  handlers[P.REMOVEXATTR] = xattrs.removeAttribute;
});

/** The root of the mount and `layers`. */
const OF_SYNTHETIC = table((handlers) => {
  for (let opcode = 0; opcode < P.OPCODES; opcode++) if (isChange(opcode)) handlers[opcode] = notPermitted;
  handlers[P.LOOKUP] = synthetic.lookupSynthetic;
  handlers[P.GETATTR] = synthetic.getSyntheticAttributes;
  handlers[P.STATX] = synthetic.getSyntheticStatx;
  handlers[P.READDIR] = synthetic.listSynthetic;
  handlers[P.READDIRPLUS] = synthetic.listSyntheticPlus;
  handlers[P.STATFS] = getVolumeStatistics;
  handlers[P.FSYNCDIR] = handlers[P.RELEASEDIR] = done;
  handlers[P.SYNCFS] = syncVolume;
  handlers[P.GETXATTR] = synthetic.getSyntheticXattr;
  handlers[P.LISTXATTR] = synthetic.listSyntheticXattrs;
});

/** Everything that is handled for layers but has no place in the synthetic directories. */
function isChange(opcode: number): boolean {
  const handler = OF_LAYERS[opcode]!;
  return ![notKnown, silent, done, forgetOne, forgetMany].includes(handler);
}

/** Nodeids that were never given out. A request about several inodes (BATCH_FORGET) has nodeid 0. */
const OF_NOTHING = table((handlers) => {
  for (let opcode = 0; opcode < P.OPCODES; opcode++) if (isChange(opcode)) handlers[opcode] = stale;
  handlers[P.BATCH_FORGET] = forgetMany;
});

/** The content mount. */
const OF_CONTENT = table((handlers) => {
  for (let opcode = 0; opcode < P.OPCODES; opcode++) if (isChange(opcode)) handlers[opcode] = content.refuseChange;
  handlers[P.LOOKUP] = content.lookupContent;
  handlers[P.GETATTR] = content.getContentAttributes;
  handlers[P.READ] = content.readContent;
  handlers[P.OPEN] = handlers[P.STATX] = handlers[P.GETXATTR] = handlers[P.LISTXATTR] = notKnown;
  handlers[P.FSYNC] = handlers[P.FSYNCDIR] = handlers[P.RELEASE] = handlers[P.RELEASEDIR] = done;
});

function tableForVolume(high: number, low: number): readonly Handler[] {
  if (isPrivate(low)) return isSynthetic(high, low) ? OF_SYNTHETIC : OF_LAYERS;
  return isSharing() && !isSynthetic(high, low) ? OF_LAYERS : OF_NOTHING;
}

let tableFor = tableForVolume;
let isServingContents = false;

/** Lets this thread serve the content mount instead of the volume. */
export function serveContents(): void {
  isServingContents = true;
  tableFor = () => OF_CONTENT;
}

/** How each opcode is counted. */
const KINDS: readonly number[] = kinds();

function kinds(): number[] {
  const numbers = new Array<number>(P.OPCODES).fill(statKind('other'));
  const count = (kind: StatKind, ...opcodes: number[]): void => opcodes.forEach((opcode) => (numbers[opcode] = statKind(kind)));
  count('lookup', P.LOOKUP);
  count('getattr', P.GETATTR, P.STATX);
  count('setattr', P.SETATTR);
  count('readlink', P.READLINK);
  count('create', P.CREATE);
  count('mkdir', P.MKDIR);
  count('mknod', P.MKNOD);
  count('symlink', P.SYMLINK);
  count('link', P.LINK);
  count('tmpfile', P.TMPFILE);
  count('unlink', P.UNLINK);
  count('rmdir', P.RMDIR);
  count('rename', P.RENAME, P.RENAME2);
  count('open', P.OPEN);
  count('read', P.READ);
  count('write', P.WRITE);
  count('release', P.RELEASE, P.RELEASEDIR);
  count('flush', P.FLUSH);
  count('fsync', P.FSYNC, P.FSYNCDIR, P.SYNCFS);
  count('opendir', P.OPENDIR);
  count('readdir', P.READDIR, P.READDIRPLUS);
  count('fallocate', P.FALLOCATE);
  count('lseek', P.LSEEK);
  count('copy', P.COPY_FILE_RANGE, P.COPY_FILE_RANGE_64);
  count('getxattr', P.GETXATTR);
  count('setxattr', P.SETXATTR);
  count('listxattr', P.LISTXATTR);
  count('removexattr', P.REMOVEXATTR);
  count('statfs', P.STATFS);
  count('forget', P.FORGET, P.BATCH_FORGET);
  count('ioctl', P.IOCTL);
  count('lock', P.GETLK, P.SETLK, P.SETLKW);
  return numbers;
}

/** Bytes of the fixed arguments of a request; what is not known has none. */
export function argumentsBytes(opcode: number): number {
  if (opcode === P.SETXATTR) return xattrs.setxattrBytes();
  return opcode < P.OPCODES ? P.ARGUMENTS_BYTES[opcode]! : 0;
}

/** What `serve` returns for a request that has to be served again when certain blocks have come. Beyond any error number. */
export const DEFERRED = -0x1_0002;

/** Handles a request that arrived at `started` (performance.now). `payloadBytes` below 0 says that it was too short for its arguments. */
export function serve(r: Request, started = performance.now()): number {
  const opcode = opcodeOf(r);
  if (opcode >= P.OPCODES) return -ENOSYS;
  const handler = tableFor(layerOf(r), nodeLowOf(r))[opcode]!;
  setOrigin(uniqueLow(r), requestHigh(r), r.origin);
  const result = r.payloadBytes < 0 ? refuseShort(opcode) : handle(r, opcode, handler);
  if (isDeferred()) return DEFERRED;
  if (result === READING) return READING;
  recordServed(r, started, result);
  return result >= -ERROR_MAX || result === NO_REPLY ? result : -EIO;
}

function handle(r: Request, opcode: number, handler: Handler): number {
  if (wasBegun(r) && !isServingContents) {
    const result = answerAgain(r, opcode);
    if (result !== FROM_THE_START) return result;
  }
  return handler(r);
}

/** Counts a request that has come to its end. */
export function recordServed(r: Request, started: number, result: number): void {
  recordOperation(layerOf(r), KINDS[opcodeOf(r)]!, (performance.now() - started) * 1000, result === NO_REPLY ? 0 : result);
}

function refuseShort(opcode: number): number {
  return OF_NOTHING[opcode] === silent || opcode === P.BATCH_FORGET ? NO_REPLY : -EINVAL;
}
