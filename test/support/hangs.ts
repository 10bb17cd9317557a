/**
 * A limit for every test of a file that kills who serves a mount: `limitTests(180)` before the first one. A test that hangs says
 * what it hangs in and fails, and the next one begins.
 *
 * A test may hang in a system call on the mount, where no timer of its own process comes to its turn. So another process holds the
 * clock (hang-watch.ts).
 */
import { spawn, type ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import { after, beforeEach } from 'node:test';
import { fileURLToPath } from 'node:url';
import { MARK } from './hang-report.js';

const WATCH = fileURLToPath(new URL('./hang-watch.js', import.meta.url));

/** To be called before anything is started. The limit holds for each test with its hooks; it is many times what the slowest machine needs. */
export function limitTests(seconds: number): void {
  const watch = startWatch();
  const tell = (line: string): void => void watch.stdin!.write(`${line}\n`);
  beforeEach((context) => tell(`limit ${seconds} ${context.name}`));
  after(() => tell('over'));
}

/** All processes that are started from now on bear the mark. */
function startWatch(): ChildProcess {
  const mark = `${process.pid}-${Date.now()}`;
  const child = spawn(process.execPath, [WATCH, mark, String(process.pid)], { stdio: ['pipe', 'ignore', 'inherit'] });
  process.env[MARK] = mark;
  child.unref();
  (child.stdin as Socket).unref();
  return child;
}
