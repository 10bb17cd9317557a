/**
 * Header blocks of a tar archive: ustar where an entry fits, else with a pax header in front.
 *
 * pax is needed for paths and link targets that are too long or not ASCII, for ids above 2^21 - 1, sizes from 8 GiB on,
 * times before 1970 or after 2242, and extended attributes. The header behind it holds what fits, so that readers without
 * pax get at least the data. No user names, access or change times are written, and pax records are sorted: the same
 * entry always gives the same bytes.
 */
import * as Tar from './tar-format.js';
import { PAX_XATTR, TAR_BLOCK_BYTES, type TarField, type Xattr } from './tar-format.js';

export interface TarHeader {
  /** One of tar-format's types. */
  readonly type: number;
  /** Without a leading slash; directories end with one. */
  readonly path: Buffer;
  /** Target of a link, else empty. */
  readonly linkPath: Buffer;
  /** Permissions, with the set-id and sticky bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of data behind the header. */
  readonly size: number;
  /** Whole seconds since 1970. */
  readonly mtime: number;
  readonly major: number;
  readonly minor: number;
  /** Names with "=" in them cannot be written and are left out. */
  readonly xattrs: readonly Xattr[];
}

/** Two blocks of zeros. */
export const END_OF_ARCHIVE: Buffer = Buffer.alloc(2 * TAR_BLOCK_BYTES);

const NAME_BYTES = Tar.NAME.bytes;
const SLASH = 0x2f;

/** The header of an entry: one block, or three and more when it takes pax. */
export function tarHeader(header: TarHeader): Buffer {
  const block = Buffer.alloc(TAR_BLOCK_BYTES);
  const pax = needsPax(header) ? paxRecords(header) : [];
  fillBlock(block, header);
  return pax.length === 0 ? block : Buffer.concat([paxHeader(header, pax), block]);
}

/** Most entries need none; this check makes no objects. */
function needsPax(header: TarHeader): boolean {
  return (
    header.xattrs.length > 0 ||
    header.path.length > NAME_BYTES ||
    header.linkPath.length > NAME_BYTES ||
    !(isAscii(header.path) && isAscii(header.linkPath)) ||
    !(fits(header.uid, Tar.UID) && fits(header.gid, Tar.GID) && fits(header.size, Tar.SIZE) && fits(header.mtime, Tar.MTIME))
  );
}

function isAscii(bytes: Buffer): boolean {
  for (let i = 0; i < bytes.length; i++) if (bytes[i]! > 0x7e || bytes[i]! < 0x20) return false;
  return true;
}

/** A field holds one octal digit less than it has bytes. */
function fits(value: number, field: TarField): boolean {
  return value >= 0 && value < 8 ** (field.bytes - 1);
}

function paxRecords(header: TarHeader): Buffer[] {
  const records: Buffer[] = [];
  for (const xattr of header.xattrs) {
    if (!xattr.name.includes(0x3d)) records.push(paxRecord(Buffer.concat([Buffer.from(PAX_XATTR), xattr.name]), xattr.value));
  }
  if (!fits(header.gid, Tar.GID)) records.push(paxNumber('gid', header.gid));
  if (header.linkPath.length > NAME_BYTES || !isAscii(header.linkPath)) records.push(paxRecord(Buffer.from('linkpath'), header.linkPath));
  if (!fits(header.mtime, Tar.MTIME)) records.push(paxNumber('mtime', header.mtime));
  if (!isAscii(header.path) || splitAt(header.path) < 0) records.push(paxRecord(Buffer.from('path'), header.path));
  if (!fits(header.size, Tar.SIZE)) records.push(paxNumber('size', header.size));
  if (!fits(header.uid, Tar.UID)) records.push(paxNumber('uid', header.uid));
  return records.toSorted((a, b) => Buffer.compare(keyOf(a), keyOf(b)));
}

function keyOf(record: Buffer): Buffer {
  return record.subarray(record.indexOf(0x20) + 1, record.indexOf(0x3d));
}

function paxNumber(key: string, value: number): Buffer {
  return paxRecord(Buffer.from(key), Buffer.from(String(value)));
}

/** The length that starts a record counts its own digits. */
function paxRecord(key: Buffer, value: Buffer): Buffer {
  const rest = key.length + value.length + 3;
  let length = rest + String(rest).length;
  if (rest + String(length).length !== length) length++;
  return Buffer.concat([Buffer.from(`${length} `), key, Buffer.from('='), value, Buffer.from('\n')]);
}

function paxHeader(header: TarHeader, records: Buffer[]): Buffer {
  const body = Buffer.concat(records);
  const block = Buffer.alloc(TAR_BLOCK_BYTES);
  const fields = { ...header, type: Tar.PAX_HEADER, path: paxHeaderName(header.path), size: body.length };
  fillBlock(block, { ...fields, linkPath: Buffer.alloc(0), mode: 0, uid: 0, gid: 0, mtime: 0, major: 0, minor: 0 });
  return Buffer.concat([block, body, Buffer.alloc(Tar.paddingAfter(body.length))]);
}

/** Nobody reads it, but archivers without pax make a file of it. */
function paxHeaderName(path: Buffer): Buffer {
  const name = toAscii(path.subarray(0, path.at(-1) === SLASH ? -1 : undefined)).toString('latin1');
  const slash = name.lastIndexOf('/') + 1;
  return Buffer.from(`${name.slice(0, slash)}PaxHeaders.0/${name.slice(slash)}`.slice(0, NAME_BYTES), 'latin1');
}

function toAscii(bytes: Buffer): Buffer {
  return isAscii(bytes) ? bytes : Buffer.from(bytes.filter((byte) => byte >= 0x20 && byte <= 0x7e));
}

/**
 * Where a path divides into prefix and name: 0 if the name takes it all, -1 if neither way fits, else the index of the
 * slash between them.
 */
function splitAt(path: Buffer): number {
  if (path.length <= NAME_BYTES) return 0;
  const slash = path.indexOf(SLASH, path.length - NAME_BYTES - 1);
  const isName = slash > 0 && slash < path.length - 1;
  return isName && slash <= Tar.PREFIX.bytes ? slash : -1;
}

function fillBlock(block: Buffer, header: TarHeader): void {
  fillPath(block, toAscii(header.path));
  block.set(toAscii(header.linkPath).subarray(0, Tar.LINK_NAME.bytes), Tar.LINK_NAME.at);
  block[Tar.TYPE_AT] = header.type;
  block.set(Tar.USTAR_MAGIC_VERSION, Tar.MAGIC.at);
  writeOctal(block, Tar.MODE, header.mode);
  writeOctal(block, Tar.UID, header.uid);
  writeOctal(block, Tar.GID, header.gid);
  writeOctal(block, Tar.SIZE, header.size);
  writeOctal(block, Tar.MTIME, header.mtime);
  writeOctal(block, Tar.MAJOR, header.major);
  writeOctal(block, Tar.MINOR, header.minor);
  writeChecksum(block);
}

function fillPath(block: Buffer, path: Buffer): void {
  const split = splitAt(path);
  if (split > 0) block.set(path.subarray(0, split), Tar.PREFIX.at);
  const name = split > 0 ? path.subarray(split + 1) : path;
  block.set(name.subarray(0, NAME_BYTES), Tar.NAME.at);
}

/** What does not fit is 0; pax has it. */
function writeOctal(block: Buffer, field: TarField, value: number): void {
  let rest = fits(value, field) ? value : 0;
  for (let at = field.at + field.bytes - 2; at >= field.at; at--) {
    block[at] = 0x30 + (rest % 8);
    rest = Math.floor(rest / 8);
  }
}

/** Six digits, a zero byte and a blank. */
function writeChecksum(block: Buffer): void {
  block.write(`${Tar.headerSum(block, 0).toString(8).padStart(6, '0')}\0 `, Tar.CHECKSUM.at, 'latin1');
}
