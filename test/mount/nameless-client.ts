/**
 * A program that has open what lost its name, in every way in which that comes about: `nameless-client.js FOLDER`, where
 * FOLDER is a clone of a layer that holds `file<n>` with the contents `contentsOf(n)` (takeover-client.ts). Asked for its
 * `faults`, it compares what each opening and mapping shows with what it should, past what the kernel has cached of it.
 */
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { dropPages } from '../../src/linux/page-cache.js';
import { differenceOf, faultOf } from '../support/contents.js';
import { contentOf } from '../torture/tree-model.js';
import { contentsOf } from './takeover-client.js';
import * as sys from './syscalls.js';

/** `half`: opens a file of two pages of which the kernel knows only the first; `read`: reads it. `end` lets everything go. */
export type Order = 'make' | 'half' | 'read' | 'faults' | 'end';

export interface Answer {
  readonly faults: readonly string[];
}

interface Kept {
  readonly what: string;
  /** What is wrong with it; empty if nothing. */
  fault(): string;
  end(): void;
}

const PAGE = 4096;
const HALF_BYTES = 5000;

class Holder {
  private readonly folder: string;
  private readonly kept: Kept[] = [];
  private readonly half = contentOf(1, HALF_BYTES);
  private halfFd = -1;

  constructor(folder: string) {
    this.folder = folder;
  }

  private path(name: string): string {
    return join(this.folder, name);
  }

  private keep(what: string, fd: number, content: Buffer): void {
    const fault = (): string => {
      dropPages(fd, 0, 0);
      return faultOf(fd, content, () => false);
    };
    this.kept.push({ what, fault, end: () => fs.closeSync(fd) });
  }

  /** A new file that is open for reading and writing, under a name. */
  private create(name: string, content: Buffer): number {
    const fd = fs.openSync(this.path(name), 'wx+');
    fs.writeSync(fd, content, 0, content.length, 0);
    return fd;
  }

  /** The same, when its name is gone. */
  private createNameless(content: Buffer): number {
    const fd = this.create('nameless', content);
    fs.unlinkSync(this.path('nameless'));
    return fd;
  }

  make(): void {
    this.makeRemoved();
    this.makeChangedAfterwards();
    this.makeUnnamed();
    this.makeReplaced();
    this.makeOpenedAgain();
    this.makeMapped();
    this.makeShared();
    this.makeSharedAndChanged();
    this.makeDirectory();
  }

  private makeRemoved(): void {
    const content = contentOf(2, 300_000);
    this.keep('removed', this.createNameless(content), content);
    fs.writeFileSync(this.path('read'), content);
    const fd = fs.openSync(this.path('read'), 'r');
    fs.unlinkSync(this.path('read'));
    this.keep('removed, open for reading', fd, content);
  }

  private makeChangedAfterwards(): void {
    const written = this.createNameless(Buffer.alloc(0));
    fs.writeSync(written, this.half, 0, HALF_BYTES, 0);
    this.keep('written when it was removed', written, this.half);
    const content = contentOf(3, 30_000);
    const cut = this.createNameless(content);
    fs.ftruncateSync(cut, 3000);
    this.keep('cut when it was removed', cut, content.subarray(0, 3000));
    const grown = this.createNameless(content);
    fs.ftruncateSync(grown, 90_000);
    this.keep('grown when it was removed', grown, Buffer.concat([content, Buffer.alloc(60_000)]));
  }

  private makeUnnamed(): void {
    const open = (): number => fs.openSync(this.folder, sys.O_TMPFILE | fs.constants.O_RDWR, 0o600);
    const fd = open();
    fs.writeSync(fd, this.half, 0, HALF_BYTES, 0);
    this.keep('made without a name', fd, this.half);
    this.keep('made without a name, empty', open(), Buffer.alloc(0));
  }

  private makeReplaced(): void {
    const content = contentOf(4, 10_000);
    const fd = this.create('old', content);
    fs.closeSync(this.create('new', this.half));
    fs.renameSync(this.path('new'), this.path('old'));
    this.keep('another has its name', fd, content);
  }

  private makeOpenedAgain(): void {
    const content = contentOf(5, 10_000);
    const first = this.createNameless(content);
    const fd = fs.openSync(`/proc/self/fd/${first}`, 'r+');
    fs.closeSync(first);
    this.keep('opened again when it was removed', fd, content);
  }

  private makeMapped(): void {
    const content = contentOf(6, 2 * PAGE);
    const fd = this.createNameless(content);
    const mapping = sys.mmap(fd, content.length, true);
    fs.closeSync(fd);
    mapping.bytes.set(this.half, 100);
    this.half.copy(content, 100);
    this.keepMapping('mapped for writing', mapping, content);
  }

  private keepMapping(what: string, mapping: sys.Mapping, content: Buffer): void {
    this.kept.push({ what, fault: () => differenceOf(mapping.bytes, content), end: () => mapping.unmap() });
  }

  /** Files that this layer shares with others. */
  private makeShared(): void {
    const fd = fs.openSync(this.path('file1'), 'r');
    fs.unlinkSync(this.path('file1'));
    this.keep('shared', fd, contentsOf(1));
    const replaced = fs.openSync(this.path('file2'), 'r');
    fs.closeSync(this.create('other', this.half));
    fs.renameSync(this.path('other'), this.path('file2'));
    this.keep('shared, another has its name', replaced, contentsOf(2));
    const mapped = fs.openSync(this.path('file3'), 'r');
    const mapping = sys.mmap(mapped, contentsOf(3).length, false, true);
    fs.closeSync(mapped);
    fs.unlinkSync(this.path('file3'));
    this.keepMapping('shared and mapped', mapping, contentsOf(3));
  }

  /** Who had it open before it was changed goes on seeing it as it was, if it was shared. */
  private makeSharedAndChanged(): void {
    const before = fs.openSync(this.path('file4'), 'r');
    const fd = fs.openSync(this.path('file4'), 'r+');
    const content = contentsOf(4);
    fs.writeSync(fd, this.half, 0, 10, 0);
    this.half.copy(content, 0, 0, 10);
    const shows = fs.readFileSync(before);
    fs.unlinkSync(this.path('file4'));
    this.keep('no longer shared', fd, content);
    this.keep('shared before it was changed', before, shows);
  }

  private makeDirectory(): void {
    fs.mkdirSync(this.path('folder'));
    const fd = fs.openSync(this.path('folder'), 'r');
    fs.rmdirSync(this.path('folder'));
    const fault = (): string => {
      assert.ok(fs.fstatSync(fd).isDirectory());
      assert.equal(
        sys.codeOf(() => fs.openSync(`/proc/self/fd/${fd}/file`, 'w')),
        'ENOENT',
      );
      return '';
    };
    this.kept.push({ what: 'a directory', fault, end: () => fs.closeSync(fd) });
  }

  /** Of what is written the kernel keeps whole pages. A part of one it has to ask for, and for nothing else. */
  makeHalf(): void {
    this.halfFd = this.createNameless(this.half);
    fs.fstatSync(this.halfFd);
  }

  /** What is wrong with it; empty if nothing. */
  readHalf(): string {
    return faultOf(this.halfFd, this.half);
  }

  faults(): string[] {
    return this.kept.map(faultIn).filter((fault) => fault !== '');
  }

  end(): void {
    for (const { end } of this.kept) end();
    if (this.halfFd >= 0) fs.closeSync(this.halfFd);
  }
}

function faultIn({ what, fault }: Kept): string {
  let found: string;
  try {
    found = fault();
  } catch (error) {
    found = (error as Error).message;
  }
  return found === '' ? '' : `${what}: ${found}`;
}

function obey(holder: Holder, order: Order): readonly string[] {
  if (order === 'faults') return holder.faults();
  if (order === 'read') return [holder.readHalf()].filter((fault) => fault !== '');
  if (order === 'make') holder.make();
  else if (order === 'half') holder.makeHalf();
  else holder.end();
  return [];
}

if (process.argv[1] === import.meta.filename) {
  const holder = new Holder(process.argv[2]!);
  process.on('message', (order: Order) => process.send!({ faults: obey(holder, order) } satisfies Answer));
  process.once('disconnect', () => process.exit(0));
}
