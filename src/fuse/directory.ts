/**
 * READDIR and READDIRPLUS. OPENDIR is answered with ENOSYS once: from then on the kernel opens directories by itself,
 * keeps what it has read of them and drops it when the directory changes.
 *
 * The cookie of an entry is its key in the layer tree, so it stays right whatever is added or removed meanwhile.
 */
import { readInodeInOperation } from '../engine/inode.js';
import { readDirectory, type DirectorySink } from '../engine/readdir.js';
import * as P from './protocol.js';
import { FOREVER_SECONDS, writeEntry } from './reply.js';
import { argument, inoOf, layerOf, type Request } from './request.js';

const DOT = 0x2e;

/** Rounded up to a multiple of 8. */
const padded = (bytes: number): number => (bytes + 7) & ~7;

/** Collects entries into the reply of the request at hand. One for each thread and form. */
export class DirentSink implements DirectorySink {
  private words: Uint32Array = new Uint32Array(0);
  private bytes: Uint8Array = new Uint8Array(0);
  private at = 0;
  private end = 0;
  private layer = 0;
  /** Bytes in front of each record: an entry_out with READDIRPLUS. */
  private readonly plusBytes: number;

  constructor(plus: boolean) {
    this.plusBytes = plus ? P.ENTRY_BYTES : 0;
  }

  begin(r: Request): void {
    this.words = r.words;
    this.bytes = r.bytes;
    this.at = r.reply;
    this.end = r.reply + Math.min(argument(r, P.IO_SIZE), r.replyBytes);
    this.layer = layerOf(r);
  }

  /** Bytes collected. */
  length(r: Request): number {
    return this.at - r.reply;
  }

  entry(ino: number, kind: number, cookieHi: number, cookieLo: number, name: Uint8Array, nameAt: number, nameBytes: number): boolean {
    const next = this.at + this.plusBytes + padded(P.DIRENT_BYTES + nameBytes);
    if (next > this.end) return false;
    if (this.plusBytes > 0) this.describe(ino, name, nameAt, nameBytes);
    this.writeDirent(ino, this.layer, kind, cookieHi, cookieLo, nameBytes);
    const to = this.at + this.plusBytes + P.DIRENT_BYTES;
    for (let i = 0; i < nameBytes; i++) this.bytes[to + i] = name[nameAt + i]!;
    this.bytes.fill(0, to + nameBytes, next);
    this.at = next;
    return true;
  }

  /** As `entry`, for the synthetic directories: without attributes, which the kernel then asks for when it needs them. */
  syntheticEntry(inoHi: number, ino: number, kind: number, cookie: number, name: Uint8Array): boolean {
    const next = this.at + this.plusBytes + padded(P.DIRENT_BYTES + name.length);
    if (next > this.end) return false;
    this.words.fill(0, this.at / 4, next / 4);
    this.writeDirent(ino, inoHi, kind, 0, cookie, name.length);
    this.bytes.set(name, this.at + this.plusBytes + P.DIRENT_BYTES);
    this.at = next;
    return true;
  }

  private writeDirent(ino: number, inoHi: number, kind: number, cookieHi: number, cookieLo: number, nameBytes: number): void {
    const to = (this.at + this.plusBytes) / 4;
    this.words[to + P.DIRENT_INO] = ino;
    this.words[to + P.DIRENT_INO + 1] = inoHi;
    this.words[to + P.DIRENT_NEXT] = cookieLo;
    this.words[to + P.DIRENT_NEXT + 1] = cookieHi;
    this.words[to + P.DIRENT_NAME_BYTES] = nameBytes;
    this.words[to + P.DIRENT_KIND] = kind;
  }

  /** Writes the attributes of READDIRPLUS; nodeid 0 says there are none. */
  private describe(ino: number, name: Uint8Array, at: number, length: number): void {
    const to = this.at / 4;
    const isDots = name[at] === DOT && (length === 1 || (length === 2 && name[at + 1] === DOT));
    if (isDots || readInodeInOperation(ino) < 0) {
      this.words.fill(0, to, to + P.ENTRY_BYTES / 4);
      return;
    }
    writeEntry(this.words, to, this.layer, ino, FOREVER_SECONDS);
  }
}

export const plainSink = new DirentSink(false);
export const plusSink = new DirentSink(true);

function list(r: Request, sink: DirentSink): number {
  sink.begin(r);
  const cookieHi = argument(r, P.IO_OFFSET + 1);
  const result = readDirectory(layerOf(r), inoOf(r), cookieHi, argument(r, P.IO_OFFSET), sink);
  return result < 0 ? result : sink.length(r);
}

export function listDirectory(r: Request): number {
  return list(r, plainSink);
}

export function listDirectoryPlus(r: Request): number {
  return list(r, plusSink);
}
