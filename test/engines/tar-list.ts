/**
 * Reads a tar file into one line per entry that says everything about it: what two engines export from the same image can
 * then be compared. Made for what `docker export` and `docker save` write (ustar and pax), and independent of
 * src/archive, so that it does not share its mistakes.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';

const BLOCK = 512;
const TYPES: Readonly<Record<string, string>> = {
  '0': 'file',
  '1': 'link',
  '2': 'symlink',
  '3': 'char',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
};

export interface ListOptions {
  /** Also the modification time in seconds: it differs where the two engines wrote the file at different times. */
  times?: boolean;
  /** Paths whose time is left out all the same. */
  ignoreTime?: RegExp;
  /** Paths to leave out. */
  ignore?: RegExp;
}

interface Header {
  path: string;
  link: string;
  type: string;
  size: number;
  mode: number;
  uid: number;
  gid: number;
  mtime: number;
  device: string;
  xattrs: string[];
}

/** Path -> description. */
export function listTar(file: string, options: ListOptions = {}): Map<string, string> {
  const entries = new Map<string, string>();
  const fd = openSync(file, 'r');
  try {
    let at = 0;
    let pax = new Map<string, Buffer>();
    for (let block = read(fd, at, BLOCK); block[0] !== 0; block = read(fd, at, BLOCK)) {
      const header = parseHeader(block, pax);
      at += BLOCK;
      if (header.type === 'x') pax = parsePax(read(fd, at, header.size));
      else {
        pax = new Map();
        if (options.ignore?.test(header.path) !== true) entries.set(header.path, describe(header, hashOf(fd, at, header.size), options));
      }
      at += Math.ceil(header.size / BLOCK) * BLOCK;
    }
  } finally {
    closeSync(fd);
  }
  return entries;
}

function read(fd: number, at: number, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  readSync(fd, buffer, 0, bytes, at);
  return buffer;
}

function parseHeader(block: Buffer, pax: ReadonlyMap<string, Buffer>): Header {
  const text = (from: number, bytes: number): string => block.toString('utf8', from, from + bytes).replace(/\0.*$/s, '');
  const number = (from: number, bytes: number): number =>
    (block[from]! & 0x80) === 0 ? Number.parseInt(text(from, bytes).trim() || '0', 8) : base256(block, from, bytes);
  const paxText = (key: string): string | undefined => pax.get(key)?.toString();
  const prefix = text(345, 155);
  const xattrs = [...pax]
    .filter(([key]) => key.startsWith('SCHILY.xattr.'))
    .map(([key, value]) => `${key.slice(13)}=${value.toString('hex')}`);
  const type = String.fromCharCode(block[156]!);
  return {
    path: (paxText('path') ?? (prefix === '' ? '' : `${prefix}/`) + text(0, 100)).replace(/^\.?\//, ''),
    link: paxText('linkpath') ?? text(157, 100),
    type,
    size: type === '1' ? 0 : Number(paxText('size') ?? number(124, 12)),
    mode: number(100, 8) & 0o7777,
    uid: Number(paxText('uid') ?? number(108, 8)),
    gid: Number(paxText('gid') ?? number(116, 8)),
    mtime: Math.floor(Number(paxText('mtime') ?? number(136, 12))),
    device: `${number(329, 8)}:${number(337, 8)}`,
    xattrs: xattrs.toSorted(),
  };
}

function base256(block: Buffer, from: number, bytes: number): number {
  let value = block[from]! & 0x7f;
  for (let at = from + 1; at < from + bytes; at++) value = value * 256 + block[at]!;
  return value;
}

function parsePax(data: Buffer): Map<string, Buffer> {
  const records = new Map<string, Buffer>();
  for (let at = 0; at < data.length;) {
    const blank = data.indexOf(' ', at);
    const length = Number(data.toString('latin1', at, blank));
    const equals = data.indexOf('=', blank);
    records.set(data.toString('utf8', blank + 1, equals), data.subarray(equals + 1, at + length - 1));
    at += length;
  }
  return records;
}

function hashOf(fd: number, at: number, size: number): string {
  const hash = createHash('sha256');
  for (let done = 0; done < size; done += 1 << 20) hash.update(read(fd, at + done, Math.min(1 << 20, size - done)));
  return hash.digest('hex').slice(0, 16);
}

function describe(header: Header, hash: string, options: ListOptions): string {
  const parts = [TYPES[header.type] ?? header.type, header.mode.toString(8), `${header.uid}:${header.gid}`];
  if (header.type === '0') parts.push(`${header.size} bytes`, hash);
  if (header.link !== '') parts.push(`-> ${header.link}`);
  if (header.type === '3' || header.type === '4') parts.push(header.device);
  if (options.times === true && header.type !== '1' && options.ignoreTime?.test(header.path) !== true) parts.push(`at ${header.mtime}`);
  return [...parts, ...header.xattrs].join(' ');
}

/** Lines about the entries that differ between two lists; none if they are the same. */
export function differences(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>, names: readonly [string, string]): string[] {
  const paths = [...new Set([...a.keys(), ...b.keys()])].toSorted();
  const changed = paths.filter((path) => a.get(path) !== b.get(path));
  return changed.map((path) => `${path}: ${names[0]} ${a.get(path) ?? '(missing)'}; ${names[1]} ${b.get(path) ?? '(missing)'}`);
}
