/** The program that a serving process runs: in general this very one, after an upgrade perhaps another. */
import { realpathSync } from 'node:fs';
import { packageVersion } from './version.js';

/** Keeps the young generation of the heap at 1 MiB from the start (serve.ts tells why). */
export const HEAP_FLAG = '--max-semi-space-size=1';

/** Words that start a program with absolute paths: the interpreter, its flags, and the file. */
export interface Program {
  readonly words: readonly string[];
  /** Of the software. */
  readonly version: string;
}

/** The command that runs now, by whatever link it was called. */
export function thisProgram(): Program {
  return { words: [process.execPath, HEAP_FLAG, realpathSync(process.argv[1]!)], version: packageVersion() };
}
