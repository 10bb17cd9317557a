/** Beginning to write out what the kernel holds back for a file. */
import koffi from 'koffi';

const SYNC_FILE_RANGE_WRITE = 2;
const syncFileRange = koffi.load('libc.so.6').func('sync_file_range', 'int', ['int', 'long', 'long', 'uint']) as (
  fd: number,
  offset: number,
  bytes: number,
  flags: number,
) => number;

/**
 * Lets the kernel begin to write the file's dirty pages, and does not wait for them, unless the device has more to do than
 * it queues. Nothing is durable by it; a later flush has less to do. It does not matter if it fails.
 */
export function startWriteOut(fd: number): void {
  syncFileRange(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}
