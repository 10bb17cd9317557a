/**
 * The tar format: where the fields of a header block lie, and how numbers are written in them.
 *
 * An archive is a sequence of 512-byte blocks. Each entry is a header block and, for some types, data padded to whole
 * blocks; two blocks of zeros end the archive. Four dialects share the first 257 bytes and differ behind:
 *
 *   v7     nothing behind
 *   ustar  magic "ustar\0", device numbers, and a prefix of the name
 *   star   as ustar, with "tar\0" at the end and a shorter prefix
 *   GNU    magic "ustar  \0", device numbers, access time, and the map of a sparse file
 *
 * pax is ustar with an entry of type `x` before the entry proper, which holds `length key=value` records.
 */

export const TAR_BLOCK_BYTES = 512;

/** Fields as byte offset and length within the header block. */
export interface TarField {
  readonly at: number;
  readonly bytes: number;
}

export const NAME: TarField = { at: 0, bytes: 100 };
export const MODE: TarField = { at: 100, bytes: 8 };
export const UID: TarField = { at: 108, bytes: 8 };
export const GID: TarField = { at: 116, bytes: 8 };
export const SIZE: TarField = { at: 124, bytes: 12 };
export const MTIME: TarField = { at: 136, bytes: 12 };
export const CHECKSUM: TarField = { at: 148, bytes: 8 };
export const TYPE_AT = 156;
export const LINK_NAME: TarField = { at: 157, bytes: 100 };
/** Magic and version together, as GNU has no version. */
export const MAGIC: TarField = { at: 257, bytes: 8 };
export const MAJOR: TarField = { at: 329, bytes: 8 };
export const MINOR: TarField = { at: 337, bytes: 8 };
export const PREFIX: TarField = { at: 345, bytes: 155 };
export const STAR_PREFIX: TarField = { at: 345, bytes: 131 };
export const STAR_ATIME: TarField = { at: 476, bytes: 12 };
export const STAR_TRAILER_AT = 508;
export const GNU_ATIME: TarField = { at: 345, bytes: 12 };
export const GNU_CTIME: TarField = { at: 357, bytes: 12 };

/** Old GNU sparse map: pairs of offset and length, in the header and in extension blocks behind it. */
export const SPARSE_NUMBER_BYTES = 12;
export const SPARSE_HEADER_AT = 386;
export const SPARSE_HEADER_PAIRS = 4;
export const SPARSE_HEADER_MORE_AT = 482;
export const SPARSE_REAL_SIZE: TarField = { at: 483, bytes: 12 };
export const SPARSE_BLOCK_PAIRS = 21;
export const SPARSE_BLOCK_MORE_AT = 504;

/** What readers look at; the version behind it varies. */
export const USTAR_MAGIC = Buffer.from('ustar\x00', 'latin1');
export const USTAR_MAGIC_VERSION = Buffer.from('ustar\x0000', 'latin1');
export const STAR_TRAILER = Buffer.from('tar\x00', 'latin1');
export const GNU_MAGIC = Buffer.from('ustar  \x00', 'latin1');

/** Entry types: the byte at TYPE_AT. */
export const OLD_FILE = 0;
export const FILE = 0x30;
export const HARD_LINK = 0x31;
export const SYMLINK = 0x32;
export const CHARACTER_DEVICE = 0x33;
export const BLOCK_DEVICE = 0x34;
export const DIRECTORY = 0x35;
export const FIFO = 0x36;
/** A file that wants contiguous space; an ordinary file to everybody. */
export const CONTIGUOUS_FILE = 0x37;
export const GNU_SPARSE = 0x53;
export const GNU_LONG_NAME = 0x4c;
export const GNU_LONG_LINK = 0x4b;
export const PAX_HEADER = 0x78;
export const PAX_GLOBAL = 0x67;

/** An extended attribute as raw bytes. */
export interface Xattr {
  readonly name: Buffer;
  readonly value: Buffer;
}

export const PAX_XATTR = 'SCHILY.xattr.';

/** Bytes from the end of `size` bytes of data to the next block. */
export function paddingAfter(size: number): number {
  return (TAR_BLOCK_BYTES - (size % TAR_BLOCK_BYTES)) % TAR_BLOCK_BYTES;
}

/** Sum of the header's bytes as unsigned numbers, its checksum field counted as blanks. */
export function headerSum(block: Uint8Array, at: number): number {
  let sum = CHECKSUM.bytes * 0x20;
  for (let i = at; i < at + CHECKSUM.at; i++) sum += block[i]!;
  for (let i = at + TYPE_AT; i < at + TAR_BLOCK_BYTES; i++) sum += block[i]!;
  return sum;
}

/** The sum of bytes that a few old archivers wrote: bytes above 127 count as negative. */
export function headerSumSigned(block: Uint8Array, at: number): number {
  let sum = headerSum(block, at);
  for (let i = at; i < at + TAR_BLOCK_BYTES; i++) {
    const isChecksum = i - at >= CHECKSUM.at && i - at < TYPE_AT;
    if (block[i]! > 127 && !isChecksum) sum -= 256;
  }
  return sum;
}

/**
 * Number in a header field: octal digits, or base 256 in two's complement when the field's first bit is set. NaN if it
 * is neither. An empty field is 0. Numbers above 2^53 come out rounded.
 */
export function parseNumber(block: Uint8Array, at: number, field: TarField): number {
  const from = at + field.at;
  const to = from + field.bytes;
  return (block[from]! & 0x80) === 0 ? parseOctal(block, from, to) : parseBase256(block, from, to);
}

function isBlank(byte: number): boolean {
  return byte === 0 || byte === 0x20;
}

function parseOctal(block: Uint8Array, from: number, to: number): number {
  let at = from;
  while (at < to && isBlank(block[at]!)) at++;
  let value = 0;
  for (; at < to && !isBlank(block[at]!); at++) {
    const digit = block[at]! - 0x30;
    if (digit < 0 || digit > 7) return Number.NaN;
    value = value * 8 + digit;
  }
  // Behind a zero byte anything may follow, behind a blank nothing more.
  for (; at < to && block[at] !== 0; at++) if (block[at] !== 0x20) return Number.NaN;
  return value;
}

function parseBase256(block: Uint8Array, from: number, to: number): number {
  // Bit 7 of the first byte only marks the form, bit 6 is the sign. A negative number is complemented, built up as a
  // positive one, and complemented back: -1 - x.
  const flip = (block[from]! & 0x40) === 0 ? 0 : 0xff;
  let value = (block[from]! ^ flip) & 0x7f;
  for (let at = from + 1; at < to; at++) value = value * 256 + (block[at]! ^ flip);
  return flip === 0 ? value : -1 - value;
}

/** Length of the text in a field: up to its first zero byte. */
export function textLength(block: Uint8Array, at: number, field: TarField): number {
  const from = at + field.at;
  let length = 0;
  while (length < field.bytes && block[from + length] !== 0) length++;
  return length;
}
