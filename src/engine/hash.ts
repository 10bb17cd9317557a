/**
 * The keyed hash of names: HalfSipHash-1-3 with 64 bits of result (J.-P. Aumasson, D. J. Bernstein), keyed with the
 * volume's random key and the directory, so that nobody can construct names that collide.
 *
 * The low 4 bits of the result are left zero for the collision number, and `hi` is never 0, which keeps the readdir
 * cookies of "." and ".." free.
 */
import { W } from '../layout/memory.js';
import { HASH_KEY } from './arena.js';

/** Result of the last `hashName`. */
export let hashHi = 0;
export let hashLo = 0;

let v0 = 0;
let v1 = 0;
let v2 = 0;
let v3 = 0;

function rotate(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}

function round(): void {
  v0 = (v0 + v1) | 0;
  v1 = rotate(v1, 5) ^ v0;
  v0 = rotate(v0, 16);
  v2 = (v2 + v3) | 0;
  v3 = rotate(v3, 8) ^ v2;
  v0 = (v0 + v3) | 0;
  v3 = rotate(v3, 7) ^ v0;
  v2 = (v2 + v1) | 0;
  v1 = rotate(v1, 13) ^ v2;
  v2 = rotate(v2, 16);
}

function absorb(word: number): void {
  v3 ^= word;
  round();
  v0 ^= word;
}

function squeeze(mark: number, register: 1 | 2): number {
  if (register === 2) v2 ^= mark;
  else v1 ^= mark;
  round();
  round();
  round();
  return (v1 ^ v3) >>> 0;
}

/** Hashes `length` bytes of a name in directory `dir` (or, in the catalog, 0) into `hashHi` and `hashLo`. */
export function hashName(dir: number, bytes: Uint8Array, at: number, length: number): void {
  const key0 = W[HASH_KEY]! ^ dir;
  const key1 = W[HASH_KEY + 1]!;
  v0 = key0;
  v1 = key1 ^ 0xee;
  v2 = 0x6c796765 ^ key0;
  v3 = 0x74656462 ^ key1;
  const whole = at + (length & ~3);
  let i = at;
  for (; i < whole; i += 4) absorb(bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24));
  let last = length << 24;
  for (let shift = 0; i < at + length; i++, shift += 8) last |= bytes[i]! << shift;
  absorb(last);
  const low = squeeze(0xee, 2);
  const high = squeeze(0xdd, 1);
  hashLo = (low & ~15) >>> 0;
  hashHi = high & 0x7fff_ffff || 1;
}
