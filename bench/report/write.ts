/**
 * `npm run bench -- --report FILE…`: docs/benchmarks.md and docs/charts from the results of runs.
 *
 * Figures come from the result files alone, which are kept beside the report in docs/benchmarks; prose comes from
 * docs/benchmarks.notes.md alone. Of several files the later ones replace the parts that they have.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { advantage } from '../harness/print.js';
import { median } from '../harness/statistics.js';
import { FORMAT, type Disk, type Results, type Row } from '../harness/types.js';
import { PARTS } from '../parts/index.js';
import { judge, type Verdict } from './aims.js';
import { barChart, type Chart, lineChart, orderPeers, type Sample } from './chart.js';
import { readNotes } from './notes.js';
import { find, groups, resultTables, table, verdictTable } from './tables.js';

const DOCS = 'docs';
const CHARTS = join(DOCS, 'charts');
const DATA = join(DOCS, 'benchmarks');
const DISKS: readonly Disk[] = ['fast', 'slow'];
/** What other storages are compared with in charts. */
const BASE = 'overlay2';

export function writeReport(files: readonly string[]): void {
  if (files.length === 0) throw new Error('--report needs the files with the results');
  const results = files.map(readResults);
  const kept = files.map((file, i) => keepData(file, results[i]!));
  mkdirSync(CHARTS, { recursive: true });
  for (const name of readdirSync(CHARTS)) if (name.endsWith('.svg')) rmSync(join(CHARTS, name));
  writeFileSync(join(DOCS, 'benchmarks.md'), `${report(results, kept).join('\n\n')}\n`);
}

function readResults(file: string): Results {
  const results = JSON.parse(readFileSync(file, 'utf8')) as Results;
  if (results.format === FORMAT) return results;
  throw new Error(`${file} comes from another version of the benchmark (format ${results.format} instead of ${FORMAT}): measure again`);
}

/** Puts a result file beside the report, a line for each row. Returns its path from the report. */
function keepData(file: string, results: Results): string {
  mkdirSync(DATA, { recursive: true });
  const { rows, ...head } = results;
  const lines = rows.map((row) => JSON.stringify(row, (_, value: unknown) => (typeof value === 'number' ? rounded(value) : value)));
  const text = `${JSON.stringify(head).slice(0, -1)},"rows":[\n${lines.join(',\n')}\n]}\n`;
  writeFileSync(join(DATA, basename(file)), text);
  return `benchmarks/${basename(file)}`;
}

/** Six digits are more than any of these values has. */
const rounded = (value: number): number => Number(value.toPrecision(6));

function report(results: readonly Results[], files: readonly string[]): string[] {
  const rows = merge(results);
  const verdicts = judge(rows);
  const notes = readNotes(join(DOCS, 'benchmarks.notes.md'), ['introduction', 'method', 'end', ...PARTS.map(({ name }) => name)], rows);
  const note = (key: string): string[] => (notes.has(key) ? [notes.get(key)!] : []);
  return [
    '# Benchmarks',
    '<!-- Made by `npm run bench -- --report` from the results and docs/benchmarks.notes.md; changes belong there. -->',
    ...note('introduction'),
    ...summarySection(verdicts),
    '## Machine',
    ...machineSection(results, files),
    '## Method',
    ...note('method'),
    ...throttleSection(results),
    ...PARTS.flatMap(({ name, description }) =>
      partSection(
        name,
        description,
        rows.filter((row) => row.part === name),
        verdicts,
        note(name),
      ),
    ),
    ...note('end'),
  ];
}

/** Rows of all files; those of a part and disk come from the last file that has them. */
function merge(results: readonly Results[]): Row[] {
  const key = (row: Row): string => `${row.part} ${row.disk}`;
  return results.reduce<Row[]>((all, { rows }) => {
    const replaced = new Set(rows.map(key));
    return [...all.filter((row) => !replaced.has(key(row))), ...rows];
  }, []);
}

function summarySection(verdicts: readonly Verdict[]): string[] {
  if (verdicts.length === 0) return [];
  const met = verdicts.filter((one) => one.met).length;
  return ['## Aims', `${met} of ${verdicts.length} conditions are met.`, verdictTable(verdicts)];
}

function machineSection(results: readonly Results[], files: readonly string[]): string[] {
  const { machine } = results.at(-1)!;
  const versions = Object.entries(machine.versions).map(([name, version]) => `${name} ${version}`);
  const lines = [
    ['processor', `${machine.cpu}, ${machine.cpus} CPUs`],
    ['memory', `${machine.memoryMiB.toLocaleString('en')} MiB`],
    ['kernel', `Linux ${machine.kernel}, ${machine.distribution}`],
    ['disk', machine.disk],
    ["each peer's disk", `${(machine.volumeBytes / 2 ** 30).toFixed(0)} GiB, a file behind a loop device`],
    ['versions', versions.join(', ')],
  ];
  const runs = results.map(({ started, seconds, quick }, i) => {
    const how = quick ? ', a quick run to try the benchmark: its figures mean little' : '';
    return `* [${basename(files[i]!)}](${files[i]!}): ${started.slice(0, 16).replace('T', ' ')} UTC, ${Math.round(seconds / 60)} minutes${how}`;
  });
  return [table(['', ''], lines), `The values of all repetitions:\n\n${runs.join('\n')}`];
}

function throttleSection(results: readonly Results[]): string[] {
  const proof = results.findLast(({ throttle }) => throttle !== undefined)?.throttle;
  if (proof === undefined) return [];
  const lines = [
    ['reads that wait for the device', `${proof.directReads} a second`],
    ['writes that wait for the device', `${proof.directWrites} a second`],
    ['writes that the kernel makes later', `${proof.bufferedWrites} a second`],
  ];
  return [
    `What the slow disk did in this run, counted at the device, with a limit of ${proof.limit} a second:\n\n${table(['', ''], lines)}`,
  ];
}

function partSection(
  name: string,
  description: string,
  rows: readonly Row[],
  verdicts: readonly Verdict[],
  notes: readonly string[],
): string[] {
  if (rows.length === 0) return [];
  const text = [`## ${description[0]!.toUpperCase()}${description.slice(1)}`];
  for (const disk of DISKS) {
    const here = rows.filter((row) => row.disk === disk);
    if (here.length === 0) continue;
    if (rows.some((row) => row.disk === 'slow')) text.push(`### On the ${disk} disk`);
    text.push(...charts(name, disk, here), resultTables(here));
  }
  const own = verdicts.filter(({ part }) => part === name);
  if (own.length > 0) text.push(`Aims:\n\n${verdictTable(own)}`);
  return [...text, ...notes];
}

// Charts

/** More would leave no room for their names. */
const GROUPS_PER_CHART = 7;

/** A line chart for each metric that has an x, bar charts for the others. Returns links to them. */
function charts(part: string, disk: Disk, rows: readonly Row[]): string[] {
  const links = lineCharts(part, disk, rows);
  const compared = groups(rows).filter((group) => group[0]!.x === undefined && group.length > 1 && find(group, BASE) !== undefined);
  for (let at = 0; at < compared.length; at += GROUPS_PER_CHART) {
    const name = `${part}-${disk}-bars-${at / GROUPS_PER_CHART + 1}`;
    links.push(relativeBars(name, disk, compared.slice(at, at + GROUPS_PER_CHART)));
  }
  return links;
}

function lineCharts(part: string, disk: Disk, rows: readonly Row[]): string[] {
  const metrics = [...new Set(rows.filter((row) => row.x !== undefined).map((row) => row.metric))];
  return metrics.flatMap((metric, i) => {
    const own = rows.filter((row) => row.metric === metric);
    return lines(`${part}-${disk}-lines-${i + 1}`, metric, disk, own);
  });
}

function lines(file: string, metric: string, disk: Disk, rows: readonly Row[]): string[] {
  const points = [...new Set(rows.map((row) => row.x!))].toSorted((a, b) => a - b);
  if (points.length < 2) return [];
  const series = orderPeers(rows.map((row) => row.peer)).map((peer) => ({
    peer,
    samples: points.map((x) => sample(rows.find((row) => row.peer === peer && row.x === x && row.values.length > 0))),
  }));
  const medians = series.flatMap(({ samples }) => samples.flatMap((one) => (one === null ? [] : [one.median])));
  const logarithmic = Math.max(...medians) > 20 * Math.min(...medians) && Math.min(...medians) > 0;
  const title = `${metric}, ${disk} disk`;
  return [draw(file, lineChart({ title, categories: points, series, yName: rows[0]!.unit, logarithmic }), title)];
}

function sample(row: Row | undefined): Sample | null {
  if (row === undefined) return null;
  return { median: median(row.values), least: Math.min(...row.values), most: Math.max(...row.values) };
}

/** How many times as good as the base each of the other peers is, with metrics of whatever unit side by side. */
function relativeBars(file: string, disk: Disk, compared: readonly Row[][]): string {
  const peers = orderPeers(compared.flat().map((row) => row.peer)).filter((peer) => peer !== BASE);
  const series = peers.map((peer) => ({ peer, samples: compared.map((group) => relative(find(group, peer), find(group, BASE)!)) }));
  const title = `Compared with ${BASE} on ext4, ${disk} disk (above the line is better)`;
  const categories = compared.map(([row]) => row!.metric);
  const chart: Chart = { title, categories, series, yName: `times as good as ${BASE}`, logarithmic: true };
  return draw(file, barChart(chart, 1), title);
}

function relative(row: Row | undefined, base: Row): Sample | null {
  if (row === undefined) return null;
  const ratios = row.values.map((value) => advantage({ ...row, values: [value] }, base));
  return { median: advantage(row, base), least: Math.min(...ratios), most: Math.max(...ratios) };
}

/** Writes a chart and returns the link to it. */
function draw(name: string, svg: string, title: string): string {
  writeFileSync(join(CHARTS, `${name}.svg`), svg);
  return `![${title}](charts/${name}.svg)`;
}
