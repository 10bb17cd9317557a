/**
 * crc32 (zlib polynomial) by the fastest code that the machine has. All data that is read from or written to a volume passes
 * through it, so this decides about a good part of what that costs. GB/s on one CPU, in blocks of 4 KiB and in one piece:
 *
 *   libisal.so.2       24, 55    package libisal2, which comes with the program igzip (drivers/containerd/compression.ts)
 *   libdeflate.so.0    11, 14    package libdeflate0
 *   Node's own zlib     4,  5
 *   libz.so.1           4,  5    of Debian 12
 *
 * The first two multiply without carries in vectors, with whatever the processor offers. A library is taken only if it has
 * the function and gives what it should for a known input.
 */
import koffi from 'koffi';

/** `address` is a machine address; `seed` is 0, or the sum of what comes before. Unsigned. */
type Sum = (seed: number, address: number, bytes: number) => number;

/** Library (null: the node executable itself), name of the function, and its types of seed and length. */
const CANDIDATES: readonly (readonly [string | null, string, string, string])[] = [
  ['libisal.so.2', 'crc32_gzip_refl', 'uint32_t', 'uint64_t'],
  ['libdeflate.so.0', 'libdeflate_crc32', 'uint32_t', 'size_t'],
  [null, 'crc32', 'ulong', 'uint'],
  ['libz.so.1', 'crc32', 'ulong', 'uint'],
];

/** The check value of this polynomial that every table of checksums has. */
const KNOWN = new Uint8Array(Buffer.from('123456789'));
const KNOWN_SUM = 0xcbf4_3926;

/** The function of one library; undefined if it is not there or wrong. */
function load([library, name, seed, length]: (typeof CANDIDATES)[number]): Sum | undefined {
  try {
    const lib = koffi.load(library);
    const sum = lib.func(name, seed, [seed, 'void *', length]) as (seed: number, data: Uint8Array, bytes: number) => number;
    if (sum(sum(0, KNOWN, 4), KNOWN.subarray(4), 5) !== KNOWN_SUM) return undefined;
    return lib.func(name, seed, [seed, 'uint64_t', length]) as Sum;
  } catch {
    return undefined;
  }
}

/** All that are to be had, the fastest first. */
export function crc32Functions(): Sum[] {
  return CANDIDATES.map(load).filter((sum) => sum !== undefined);
}

function fastest(): Sum {
  for (const candidate of CANDIDATES) {
    const sum = load(candidate);
    if (sum !== undefined) return sum;
  }
  throw new Error('no library with crc32 found: install zlib (package zlib1g) or libisal2');
}

/** crc32 of `bytes` bytes at a machine address, continued from `seed` (0 at the start); unsigned. */
export const crc32: Sum = fastest();
