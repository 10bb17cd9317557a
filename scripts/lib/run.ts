/**
 * Running other programs: one-shot commands with their output, and long-running servers whose output goes to a log file.
 *
 * Servers get a session of their own, so that a Ctrl-C at the terminal reaches only the script that started them and the
 * script ends them in the right order. Nothing is ever ended by name: only processes started here, by pid. And none is waited
 * for without a limit: one that hangs in a mount nobody serves cannot even be killed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, readdirSync } from 'node:fs';
import { createConnection } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { describeProcess, MOMENT_MS, PATIENCE_MS, waitUntil, within } from './limits.js';

export interface RunOptions {
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  /** Text for standard input. */
  input?: string;
  /** Writes to standard input instead, and ends it or leaves the command waiting for more. */
  feed?: (stdin: NodeJS.WritableStream) => void;
  /** File descriptor or file name to use as standard input instead. */
  stdin?: number;
  /** File descriptor that takes standard output instead of the result. */
  stdout?: number;
  /** Milliseconds until the command is killed and the call fails; 10 minutes unless told. */
  timeoutMs?: number;
}

export interface RunResult {
  status: number;
  stdout: string;
  stderr: string;
}

/** Unless told, a command has this time. */
const COMMAND_MS = 600_000;

/** Runs a command to its end. Never throws because of its exit status, but if it has not ended in time. */
export async function tryRun(command: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const child = spawn(command, args, {
    env: options.env ?? process.env,
    cwd: options.cwd,
    stdio: [options.stdin ?? 'pipe', options.stdout ?? 'pipe', 'pipe'],
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr?.on('data', (chunk: Buffer) => stderr.push(chunk));
  child.stdin?.on('error', () => {}); // the command may end without reading its input
  if (child.stdin !== null && options.feed !== undefined) options.feed(child.stdin);
  else child.stdin?.end(options.input ?? '');
  const status = await limitedStatus(child, `${command} ${args.join(' ')}`, options.timeoutMs ?? COMMAND_MS);
  return { status, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() };
}

/** The command is killed when its time is over. What it leaves may hold its output open, so the end is not waited for then. */
async function limitedStatus(child: ChildProcess, title: string, timeoutMs: number): Promise<number> {
  try {
    return await within(exitStatus(child), timeoutMs, () => `${title} ends; ${describeProcess(child.pid!)}`);
  } catch (error) {
    child.kill('SIGKILL');
    child.stdout?.destroy();
    child.stderr?.destroy();
    throw error;
  }
}

/** Runs a command and returns what it printed; throws with its error output if it fails. */
export async function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const result = await tryRun(command, args, options);
  if (result.status === 0) return result.stdout;
  const said = (result.stderr.trim() || result.stdout.trim()).slice(-4000);
  throw new Error(`${command} ${args.join(' ')}: exit status ${result.status}\n${said}`);
}

function exitStatus(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(code ?? (signal === null ? 1 : 128)));
  });
}

/** A long-running program. */
export interface Server {
  readonly pid: number;
  readonly log: string;
  running(): boolean;
  /** Asks it to end (SIGTERM) and waits; after `timeoutMs` it is killed. Returns its exit status; throws if it cannot be ended. */
  stop(timeoutMs?: number): Promise<number>;
  /** Ends it without warning, as a crash would. Throws if it cannot be ended. */
  kill(): Promise<void>;
  /** Lets the script end while the program goes on. */
  release(): void;
}

/** Starts a long-running program; its output is appended to the file `log`. */
export function startServer(command: string, args: readonly string[], log: string, env: NodeJS.ProcessEnv = process.env): Server {
  const fd = openSync(log, 'a');
  const child = spawn(command, args, { env, detached: true, stdio: ['ignore', fd, fd] });
  closeSync(fd);
  const ended = exitStatus(child).catch(() => 127);
  let alive = true;
  void ended.then(() => (alive = false));
  if (child.pid === undefined) throw new Error(`${command} cannot be started; is it installed?`);
  const signal = (name: NodeJS.Signals): void => void (alive && child.kill(name));
  const killed = (): Promise<number> => {
    signal('SIGKILL');
    return within(ended, MOMENT_MS, () => `${command} ends, which was killed; ${describeProcess(child.pid!)}`);
  };
  return {
    pid: child.pid,
    log,
    running: () => alive,
    stop: (timeoutMs = 30_000) => {
      signal('SIGTERM');
      return within(ended, timeoutMs, 'end').catch(killed);
    },
    kill: async () => void (await killed()),
    release: () => child.unref(),
  };
}

/** Waits until `ready` is true; throws with the end of the server's log when it ends first or time runs out. */
export async function waitReady(server: Server, what: string, ready: () => Promise<boolean>, timeoutMs = PATIENCE_MS): Promise<void> {
  const isReady = async (): Promise<boolean> => {
    if (await ready()) return true;
    if (!server.running()) throw new Error(`${what} ended while it started`);
    return false;
  };
  await waitUntil(`${what} is ready`, isReady, timeoutMs).catch((error: Error) => {
    throw new Error(`${error.message}; ${describeProcess(server.pid)}:\n${logTail(server.log)}`);
  });
}

/** The last lines of a log file. */
export function logTail(log: string, lines = 25): string {
  if (!existsSync(log)) return '(no log)';
  return readFileSync(log, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
}

/** Whether somebody listens on a unix socket. */
export function socketAnswers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path);
    socket.once('connect', () => (socket.destroy(), resolve(true)));
    socket.once('error', () => resolve(false));
  });
}

/** Processes of a program (any, unless told) one of whose arguments lies below `directory`. */
export function processesUsing(directory: string, program = ''): number[] {
  const pids = readdirSync('/proc').map(Number).filter(Number.isInteger);
  return pids.filter((pid) => {
    const words = commandLine(pid);
    return pid !== process.pid && words[0]!.includes(program) && words.some((word) => word.includes(`${directory}/`));
  });
}

/** Asks those of `pids` that work in `directory` to end, and kills them if they have not after `timeoutMs`. */
export async function endProcesses(pids: readonly number[], directory: string, timeoutMs = 30_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  const left = (): number[] => processesUsing(directory).filter((pid) => pids.includes(pid));
  for (const pid of left()) signalProcess(pid, 'SIGTERM');
  while (left().length > 0 && performance.now() < deadline) await delay(50);
  for (const pid of left()) signalProcess(pid, 'SIGKILL');
}

/** Kills processes and those that they started. */
export function killWithChildren(pids: readonly number[]): void {
  const all = readdirSync('/proc').map(Number).filter(Number.isInteger);
  const children = all.filter((pid) => pids.includes(parentOf(pid)));
  for (const pid of [...pids, ...children]) signalProcess(pid, 'SIGKILL');
}

function parentOf(pid: number): number {
  try {
    // "pid (name) state ppid …"; the name may contain anything.
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return 0; // it ended meanwhile
  }
}

function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It ended on its own.
  }
}

function commandLine(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return ['']; // it ended meanwhile
  }
}
