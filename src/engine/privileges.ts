/** What a file loses when somebody changes its contents or owner: set-id bits and capabilities (inode(7), capabilities(7)). */
import { INODE_HAS_XATTR, type Ino } from '../layout/constants.js';
import { S_ISGID, S_ISUID, S_IXGRP, isDirectory } from '../linux/mode.js';
import { CAPABILITY_NAME, dropXattr, findXattr, foreseeXattr } from './xattr-records.js';

/**
 * The mode without set-user-id and, if the group may execute the file, set-group-id. Without group execution that bit
 * once stood for mandatory locking and is kept; on directories both mean something else.
 */
export function withoutSetIds(mode: number): number {
  if (isDirectory(mode)) return mode;
  return mode & ~S_ISUID & ((mode & S_IXGRP) === 0 ? ~0 : ~S_ISGID);
}

/** Reads what `dropCapability` will change: to be called before the first change, as a page that cannot be read ends the operation. */
export function foreseeCapability(ino: Ino, flags: number): void {
  if ((flags & INODE_HAS_XATTR) !== 0 && findXattr(ino, CAPABILITY_NAME, 0, CAPABILITY_NAME.length)) foreseeXattr(ino);
}

/** Removes file capabilities, inside an operation. `flags` are those of the inode, so that files without any cost nothing. */
export function dropCapability(ino: Ino, flags: number): void {
  if ((flags & INODE_HAS_XATTR) !== 0) dropXattr(ino, CAPABILITY_NAME, 0, CAPABILITY_NAME.length);
}
