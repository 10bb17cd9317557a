/** CPUs: which there are, and which of them a thread runs on. */
import { readFileSync } from 'node:fs';
import koffi from 'koffi';
import { errno } from './libc.js';

const libc = koffi.load('libc.so.6');
const schedSetaffinity = libc.func('sched_setaffinity', 'int', ['int', 'size_t', 'void *']) as (
  thread: number,
  bytes: number,
  mask: Uint8Array,
) => number;

/** The kernel's own limit on x86_64 is 8192 CPUs. */
const MASK_BYTES = 1024;

/** Numbers in a list such as `0-3,8`. */
export function parseCpuList(text: string): number[] {
  const cpus: number[] = [];
  for (const part of text.trim().split(',')) {
    if (part === '') continue;
    const [first, last] = part.split('-').map(Number) as [number, number?];
    for (let cpu = first; cpu <= (last ?? first); cpu++) cpus.push(cpu);
  }
  return cpus;
}

function cpuList(name: string): number[] {
  return parseCpuList(readFileSync(`/sys/devices/system/cpu/${name}`, 'latin1'));
}

/** CPUs that may ever come to be: the kernel has a queue for each of them. */
export const possibleCpus = (): number[] => cpuList('possible');
/** CPUs that work now. */
export const onlineCpus = (): number[] => cpuList('online');

/** CPUs that the main thread of this process may use. */
export function allowedCpus(): number[] {
  const line = /^Cpus_allowed_list:\s*(.*)$/m.exec(readFileSync('/proc/self/status', 'latin1'));
  return parseCpuList(line![1]!);
}

/** Keeps the calling thread on these CPUs. Returns 0 or a negative error number. */
export function pinThread(cpus: readonly number[]): number {
  const mask = new Uint8Array(MASK_BYTES);
  for (const cpu of cpus) mask[cpu >> 3]! |= 1 << (cpu & 7);
  return schedSetaffinity(0, MASK_BYTES, mask) < 0 ? -errno() : 0;
}
