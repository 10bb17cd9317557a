/** The memory allocator of the C library, as far as it can be told to keep less for itself. */
import koffi from 'koffi';

const libc = koffi.load('libc.so.6');
const mallopt = libc.func('mallopt', 'int', ['int', 'int']) as (parameter: number, value: number) => number;

const M_TRIM_THRESHOLD = -1;
const M_MMAP_THRESHOLD = -3;
const M_ARENA_MAX = -8;

/**
 * Memory that is freed goes back to the system soon: large blocks (buffers of streams) at once, and threads share arenas
 * instead of each having one of its own. To be called before other threads start.
 */
export function keepMallocSmall(): void {
  mallopt(M_MMAP_THRESHOLD, 64 << 10);
  mallopt(M_TRIM_THRESHOLD, 128 << 10);
  mallopt(M_ARENA_MAX, 2);
}
