/** What is held for open files: as the records of openings say, and as it is counted. Both agree while nobody opens or closes. */
import { Openings, PASSING } from './openings.js';
import { backingTable, idleTable } from './sharing.js';
import { OPENINGS_AT, type Tables } from './tables.js';

export interface HeldFiles {
  /** Openings that have a record. */
  openings: number;
  /** Content files that these pass through to. */
  passing: number;
  /** Backing ids that are counted as used: one for each of those files. */
  backings: number;
  /** Backing ids that nobody uses, kept for the next opening. */
  kept: number;
}

/** Goes through all records: not for the way of a request. */
export function heldFiles(tables: Tables): HeldFiles {
  const files = new Set<string>();
  let openings = 0;
  for (const [, { flags, contents, ino }] of new Openings(tables.memory, tables.at + OPENINGS_AT).all()) {
    openings++;
    if ((flags & PASSING) !== 0) files.add(`${contents}/${ino}`);
  }
  return { openings, passing: files.size, backings: backingTable(tables).keys(), kept: idleTable(tables).count() };
}

export const NOTHING_HELD: HeldFiles = { openings: 0, passing: 0, backings: 0, kept: 0 };
