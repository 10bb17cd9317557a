/** Contents of files as tests compare them: read as programs read, and what is wrong with them put in words. */
import { readSync } from 'node:fs';

/**
 * Up to `bytes` bytes from the beginning of a file, fewer at its end. A read of several pages that fails at one of them returns
 * what lies before that, and only the next one the error. So what falls short is no end, and is read on, as programs do.
 */
export function readWhole(fd: number, bytes: number): Buffer {
  const found = Buffer.alloc(bytes);
  for (let length = 0, more = 1; ; length += more) {
    more = length < bytes ? readSync(fd, found, length, bytes - length, length) : 0;
    if (more === 0) return found.subarray(0, length);
  }
}

/** How contents differ from what they should be; empty if they do not. */
export function differenceOf(found: Uint8Array, wanted: Uint8Array): string {
  const at = wanted.findIndex((byte, i) => byte !== found[i]);
  if (at < 0 && found.length === wanted.length) return '';
  const sizes = `${found.length} bytes instead of ${wanted.length}`;
  const differs = at >= 0 && at < found.length;
  return differs ? `${sizes}, from byte ${at} on ${hex(found, at)} instead of ${hex(wanted, at)}` : `${sizes}, the same as far as they go`;
}

const SHOWN_BYTES = 8;

function hex(bytes: Uint8Array, at: number): string {
  return Buffer.from(bytes.subarray(at, at + SHOWN_BYTES)).toString('hex');
}

/** What is wrong with what an open file holds: that, or how it cannot be read; empty if nothing. Throws what `isGivenUp` says is none of the file's fault. */
export function faultOf(fd: number, wanted: Uint8Array, isGivenUp: (error: unknown) => boolean = () => false): string {
  try {
    // One byte more would be there, too, if there were more.
    return differenceOf(readWhole(fd, wanted.length + 1), wanted);
  } catch (error) {
    if (isGivenUp(error)) throw error;
    return (error as Error).message;
  }
}
