/**
 * The memory of the intent log: a file in memory that outlives the process while somebody else holds its descriptor, mapped
 * into the arena, so that every thread reaches it at LOG_AT.
 *
 *   0          header (record `log`), one page
 *   PLACES     for each place that serves requests, the origin of what was applied there last: two words
 *   APPLIED    origins that the last takeover found applied: two words each
 *   OVERWRITES for each thread, what it is overwriting in place (overwrites.ts)
 *   RING       the entries; mapped twice, one behind the other, so that each entry lies in one piece
 *
 * Positions in the ring count words, modulo 2^32; as the ring's size is a power of two, a position's low bits are its place.
 */
import { BLOCK_BYTES, BLOCK_WORDS } from '../layout/constants.js';
import { W } from '../layout/memory.js';
import {
  loadLogSide,
  logBlockA,
  logBlockB,
  logFlushedA,
  logFlushedB,
  logMagic,
  logRingWords,
  logSequenceA,
  logSequenceB,
  logVersion,
  setLogBlockA,
  setLogBlockB,
  setLogFlushedA,
  setLogFlushedB,
  setLogMagic,
  setLogRingWords,
  setLogSequenceA,
  setLogSequenceB,
  setLogVersion,
  storeLogSide,
} from '../layout/records.js';
import { createMemoryFile, mapMemoryFile } from '../linux/memory-file.js';
import { LOG_AT, THREADS_MAX, addressOfWord, type ArenaShape } from './arena.js';
import { LcfsError } from './errors.js';

/** "LCFL" as a little-endian word. */
const LOG_MAGIC = 0x4c46_434c;
/** Counts up with every change of what lies in the memory. */
const LOG_VERSION = 1;

/** Places that a request may be served at: ring entries and threads. */
export const ORIGIN_PLACES = 4096;
/** Origins that a takeover keeps: those of all places, and as many of takeovers before. */
export const APPLIED_MAX = 2 * ORIGIN_PLACES;
export const OVERWRITE_WORDS = 8;

const PLACES_FROM = BLOCK_WORDS;
const APPLIED_FROM = PLACES_FROM + ORIGIN_PLACES * 2;
const OVERWRITES_FROM = APPLIED_FROM + APPLIED_MAX * 2;
const RING_FROM = Math.ceil((OVERWRITES_FROM + THREADS_MAX * OVERWRITE_WORDS) / BLOCK_WORDS) * BLOCK_WORDS;

/** 32 MiB: seventy thousand new files, or several seconds of any load, between two checkpoints. */
const RING_BYTES_DEFAULT = 32 << 20;
const RING_BYTES_MIN = 4 << 20;

/** The memory of an intent log, as another process or thread gets it. Survives structured cloning. */
export interface LogMemory {
  /** Descriptor of the memory file. */
  readonly fd: number;
  /** Size of the file. */
  readonly bytes: number;
}

/**
 * Makes memory for an intent log, with room for `bytes` bytes of entries (4 MiB at least; a power of two or the next smaller
 * one), all of which is used up only under load. Whoever makes it closes its descriptor.
 */
export function createLogMemory(bytes: number = RING_BYTES_DEFAULT): LogMemory {
  const ring = 2 ** Math.floor(Math.log2(Math.max(bytes, RING_BYTES_MIN)));
  const total = RING_FROM * 4 + ring;
  return { fd: createMemoryFile('lcfs-log', total), bytes: total };
}

/** Bytes of the ring in a memory. */
function ringBytes(log: LogMemory): number {
  const ring = log.bytes - RING_FROM * 4;
  if (ring >= RING_BYTES_MIN && Number.isInteger(Math.log2(ring))) return ring;
  throw new LcfsError('invalid', `log memory has ${log.bytes} bytes, which no log memory has; make it with createLogMemory`);
}

/** Words of the arena to set aside for a memory. */
export function logWordsFor(log: LogMemory): number {
  return RING_FROM + (ringBytes(log) / 4) * 2;
}

/** Maps the memory into the arena that the calling thread has just made. */
export function mapLogMemory(log: LogMemory, arena: ArenaShape): void {
  const ring = ringBytes(log);
  if (arena.logWords !== logWordsFor(log)) throw new Error('the arena has no room for this log memory');
  const address = addressOfWord(LOG_AT);
  mapMemoryFile(log.fd, 0, log.bytes, address);
  mapMemoryFile(log.fd, RING_FROM * 4, ring, address + log.bytes);
}

/** Whether the memory holds a log that this software can read. Throws LcfsError('state') if other software left it. */
export function holdsLog(): boolean {
  if (logMagic(LOG_AT) === 0) return false;
  if (logMagic(LOG_AT) === LOG_MAGIC && logVersion(LOG_AT) === LOG_VERSION) return true;
  throw new LcfsError('state', 'the log memory was left by another version of lcfs; let that version close the volume first');
}

/** Makes the memory that of an empty log. */
export function clearLog(log: LogMemory): void {
  W.fill(0, LOG_AT, LOG_AT + RING_FROM);
  setLogRingWords(LOG_AT, ringBytes(log) / 4);
  setLogVersion(LOG_AT, LOG_VERSION);
  setLogMagic(LOG_AT, LOG_MAGIC);
}

/** Word at a position of the ring. As much as the ring is long may be used from there on. */
export function ringAt(position: number): number {
  return LOG_AT + RING_FROM + ((position & (logRingWords(LOG_AT) - 1)) >>> 0);
}

export function placeAt(place: number): number {
  return LOG_AT + PLACES_FROM + place * 2;
}

export function appliedAt(index: number): number {
  return LOG_AT + APPLIED_FROM + index * 2;
}

export function overwriteAt(thread: number): number {
  return LOG_AT + OVERWRITES_FROM + thread * OVERWRITE_WORDS;
}

// How far the entries are on the device. The fields have two sets, so that they change together whenever the process dies.

/** Position up to which the entries are on the device. */
export function flushedTo(): number {
  return loadLogSide(LOG_AT) === 0 ? logFlushedA(LOG_AT) : logFlushedB(LOG_AT);
}

/** Where on the device the next batch goes, counted in blocks, modulo 2^32. */
export function nextBatchBlock(): number {
  return loadLogSide(LOG_AT) === 0 ? logBlockA(LOG_AT) : logBlockB(LOG_AT);
}

export function nextBatchSequence(): number {
  return loadLogSide(LOG_AT) === 0 ? logSequenceA(LOG_AT) : logSequenceB(LOG_AT);
}

export function setBatches(flushed: number, block: number, sequence: number): void {
  const side = 1 - loadLogSide(LOG_AT);
  (side === 0 ? setLogFlushedA : setLogFlushedB)(LOG_AT, flushed);
  (side === 0 ? setLogBlockA : setLogBlockB)(LOG_AT, block);
  (side === 0 ? setLogSequenceA : setLogSequenceB)(LOG_AT, sequence);
  storeLogSide(LOG_AT, side);
}

/** Bytes before the ring, for those who look at a memory from outside. */
export const LOG_HEADER_BYTES: number = RING_FROM * 4;

if (LOG_HEADER_BYTES % BLOCK_BYTES !== 0) throw new Error('the ring begins at a page');
