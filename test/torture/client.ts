/**
 * A program that works in a directory and keeps a journal: what it did, how much of it was acknowledged as durable, what must
 * be there. Run as a process of its own, so that it lives on when the daemon below it dies, and told what to do by messages.
 *
 * It notices what a file system must not do while it works – a change that fails because it was done twice or because
 * something before it was lost – and after an end of the daemon it compares everything: the directory must be as it was
 * after some change, not before the last one that was acknowledged and not after the last one that was made.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { faultOf } from '../support/contents.js';
import { randomOf } from './part.js';
import { TreeModel, atomicParts, contentOf, describe, type Change } from './tree-model.js';

/** What a client is told. */
export type Command =
  | { readonly do: 'go'; readonly strict: boolean }
  | { readonly do: 'rest' }
  /** Rest, and close all files. */
  | { readonly do: 'let go' }
  /** Everything up to this change is durable. */
  | { readonly do: 'acknowledged'; readonly changes: number }
  /** `lost`: whether changes that were not acknowledged may be missing. */
  | { readonly do: 'verify'; readonly lost: boolean };

/** What it answers; each command but `acknowledged` has one answer. `broken` comes by itself. */
export type Message =
  | { readonly is: 'going' }
  | { readonly is: 'resting'; readonly changes: number; readonly longestMs: number }
  | { readonly is: 'verified'; readonly bytes: number; readonly changes: number; readonly lost: number; readonly lostMs: number }
  | { readonly is: 'broken'; readonly how: string }
  | { readonly is: 'violation'; readonly what: string };

/** How the end of the daemon shows. */
const BROKEN = new Set(['ENOTCONN', 'ECONNABORTED', 'ECANCELED']);
const REFUSED = new Set(['ENOSPC', 'EDQUOT']);
const CHANGES_PER_TURN = 16;
/** In strict mode, one of so many changes is followed by fsync. */
const CHANGES_PER_FSYNC = 50;
const OPEN_FILES_MAX = 8;

/** Bytes read, changes since the last comparison, how many of them are missing and within what time they were made. */
type Comparison = Omit<Extract<Message, { is: 'verified' }>, 'is'>;

class JournalKeeper {
  readonly #folder: string;
  readonly #random;
  /** As of the last change that was acknowledged. */
  #durable = new TreeModel();
  #model = new TreeModel();
  /** Changes since, and when they were completed. The last one may be under way. */
  #changes: Change[] = [];
  #times: number[] = [];
  /** Number of changes before those. */
  #before = 0;
  /** Descriptors that stay open, by path; of a file that is moved or removed they go. */
  readonly #open = new Map<string, number>();
  /** A file without a name, which only its descriptor knows. */
  #nameless: { fd: number; content: Buffer } | null = null;
  /** Bytes of the write under way that are done. */
  #written = 0;
  longestMs = 0;

  constructor(folder: string, seed: number) {
    this.#folder = folder;
    this.#random = randomOf(seed);
    fs.mkdirSync(folder, { recursive: true });
  }

  get changes(): number {
    return this.#before + this.#changes.length;
  }

  /** Makes one change, and sometimes makes everything durable. Throws if the file system does not do it. */
  step(strict: boolean): void {
    const change = this.#model.propose(this.#random);
    const began = performance.now();
    if (!this.#make(change)) this.#makeRoom();
    this.longestMs = Math.max(this.longestMs, performance.now() - began);
    if (this.#random.below(200) === 0) this.#touchNameless();
    if (strict && this.#random.below(CHANGES_PER_FSYNC) === 0) this.#fsync();
  }

  /** Makes a change and journals it: before, as it may be done when we never hear of it. False if there is no room. */
  #make(change: Change): boolean {
    const parts = atomicParts(change);
    const count = this.#changes.length;
    this.#changes.push(...parts);
    let done = true;
    this.#written = 0;
    try {
      this.#do(change);
    } catch (error) {
      if (!REFUSED.has(codeOf(error))) throw error;
      done = false;
      this.#changes.length = count + partsWithin(parts, this.#written);
    }
    for (const part of this.#changes.slice(count)) {
      this.#model.apply(part);
      this.#times.push(performance.now());
    }
    return done;
  }

  /** On a full volume: removes something, which works always. */
  #makeRoom(): void {
    const path = this.#model.files()[0];
    if (path !== undefined && !this.#make({ kind: 'unlink', path })) throw new Error('a full volume does not let a file be removed');
  }

  #do(change: Change): void {
    const path = this.#path(change.path);
    switch (change.kind) {
      case 'create':
        return this.#keepOpen(change.path, fs.openSync(path, 'wx+', 0o644));
      case 'mkdir':
        return fs.mkdirSync(path, 0o755);
      case 'symlink':
        return fs.symlinkSync(change.other, path);
      case 'link':
        return fs.linkSync(path, this.#path(change.other));
      case 'rename':
        this.#close(change.other);
        this.#close(change.path);
        return fs.renameSync(path, this.#path(change.other));
      case 'unlink':
        this.#close(change.path);
        return fs.unlinkSync(path);
      case 'rmdir':
        return fs.rmdirSync(path);
      case 'truncate':
        return fs.truncateSync(path, change.value);
      case 'chmod':
        return fs.chmodSync(path, change.value);
      case 'append':
        return this.#append(path, contentOf(change.seed, change.length));
      default:
        return this.#write(change.path, change.at, contentOf(change.seed, change.length));
    }
  }

  #write(path: string, at: number, data: Buffer): void {
    let fd = this.#open.get(path);
    if (fd === undefined) this.#keepOpen(path, (fd = fs.openSync(this.#path(path), 'r+')));
    this.#writeAll(fd, data, at);
  }

  /** The kernel puts it behind what is there: a write that is done twice shows. */
  #append(path: string, data: Buffer): void {
    const fd = fs.openSync(path, fs.constants.O_WRONLY | fs.constants.O_APPEND);
    try {
      this.#writeAll(fd, data, null);
    } finally {
      tryClose(fd);
    }
  }

  /** A write comes to less than it should when the volume gets full, or the daemon ends, in the middle of it. */
  #writeAll(fd: number, data: Buffer, at: number | null): void {
    for (this.#written = 0; this.#written < data.length;) {
      const place = at === null ? null : at + this.#written;
      const bytes = fs.writeSync(fd, data, this.#written, data.length - this.#written, place);
      if (bytes === 0) throw new Error('a write of nothing');
      this.#written += bytes;
    }
  }

  #keepOpen(path: string, fd: number): void {
    this.#close(path);
    this.#open.set(path, fd);
    if (this.#open.size > OPEN_FILES_MAX) this.#close(this.#open.keys().next().value!);
  }

  #close(path: string): void {
    const fd = this.#open.get(path);
    this.#open.delete(path);
    if (fd !== undefined) tryClose(fd);
  }

  #fsync(): void {
    const folder = fs.openSync(this.#folder, 'r');
    const changes = this.changes;
    try {
      fs.fsyncSync([...this.#open.values()][0] ?? folder);
      this.acknowledged(changes);
    } finally {
      tryClose(folder);
    }
  }

  /** Proves the file without a name, or makes one. */
  #touchNameless(): void {
    if (this.#nameless !== null) return this.#proveNameless();
    try {
      this.#makeNameless();
    } catch (error) {
      if (!REFUSED.has(codeOf(error))) throw error;
    }
  }

  /** On a full volume it holds what there was room for. */
  #makeNameless(): void {
    const path = this.#path('nameless');
    const content = contentOf(this.#random.next(), 5000);
    const fd = fs.openSync(path, 'wx+');
    this.#nameless = { fd, content: content.subarray(0, 0) };
    fs.unlinkSync(path);
    const bytes = fs.writeSync(fd, content, 0, content.length, 0);
    this.#nameless = { fd, content: content.subarray(0, bytes) };
  }

  #proveNameless(): void {
    const { fd, content } = this.#nameless!;
    const fault = faultOf(fd, content, isBreakage);
    if (fault !== '') throw new Error(`a file that was open when its name was removed is not what it was: ${fault}`);
    tryClose(fd);
    this.#nameless = null;
  }

  /** Everything up to `changes` is durable: only what came after that may be missing from now on. */
  acknowledged(changes: number): void {
    const count = changes - this.#before;
    if (count <= 0) return;
    for (const change of this.#changes.splice(0, count)) this.#durable.apply(change);
    this.#times.splice(0, count);
    this.#before = changes;
  }

  /** Lets go of everything that is open, as after an end of the mount. */
  letGo(): void {
    for (const path of this.#open.keys()) this.#close(path);
    if (this.#nameless !== null) tryClose(this.#nameless.fd);
    this.#nameless = null;
  }

  /** Compares the directory with the journal and goes on from what is found. Throws if it is not as it may be. */
  verify(mayLose: boolean): Comparison {
    if (!mayLose && this.#nameless !== null) this.#proveNameless();
    else this.letGo();
    if (mayLose) this.#forgetNameless();
    const { text, bytes } = this.#look();
    const total = this.#changes.length;
    const found = this.#find(text, mayLose ? 0 : total);
    if (found === null) throw new Error(this.#complaint(text));
    const [model, count] = found;
    const lost = total - count;
    const lostMs = lost === 0 || this.#times.length === 0 ? 0 : this.#times.at(-1)! - (this.#times[count] ?? this.#times.at(-1)!);
    this.#durable = model;
    this.#model = model.copy();
    this.#before += total;
    this.#changes = [];
    this.#times = [];
    return { bytes, changes: total, lost, lostMs };
  }

  /** Whether it was made, or its name removed, does not count as a change. */
  #forgetNameless(): void {
    fs.rmSync(this.#path('nameless'), { force: true });
  }

  /** The state that the directory is in, and after how many changes it was in it. */
  #find(text: string, from: number): [TreeModel, number] | null {
    const model = this.#durable.copy();
    const matches: number[] = [];
    for (let count = 0; ; count++) {
      if (count >= from && model.describe() === text) matches.push(count);
      if (count === this.#changes.length) break;
      model.apply(this.#changes[count]!);
    }
    if (matches.length === 0) return null;
    const result = this.#durable.copy();
    for (const change of this.#changes.slice(0, matches.at(-1))) result.apply(change);
    return [result, matches.at(-1)!];
  }

  /** What is wrong: the differences to the state that comes nearest, and the changes around it. */
  #complaint(text: string): string {
    const model = this.#durable.copy();
    let best = { count: 0, lines: differences(model.describe(), text) };
    for (const [index, change] of this.#changes.entries()) {
      model.apply(change);
      const lines = differences(model.describe(), text);
      if (lines.length <= best.lines.length) best = { count: index + 1, lines };
    }
    return [
      `${this.#folder} is as it never was; of ${this.#changes.length} changes since it was acknowledged, the first ${best.count} come nearest:`,
      ...best.lines.slice(0, 20),
      `what was done before and after that:`,
      ...this.#changes.slice(Math.max(0, best.count - 5), best.count).map((change) => JSON.stringify(change)),
      '...',
      ...this.#changes.slice(best.count, best.count + 5).map((change) => JSON.stringify(change)),
    ].join('\n');
  }

  #look(): { text: string; bytes: number } {
    const lines: string[] = [];
    let bytes = 0;
    for (const entry of fs.readdirSync(this.#folder, { recursive: true, withFileTypes: true })) {
      const full = join(entry.parentPath, entry.name);
      const path = full.slice(this.#folder.length + 1);
      const { mode, nlink } = fs.lstatSync(full);
      const kind = entry.isDirectory() ? 'folder' : entry.isSymbolicLink() ? 'link' : 'file';
      const content = kind === 'file' ? fs.readFileSync(full) : Buffer.from(kind === 'link' ? fs.readlinkSync(full) : '');
      bytes += content.length;
      lines.push(describe(path, kind, mode & 0o7777, nlink, content));
    }
    return { text: lines.toSorted().join('\n'), bytes };
  }

  #path(path: string): string {
    return join(this.#folder, path);
  }
}

/** How many parts of a write are done when so many bytes are. */
function partsWithin(parts: readonly Change[], bytes: number): number {
  let end = 0;
  return parts.filter((part) => 'length' in part && (end += part.length) <= bytes).length;
}

/** Lines that are only in one of two texts: missing ones with a minus sign. */
function differences(wanted: string, found: string): string[] {
  const [a, b] = [new Set(wanted.split('\n')), new Set(found.split('\n'))];
  return [
    ...[...a].filter((line) => !b.has(line)).map((line) => `- ${line}`),
    ...[...b].filter((line) => !a.has(line)).map((line) => `+ ${line}`),
  ];
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? '';
}

/** Whether an error is one of the mount, not of the file. */
function isBreakage(error: unknown): boolean {
  return BROKEN.has(codeOf(error));
}

/** On a dead mount closing fails, too. */
function tryClose(fd: number): void {
  try {
    fs.closeSync(fd);
  } catch (error) {
    if (!isBreakage(error) && codeOf(error) !== 'EIO') throw error;
  }
}

/** The process: obeys, and works in between. */
async function main(folder: string, seed: number): Promise<void> {
  process.umask(0o022);
  const keeper = new JournalKeeper(folder, seed);
  const say = (message: Message): void => void process.send!(message);
  let going = false;
  let strict = false;
  const guard = (work: () => void): void => {
    try {
      work();
    } catch (error) {
      going = false;
      if (isBreakage(error)) say({ is: 'broken', how: error instanceof Error ? error.message : '' });
      else say({ is: 'violation', what: `${folder}: ${error instanceof Error ? error.stack : String(error)}` });
    }
  };
  process.on('message', (command: Command) =>
    guard(() => {
      if (command.do === 'go') {
        ({ strict } = command);
        going = true;
        say({ is: 'going' });
      } else if (command.do === 'rest' || command.do === 'let go') {
        going = false;
        if (command.do === 'let go') keeper.letGo();
        say({ is: 'resting', changes: keeper.changes, longestMs: keeper.longestMs });
        keeper.longestMs = 0;
      } else if (command.do === 'acknowledged') keeper.acknowledged(command.changes);
      else say({ is: 'verified', ...keeper.verify(command.lost) });
    }),
  );
  process.on('disconnect', () => process.exit(0));
  for (;;) {
    if (going)
      guard(() => {
        for (let i = 0; i < CHANGES_PER_TURN; i++) keeper.step(strict);
      });
    else await new Promise((wake) => setTimeout(wake, 5));
    await turn();
  }
}

if (process.argv[1] === import.meta.filename) await main(process.argv[2]!, Number(process.argv[3]));
