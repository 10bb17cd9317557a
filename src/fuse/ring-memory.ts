/**
 * Memory of the ring entries: one file in memory for the mount and its content mount, mapped at the same addresses by every
 * process that serves them, one after the other. The kernel keeps the addresses of an entry for as long as the connection
 * lives, so a process can answer with them what another one was asked.
 *
 * First comes a page for each entry, then, from the next huge page on, WRITE_BYTES_MAX for the payload of each, which is for the
 * device to read into. In the page of an entry:
 *   0          header buffer: in header or out header, arguments at RING_ARGUMENTS, then commit id and length of the payload
 *   IOVECS     two iovecs, for registration
 *   MARKS      how far the request has come: see below
 *   SAVED      what the request was, as far as its reply is written over it
 *   SCRATCH    room for names
 *
 * Marks, each of two words that hold a commit id:
 *   SAVED_ID   the request is saved
 *   REPLIED    its reply is complete in the buffers; whether it was committed nobody can know, but may be tried
 * Words are written in this order, each after what it stands for, so they are right whenever the process dies.
 */
import { HUGE_BYTES } from '../linux/huge-pages.js';
import { mapMemoryFileAt, unmapMemoryFile } from '../linux/memory-file.js';
import { WRITE_BYTES_MAX } from './init.js';

const PAGE = 4096;

export const IOVECS = 512;
export const MARKS = 576;
export const SAVED = 640;
/** The in header, the length of the payload, and its beginning. */
export const SAVED_LENGTH = 40;
export const SAVED_PAYLOAD = 64;
/**
 * As much of a payload as a reply may be written over: a name of 255 bytes, for which GETXATTR asks; whoever sends more gets
 * less, 144 bytes for CREATE.
 */
export const SAVED_PAYLOAD_BYTES = 256;
export const SCRATCH = 1024;
/** Memory that an entry takes. */
export const ENTRY_MEMORY_BYTES = PAGE + WRITE_BYTES_MAX;

/** Above what V8 picks by chance for its own (2^46), below where programs and their libraries lie. */
export const RING_BASE = 0x4800_0000_0000;

/** Bytes for so many entries. */
export function entriesBytes(entries: number): number {
  return payloadOf(0, entries) + entries * WRITE_BYTES_MAX;
}

/** Where in the memory of `entries` entries the page of one is. */
export function pageOf(entry: number): number {
  return entry * PAGE;
}

/** Where the payload of one is. */
export function payloadOf(entry: number, entries: number): number {
  return Math.ceil((entries * PAGE) / HUGE_BYTES) * HUGE_BYTES + entry * WRITE_BYTES_MAX;
}

/** Maps the entries into this process, at RING_BASE. Throws if something else lies there. */
export function mapEntries(fd: number, entries: number): void {
  mapMemoryFileAt(fd, entriesBytes(entries), RING_BASE);
}

/** Once no thread uses them. */
export function unmapEntries(entries: number): void {
  unmapMemoryFile(RING_BASE, entriesBytes(entries));
}
