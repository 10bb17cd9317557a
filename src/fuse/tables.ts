/**
 * What all threads of the mount share beside the engine, and what the next process needs when this one dies: a file in memory,
 * mapped over a SharedArrayBuffer of each process.
 *
 *   OPENINGS      every opening that must be known (openings.ts): what all other counts are made from after a death
 *   COUNTERS      openings for reading and writing (open-files.ts)
 *   BACKINGS, PASSINGS, DOORS, IDLE, TICKETS     shared files (sharing.ts)
 *   BEHIND        what the kernel has still to be told (behind.ts)
 */
import { addressOf } from '../linux/libc.js';
import { createMemoryFile, mapMemoryFile } from '../linux/memory-file.js';
import { BEHIND_BYTES } from './behind.js';
import { COUNT_TABLE_BYTES } from './count-table.js';
import { IDLE_IDS_BYTES } from './idle-ids.js';
import { OPENINGS_BYTES } from './openings.js';
import { TICKETS_BYTES } from './tickets.js';

const PAGE = 4096;
/** 16 KiB: a thousand files in use as databases rarely share a counter. */
export const COUNTERS = 4096;

export const COUNTERS_AT = 0;
export const BACKINGS_AT = COUNTERS_AT + COUNTERS * 4;
export const PASSINGS_AT = BACKINGS_AT + COUNT_TABLE_BYTES;
export const DOORS_AT = PASSINGS_AT + COUNT_TABLE_BYTES;
export const IDLE_AT = DOORS_AT + COUNT_TABLE_BYTES;
export const TICKETS_AT = IDLE_AT + IDLE_IDS_BYTES;
export const BEHIND_AT = TICKETS_AT + TICKETS_BYTES;
export const OPENINGS_AT = BEHIND_AT + BEHIND_BYTES;
/** 34 MiB, of which only what is used is backed. */
export const TABLES_BYTES = Math.ceil((OPENINGS_AT + OPENINGS_BYTES) / PAGE) * PAGE;

/** The tables as a thread gets them: byte `at` of `memory`. */
export interface Tables {
  readonly memory: SharedArrayBuffer;
  readonly at: number;
}

/** Tables of nobody but this process, empty. */
export function newTables(): Tables {
  return { memory: new SharedArrayBuffer(TABLES_BYTES), at: 0 };
}

/** Makes the file for tables, empty; returns its descriptor. */
export function createTables(): number {
  return createMemoryFile('lcfs-tables', TABLES_BYTES);
}

/** Where this process has tables mapped: it serves one mount at a time, and the memory is never given back. */
let place: SharedArrayBuffer | undefined;

/** Maps the tables into this process, in the place of those that were mapped before. Their threads must be gone. */
export function mapTables(fd: number): Tables {
  place ??= new SharedArrayBuffer(TABLES_BYTES + PAGE);
  const start = addressOf(new Uint8Array(place));
  const at = (PAGE - (start % PAGE)) % PAGE;
  mapMemoryFile(fd, 0, TABLES_BYTES, start + at);
  return { memory: place, at };
}
