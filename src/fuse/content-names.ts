/** Names on the content mount (content.ts): numbers as hexadecimal digits, without leading zeros. */
import type { LayerIndex } from '../layout/constants.js';

/** Low word of the nodeid of the root; the high word is 0. */
export const CONTENT_ROOT_LOW = 1;

/** Eight digits are 32 bits. */
const DIGITS_MAX = 8;
const DIGITS = Buffer.from('0123456789abcdef');
const ZERO = 0x30;
const NINE = 0x39;
const LETTER_A = 0x61;
const LETTER_F = 0x66;

/** The name of a layer's directory. */
export function contentLayerName(layer: LayerIndex): string {
  return layer.toString(16);
}

/** Writes the name of a number; returns where it ends. */
export function writeHex(bytes: Uint8Array, at: number, value: number): number {
  let shift = value === 0 ? 0 : (31 - Math.clz32(value)) & ~3;
  for (; shift >= 0; shift -= 4) bytes[at++] = DIGITS[(value >>> shift) & 15]!;
  return at;
}

/** The number that a name stands for; -1 if it is none of these names. */
export function parseHex(bytes: Uint8Array, at: number, length: number): number {
  if (length === 0 || length > DIGITS_MAX || (length > 1 && bytes[at] === ZERO)) return -1;
  let value = 0;
  for (let i = at; i < at + length; i++) {
    const digit = hexDigit(bytes[i]!);
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

function hexDigit(byte: number): number {
  if (byte >= ZERO && byte <= NINE) return byte - ZERO;
  return byte >= LETTER_A && byte <= LETTER_F ? byte - LETTER_A + 10 : -1;
}
