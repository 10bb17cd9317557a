/** For the tests of this folder: archives made by hand and by GNU tar, and what a reader makes of them. */
import { execFileSync, spawnSync } from 'node:child_process';
import { headerSum, FILE, paddingAfter, TAR_BLOCK_BYTES, type Xattr } from '../../src/archive/tar-format.js';
import { TarReader, type TarEntry, type TarSink } from '../../src/archive/tar-reader.js';
import type { Random } from './volume.js';
import { END_OF_ARCHIVE, tarHeader, type TarHeader } from '../../src/archive/tar-writer.js';

/** A header of an ordinary file, to be changed where a test wants something else. */
export const PLAIN: TarHeader = {
  type: FILE,
  path: Buffer.from('file'),
  linkPath: Buffer.alloc(0),
  mode: 0o644,
  uid: 0,
  gid: 0,
  size: 0,
  mtime: 1_700_000_000,
  major: 0,
  minor: 0,
  xattrs: [],
};

export interface EntrySpec extends Partial<Omit<TarHeader, 'path' | 'linkPath' | 'xattrs'>> {
  path?: string | Buffer;
  linkPath?: string | Buffer;
  data?: string | Buffer;
  xattrs?: Record<string, string | Buffer>;
}

export function xattrList(xattrs: Record<string, string | Buffer>): Xattr[] {
  return Object.entries(xattrs).map(([name, value]) => ({ name: Buffer.from(name), value: Buffer.from(value) }));
}

/** Header, data and padding of one entry. */
export function entryBytes(spec: EntrySpec): Buffer {
  const data = Buffer.from(spec.data ?? '');
  const { data: _, xattrs = {}, path = PLAIN.path, linkPath = PLAIN.linkPath, ...rest } = spec;
  const header = {
    ...PLAIN,
    size: data.length,
    ...rest,
    path: Buffer.from(path),
    linkPath: Buffer.from(linkPath),
    xattrs: xattrList(xattrs),
  };
  return Buffer.concat([tarHeader(header), data, Buffer.alloc(paddingAfter(data.length))]);
}

export function archive(...specs: EntrySpec[]): Buffer {
  return Buffer.concat([...specs.map(entryBytes), END_OF_ARCHIVE]);
}

/** Overwrites bytes of a header block and corrects its checksum. */
export function patched(bytes: Buffer, at: number, patch: string | Buffer, headerAt = 0): Buffer {
  const copy = Buffer.from(bytes);
  copy.set(Buffer.from(patch as string, 'latin1'), headerAt + at);
  copy.write(`${headerSum(copy, headerAt).toString(8).padStart(6, '0')}\0 `, headerAt + 148, 'latin1');
  return copy;
}

/** An entry with a body that is no file: pax header, GNU long name … */
export function metaEntry(type: number, body: string | Buffer): Buffer {
  const bytes = Buffer.from(body as string, 'latin1');
  return Buffer.concat([
    patched(tarHeader({ ...PLAIN, size: bytes.length }), 156, Buffer.from([type])),
    bytes,
    Buffer.alloc(paddingAfter(bytes.length)),
  ]);
}

/** A pax record with its length. */
export function paxLine(key: string, value: string): string {
  const rest = key.length + value.length + 3;
  let length = rest + 1;
  while (String(length).length + rest !== length) length++;
  return `${length} ${key}=${value}\n`;
}

export interface ReadEntry extends TarEntry {
  /** The file with zeros in its holes. */
  content: Buffer;
}

/** Collects everything; fails if the reader breaks the protocol of calls. */
export class Collector implements TarSink {
  readonly entries: ReadEntry[] = [];
  #open: ReadEntry | null = null;
  #end = 0;

  entry(entry: TarEntry): void {
    if (this.#open !== null) throw new Error('entry within an entry');
    // A fuzzed size may be anything: only what could be data is allocated.
    this.#open = { ...entry, content: Buffer.alloc(Math.min(entry.size, 1 << 24)) };
    this.#end = 0;
  }

  data(bytes: Uint8Array, at: number, length: number, offset: number): void {
    const entry = this.#open!;
    if (length <= 0 || offset < this.#end || offset + length > entry.size || at + length > bytes.length)
      throw new Error('data out of order');
    if (offset + length <= entry.content.length) entry.content.set(bytes.subarray(at, at + length), offset);
    this.#end = offset + length;
  }

  endEntry(): void {
    this.entries.push(this.#open!);
    this.#open = null;
  }

  rest(_: Uint8Array, at: number, length: number): void {
    if (length <= 0 || at < 0) throw new Error('an empty rest');
  }
}

export function pushInPieces(bytes: Buffer, piece: number, push: (chunk: Buffer) => void): void {
  // Each piece is a copy that is wiped after use: nobody may keep it.
  for (let at = 0; at < bytes.length; at += piece) {
    const chunk = Buffer.from(bytes.subarray(at, at + piece));
    push(chunk);
    chunk.fill(0xee);
  }
}

export function readArchive(bytes: Buffer, piece = bytes.length || 1): ReadEntry[] {
  const collector = new Collector();
  const reader = new TarReader(collector);
  pushInPieces(bytes, piece, (chunk) => reader.push(chunk));
  reader.end();
  return collector.entries;
}

export const hasGnuTar = spawnSync('tar', ['--version']).stdout?.toString().includes('GNU tar') ?? false;

export function gnuTar(folder: string, ...options: string[]): Buffer {
  return execFileSync('tar', ['-C', folder, ...options], { maxBuffer: 1 << 28, env: { ...process.env, LC_ALL: 'C.UTF-8', TZ: 'UTC' } });
}

/** What GNU tar lists of an archive. */
export function gnuList(bytes: Buffer): string {
  return execFileSync('tar', ['-tvf', '-', '--numeric-owner'], {
    input: bytes,
    env: { ...process.env, LC_ALL: 'C.UTF-8', TZ: 'UTC' },
  }).toString();
}

export const BLOCK = TAR_BLOCK_BYTES;

/** A few random changes that archives suffer or attackers make. */
export function mutate(bytes: Buffer, random: Random): Buffer {
  let copy: Buffer = Buffer.from(bytes);
  for (let changes = 1 + random.below(6); changes > 0; changes--) {
    const at = random.below(copy.length);
    const headerAt = Math.min(at - (at % BLOCK), copy.length - BLOCK);
    switch (random.below(5)) {
      case 0:
        copy[at] = random.below(256);
        break;
      case 1: // A header that is wrong but whose checksum is right gets further.
        copy = patched(copy, random.below(BLOCK), Buffer.from([random.below(256)]), headerAt);
        break;
      case 2:
        copy = copy.subarray(0, Math.max(BLOCK, at));
        break;
      case 3:
        copy = patched(
          copy,
          [108, 124, 136, 156, 257, 345, 483][random.below(7)]!,
          Buffer.from([[0x80, 0xff, 0x20, 0x30, 0x53, 0x78, 0x4c][random.below(7)]!]),
          headerAt,
        );
        break;
      default:
        copy.copyWithin(headerAt, random.below(copy.length - BLOCK), copy.length - BLOCK);
    }
  }
  return copy;
}
