/**
 * A request as handlers see it, the same whichever transport carries it.
 *
 * Each ring entry and each /dev/fuse thread owns one Request for life; nothing is made per request. It says where in one
 * block of memory things lie:
 *
 *   head        word index of the 40-byte in header
 *   args        word index of the fixed arguments (`fuse_…_in`)
 *   payload     byte offset of what follows them: names, data, values; `payloadBytes` long
 *   reply       byte offset where the body of the reply goes, page aligned so that file data can be read straight into it;
 *               `replyBytes` of room
 *   scratch     byte offset of SCRATCH_BYTES of room
 *
 * On io_uring `reply` is the same memory as `payload`: a handler has to be done with the payload before it writes a
 * reply, or copy what it still needs to `scratch`.
 *
 * Nothing that comes from outside is believed: `payloadBytes` is what was really received, and every name, size and
 * count is checked against it before use.
 */
import { NAME_BYTES_MAX } from '../layout/constants.js';
import type { ReadPlan } from '../engine/planned-read.js';
import type { IoBuffer } from '../linux/libc.js';
import { EINVAL, ENAMETOOLONG } from '../linux/errno.js';
import { IN_EXTENSIONS, IN_GID, IN_NODE, IN_OPCODE, IN_UID, IN_UNIQUE } from './protocol.js';

/** In the high word of a unique number: the request is sent a second time, as the process that had it died. */
const RESENT = 0x8000_0000;

/** Two names of 255 bytes, rounded up. */
export const SCRATCH_BYTES = 512;

const TWO_32 = 4294967296;

export interface RequestPlaces {
  readonly head: number;
  readonly args: number;
  readonly payload: number;
  readonly reply: number;
  readonly replyBytes: number;
  readonly scratch: number;
}

export class Request {
  readonly io: IoBuffer;
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
  readonly head: number;
  readonly args: number;
  payload: number;
  payloadBytes = 0;
  readonly reply: number;
  /** `reply` as a word index. */
  readonly replyWord: number;
  readonly replyBytes: number;
  readonly scratch: number;
  /** For a READ; null if it is not to be planned (reading.ts). */
  plan: ReadPlan | null = null;
  /** Whether the queue takes READING for an answer. */
  mayAnswerLater = false;
  /** Whether another process, which died, may have begun to serve it. On /dev/fuse the unique number says so. */
  isRescued = false;
  /** Where it is served: a number that no other request has at the same time (engine/origins.ts). */
  origin = 0;

  constructor(io: IoBuffer, words: Uint32Array, places: RequestPlaces) {
    this.io = io;
    this.bytes = io.bytes;
    this.words = words;
    this.head = places.head;
    this.args = places.args;
    this.payload = places.payload;
    this.reply = places.reply;
    this.replyWord = places.reply / 4;
    this.replyBytes = places.replyBytes;
    this.scratch = places.scratch;
  }
}

/** The memory of `io` as words. */
export function wordsOf(io: IoBuffer): Uint32Array {
  return new Uint32Array(io.bytes.buffer, io.bytes.byteOffset, io.bytes.length / 4);
}

export const opcodeOf = (r: Request): number => r.words[r.head + IN_OPCODE]!;
export const uniqueLow = (r: Request): number => r.words[r.head + IN_UNIQUE]!;
export const uniqueHigh = (r: Request): number => r.words[r.head + IN_UNIQUE + 1]!;
export const nodeLowOf = (r: Request): number => r.words[r.head + IN_NODE]!;
/** The high word of the unique number, the same however often the request is sent. */
export const requestHigh = (r: Request): number => (r.words[r.head + IN_UNIQUE + 1]! & ~RESENT) >>> 0;
export const wasBegun = (r: Request): boolean => r.isRescued || (r.words[r.head + IN_UNIQUE + 1]! & RESENT) !== 0;
/** Layer index: the high word of the nodeid. */
export const layerOf = (r: Request): number => r.words[r.head + IN_NODE + 1]!;
/** Inode number: the low word of the nodeid without its private bit. */
export const inoOf = (r: Request): number => r.words[r.head + IN_NODE]! >>> 1;
export const uidOf = (r: Request): number => r.words[r.head + IN_UID]!;
export const gidOf = (r: Request): number => r.words[r.head + IN_GID]!;
export const extensionBytes = (r: Request): number => (r.words[r.head + IN_EXTENSIONS]! & 0xffff) * 8;

/** A word of the fixed arguments. */
export const argument = (r: Request, word: number): number => r.words[r.args + word]!;
/** A 64-bit argument; above 2^53 it is only approximate, and beyond every limit anyway. */
export const argument64 = (r: Request, word: number): number => r.words[r.args + word + 1]! * TWO_32 + r.words[r.args + word]!;

/** Sets one 64-bit field of the reply. */
export function reply64(r: Request, word: number, value: number): void {
  r.words[r.replyWord + word] = value % TWO_32;
  r.words[r.replyWord + word + 1] = Math.floor(value / TWO_32);
}

/** Answers with a single number. */
export function replyNumber(r: Request, value: number): number {
  reply64(r, 0, value);
  return 8;
}

/** Clears `bytes` (a multiple of 4) of the reply. */
export function clearReply(r: Request, bytes: number): void {
  r.words.fill(0, r.replyWord, r.replyWord + bytes / 4);
}

const SLASH = 0x2f;
const DOT = 0x2e;

const isDots = (bytes: Uint8Array, at: number, length: number): boolean =>
  bytes[at] === DOT && (length === 1 || (length === 2 && bytes[at + 1] === DOT));

/** Length of the terminated string at `at`, or -EINVAL if the payload ends first. */
export function stringLength(r: Request, at: number): number {
  const end = r.payload + r.payloadBytes;
  const bytes = r.bytes;
  let here = at;
  while (here < end && bytes[here] !== 0) here++;
  return here < end ? here - at : -EINVAL;
}

/** Length of the file name at `at`; -EINVAL for what is no name of an entry, -ENAMETOOLONG. */
export function nameLength(r: Request, at: number): number {
  const length = stringLength(r, at);
  if (length <= 0) return -EINVAL;
  if (length > NAME_BYTES_MAX) return -ENAMETOOLONG;
  const bytes = r.bytes;
  for (let i = at; i < at + length; i++) if (bytes[i] === SLASH) return -EINVAL;
  return isDots(bytes, at, length) ? -EINVAL : length;
}

/** Copies a name out of the way of the reply; returns where it now is. */
export function copyToScratch(r: Request, at: number, length: number): number {
  r.bytes.copyWithin(r.scratch, at, at + length);
  return r.scratch;
}
