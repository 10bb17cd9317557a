/**
 * What one FUSE request costs its caller, for both transports, served on the caller's CPU and on another one.
 *
 * Each operation of the load program is exactly one request: a look at a name that is not there and was never asked for
 * (LOOKUP), or a write of 4 KiB through O_DIRECT, which passes by the kernel's cache (WRITE). The load is pinned to CPU 0;
 * `taskset` moves the threads of the daemon to the same CPU, to the other one, or leaves them where they are.
 *
 * What a request costs the daemon is the time that all its threads were running, by the scheduler's clock, with the
 * kernel's part of it: taking the request, answering it, waking the caller.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findCommand } from '../../scripts/lib/packages.js';
import { BenchDaemon } from '../harness/bench-daemon.js';
import { addFigures, type Figure, ratio } from '../harness/figures.js';
import { median } from '../harness/statistics.js';
import type { Part } from '../harness/types.js';

const ROUNDS = 7;
const OPERATIONS = 4000;
const TRANSPORTS = ['uring', 'devfuse'] as const;
const LOAD_CPU = '0';
const OTHER_CPU = '1';

/** Microseconds for one operation of `kind` in `folder`. */
type Load = (kind: 'lookup' | 'write', folder: string, round: number) => number;

export const requests: Part = {
  name: 'requests',
  description: 'one FUSE request, as its caller sees it',
  disks: ['fast'],
  run: async (bench) => addFigures(bench, await measureRequests()),
};

async function measureRequests(): Promise<Figure[]> {
  const folder = mkdtempSync(join(tmpdir(), 'lcfs-bench-'));
  try {
    const { load, language } = makeLoad(folder);
    const figures = [...baseline(load)];
    for (const transport of TRANSPORTS) figures.push(...(await benchTransport(transport, load)));
    const how = `load in ${language}, median of ${ROUNDS} × ${OPERATIONS}`;
    for (const figure of figures) figure.note = figure.note === undefined ? how : `${figure.note}; ${how}`;
    return figures;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** In C where there is a compiler; otherwise in JavaScript, whose own cost is then a part of the figures. */
function makeLoad(folder: string): { load: Load; language: string } {
  const gcc = findCommand('gcc') ?? findCommand('cc');
  const loadArguments = (kind: string, where: string, round: number): string[] => [kind, where, String(round), String(OPERATIONS)];
  const run = (command: string[]): number => Number(execFileSync('taskset', ['-c', LOAD_CPU, ...command], { encoding: 'utf8' }));
  if (gcc === undefined) {
    const script = fileURLToPath(new URL('./load.js', import.meta.url));
    return { language: 'JavaScript', load: (...args) => run([process.execPath, script, ...loadArguments(...args)]) };
  }
  const program = join(folder, 'load');
  writeFileSync(`${program}.c`, LOAD_SOURCE);
  execFileSync(gcc, ['-O2', '-D_GNU_SOURCE', '-o', program, `${program}.c`]);
  return { language: 'C', load: (...args) => run([program, ...loadArguments(...args)]) };
}

function measure(load: Load, kind: 'lookup' | 'write', folder: string, start: number): number {
  return median(Array.from({ length: ROUNDS }, (_, round) => load(kind, folder, start + round)));
}

function baseline(load: Load): Figure[] {
  const folder = mkdtempSync('/dev/shm/lcfs-bench-');
  try {
    return [{ name: 'look-up on tmpfs, for comparison', value: measure(load, 'lookup', folder, 0), unit: 'µs' }];
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const KINDS = { lookup: 'look-up', write: 'write of 4 KiB' } as const;

/** Where the daemon's threads are put; null leaves them where they are. */
const PLACES: readonly { name: string; cpu: string | null }[] = [
  { name: 'as started', cpu: null },
  { name: 'same CPU', cpu: LOAD_CPU },
  { name: 'other CPU', cpu: OTHER_CPU },
];

async function benchTransport(transport: (typeof TRANSPORTS)[number], load: Load): Promise<Figure[]> {
  let daemon: BenchDaemon;
  try {
    daemon = await BenchDaemon.start('1G', '--transport', transport);
  } catch (error) {
    return [{ name: `${transport}: ${(error as Error).message.split('\n')[0]}`, value: NaN, unit: '' }];
  }
  try {
    return measurePlaces(transport, daemon, load);
  } finally {
    await daemon.end();
  }
}

function measurePlaces(transport: string, daemon: BenchDaemon, load: Load): Figure[] {
  const figures: Figure[] = [];
  const best = new Map<string, number>();
  let round = 0;
  for (const { name, cpu } of availableParallelism() > 1 ? PLACES : PLACES.slice(0, 2)) {
    if (cpu !== null) execFileSync('taskset', ['-a', '-p', '-c', cpu, String(daemon.pid)], { stdio: 'ignore' });
    for (const kind of ['lookup', 'write'] as const) {
      const before = daemon.cpuMicroseconds();
      const value = measure(load, kind, daemon.global, (round += 100));
      const cpuTime = (daemon.cpuMicroseconds() - before) / (ROUNDS * OPERATIONS);
      const same = best.get(kind);
      if (cpu === LOAD_CPU) best.set(kind, value);
      figures.push({
        name: `${transport}, ${KINDS[kind]}, ${name}`,
        value,
        unit: 'µs',
        ...(cpu === OTHER_CPU && same !== undefined ? { note: ratio(value, same, 'the same CPU') } : {}),
      });
      if (cpu === LOAD_CPU)
        figures.push({ name: `CPU of the daemon per FUSE request, ${transport}, ${KINDS[kind]}`, value: cpuTime, unit: 'µs' });
    }
  }
  return figures;
}

const LOAD_SOURCE = `
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1e6 + t.tv_nsec / 1e3; }
int main(int argc, char **argv) {
  int round = atoi(argv[3]), count = atoi(argv[4]), writes = !strcmp(argv[1], "write");
  char name[64];
  struct stat st;
  if (chdir(argv[2])) return perror("chdir"), 1;
  int fd = writes ? open("load", O_RDWR | O_CREAT | O_DIRECT, 0600) : -1;
  if (writes && fd < 0) return perror("open"), 1;
  char *block = aligned_alloc(4096, 4096);
  memset(block, 'x', 4096);
  double start = now();
  for (int i = 0; i < count; i++) {
    if (writes) { if (pwrite(fd, block, 4096, (long)(i % 1024) * 4096) != 4096) return perror("pwrite"), 1; continue; }
    sprintf(name, "absent-%d-%d", round, i);
    if (!stat(name, &st)) return 1;
  }
  printf("%f\\n", (now() - start) / count);
  return 0;
}
`;
