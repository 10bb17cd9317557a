/**
 * How many requests each operation takes, by kind: docs/requests.md says why it takes each of them.
 *
 * Every case works in a layer of its own, cloned from one with some files, so that the kernel knows nothing of it but its
 * root directory. `before` is what is done before counting starts: with it a case is warm, without it cold. What the
 * kernel forgets is not counted, as it sends that in batches of any size.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  copyFileSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readlinkSync,
  readSync,
  renameSync,
  rmdirSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { cannotMount, Mounted, TRANSPORTS } from './mounted.js';
import * as sys from './syscalls.js';

type Counts = Readonly<Record<string, number>>;
type Work = (folder: string) => unknown;

interface Case {
  readonly name: string;
  readonly before?: Work;
  readonly work: Work;
  readonly requests: Counts;
  /** With passthrough, where that makes a difference. */
  readonly shared?: Counts;
}

const PAGE = Buffer.alloc(4096, 'x');
const ENTRIES = 100;
const SETTLED_MS = 25;
const SETTLED_MS_MAX = 2000;
const ROUNDS = 3;
const NOBODY = 65_534;
/** A tree: folders, each with so many files. */
const FOLDERS = 4;
const FILES = 5;

/** Opens a file below the folder, works with it and closes it. */
const opened =
  (name: string, flags: string | number, work: (fd: number) => unknown = () => undefined): Work =>
  (folder) => {
    const fd = openSync(join(folder, name), flags);
    work(fd);
    closeSync(fd);
  };

const read = (fd: number): number => readSync(fd, Buffer.alloc(4096));
const write = (fd: number): number => writeSync(fd, PAGE);
const stat = (path: string): unknown => sys.statx(path, sys.STATX_BASIC);
const absent = (path: string): void => assert.throws(() => stat(path));

/** Does several things with one name below the folder, one after the other. */
const on =
  (name: string, ...works: readonly Work[]): Work =>
  (folder) =>
    works.forEach((work) => work(join(folder, name)));
const then =
  (...works: readonly Work[]): Work =>
  (folder) =>
    works.forEach((work) => work(folder));

/** Names in a folder, as `ls` gets them. */
function list(path: string): string[] {
  const fd = openSync(path, 'r');
  const names: string[] = [];
  for (let part = sys.getdents(fd, 32_768); part.length > 0; part = sys.getdents(fd, 32_768)) names.push(...part);
  closeSync(fd);
  return names;
}

/** Names and attributes, as `ls -l` and `find` get them. */
function listLong(path: string): void {
  for (const name of list(path)) stat(join(path, name));
}

/** What git does for each object: it is complete before it gets its name. */
function store(folder: string): void {
  opened('temporary', 'wx', write)(folder);
  renameSync(join(folder, 'temporary'), join(folder, 'object'));
}

function readMapped(fd: number): void {
  const mapping = sys.mmap(fd, PAGE.length, false);
  assert.equal(mapping.bytes[0], PAGE[0]);
  mapping.unmap();
}

function makeTree(folder: string): void {
  mkdirSync(folder);
  for (let i = 0; i < FOLDERS; i++) {
    mkdirSync(join(folder, `folder ${i}`));
    for (let j = 0; j < FILES; j++) opened(`folder ${i}/file ${j}`, 'w', write)(folder);
  }
}

const run = (...command: readonly string[]): unknown => execFileSync(command[0]!, command.slice(1), { stdio: 'ignore' });
const setAttribute = (path: string): unknown => assert.equal(sys.setxattr(path, 'user.a', PAGE.subarray(0, 10)), 0);
const getAttribute = (path: string): unknown => sys.getxattr(path, 'user.a');
const setTimes = (path: string): unknown => sys.utimensat(path, [1, 0], [1, 0]);

const CASES: readonly Case[] = [
  { name: 'stat, cold', work: on('file', stat), requests: { lookup: 1 } },
  { name: 'stat, warm', before: on('file', stat), work: on('file', stat), requests: {} },
  { name: 'stat with the time of birth, cold', work: on('file', (path) => sys.statx(path)), requests: { lookup: 1, getattr: 1 } },
  {
    name: 'stat with the time of birth, warm',
    before: on('file', (path) => sys.statx(path)),
    work: on('file', (path) => sys.statx(path)),
    requests: {},
  },
  {
    name: 'stat by somebody else, cold',
    work: (folder) => sys.asUser(NOBODY, NOBODY, [], () => stat(join(folder, 'many/entry 0'))),
    requests: { lookup: 2, getxattr: 2 },
  },
  {
    name: 'stat by somebody else, warm',
    before: (folder) => sys.asUser(NOBODY, NOBODY, [], () => stat(join(folder, 'many/entry 0'))),
    work: (folder) => sys.asUser(NOBODY, NOBODY, [], () => stat(join(folder, 'many/entry 0'))),
    requests: {},
  },
  { name: 'a name that is missing, cold', work: on('absent', absent), requests: { lookup: 1 } },
  { name: 'a name that is missing, warm', before: on('absent', absent), work: on('absent', absent), requests: {} },
  {
    name: 'open, read and close, cold',
    work: opened('file', 'r', read),
    requests: { lookup: 1, open: 1, read: 1, release: 1 },
    shared: { lookup: 1, open: 1, release: 1 },
  },
  {
    name: 'open, read and close, warm',
    before: opened('file', 'r', read),
    work: opened('file', 'r', read),
    requests: { open: 1, release: 1 },
  },
  {
    name: 'create, write and close',
    work: opened('new', 'w', write),
    requests: { lookup: 1, create: 1, write: 1, release: 1, getxattr: 1 },
  },
  {
    name: 'create where it was missing, write and close',
    before: on('new', absent),
    work: opened('new', 'w', write),
    requests: { create: 1, write: 1, release: 1, getxattr: 1 },
  },
  {
    name: 'append',
    before: on('file', stat),
    work: opened('file', 'a', write),
    requests: { open: 1, write: 1, release: 1, getxattr: 1 },
    shared: { lookup: 2, open: 2, write: 1, release: 1, getxattr: 1 },
  },
  {
    name: 'overwrite',
    before: on('file', stat),
    work: opened('file', 'r+', write),
    requests: { open: 1, write: 1, release: 1, getxattr: 1 },
    shared: { lookup: 2, open: 2, write: 1, release: 1, getxattr: 1 },
  },
  {
    name: 'ten writes',
    before: on('file', stat),
    work: opened('file', 'a', (fd) => {
      for (let i = 0; i < 10; i++) write(fd);
    }),
    requests: { open: 1, write: 10, release: 1, getxattr: 1 },
    shared: { lookup: 2, open: 2, write: 10, release: 1, getxattr: 1 },
  },
  {
    name: 'write, then stat',
    before: on('file', stat),
    work: then(opened('file', 'r+', write), on('file', stat)),
    requests: { getattr: 1, open: 1, write: 1, release: 1, getxattr: 1 },
    shared: { lookup: 2, getattr: 1, open: 2, write: 1, release: 1, getxattr: 1 },
  },
  {
    name: 'write and fsync',
    before: on('file', stat),
    work: opened('file', 'r+', (fd) => {
      write(fd);
      fsyncSync(fd);
    }),
    requests: { open: 1, write: 1, release: 1, fsync: 1, getxattr: 1 },
    shared: { lookup: 2, open: 2, write: 1, release: 1, fsync: 1, getxattr: 1 },
  },
  {
    name: 'truncate',
    before: on('file', stat),
    work: on('file', (path) => truncateSync(path, 100)),
    requests: { setattr: 1, open: 1, release: 1, getxattr: 1 },
    shared: { lookup: 2, setattr: 1, open: 2, release: 1, getxattr: 1 },
  },
  {
    name: 'open with O_TRUNC',
    before: on('file', stat),
    work: opened('file', 'w'),
    requests: { open: 1, release: 1, getxattr: 1 },
    shared: { lookup: 2, open: 2, release: 1, getxattr: 1 },
  },
  { name: `list ${ENTRIES} names, cold`, work: on('many', list), requests: { lookup: 1, readdir: 2 } },
  { name: `list ${ENTRIES} names, warm`, before: on('many', list), work: on('many', list), requests: {} },
  { name: `list ${ENTRIES} names and their attributes, cold`, work: on('many', listLong), requests: { lookup: 1, getattr: 1, readdir: 2 } },
  { name: `list ${ENTRIES} names and their attributes, warm`, before: on('many', listLong), work: on('many', listLong), requests: {} },
  {
    name: 'list after one more was made',
    before: then(on('many', list), opened('many/new', 'w')),
    work: on('many', list),
    requests: { getattr: 1, readdir: 2 },
  },
  { name: 'readlink, cold', work: on('link', readlinkSync), requests: { lookup: 1, readlink: 1 } },
  { name: 'readlink, warm', before: on('link', readlinkSync), work: on('link', readlinkSync), requests: {} },
  { name: 'mkdir', work: on('new', mkdirSync), requests: { lookup: 1, mkdir: 1 } },
  { name: 'rmdir', before: on('empty', stat), work: on('empty', rmdirSync), requests: { rmdir: 1 } },
  { name: 'unlink', before: on('file', stat), work: on('file', unlinkSync), requests: { unlink: 1 } },
  { name: 'symlink', work: on('new', (path) => symlinkSync('file', path)), requests: { lookup: 1, symlink: 1 } },
  {
    name: 'link',
    before: on('file', stat),
    work: (folder) => linkSync(join(folder, 'file'), join(folder, 'new')),
    requests: { lookup: 1, link: 1 },
    shared: { lookup: 4, link: 2 },
  },
  {
    name: 'rename',
    before: on('file', stat),
    work: (folder) => renameSync(join(folder, 'file'), join(folder, 'new')),
    requests: { lookup: 1, rename: 1 },
  },
  {
    name: 'rename over another file',
    before: then(on('file', stat), on('program', stat)),
    work: (folder) => renameSync(join(folder, 'file'), join(folder, 'program')),
    requests: { lookup: 1, rename: 1 },
  },
  {
    name: 'create under another name, then rename',
    work: store,
    requests: { lookup: 2, getattr: 1, create: 1, rename: 1, write: 1, release: 1, getxattr: 1 },
  },
  { name: 'chmod', before: on('file', stat), work: on('file', (path) => chmodSync(path, 0o600)), requests: { setattr: 1 } },
  { name: 'chown', before: on('file', stat), work: on('file', (path) => chownSync(path, 1, 1)), requests: { setattr: 1, getxattr: 1 } },
  { name: 'utimes', before: on('file', stat), work: on('file', setTimes), requests: { setattr: 1 } },
  { name: 'setxattr', before: on('file', stat), work: on('file', setAttribute), requests: { setxattr: 1 } },
  { name: 'getxattr', before: on('file', stat), work: on('file', getAttribute), requests: { getxattr: 1 } },
  {
    name: 'run a program, cold',
    work: on('program', run),
    requests: { lookup: 1, open: 1, read: 2, release: 1, getxattr: 1 },
    shared: { lookup: 1, open: 1, release: 1, getxattr: 1 },
  },
  { name: 'run a program, warm', before: on('program', run), work: on('program', run), requests: { open: 1, release: 1, getxattr: 1 } },
  {
    name: 'map and read, cold',
    work: opened('file', 'r+', readMapped),
    requests: { lookup: 1, open: 1, read: 1, release: 1 },
    shared: { lookup: 3, open: 2, read: 1, release: 1 },
  },
  {
    name: 'map and read, warm',
    before: opened('file', 'r+', readMapped),
    work: opened('file', 'r+', readMapped),
    requests: { open: 1, release: 1 },
  },
  {
    name: `make a tree of ${FOLDERS} folders with ${FILES} files each`,
    work: on('tree', makeTree),
    requests: { lookup: 25, getattr: 21, create: 20, mkdir: 5, write: 20, release: 20, getxattr: 20 },
  },
  {
    name: 'rm -rf of that tree',
    before: on('tree', makeTree),
    work: on('tree', (path) => run('rm', '-rf', path)),
    requests: { getattr: 24, unlink: 20, rmdir: 5, readdir: 15, statfs: 1 },
  },
  {
    name: 'tar x of that tree',
    before: then(
      on('tree', makeTree),
      (folder) => run('tar', '-C', folder, '-cf', `${folder}/../../../tree.tar`, 'tree'),
      on('out', mkdirSync),
    ),
    work: (folder) => run('tar', '-C', join(folder, 'out'), '-xf', `${folder}/../../../tree.tar`),
    requests: { lookup: 25, getattr: 22, setattr: 75, create: 20, mkdir: 5, write: 27, release: 20, getxattr: 40 },
  },
];

/** Openings less closings. */
const stillOpen = ({ open = 0, create = 0, release = 0 }: Counts): number => open + create - release;

const WAYS = [...TRANSPORTS.map((transport) => [transport, 'auto'] as const), ['uring', 'off'] as const];

/** The files that each case finds. */
function makeFiles(folder: string): void {
  opened('file', 'w', write)(folder);
  symlinkSync('file', join(folder, 'link'));
  for (const name of ['empty', 'many']) mkdirSync(join(folder, name));
  for (let i = 0; i < ENTRIES; i++) opened(`many/entry ${i}`, 'w')(folder);
  copyFileSync('/bin/true', join(folder, 'program'));
  chmodSync(join(folder, 'program'), 0o755);
}

for (const [transport, passthrough] of WAYS) {
  describe(`requests over ${transport}, passthrough ${passthrough}`, { skip: cannotMount }, () => {
    let mounted: Mounted;

    before(async () => {
      mounted = await new Mounted(transport, { passthrough }).ready();
      await mounted.must({ order: 'create', name: 'base' });
      makeFiles(join(mounted.layers, 'base'));
      list(mounted.layers); // the kernel learns that directories need no OPENDIR
    });
    after(() => mounted.end());

    /** Requests when no more come. Nobody waits for those that close a file: they may be late. */
    async function settledCounts(layer: string): Promise<Counts> {
      const deadline = performance.now() + SETTLED_MS_MAX;
      for (let last = ''; ;) {
        const { counts, refusedOpens } = await mounted.must({ order: 'countRequests', layer });
        const { forget: _, ...shown } = counts!;
        const text = JSON.stringify(shown);
        if ((text === last && stillOpen(shown) <= refusedOpens!) || performance.now() > deadline) return shown;
        last = text;
        await delay(SETTLED_MS);
      }
    }

    async function requestsOf({ before, work }: Case, layer: string): Promise<Counts> {
      const folder = join(mounted.layers, layer);
      await mounted.must({ order: 'create', name: layer, parent: 'base' });
      stat(folder);
      before?.(folder);
      await settledCounts(layer);
      await mounted.must({ order: 'clearRequests', layer });
      work(folder);
      return settledCounts(layer);
    }

    CASES.forEach((example, index) => {
      it(example.name, async () => {
        const expected = (mounted.passthrough ? example.shared : undefined) ?? example.requests;
        // Somebody else on the machine may have made the kernel drop what it had cached.
        for (let round = 1; round < ROUNDS; round++)
          if (isDeepStrictEqual(await requestsOf(example, `case-${index}-${round}`), expected)) return;
        assert.deepEqual(await requestsOf(example, `case-${index}`), expected);
      });
    });
  });
}
