/**
 * `npm run torture -- --minutes N`: everything that may happen to a volume and to its daemon, for as long as one likes.
 *
 *   npm run torture -- --help                  its options and parts
 *
 * Each part is a process of its own: an engine that finds itself in a state that must not be ends its process, and that is a
 * violation like any other. The first violation ends the run with exit code 1; its message names the seed and the evidence.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { logTail } from '../../scripts/lib/run.js';
import { addFigures, noFigures, percentile, type Figures } from './part.js';
import { PARTS, type PartName } from './parts.js';

/** What a part is told by its parent, as JSON in its only argument. */
interface Order {
  part: PartName;
  seed: number;
  milliseconds: number;
  most: number;
  evidence: string;
}

/** What it answers: lines of its log, and its figures in the end. */
type Answer = { line: string } | { figures: Figures };

const SEED_MAX = 0x7fff_0000;

interface Options {
  minutes: number;
  only: readonly PartName[];
  seed: number;
  most?: number;
  json?: string;
  evidence: string;
}

function aboveZero(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError('It takes a number above 0.');
  return value;
}

function partNames(text: string): PartName[] {
  return text.split(',').map((name) => {
    if (!(name in PARTS)) throw new InvalidArgumentError(`There is no part ${name}.`);
    return name as PartName;
  });
}

function options(): Options {
  const names = Object.keys(PARTS) as PartName[];
  const parts = names.map((name) => `  ${name.padEnd(12)} ${PARTS[name].what}`);
  return new Command('npm run torture --')
    .description('Everything that may happen to a volume and to its daemon, for as long as one likes.')
    .option('--minutes <n>', 'how long, all parts together', aboveZero, 5)
    .addOption(new Option('--only <parts>', 'one part (or several, with commas)').argParser(partNames).default(names, 'all'))
    .addOption(
      new Option('--seed <s>', 'seed of the first run')
        .argParser(aboveZero)
        .default(1 + Math.floor(Math.random() * SEED_MAX), 'one of its own'),
    )
    .option('--most <n>', 'ends a part after so many cuts, kills or runs', aboveZero)
    .option('--json <file>', 'writes the figures there')
    .option('--evidence <folder>', 'where images and logs of a violation are kept', (path) => resolve(path), join(tmpdir(), 'lcfs-torture'))
    .addHelpText('after', `\nParts:\n${parts.join('\n')}`)
    .parse()
    .opts<Options>();
}

/** Runs a part in a process of its own, whose complaints go to a file: a sound engine complains of damage, too. Returns its figures, or null after a violation. */
async function runPart(order: Order): Promise<Figures | null> {
  const order64 = Buffer.from(JSON.stringify({ ...order, most: Number.isFinite(order.most) ? order.most : 0 })).toString('base64');
  const log = join(order.evidence, `${order.part}.log`);
  const fd = openSync(log, 'w');
  const child = fork(import.meta.filename, ['--part', order64], { stdio: ['inherit', 'inherit', fd, 'ipc'] });
  closeSync(fd);
  let figures: Figures | null = null;
  let last = '';
  child.on('message', (answer: Answer) => {
    if ('figures' in answer) figures = answer.figures;
    else last = answer.line;
  });
  const [code, signal] = (await once(child, 'exit')) as [number | null, string | null];
  if (code === 0 && figures !== null) return figures;
  console.error(logTail(log, 60));
  console.error(`${order.part}: ended with ${signal ?? code} at: ${last}`);
  console.error(`to repeat: npm run torture -- --only ${order.part} --seed ${/seed (\d+)/.exec(last)?.[1] ?? order.seed}`);
  return null;
}

/** The child: runs the part and tells its figures. */
async function obey(order: Order): Promise<void> {
  const say = (answer: Answer): void => void process.send!(answer);
  const { seed, evidence } = order;
  const budget = { seed, evidence, most: order.most || Infinity, until: performance.now() + order.milliseconds };
  try {
    say({ figures: await PARTS[order.part].run({ ...budget, log: (line) => say({ line }) }) });
    process.exitCode = 0;
  } catch (error) {
    console.error(error instanceof Error && 'folder' in error ? error.message : error);
    process.exitCode = 1;
  } finally {
    process.disconnect();
  }
}

/** What a run comes to, in a form for people and programs. */
interface Report {
  seed: number;
  minutes: number;
  powerCutsSurvived: number;
  killsSurvived: number;
  takeoverMsP50: number;
  takeoverMsP99: number;
  restartMsP50: number;
  restartMsP99: number;
  bytesVerified: number;
  operations: number;
  mutations: number;
  parts: Partial<Record<PartName, Figures>>;
}

function report(seed: number, began: number, parts: Partial<Record<PartName, Figures>>): Report {
  const all = noFigures();
  for (const figures of Object.values(parts)) addFigures(all, figures);
  return {
    seed,
    minutes: Math.round((performance.now() - began) / 600) / 100,
    powerCutsSurvived: all.cuts,
    killsSurvived: all.kills,
    takeoverMsP50: Math.round(percentile(all.takeoverMs, 0.5)),
    takeoverMsP99: Math.round(percentile(all.takeoverMs, 0.99)),
    restartMsP50: Math.round(percentile(all.restartMs, 0.5)),
    restartMsP99: Math.round(percentile(all.restartMs, 0.99)),
    bytesVerified: all.bytesVerified,
    operations: all.operations,
    mutations: all.mutations,
    parts,
  };
}

function print(figures: Report): void {
  for (const [name, value] of Object.entries(figures)) if (name !== 'parts') console.log(`${name.padEnd(18)} ${value}`);
}

async function main(): Promise<void> {
  const { minutes, only, seed, most = Infinity, json, evidence } = options();
  mkdirSync(evidence, { recursive: true });
  console.log(`seed ${seed}, evidence in ${evidence}`);
  const began = performance.now();
  const weights = only.reduce((sum, name) => sum + PARTS[name].weight, 0);
  const parts: Partial<Record<PartName, Figures>> = {};
  for (const part of only) {
    const milliseconds = (minutes * 60_000 * PARTS[part].weight) / weights;
    console.log(`# ${part}: ${PARTS[part].what}`);
    const figures = await runPart({ part, seed, milliseconds, most, evidence });
    if (figures === null) process.exitCode = 1;
    else parts[part] = figures;
    if (figures === null) break;
    const { takeoverMs, restartMs, ...counts } = figures;
    console.log(`# ${part}: ${JSON.stringify({ ...counts, takeovers: takeoverMs.length, restarts: restartMs.length })}`);
  }
  const figures = report(seed, began, parts);
  print(figures);
  if (json !== undefined) writeFileSync(json, `${JSON.stringify(figures, null, 2)}\n`);
}

if (process.argv[2] === '--part') await obey(JSON.parse(Buffer.from(process.argv[3]!, 'base64').toString()) as Order);
else await main();
