/** All fuzzers of the project (`x.fuzz.ts`, functions over a seed and a time), one after the other, each with the same time. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { fuzzInProcess } from '../support/fuzz.js';
import { noFigures, violation, type Budget, type Figures } from './part.js';

interface Found {
  readonly module: string;
  readonly name: string;
}

/** Compiled fuzzers, wherever they lie. */
async function fuzzers(): Promise<Found[]> {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const found: Found[] = [];
  const files = ['src', 'test'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((name) => join(folder, name)),
  );
  for (const path of files.filter((name) => name.endsWith('.fuzz.js')).toSorted()) {
    const module = pathToFileURL(join(root, path)).href;
    const names = Object.keys((await import(module)) as object).filter((name) => name.startsWith('fuzz'));
    found.push(...names.map((name) => ({ module, name })));
  }
  return found;
}

export async function fuzz(budget: Budget): Promise<Figures> {
  const figures = noFigures();
  const all = await fuzzers();
  if (all.length === 0) throw new Error('there are no fuzzers');
  for (const [index, { module, name }] of all.entries()) {
    const milliseconds = Math.max(1000, (budget.until - performance.now()) / (all.length - index));
    process.env['LCFS_SEED'] = String(budget.seed);
    budget.log(`seed ${budget.seed}: ${name}`);
    try {
      figures.mutations += (await fuzzInProcess(module, name, milliseconds)).cases;
    } catch (error) {
      throw violation(join(budget.evidence, `fuzz-${budget.seed}`), `${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return figures;
}
