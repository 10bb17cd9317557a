/**
 * `npm run torture -- --minutes N`: everything that may happen to a volume and to its daemon, for as long as one likes.
 *
 *   --minutes N     how long, all parts together; 5 unless told
 *   --only PART     one part (or several, with commas) instead of all
 *   --seed S        seed of the first run; one of its own unless told
 *   --most N        ends a part after so many cuts, kills or runs
 *   --json FILE     writes the figures there
 *   --evidence DIR  where images and logs of a violation are kept; a folder in the temporary one unless told
 *   --list          names the parts
 *
 * Each part is a process of its own: an engine that finds itself in a state that must not be ends its process, and that is a
 * violation like any other. The first violation ends the run with exit code 1; its message names the seed and the evidence.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
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

function options(): { minutes: number; only: PartName[]; seed: number; most: number; json?: string; evidence: string; list: boolean } {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '5' },
      only: { type: 'string', default: Object.keys(PARTS).join(',') },
      seed: { type: 'string', default: String(1 + Math.floor(Math.random() * SEED_MAX)) },
      most: { type: 'string', default: 'Infinity' },
      json: { type: 'string' },
      evidence: { type: 'string', default: join(tmpdir(), 'lcfs-torture') },
      list: { type: 'boolean', default: false },
    },
  });
  const only = values.only.split(',').map((name) => {
    if (!(name in PARTS)) throw new Error(`there is no part ${name}; the parts are ${Object.keys(PARTS).join(', ')}`);
    return name as PartName;
  });
  const numbers = { minutes: Number(values.minutes), seed: Number(values.seed), most: Number(values.most) };
  for (const [name, value] of Object.entries(numbers)) if (!(value > 0)) throw new Error(`--${name} takes a number above 0`);
  const json = values.json === undefined ? {} : { json: values.json };
  return { ...numbers, ...json, only, evidence: resolve(values.evidence), list: values.list };
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
  recoveryMsP50: number;
  recoveryMsP99: number;
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
    recoveryMsP50: Math.round(percentile(all.recoveryMs, 0.5)),
    recoveryMsP99: Math.round(percentile(all.recoveryMs, 0.99)),
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
  const { minutes, only, seed, most, json, evidence, list } = options();
  if (list) return console.log(only.map((name) => `${name.padEnd(12)} ${PARTS[name].what}`).join('\n'));
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
    const { recoveryMs, ...counts } = figures;
    console.log(`# ${part}: ${JSON.stringify({ ...counts, recoveries: recoveryMs.length })}`);
  }
  const figures = report(seed, began, parts);
  print(figures);
  if (json !== undefined) writeFileSync(json, `${JSON.stringify(figures, null, 2)}\n`);
}

if (process.argv[2] === '--part') await obey(JSON.parse(Buffer.from(process.argv[3]!, 'base64').toString()) as Order);
else await main();
