/** Bytes by machine address: for payloads that lie in a request's buffer, not in the arena. */
import koffi from 'koffi';

const libc = koffi.load('libc.so.6');

export const copyBytes = libc.func('memmove', 'void', ['uint64_t', 'uint64_t', 'size_t']) as (
  to: number,
  from: number,
  bytes: number,
) => void;
const setBytes = libc.func('memset', 'void', ['uint64_t', 'int', 'size_t']) as (to: number, value: number, bytes: number) => void;
const compareBytes = libc.func('memcmp', 'int', ['uint64_t', 'uint64_t', 'size_t']) as (a: number, b: number, bytes: number) => number;

export function clearBytes(at: number, bytes: number): void {
  setBytes(at, 0, bytes);
}

export function equalBytes(a: number, b: number, bytes: number): boolean {
  return compareBytes(a, b, bytes) === 0;
}
