/** What the daemon takes of the machine's memory, at rest and after work that fills its cache. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BenchDaemon } from '../harness/bench-daemon.js';
import { addFigures, type Figure } from '../harness/figures.js';
import type { Part } from '../harness/types.js';

/** Small, so that the files fill it several times over in a minute. */
const CACHE_MIB = 16;
/** What the daemon may take beyond its cache. */
const BOUND_MIB = 150;
const FOLDERS = 200;
const FILES_PER_FOLDER = 1000;

export const memory: Part = {
  name: 'memory',
  description: "what the daemon takes of the machine's memory",
  disks: ['fast'],
  run: async (bench) => addFigures(bench, await measureMemory()),
};

async function measureMemory(): Promise<Figure[]> {
  const daemon = await BenchDaemon.start('8G', '--cache', `${CACHE_MIB}M`);
  try {
    const figures = [figure('at rest', daemon)];
    makeFiles(daemon.global);
    figures.push(figure(`after making ${FOLDERS * FILES_PER_FOLDER} files`, daemon));
    await daemon.lcfs('check', '--online', '--no-data', join(daemon.mountpoint, '../volume'));
    figures.push(figure('after checking the volume', daemon));
    const wanted = `cache of ${CACHE_MIB} MiB; at most ${CACHE_MIB + BOUND_MIB} MiB wanted`;
    for (const figure of figures) figure.note = `${figure.note}; ${wanted}`;
    return figures;
  } finally {
    await daemon.end();
  }
}

function makeFiles(root: string): void {
  for (let folder = 0; folder < FOLDERS; folder++) {
    mkdirSync(join(root, String(folder)));
    for (let file = 0; file < FILES_PER_FOLDER; file++) writeFileSync(join(root, String(folder), String(file)), '');
  }
}

function figure(name: string, daemon: BenchDaemon): Figure {
  const { all, anonymous } = daemon.memory();
  return { name, value: all, unit: 'MiB', note: `${anonymous.toFixed(0)} MiB without the program itself` };
}
