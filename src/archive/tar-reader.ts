/**
 * Streaming reader of tar archives: ustar, pax, GNU, star and v7, sparse files included.
 *
 * The reader is pushed: `push(chunk)` takes pieces of any size, `end()` says that the archive is over. It calls the sink
 * with `entry`, then `data` any number of times, then `endEntry`, for each file, link, directory … in the archive's
 * order. Headers that only describe the next entry (pax, GNU long names) are no entries. Whatever is no data reaches the sink
 * as `rest`, too, so that `data` and `rest` together are the archive. What the sink throws passes through. After any error
 * the reader must not be used again.
 *
 * Invariants
 *  R1  Memory does not depend on the archive: at most one block, one extended header of at most META_BYTES_MAX for each
 *      kind, and one sparse map are held.
 *  R2  The sink gets exactly the data that the entry's map of stretches names, ascending, none of it empty.
 *  R3  Paths are bytes as archived: not normalised, not checked, never empty.
 *
 * Leniency is that of the container engines (Go's archive/tar): the end of the archive may lack its zero blocks and the
 * padding before them, provided that it falls between two entries; behind two zero blocks anything may follow; sizes of
 * links and directories mean nothing; pax global headers are passed over.
 */
import { FILE_BYTES_MAX } from '../layout/constants.js';
import { entryError } from './archive-error.js';
import { parsePax, TarFormatError, type PaxRecords, type TarTime } from './pax.js';
import { SparseMap, SparseMapText } from './sparse-map.js';
import * as Tar from './tar-format.js';
import type { TarField, Xattr } from './tar-format.js';

export interface TarEntry {
  /** Position among the entries, from 1. */
  readonly index: number;
  /** One of tar-format's types; OLD_FILE, CONTIGUOUS_FILE and GNU_SPARSE come as FILE. */
  readonly type: number;
  readonly path: Buffer;
  /** Target of a hard or symbolic link; empty for everything else. */
  readonly linkPath: Buffer;
  /** Permissions, with the set-id and sticky bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of a file, holes included; 0 for everything else. */
  readonly size: number;
  /** Bytes of the file that the archive leaves out. */
  readonly holeBytes: number;
  readonly mtime: TarTime;
  readonly atime: TarTime | null;
  /** Device number. */
  readonly major: number;
  readonly minor: number;
  readonly xattrs: readonly Xattr[];
}

export interface TarSink {
  entry(entry: TarEntry): void;
  /** `length` bytes of the file at `offset`, to be taken from `bytes` at `at`. */
  data(bytes: Uint8Array, at: number, length: number, offset: number): void;
  endEntry(): void;
  /** `length` bytes of the archive that are no file's data, from `bytes` at `at`. What they mean was told before. */
  rest(bytes: Uint8Array, at: number, length: number): void;
}

/** As in Go's archive/tar: an extended header of more than 1 MiB is an attack. */
const META_BYTES_MAX = 1 << 20;
const NO_BYTES = Buffer.alloc(0);
const NO_XATTRS: readonly Xattr[] = [];

/** What the next bytes are. */
const enum Expect {
  Header,
  /** The second of the two zero blocks. */
  SecondZero,
  /** Body of an extended header. */
  Meta,
  /** Extension of an old GNU sparse map. */
  SparseBlock,
  /** Map of pax 1.0 in front of the data. */
  SparseText,
  Data,
  /** Bytes without meaning: padding. */
  Padding,
  /** Whatever stands behind the end. */
  Nothing,
}

/** A header block as the reader keeps it until the entry is complete. */
interface RawEntry {
  type: number;
  path: Buffer;
  linkPath: Buffer;
  mode: number;
  uid: number;
  gid: number;
  /** Bytes that are stored in the archive. */
  stored: number;
  mtime: TarTime;
  atime: TarTime | null;
  major: number;
  minor: number;
  isGnu: boolean;
  /** Size of an old GNU sparse file with its holes. */
  realSize: number;
}

export class TarReader {
  readonly #sink: TarSink;
  #expect: Expect = Expect.Header;
  /** A block that arrives in pieces. */
  readonly #block = Buffer.alloc(Tar.TAR_BLOCK_BYTES);
  #blockFilled = 0;
  /** Bytes pushed so far. */
  #position = 0;
  #index = 0;
  /** For messages: the entry that is being read. */
  #path: Buffer | null = null;

  #meta: Buffer = NO_BYTES;
  #metaFilled = 0;
  #metaType = 0;
  /** From the extended headers in front of the next entry. */
  #pax: PaxRecords | null = null;
  #longName: Buffer | null = null;
  #longLink: Buffer | null = null;

  #raw: RawEntry | null = null;
  #map: SparseMap | null = null;
  #mapText: SparseMapText | null = null;
  /** Size of the sparse file that is being read, with its holes. */
  #sparseSize = 0;
  /** Bytes of stored data, or of padding, still to come. */
  #left = 0;
  #padding = 0;
  /** Where in the file the next byte of data goes, and how much of it in one stretch. */
  #offset = 0;
  #stretchLeft = 0;
  #stretch = 0;

  constructor(sink: TarSink) {
    this.#sink = sink;
  }

  /** Entries so far. */
  get entries(): number {
    return this.#index;
  }

  /** Whether the zero blocks that end an archive were seen. */
  get ended(): boolean {
    return this.#expect === Expect.SecondZero || this.#expect === Expect.Nothing;
  }

  /** Takes the next bytes of the archive. They are not kept. Throws LcfsError. */
  push(chunk: Uint8Array): void {
    try {
      for (let at = 0; at < chunk.length;) {
        const isData = this.#expect === Expect.Data;
        const taken = this.#take(chunk, at);
        if (!isData) this.#sink.rest(chunk, at, taken);
        at += taken;
        this.#position += taken;
      }
    } catch (error) {
      throw this.#explained(error);
    }
  }

  /** The archive is over. Throws LcfsError if it breaks off. */
  end(): void {
    if (this.ended || (this.#isBetweenEntries() && this.#isAtStart())) return;
    throw this.#refusal(`the archive breaks off here, after ${this.#position} bytes`);
  }

  #isBetweenEntries(): boolean {
    return this.#expect === Expect.Padding || (this.#expect === Expect.Header && this.#blockFilled === 0);
  }

  /** Nothing is left over from extended headers. */
  #isAtStart(): boolean {
    return this.#pax === null && this.#longName === null && this.#longLink === null;
  }

  #refusal(cause: string): Error {
    return entryError(this.#path === null ? this.#index + 1 : this.#index, this.#path, cause);
  }

  #explained(error: unknown): unknown {
    return error instanceof TarFormatError ? this.#refusal(error.message) : error;
  }

  /** Takes some bytes of `chunk` from `at` on and returns how many. */
  #take(chunk: Uint8Array, at: number): number {
    switch (this.#expect) {
      case Expect.Data:
        return this.#takeData(chunk, at);
      case Expect.Padding:
        return this.#takePadding(chunk, at);
      case Expect.Meta:
        return this.#takeMeta(chunk, at);
      case Expect.Nothing:
        return chunk.length - at;
      default:
        return this.#takeBlock(chunk, at);
    }
  }

  #takeBlock(chunk: Uint8Array, at: number): number {
    const length = Math.min(chunk.length - at, Tar.TAR_BLOCK_BYTES - this.#blockFilled);
    if (length === Tar.TAR_BLOCK_BYTES) {
      this.#blockComplete(chunk, at);
      return length;
    }
    this.#block.set(chunk.subarray(at, at + length), this.#blockFilled);
    this.#blockFilled += length;
    if (this.#blockFilled === Tar.TAR_BLOCK_BYTES) {
      this.#blockFilled = 0;
      this.#blockComplete(this.#block, 0);
    }
    return length;
  }

  #blockComplete(block: Uint8Array, at: number): void {
    switch (this.#expect) {
      case Expect.SparseBlock:
        return this.#sparseBlock(block, at);
      case Expect.SparseText:
        return this.#sparseText(block, at);
      case Expect.SecondZero:
        if (!isZeroBlock(block, at)) throw new TarFormatError('a block of zeros is followed by something else');
        this.#expect = Expect.Nothing;
        return;
      default:
        return this.#header(block, at);
    }
  }

  // Headers

  #header(block: Uint8Array, at: number): void {
    this.#path = null;
    if (isZeroBlock(block, at)) {
      this.#expect = Expect.SecondZero;
      return;
    }
    this.#checkSum(block, at);
    const type = block[at + Tar.TYPE_AT]!;
    if (isMeta(type)) this.#startMeta(type, this.#size(block, at));
    else this.#startEntry(block, at);
  }

  #checkSum(block: Uint8Array, at: number): void {
    const written = Tar.parseNumber(block, at, Tar.CHECKSUM);
    if (written === Tar.headerSum(block, at) || written === Tar.headerSumSigned(block, at)) return;
    if (this.#position >= Tar.TAR_BLOCK_BYTES) throw new TarFormatError('the checksum of its header does not match');
    throw new TarFormatError(`this is not a tar archive${compression(block, at)}`);
  }

  #number(block: Uint8Array, at: number, field: TarField, what: string): number {
    const value = Tar.parseNumber(block, at, field);
    if (Number.isNaN(value)) throw new TarFormatError(`its ${what} is not a number`);
    return value;
  }

  #size(block: Uint8Array, at: number): number {
    return checkSize(this.#number(block, at, Tar.SIZE, 'size'));
  }

  #startMeta(type: number, size: number): void {
    if (size > META_BYTES_MAX) throw new TarFormatError(`its extended header has ${size} bytes, more than ${META_BYTES_MAX}`);
    this.#metaType = type;
    this.#meta = Buffer.alloc(size);
    this.#metaFilled = 0;
    this.#padding = Tar.paddingAfter(size);
    this.#expect = Expect.Meta;
    if (size === 0) this.#metaComplete();
  }

  #takeMeta(chunk: Uint8Array, at: number): number {
    const length = Math.min(chunk.length - at, this.#meta.length - this.#metaFilled);
    this.#meta.set(chunk.subarray(at, at + length), this.#metaFilled);
    this.#metaFilled += length;
    if (this.#metaFilled === this.#meta.length) this.#metaComplete();
    return length;
  }

  #metaComplete(): void {
    const meta = this.#meta;
    this.#meta = NO_BYTES;
    if (this.#metaType === Tar.PAX_HEADER) this.#pax = parsePax(meta);
    // A global header would change all entries behind it. The engines only look whether it is well-formed.
    else if (this.#metaType === Tar.PAX_GLOBAL) parsePax(meta);
    else if (this.#metaType === Tar.GNU_LONG_NAME) this.#longName = upToZero(meta);
    else this.#longLink = upToZero(meta);
    this.#startPadding();
  }

  // Entries

  #startEntry(block: Uint8Array, at: number): void {
    const raw = this.#parseHeader(block, at);
    this.#raw = raw;
    this.#index++;
    this.#path = raw.path;
    this.#applyMeta(raw);
    this.#path = raw.path;
    if (raw.path.length === 0) throw new TarFormatError('it has no name');
    if (hasData(raw.type)) this.#startFile(raw, block, at);
    else this.#startPlain(raw);
  }

  #parseHeader(block: Uint8Array, at: number): RawEntry {
    const isGnu = equals(block, at + Tar.MAGIC.at, Tar.GNU_MAGIC);
    const raw: RawEntry = {
      type: block[at + Tar.TYPE_AT]!,
      path: text(block, at, Tar.NAME),
      linkPath: text(block, at, Tar.LINK_NAME),
      mode: this.#number(block, at, Tar.MODE, 'mode'),
      uid: this.#number(block, at, Tar.UID, 'user id'),
      gid: this.#number(block, at, Tar.GID, 'group id'),
      stored: this.#number(block, at, Tar.SIZE, 'size'),
      mtime: { seconds: this.#number(block, at, Tar.MTIME, 'modification time'), nanoseconds: 0 },
      atime: null,
      major: 0,
      minor: 0,
      isGnu,
      realSize: 0,
    };
    if (isGnu) this.#parseGnu(raw, block, at);
    else if (equals(block, at + Tar.MAGIC.at, Tar.USTAR_MAGIC)) this.#parseUstar(raw, block, at);
    return raw;
  }

  #parseUstar(raw: RawEntry, block: Uint8Array, at: number): void {
    this.#parseDevice(raw, block, at);
    const isStar = equals(block, at + Tar.STAR_TRAILER_AT, Tar.STAR_TRAILER);
    raw.path = join(text(block, at, isStar ? Tar.STAR_PREFIX : Tar.PREFIX), raw.path);
    if (isStar) raw.atime = { seconds: this.#number(block, at, Tar.STAR_ATIME, 'access time'), nanoseconds: 0 };
  }

  #parseGnu(raw: RawEntry, block: Uint8Array, at: number): void {
    this.#parseDevice(raw, block, at);
    raw.realSize = raw.type === Tar.GNU_SPARSE ? this.#number(block, at, Tar.SPARSE_REAL_SIZE, 'size') : 0;
    const atime = Tar.parseNumber(block, at, Tar.GNU_ATIME);
    const ctime = Tar.parseNumber(block, at, Tar.GNU_CTIME);
    // Go before 1.8, and so old image builders, wrote a ustar prefix where GNU has times: then the times are no numbers.
    if (Number.isNaN(atime) || Number.isNaN(ctime)) raw.path = join(text(block, at, Tar.PREFIX), raw.path);
    else if (block[at + Tar.GNU_ATIME.at] !== 0) raw.atime = { seconds: atime, nanoseconds: 0 };
  }

  #parseDevice(raw: RawEntry, block: Uint8Array, at: number): void {
    if (raw.type !== Tar.CHARACTER_DEVICE && raw.type !== Tar.BLOCK_DEVICE) return;
    raw.major = this.#number(block, at, Tar.MAJOR, 'device number');
    raw.minor = this.#number(block, at, Tar.MINOR, 'device number');
  }

  /** Replaces fields of the header by what the extended headers in front of it say. */
  #applyMeta(raw: RawEntry): void {
    const pax = this.#pax;
    if (pax !== null) {
      raw.path = pax.sparseName ?? pax.path ?? raw.path;
      raw.linkPath = pax.linkPath ?? raw.linkPath;
      raw.stored = pax.size ?? raw.stored;
      raw.uid = pax.uid ?? raw.uid;
      raw.gid = pax.gid ?? raw.gid;
      raw.mtime = pax.mtime ?? raw.mtime;
      raw.atime = pax.atime ?? raw.atime;
    }
    raw.path = this.#longName ?? raw.path;
    raw.linkPath = this.#longLink ?? raw.linkPath;
    // Before there was a type for directories, a slash at the end made one.
    if (raw.type === Tar.OLD_FILE && raw.path.at(-1) === 0x2f) raw.type = Tar.DIRECTORY;
    checkSize(raw.stored);
  }

  #startPlain(raw: RawEntry): void {
    this.#announce(raw, 0, 0);
    this.#finishEntry();
    this.#expect = Expect.Header;
  }

  #startFile(raw: RawEntry, block: Uint8Array, at: number): void {
    this.#left = raw.stored;
    this.#padding = Tar.paddingAfter(raw.stored);
    this.#sparseSize = raw.stored;
    if (raw.type === Tar.GNU_SPARSE) this.#startOldSparse(raw, block, at);
    else if (isPaxSparse(this.#pax)) this.#startPaxSparse(this.#pax);
    else this.#startData();
  }

  #startOldSparse(raw: RawEntry, block: Uint8Array, at: number): void {
    if (!raw.isGnu) throw new TarFormatError('it is a sparse file, but not in the GNU format');
    this.#sparseSize = checkSize(raw.realSize);
    this.#map = new SparseMap();
    this.#map.addPairs(block, at + Tar.SPARSE_HEADER_AT, Tar.SPARSE_HEADER_PAIRS);
    if (block[at + Tar.SPARSE_HEADER_MORE_AT] === 0) this.#startData();
    else this.#expect = Expect.SparseBlock;
  }

  #sparseBlock(block: Uint8Array, at: number): void {
    this.#map!.addPairs(block, at, Tar.SPARSE_BLOCK_PAIRS);
    if (block[at + Tar.SPARSE_BLOCK_MORE_AT] === 0) this.#startData();
  }

  #startPaxSparse(pax: PaxRecords): void {
    if (pax.sparseSize === undefined) throw new TarFormatError('it is a sparse file without a size');
    this.#sparseSize = checkSize(pax.sparseSize);
    if (pax.sparseMajor === 1) {
      this.#mapText = new SparseMapText();
      this.#expect = Expect.SparseText;
      return;
    }
    this.#map = new SparseMap();
    this.#map.addAll(pax.sparseMap ?? []);
    this.#startData();
  }

  #sparseText(block: Uint8Array, at: number): void {
    if (this.#left < Tar.TAR_BLOCK_BYTES) throw new TarFormatError('the map of the sparse file does not end');
    this.#left -= Tar.TAR_BLOCK_BYTES;
    if (!this.#mapText!.push(block, at, Tar.TAR_BLOCK_BYTES)) return;
    this.#map = this.#mapText!.map;
    this.#mapText = null;
    this.#startData();
  }

  // Data

  #startData(): void {
    this.#map?.validate(this.#sparseSize, this.#left);
    this.#announce(this.#raw!, this.#sparseSize, this.#sparseSize - this.#left);
    this.#offset = 0;
    this.#stretchLeft = this.#left;
    this.#stretch = 0;
    if (this.#map !== null) this.#stretchLeft = 0;
    this.#expect = Expect.Data;
    if (this.#left === 0) this.#dataComplete();
  }

  #takeData(chunk: Uint8Array, at: number): number {
    while (this.#stretchLeft === 0) this.#nextStretch();
    const length = Math.min(chunk.length - at, this.#stretchLeft);
    this.#sink.data(chunk, at, length, this.#offset);
    this.#offset += length;
    this.#stretchLeft -= length;
    this.#left -= length;
    if (this.#left === 0) this.#dataComplete();
    return length;
  }

  /** There is one, and one that is not empty: the map was validated against the bytes stored. */
  #nextStretch(): void {
    this.#offset = this.#map!.numbers[this.#stretch++]!;
    this.#stretchLeft = this.#map!.numbers[this.#stretch++]!;
  }

  #dataComplete(): void {
    this.#map = null;
    this.#finishEntry();
    this.#startPadding();
  }

  #startPadding(): void {
    this.#left = this.#padding;
    this.#expect = this.#padding === 0 ? Expect.Header : Expect.Padding;
  }

  #takePadding(chunk: Uint8Array, at: number): number {
    const length = Math.min(chunk.length - at, this.#left);
    this.#left -= length;
    if (this.#left === 0) this.#expect = Expect.Header;
    return length;
  }

  // Calls of the sink

  #announce(raw: RawEntry, size: number, holeBytes: number): void {
    const xattrs = this.#pax === null || this.#pax.xattrs.size === 0 ? NO_XATTRS : [...this.#pax.xattrs.values()];
    this.#sink.entry({
      index: this.#index,
      type: hasData(raw.type) ? Tar.FILE : raw.type,
      path: raw.path,
      linkPath: raw.type === Tar.HARD_LINK || raw.type === Tar.SYMLINK ? raw.linkPath : NO_BYTES,
      mode: raw.mode & 0o7777,
      uid: raw.uid,
      gid: raw.gid,
      size,
      holeBytes,
      mtime: raw.mtime,
      atime: raw.atime,
      major: raw.major,
      minor: raw.minor,
      xattrs,
    });
  }

  #finishEntry(): void {
    this.#sink.endEntry();
    this.#raw = null;
    this.#pax = null;
    this.#longName = null;
    this.#longLink = null;
    this.#path = null;
  }
}

function isMeta(type: number): boolean {
  return type === Tar.PAX_HEADER || type === Tar.PAX_GLOBAL || type === Tar.GNU_LONG_NAME || type === Tar.GNU_LONG_LINK;
}

/** Types whose size says how much data follows. Unknown types are refused by the sink before their data comes. */
function hasData(type: number): boolean {
  return type === Tar.FILE || type === Tar.OLD_FILE || type === Tar.CONTIGUOUS_FILE || type === Tar.GNU_SPARSE;
}

function isPaxSparse(pax: PaxRecords | null): pax is PaxRecords {
  if (pax === null) return false;
  if (pax.sparseMajor === undefined) return pax.sparseMap !== undefined;
  if (pax.sparseMajor === 1 && (pax.sparseMinor ?? 0) === 0) return true;
  if (pax.sparseMajor === 0 && (pax.sparseMinor ?? 0) <= 1) return true;
  throw new TarFormatError(`its sparse format ${pax.sparseMajor}.${pax.sparseMinor ?? 0} is not known`);
}

function checkSize(size: number): number {
  if (size < 0) throw new TarFormatError('its size is negative');
  if (size > FILE_BYTES_MAX) throw new TarFormatError(`its size of ${size} bytes is beyond the 16 TiB of a file`);
  return size;
}

function isZeroBlock(block: Uint8Array, at: number): boolean {
  for (let i = at; i < at + Tar.TAR_BLOCK_BYTES; i++) if (block[i] !== 0) return false;
  return true;
}

function equals(block: Uint8Array, at: number, bytes: Buffer): boolean {
  for (let i = 0; i < bytes.length; i++) if (block[at + i] !== bytes[i]) return false;
  return true;
}

function text(block: Uint8Array, at: number, field: TarField): Buffer {
  const length = Tar.textLength(block, at, field);
  return length === 0 ? NO_BYTES : Buffer.from(block.subarray(at + field.at, at + field.at + length));
}

function join(prefix: Buffer, name: Buffer): Buffer {
  return prefix.length === 0 ? name : Buffer.concat([prefix, Buffer.from('/'), name]);
}

function upToZero(meta: Buffer): Buffer {
  const zero = meta.indexOf(0);
  return zero < 0 ? meta : meta.subarray(0, zero);
}

/** A hint for the likeliest mistake. */
function compression(block: Uint8Array, at: number): string {
  if (block[at] === 0x1f && block[at + 1] === 0x8b) return ': it is compressed by gzip, decompress it first';
  if (block[at] === 0x28 && block[at + 1] === 0xb5 && block[at + 2] === 0x2f && block[at + 3] === 0xfd)
    return ': it is compressed by zstd, decompress it first';
  if (block[at] === 0xfd && block[at + 1] === 0x37 && block[at + 2] === 0x7a) return ': it is compressed by xz, decompress it first';
  return '';
}
