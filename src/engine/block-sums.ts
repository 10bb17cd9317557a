/**
 * The checksum of a run of blocks from those of its blocks, so that one pass over the run proves all of them: summing up 1 MiB
 * in one piece takes half the time that it takes in 256.
 *
 * crc32 of A and then B, where B is a block, is shift(crc32 of A) xor crc32 of B. The shift by a block is linear in the bits of
 * the sum: what it makes of each byte of it is tabulated.
 */
import { BLOCK_BYTES } from '../layout/constants.js';
import { crc32, ioBuffer } from '../linux/libc.js';

const BYTES = 4;
/** What the shift makes of byte value v in byte b of a sum, at b * 256 + v. */
const shifted = makeTable();

function makeTable(): Uint32Array {
  const zeros = ioBuffer(BLOCK_BYTES).address;
  const table = new Uint32Array(BYTES * 256);
  // A seed goes through the block like what comes before it; the sum of the block itself is taken out again.
  const ofZeros = crc32(0, zeros, BLOCK_BYTES);
  for (let byte = 0; byte < BYTES; byte++) {
    for (let value = 0; value < 256; value++) {
      table[byte * 256 + value] = crc32((value << (byte * 8)) >>> 0, zeros, BLOCK_BYTES) ^ ofZeros;
    }
  }
  return table;
}

/** The checksum of `count` blocks, at least one, whose own are in `sums` from `first` on. Unsigned. */
export function sumOfBlocks(sums: Uint32Array, first: number, count: number): number {
  let sum = sums[first]!;
  for (let i = first + 1; i < first + count; i++) {
    const shiftedSum =
      shifted[sum & 0xff]! ^ shifted[256 + ((sum >>> 8) & 0xff)]! ^ shifted[512 + ((sum >>> 16) & 0xff)]! ^ shifted[768 + (sum >>> 24)]!;
    sum = (shiftedSum ^ sums[i]!) >>> 0;
  }
  return sum;
}
