/** A process that runs a fuzzer (fuzz.ts) and tells the seed of each case before it begins, and the figures in the end. */
import { writeSync } from 'node:fs';
import type { Fuzzer } from './fuzz.js';

const [module, name, seed, milliseconds] = process.argv.slice(2);
const fuzzer = ((await import(module!)) as Record<string, Fuzzer>)[name!]!;
const began = (current: number): void => void writeSync(1, `${current}\n`);
const figures = await fuzzer({ seed: Number(seed), milliseconds: Number(milliseconds), began });
writeSync(1, `${JSON.stringify(figures)}\n`);
process.exit(0);
