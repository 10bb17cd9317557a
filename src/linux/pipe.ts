/** Pipes whose ends are plain descriptors, for programs that are read while they run. */
import koffi from 'koffi';
import { O_CLOEXEC } from './descriptors.js';
import { addressOf, errno, fcntl } from './libc.js';

const pipe2 = koffi.load('libc.so.6').func('pipe2', 'int', ['uint64_t', 'int']);
const F_SETPIPE_SZ = 1031;

/** Makes a pipe: [descriptor to read from, descriptor to write to]. It holds `bytes`, if the system allows it. */
export function makePipe(bytes: number): [number, number] {
  const ends = new Int32Array(2);
  if (pipe2(addressOf(ends), O_CLOEXEC) !== 0) throw new Error(`a pipe cannot be made (errno ${errno()})`);
  fcntl(ends[0]!, F_SETPIPE_SZ, bytes);
  return [ends[0]!, ends[1]!];
}
