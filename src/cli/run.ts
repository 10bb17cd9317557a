/** Runs the command that a user has called. Exit codes: 0 done, 1 it failed, 2 it was called wrongly. */
import { CommanderError } from 'commander';
import { LcfsError } from '../engine/errors.js';
import { makeProgram } from './program.js';

/** `lcfs layer ls | head` closes our output early: that is no failure. */
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  const text = error instanceof LcfsError ? error.message : error instanceof Error ? describe(error) : String(error);
  process.stderr.write(`lcfs: ${text}\n`);
  return 1;
}

/** System errors say it all in one line; for anything else the stack is what helps. */
function describe(error: Error): string {
  return (error as NodeJS.ErrnoException).code === undefined ? (error.stack ?? error.message) : error.message;
}

export async function runCommand(): Promise<void> {
  try {
    await makeProgram().parseAsync();
  } catch (error) {
    process.exitCode = report(error);
  }
}
