/**
 * The daemon's log: one line of text a message, through pino, from any thread to the same file descriptor. A line is
 * written with one call, so lines of different threads don't mix.
 *
 *   2026-11-20T23:27:57.123Z info  fuse: mounted on /lcfs transport=uring
 */
import { pino, type Logger } from 'pino';
import { logLine, writeLine, type LogShape } from './log-line.js';

export type { Logger } from 'pino';
export type { LogShape } from './log-line.js';

/** Fields of pino's record that the line shows in places of their own. */
const PLACED = new Set(['level', 'time', 'pid', 'hostname', 'thread', 'msg', 'err']);

/** A logger for one thread. `shape` may be passed on to other threads of the process. */
export function openLog(shape: LogShape, thread: string): Logger {
  const stream = { write: (json: string): void => void writeLine(shape.fd, formatLine(json)) };
  return pino({ level: shape.level, base: { thread } }, stream);
}

export function formatLine(json: string): string {
  const record = JSON.parse(json) as Record<string, unknown> & {
    level: number;
    time: number;
    thread?: string;
    msg?: string;
    err?: { stack?: string };
  };
  const label = pino.levels.labels[record.level] ?? String(record.level);
  const values = Object.entries(record).filter(([key]) => !PLACED.has(key));
  const text = values.map(([key, value]) => ` ${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`).join('');
  const stack = record.err?.stack === undefined ? '' : `\n${record.err.stack}`;
  return logLine(record.time, label, record.thread ?? 'main', `${record.msg ?? ''}${text}${stack}`);
}
