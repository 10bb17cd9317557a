/**
 * Names and paths between archives and the engine. In this folder a name is a string in latin1: one character for each
 * byte, so every sequence of bytes is representable and strings serve as keys of maps. The engine takes bytes.
 */
import { NAME_BYTES_MAX } from '../layout/constants.js';
import { Refusal } from './refusal.js';

/** PATH_MAX less the terminating byte: longer paths could not be opened as a whole. */
export const PATH_BYTES_MAX = 4095;

/** Scratch for one name on its way to the engine. */
export const nameBytes: Buffer = Buffer.alloc(NAME_BYTES_MAX);

/** Puts a name into `nameBytes` and returns its length. Throws Refusal if it is too long for a name. */
export function putName(name: string): number {
  if (name.length > NAME_BYTES_MAX) throw new Refusal(`a name in its path is longer than ${NAME_BYTES_MAX} bytes`);
  return nameBytes.write(name, 0, 'latin1');
}

/** The name that the engine shows at `at`. */
export function latin1(bytes: Uint8Array, at: number, length: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + at, length).toString('latin1');
}

/**
 * Components of a path in an archive; none for the root itself. Empty ones and `.` are left out. Refuses what could lead
 * out of the layer: absolute paths and `..`.
 */
export function splitPath(path: Buffer): string[] {
  if (path[0] === 0x2f) throw new Refusal('its path is absolute');
  return splitRelative(path);
}

/** As `splitPath`, but a leading slash means the root of the layer: archivers write such targets of hard links. */
export function splitRelative(path: Buffer): string[] {
  if (path.length > PATH_BYTES_MAX) throw new Refusal(`its path is longer than ${PATH_BYTES_MAX} bytes`);
  const parts = path.toString('latin1').split('/');
  let kept = 0;
  for (const part of parts) {
    if (part === '' || part === '.') continue;
    checkPart(part);
    parts[kept++] = part;
  }
  parts.length = kept;
  return parts;
}

function checkPart(part: string): void {
  if (part === '..') throw new Refusal('its path contains ".."');
  if (part.length > NAME_BYTES_MAX) throw new Refusal(`a name in its path is longer than ${NAME_BYTES_MAX} bytes`);
  if (part.includes('\0')) throw new Refusal('its path has a zero byte in it');
}
