/** Lines of the daemon's log, for those who write a few and need no logger for it. */
import { writeSync } from 'node:fs';

export interface LogShape {
  fd: number;
  level: string;
}

const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;
export type Level = (typeof LEVELS)[number];

/** One line, or several of which all but the first are indented. */
export function logLine(timeMs: number, level: string, thread: string, text: string): string {
  return `${new Date(timeMs).toISOString()} ${level.padEnd(5)} ${thread}: ${text}`.replaceAll('\n', '\n    ') + '\n';
}

/** Writes with one call, so that lines of different threads and processes don't mix. */
export function writeLine(fd: number, line: string): void {
  try {
    writeSync(fd, line);
  } catch {
    // A log that can't be written must not stop the filesystem.
  }
}

/** Takes lines for the log, if they are important enough for it. */
export function plainLog({ fd, level }: LogShape, thread: string): (level: Level, text: string) => void {
  const least = LEVELS.indexOf(level as Level);
  return (of, text) => {
    if (LEVELS.indexOf(of) >= least) writeLine(fd, logLine(Date.now(), of, thread, text));
  };
}
