/**
 * What fuzzers share. A fuzzer is a function over a seed and a time (`x.fuzz.ts`), which a bounded test calls
 * (`x.fuzz.test.ts`) and a long run can call as well. It consists of cases, each with a generator of its own: case `i` of a run
 * with seed `s` is the first case of a run with seed `s + i`, so that one that failed is run again alone.
 *
 * A case that fails may end its process: the engine does so when its state can't be trusted. So fuzzers run in a process of
 * their own, which tells the number of each case before it begins.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Random } from './volume.js';

export interface FuzzOptions {
  /** Of the first case. */
  readonly seed: number;
  /** No case is begun after this time. There is one in any case. */
  readonly milliseconds: number;
  /** Called before each case with its seed. */
  readonly began?: (seed: number) => void;
}

export interface FuzzFigures {
  cases: number;
}

export type Fuzzer = (options: FuzzOptions) => Promise<FuzzFigures>;

/** A bounded run in tests; a few seconds each. */
export const TEST_MILLISECONDS = Number(process.env['LCFS_FUZZ_MS'] ?? 4000);
const HANG_MS = 60_000;

/** Runs cases until the time is over. An error of a case says which one it was. */
export async function runCases(options: FuzzOptions, runCase: (random: Random, seed: number) => unknown): Promise<FuzzFigures> {
  const deadline = performance.now() + options.milliseconds;
  let cases = 0;
  do {
    const seed = options.seed + cases++;
    options.began?.(seed);
    try {
      await runCase(caseRandom(seed), seed);
    } catch (error) {
      throw new Error(`failed in the case of LCFS_SEED=${seed}`, { cause: error });
    }
  } while (performance.now() < deadline);
  return { cases };
}

/** Seeds in a row give generators that have nothing to do with each other. */
function caseRandom(seed: number): Random {
  return new Random(Math.imul(seed, 0x9e3779b1) >>> 0 || 1);
}

/** Runs the fuzzer `name` of a compiled module in a process of its own, and fails if that does, or hangs. Prints the seed. */
export async function fuzzInProcess(module: string, name: string, milliseconds = TEST_MILLISECONDS): Promise<FuzzFigures> {
  const { seed } = new Random();
  console.log(`# LCFS_SEED=${seed}`);
  const self = fileURLToPath(new URL('./fuzz-process.js', import.meta.url));
  const child = spawn(process.execPath, ['--enable-source-maps', self, module, name, String(seed), String(milliseconds)]);
  let said = '';
  let complained = '';
  child.stdout.on('data', (chunk) => (said = (said + String(chunk)).slice(-200)));
  child.stderr.on('data', (chunk) => (complained = (complained + String(chunk)).slice(-8000)));
  const patience = setTimeout(() => child.kill('SIGKILL'), milliseconds + HANG_MS);
  const [code, signal] = await new Promise<[number | null, string | null]>((settle) => child.once('close', (...ended) => settle(ended)));
  clearTimeout(patience);
  const last = said.trimEnd().split('\n').at(-1)!;
  const how = signal === null ? `ended with ${code}` : `was ended by ${signal}: it hung`;
  assert.equal(code, 0, `the process ${how}; its last case was LCFS_SEED=${last}\n${complained}`);
  const figures = JSON.parse(last) as FuzzFigures;
  console.log(`# ${figures.cases} cases`);
  return figures;
}

/** Words that limits, signs and sizes hang on. */
const ODD_WORDS = [
  0, 1, 2, 3, 4, 0x7f, 0x80, 0xff, 0xfff, 0x1000, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
];

/** A word to put in the place of another. */
export function oddWord(random: Random, old: number): number {
  switch (random.below(4)) {
    case 0:
      return random.pick(ODD_WORDS);
    case 1:
      return (old + random.below(9) - 4) >>> 0;
    case 2:
      return (old ^ (1 << random.below(32))) >>> 0;
    default:
      return random.next();
  }
}

/** Changes some bytes: flips, odd words, pieces removed, doubled or moved, a cut end. */
export function mutateBytes(bytes: Uint8Array, random: Random): Buffer {
  let copy: Buffer = Buffer.from(bytes);
  for (let changes = 1 + random.below(4); changes > 0 && copy.length > 0; changes--) copy = mutateOnce(copy, random);
  return copy;
}

function mutateOnce(bytes: Buffer, random: Random): Buffer {
  const at = random.below(bytes.length);
  const length = Math.min(1 + random.below(16), bytes.length - at);
  switch (random.below(6)) {
    case 0:
      bytes[at]! ^= 1 << random.below(8);
      return bytes;
    case 1:
      if (at + 4 <= bytes.length) bytes.writeUInt32LE(oddWord(random, bytes.readUInt32LE(at)), at);
      return bytes;
    case 2:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
    case 3:
      return Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)]);
    case 4:
      bytes.copyWithin(random.below(bytes.length), at, at + length);
      return bytes;
    default:
      return bytes.subarray(0, at);
  }
}
