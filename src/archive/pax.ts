/**
 * The body of a pax extended header: records `LENGTH KEY=VALUE\n`, where LENGTH counts the whole record.
 *
 * Keys and values are bytes. Known keys become fields, extended attributes are collected, everything else (user names,
 * comments, vendors' keys) has no meaning for a layer. A later record of the same key wins; one with an empty value takes
 * the earlier one back.
 */
import { PAX_XATTR, type Xattr } from './tar-format.js';

/** Something in the archive that is not as the format wants it. The reader adds which entry it is. */
export class TarFormatError extends Error {}

export interface TarTime {
  /** Seconds since 1970. */
  readonly seconds: number;
  readonly nanoseconds: number;
}

export interface PaxRecords {
  path?: Buffer | undefined;
  linkPath?: Buffer | undefined;
  size?: number | undefined;
  uid?: number | undefined;
  gid?: number | undefined;
  mtime?: TarTime | undefined;
  atime?: TarTime | undefined;
  /** GNU.sparse.major and minor: 1.0 has its map in front of the data. */
  sparseMajor?: number | undefined;
  sparseMinor?: number | undefined;
  /** GNU.sparse.name: the file's name, as `path` is one for archivers that don't know of sparse files. */
  sparseName?: Buffer | undefined;
  /** GNU.sparse.size or realsize. */
  sparseSize?: number | undefined;
  /** Offset and length in turn: GNU.sparse.map, or the repeated GNU.sparse.offset and numbytes. */
  sparseMap?: number[] | undefined;
  /** By name in latin1. */
  xattrs: Map<string, Xattr>;
}

const LIBARCHIVE_XATTR = 'LIBARCHIVE.xattr.';
const LENGTH_DIGITS_MAX = 7;

export function parsePax(body: Buffer): PaxRecords {
  const records: PaxRecords = { xattrs: new Map() };
  for (let at = 0; at < body.length;) {
    const blank = body.indexOf(0x20, at);
    const length = recordLength(body, at, blank);
    parseRecord(records, body.subarray(blank + 1, at + length - 1));
    at += length;
  }
  return records;
}

function recordLength(body: Buffer, at: number, blank: number): number {
  if (blank <= at || blank - at > LENGTH_DIGITS_MAX) throw new TarFormatError('a pax record does not start with its length');
  const text = body.toString('latin1', at, blank);
  const length = /^\d+$/.test(text) ? Number(text) : 0;
  if (at + length > body.length || length < blank - at + 3 || body[at + length - 1] !== 0x0a) {
    throw new TarFormatError('a pax record has a wrong length');
  }
  return length;
}

function parseRecord(records: PaxRecords, record: Buffer): void {
  const equals = record.indexOf(0x3d);
  if (equals <= 0) throw new TarFormatError('a pax record has no key');
  const key = record.toString('latin1', 0, equals);
  const value = record.subarray(equals + 1);
  if (key.startsWith(PAX_XATTR)) setXattr(records, record.subarray(PAX_XATTR.length, equals), value);
  else if (key.startsWith(LIBARCHIVE_XATTR)) setEncodedXattr(records, key.slice(LIBARCHIVE_XATTR.length), value);
  else if (key.startsWith('GNU.sparse.')) setSparse(records, key, value);
  else setField(records, key, value);
}

function setXattr(records: PaxRecords, name: Buffer, value: Buffer): void {
  if (name.includes(0)) throw new TarFormatError('the name of an extended attribute has a zero byte in it');
  records.xattrs.set(name.toString('latin1'), { name: Buffer.from(name), value: Buffer.from(value) });
}

/** libarchive writes every attribute a second time, the name percent-encoded and the value in base64. */
function setEncodedXattr(records: PaxRecords, encoded: string, value: Buffer): void {
  const name = encoded.replaceAll(/%([0-9a-fA-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  if (records.xattrs.has(name) || name.includes('\0')) return;
  records.xattrs.set(name, { name: Buffer.from(name, 'latin1'), value: Buffer.from(value.toString('latin1'), 'base64') });
}

function setField(records: PaxRecords, key: string, value: Buffer): void {
  switch (key) {
    case 'path':
      records.path = pathValue(key, value);
      break;
    case 'linkpath':
      records.linkPath = pathValue(key, value);
      break;
    case 'size':
    case 'uid':
    case 'gid':
      records[key] = integerValue(key, value);
      break;
    case 'mtime':
    case 'atime':
      records[key] = timeValue(key, value);
      break;
    default:
  }
}

function pathValue(key: string, value: Buffer): Buffer | undefined {
  if (value.includes(0)) throw new TarFormatError(`its pax ${key} has a zero byte in it`);
  return value.length === 0 ? undefined : Buffer.from(value);
}

/** Integers above 2^53 come out rounded. */
function integerValue(key: string, value: Buffer): number | undefined {
  const text = value.toString('latin1');
  if (text === '') return undefined;
  if (!/^[+-]?\d{1,20}$/.test(text)) throw new TarFormatError(`its pax ${key} is not a number`);
  return Number(text);
}

function timeValue(key: string, value: Buffer): TarTime | undefined {
  const text = value.toString('latin1');
  if (text === '') return undefined;
  const parts = /^(-?\d{1,20})(?:\.(\d*))?$/.exec(text);
  if (parts === null) throw new TarFormatError(`its pax ${key} is not a time`);
  return { seconds: Number(parts[1]), nanoseconds: Number((parts[2] ?? '').slice(0, 9).padEnd(9, '0')) };
}

function setSparse(records: PaxRecords, key: string, value: Buffer): void {
  switch (key.slice('GNU.sparse.'.length)) {
    case 'major':
      records.sparseMajor = integerValue(key, value);
      break;
    case 'minor':
      records.sparseMinor = integerValue(key, value);
      break;
    case 'name':
      records.sparseName = pathValue(key, value);
      break;
    case 'size':
    case 'realsize':
      records.sparseSize = integerValue(key, value);
      break;
    case 'map':
      records.sparseMap = value.toString('latin1').split(',').map(mapNumber);
      break;
    case 'offset':
    case 'numbytes':
      appendToMap(records, key, value);
      break;
    default:
  }
}

function mapNumber(text: string): number {
  if (!/^\d{1,20}$/.test(text)) throw new TarFormatError('the map of the sparse file is not made of numbers');
  return Number(text);
}

function appendToMap(records: PaxRecords, key: string, value: Buffer): void {
  records.sparseMap ??= [];
  const wanted = records.sparseMap.length % 2 === 0 ? 'GNU.sparse.offset' : 'GNU.sparse.numbytes';
  if (key !== wanted) throw new TarFormatError('the map of the sparse file is out of order');
  records.sparseMap.push(mapNumber(value.toString('latin1')));
}
