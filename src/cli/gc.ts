/** `lcfs gc`: finds layers that no engine knows any more, and removes them if told so. */
import { resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { ENGINES, type EngineName, type GcReport, type GcRequest, type LostLayer } from '../daemon/protocol.js';
import { controlOption, daemonFor, examples, jsonOption, type JsonOptions } from './options.js';
import { printJson, printLine, printTable } from './output.js';
import { formatAge, formatSize, parseAge } from './sizes.js';

interface GcFlags extends JsonOptions {
  remove?: boolean;
  olderThan: number;
  dockerRoot?: string[];
  gone?: EngineName[];
}

const NOTES = `
A crash, or the loss of Docker's or containerd's database, may leave layers that no engine refers to. This asks the engines
which layers they know: Docker's files below its data root are read, containerd is asked through its socket. What they do
not know is listed, and with --remove removed, children first.
In doubt a layer stays: if its engine cannot be asked, if it is mounted or held, if something is built on it that stays, or if
it was made or used lately (--older-than). Layers that were made by hand (lcfs layer) stay unless they are named. Containers
that Docker made with an earlier version of LCFS count as made by hand.
The exit code is 1 if an engine could not be asked, or a layer not removed.`;

export function gcCommand(): Command {
  const command = new Command('gc')
    .description('find layers that no engine knows any more, and remove them if told so')
    .argument('[layer...]', 'layers made by hand that are to be looked at as well')
    .option('--remove', 'remove what is found; otherwise it is only listed')
    .option('--older-than <age>', 'leave alone what was made or used within this time', parseAge, 3600)
    .option('--docker-root <folder>', 'data root of a Docker Engine, instead of where it said (repeatable)', collect)
    .addOption(new Option('--gone <engine>', 'an engine that is gone for good, so that nothing is known to it').argParser(collectEngine))
    .addOption(controlOption())
    .addOption(jsonOption())
    .addHelpText('after', NOTES)
    .action(gc);
  return examples(command, 'lcfs gc', 'lcfs gc --remove', 'lcfs gc --gone docker --older-than 0');
}

function collect(value: string, before: string[] = []): string[] {
  return [...before, value];
}

function collectEngine(value: string, before: EngineName[] = []): EngineName[] {
  if ((ENGINES as readonly string[]).includes(value)) return [...before, value as EngineName];
  throw new InvalidArgumentError(`'${value}' is not an engine; there are ${ENGINES.join(' and ')}.`);
}

async function gc(names: readonly string[], flags: GcFlags): Promise<void> {
  const request: GcRequest = {
    names,
    olderThanSeconds: flags.olderThan,
    remove: flags.remove === true,
    dockerRoots: (flags.dockerRoot ?? []).map((folder) => resolve(folder)),
    gone: flags.gone ?? [],
  };
  const report = await (await daemonFor(flags)).call<GcReport>('POST', 'gc', request);
  if (flags.json) printJson(report);
  else printReport(report, request.remove === true);
  if (report.notAsked.length > 0 || report.layers.some(({ failure }) => failure !== undefined)) process.exitCode = 1;
}

function printReport({ layers, notAsked }: GcReport, remove: boolean): void {
  for (const { engine, layers: count, why } of notAsked) printLine(`${engine}: ${count} layers left alone: ${why}`);
  if (layers.length === 0) return printLine('no layer is lost');
  printTable(
    ['NAME', '>OWN', '>AGE', 'WHY'],
    layers.map((layer) => [layer.name, formatSize(layer.ownBytes), formatAge(layer.ageSeconds), whyText(layer)]),
  );
  printLine(summary(layers, remove));
}

function whyText({ why, failure }: LostLayer): string {
  return failure === undefined ? why : `not removed: ${failure}`;
}

function summary(layers: readonly LostLayer[], remove: boolean): string {
  const counted = remove ? layers.filter(({ removed }) => removed) : layers;
  const bytes = formatSize(counted.reduce((sum, { ownBytes }) => sum + ownBytes, 0));
  return remove ? `removed ${counted.length} layers, ${bytes}` : `${counted.length} layers, ${bytes}; lcfs gc --remove removes them`;
}
