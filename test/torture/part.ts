/**
 * What the parts of the torture have in common: a budget, figures that add up, and violations that keep their evidence.
 *
 * A part is a function. It works until its budget is used up and returns figures; it throws a Violation at the first thing
 * that must not be. Whoever catches that finds in its folder what it takes to look into it: images, logs, the seed.
 */
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Random } from '../support/volume.js';

export interface Budget {
  /** Seed of the first run; those of later ones follow from it. */
  readonly seed: number;
  /** Ends the part, as of `performance.now()`. What is under way is completed. */
  readonly until: number;
  /** Ends it earlier: so many cuts, kills, or whatever the part counts. */
  readonly most: number;
  /** Folder for evidence; made when there is some. */
  readonly evidence: string;
  /** Told what happens, a line at a time. */
  readonly log: (line: string) => void;
}

/** What a part did. */
export interface Figures {
  /** Power cuts after which the volume was opened and compared. */
  cuts: number;
  /** Ends of the serving process, or of the whole daemon, under load. */
  kills: number;
  /** Milliseconds until the first answer: from each kill after which another process took over, … */
  takeoverMs: number[];
  /** … and from each start of a daemon after the whole of the one before was killed. */
  restartMs: number[];
  /** Contents that were read and compared. */
  bytesVerified: number;
  /** Operations that were done, all of which were compared. */
  operations: number;
  /** Runs of fuzzers and mutations of volumes. */
  mutations: number;
  /** What was in use in the beginning and at the end, where that is compared. */
  usage?: Readonly<Record<string, unknown>>;
}

export function noFigures(): Figures {
  return { cuts: 0, kills: 0, takeoverMs: [], restartMs: [], bytesVerified: 0, operations: 0, mutations: 0 };
}

/** Adds figures to others, which are changed. */
export function addFigures(to: Figures, more: Figures): void {
  to.cuts += more.cuts;
  to.kills += more.kills;
  to.bytesVerified += more.bytesVerified;
  to.operations += more.operations;
  to.mutations += more.mutations;
  to.takeoverMs.push(...more.takeoverMs);
  to.restartMs.push(...more.restartMs);
}

export type Part = (budget: Budget) => Promise<Figures>;

/** Something that must not be. The message says what, the folder has the evidence. */
export class Violation extends Error {
  readonly folder: string;

  constructor(message: string, folder: string) {
    super(`${message}\nevidence in ${folder}`);
    this.folder = folder;
  }
}

/** Keeps evidence in a folder and returns what to throw. */
export function violation(folder: string, message: string, evidence: Readonly<Record<string, Uint8Array | string>> = {}): Violation {
  mkdirSync(folder, { recursive: true });
  for (const [name, contents] of Object.entries(evidence)) writeFileSync(join(folder, name), contents);
  appendFileSync(join(folder, 'what.txt'), `${message}\n`);
  return new Violation(message, folder);
}

/** A budget for tests: until so many are done, however slow the machine is. */
export function testBudget(seed: number, most: number, evidence: string): Budget {
  return { seed, most, until: Infinity, evidence, log: () => undefined };
}

/** Random numbers for one of many seeds that follow each other: those of neighbours have nothing in common. */
export function randomOf(seed: number): Random {
  return new Random(Math.imul(seed, 0x9e37_79b1) >>> 1 || 1);
}

/** The value below which the given part of all values lies; 0 if there are none. */
export function percentile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
}
