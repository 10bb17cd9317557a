/** What is known of a file without asking its file system, which may be one that never answers. */
import koffi from 'koffi';
import { addressOf } from './libc.js';

const AT_FDCWD = -100;
const AT_STATX_DONT_SYNC = 0x4000;
/** struct statx, and where in it the numbers of the device are. */
const STATX_BYTES = 256;
const DEVICE_MAJOR_WORD = 34;
const DEVICE_MINOR_WORD = 35;

const statx = koffi.load('libc.so.6').func('statx', 'int', ['int', 'str', 'int', 'uint', 'uint64_t']) as (
  dirfd: number,
  path: string,
  flags: number,
  mask: number,
  address: number,
) => number;

const words = new Uint32Array(STATX_BYTES / 4);

/** Device that a file lies on, links followed, as `major:minor`; undefined if there is no such file. */
export function deviceOf(path: string): string | undefined {
  if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, 0, addressOf(words)) !== 0) return undefined;
  return `${words[DEVICE_MAJOR_WORD]}:${words[DEVICE_MINOR_WORD]}`;
}
