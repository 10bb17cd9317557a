/** How this folder reports what is wrong with an archive: `archive entry 17 "etc/passwd": its size is negative`. */
import {
  EDQUOT,
  EIO,
  ENAMETOOLONG,
  ENOSPC,
  EROFS,
  ESTALE,
  ENODATA,
  EMLINK,
  E2BIG,
  EFBIG,
  ERANGE,
  EOPNOTSUPP,
  ENOTDIR,
  ENOENT,
  EPERM,
} from '../linux/errno.js';
import { LcfsError, type ErrorCode } from '../engine/errors.js';

const SHOWN_BYTES_MAX = 120;

/** A path for people: quoted, control characters escaped, cut if it is very long. */
export function quotePath(path: Uint8Array): string {
  const cut = Buffer.from(path.buffer, path.byteOffset, Math.min(path.length, SHOWN_BYTES_MAX));
  return JSON.stringify(cut.toString() + (path.length > SHOWN_BYTES_MAX ? '…' : ''));
}

/** Refusal of one entry. `index` counts from 1; `path` is null while it is not known yet. */
export function entryError(index: number, path: Uint8Array | null, cause: string, code: ErrorCode = 'invalid'): LcfsError {
  const name = path === null ? '' : ` ${quotePath(path)}`;
  return new LcfsError(code, `archive entry ${index}${name}: ${cause}`);
}

const CAUSES: ReadonlyMap<number, readonly [ErrorCode, string]> = new Map<number, readonly [ErrorCode, string]>([
  [ENOSPC, ['full', 'no space left on the volume']],
  [EDQUOT, ['full', 'the layer reached its quota']],
  [EIO, ['io', 'the volume could not be read or written']],
  [EROFS, ['state', 'the layer is sealed']],
  [ESTALE, ['state', 'the layer does not exist any more']],
  [ENOENT, ['invalid', 'a part of its path disappeared']],
  [ENOTDIR, ['invalid', 'a part of its path is not a directory']],
  [ENAMETOOLONG, ['invalid', 'a name is longer than 255 bytes']],
  [EMLINK, ['invalid', 'too many links to one file']],
  [EFBIG, ['invalid', 'the file is larger than 16 TiB']],
  [E2BIG, ['invalid', 'an extended attribute is larger than 64 KiB']],
  [ERANGE, ['invalid', 'the name of an extended attribute is longer than 255 bytes']],
  [ENODATA, ['invalid', 'an extended attribute is missing']],
  [EOPNOTSUPP, ['invalid', 'the file does not take this extended attribute']],
  [EPERM, ['invalid', 'this is not possible for a file of its type']],
]);

/** Kind of failure and cause for a negative errno that an engine call returned. */
export function causeOf(result: number): readonly [ErrorCode, string] {
  return CAUSES.get(-result) ?? ['invalid', `it was refused with error ${-result}`];
}
