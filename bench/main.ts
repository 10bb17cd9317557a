/**
 * `npm run bench`: LCFS beside other storages for containers, all from the same run.
 *
 *   npm run bench                              everything, on the fast and on the slow disk
 *   npm run bench -- --only containers,build   only these parts
 *   npm run bench -- --quick                   few and small repetitions, to see whether it works
 *   npm run bench -- --json FILE               keeps the values of all repetitions
 *   npm run bench -- --report FILE…            writes docs/benchmarks.md and its charts from such files; measures nothing
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { makeFolder } from '../scripts/lib/folders.js';
import { unmountBelow } from '../scripts/lib/mounts.js';
import { needCommands } from '../scripts/lib/packages.js';
import { run } from '../scripts/lib/run.js';
import { parsePositiveSize } from '../src/cli/sizes.js';
import { Bench } from './harness/bench.js';
import { describeMachine } from './harness/machine.js';
import { proveThrottle } from './harness/throttle-proof.js';
import { FORMAT, type Disk, type Part, type Results } from './harness/types.js';
import { Undo } from './harness/undo.js';
import { PARTS } from './parts/index.js';

const OPTIONS = {
  only: { type: 'string', multiple: true },
  json: { type: 'string' },
  runs: { type: 'string', default: '5' },
  disk: { type: 'string', default: 'both' },
  size: { type: 'string', default: '10G' },
  quick: { type: 'boolean', default: false },
  report: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const;

const QUICK_RUNS = 1;

function help(): string {
  const parts = PARTS.map(({ name, description }) => `  ${name.padEnd(14)} ${description}`);
  return `npm run bench -- [OPTION…]

  --only PART[,PART…]     only these parts (may be given several times)
  --disk fast|slow|both   the loop devices as they are, throttled, or first one and then the other (default: both)
  --runs N                repetitions of each measurement (default: 5); some that take long have fewer
  --size SIZE             size of each peer's disk (default: 10G)
  --quick                 one repetition of everything, most of it smaller: to see whether it works
  --json FILE             writes the results to FILE
  --report FILE…          writes docs/benchmarks.md and docs/charts from results instead of measuring

Parts:
${parts.join('\n')}`;
}

interface Plan {
  parts: readonly Part[];
  disks: readonly Disk[];
  runs: number;
  quick: boolean;
  volumeBytes: number;
}

function choose(names: readonly string[]): readonly Part[] {
  const wanted = names.flatMap((name) => name.split(','));
  const unknown = wanted.find((name) => !PARTS.some((part) => part.name === name));
  if (unknown !== undefined) throw new Error(`there is no part ${unknown}; there are ${PARTS.map(({ name }) => name).join(', ')}`);
  return wanted.length === 0 ? PARTS : PARTS.filter(({ name }) => wanted.includes(name));
}

function chooseDisks(name: string): readonly Disk[] {
  if (name === 'both') return ['fast', 'slow'];
  if (name === 'fast' || name === 'slow') return [name];
  throw new Error(`--disk is fast, slow or both, not ${name}`);
}

function chooseRuns(text: string, quick: boolean): number {
  const runs = quick ? QUICK_RUNS : Number(text);
  if (Number.isInteger(runs) && runs > 0) return runs;
  throw new Error(`--runs is a number above 0, not ${text}`);
}

async function measure(plan: Plan, undo: Undo): Promise<Results> {
  const started = new Date();
  const folder = makeFolder('lcfs-b-');
  undo.add(folder, () => rmSync(folder, { recursive: true, force: true }));
  undo.add(`mounts in ${folder}`, () => unmountBelow(folder));
  const runFolder = `${folder}/run`;
  mkdirSync(runFolder);
  await run('mount', ['-t', 'tmpfs', 'tmpfs', runFolder]);
  const machine = await describeMachine(folder, plan.volumeBytes);
  const throttle = plan.disks.includes('slow') ? await proveThrottle(folder, undo) : undefined;
  const { runs, quick, volumeBytes } = plan;
  const bench = new Bench({ folder, runFolder, runs, quick, volumeBytes, undo });
  await runParts(bench, plan);
  const seconds = Math.round((Date.now() - started.getTime()) / 1000);
  const head = { format: FORMAT, started: started.toISOString(), seconds, quick, machine } as const;
  return { ...head, ...(throttle === undefined ? {} : { throttle }), rows: bench.rows };
}

/** One part that fails does not end the others. */
async function runParts(bench: Bench, { parts, disks }: Plan): Promise<void> {
  for (const part of parts) {
    for (const disk of disks.filter((name) => part.disks.includes(name))) {
      bench.part = part.name;
      bench.disk = disk;
      console.error(`\n${part.name}, ${disk} disk: ${part.description}`);
      const begun = performance.now();
      try {
        await part.run(bench);
      } catch (error) {
        console.error(`${part.name} failed: ${(error as Error).stack}`);
        process.exitCode = 1;
      }
      console.error(`${part.name}, ${disk} disk: ${Math.round((performance.now() - begun) / 1000)} s`);
    }
  }
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({ options: OPTIONS, allowPositionals: true });
  if (values.help) return console.log(help());
  if (values.report) return (await import('./report/write.js')).writeReport(positionals);
  const plan: Plan = {
    parts: choose([...(values.only ?? []), ...positionals]),
    disks: chooseDisks(values.disk),
    runs: chooseRuns(values.runs, values.quick),
    quick: values.quick,
    volumeBytes: parsePositiveSize(values.size),
  };
  await needCommands('mkfs.ext4', 'mkfs.btrfs', 'btrfs', 'fuse-overlayfs', 'losetup', 'tar');
  const undo = new Undo();
  undo.onSignals();
  try {
    const results = await measure(plan, undo);
    if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(results)}\n`);
  } finally {
    await undo.all();
  }
}

await main();
