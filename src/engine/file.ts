/** Regular files: everything that the layers above do with their contents. */
export { WRITE_KILL_SET_IDS, read, write } from './contents.js';
export { copyRange } from './copy.js';
export { SEEK_DATA, SEEK_HOLE, seekData } from './holes.js';
export { KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE, allocate, truncate } from './truncate.js';
