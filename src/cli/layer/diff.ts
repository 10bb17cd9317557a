/** `lcfs layer diff`: what a layer changed. */
import { Command } from 'commander';
import type { Change } from '../../daemon/protocol.js';
import { controlOption, daemonFor, examples, jsonOption, type JsonOptions } from '../options.js';
import { JsonList, printLine } from '../output.js';
import { layerPath } from './paths.js';

/** As `docker diff` prints them. */
const LETTERS: Readonly<Record<Change['kind'], string>> = { added: 'A', changed: 'C', deleted: 'D' };

export function layerDiffCommand(): Command {
  const command = new Command('diff')
    .description('list what a layer added (A), changed (C) and deleted (D)')
    .argument('<layer>', 'the newer layer')
    .option('--base <layer>', 'compare with this layer instead of the parent')
    .addOption(controlOption())
    .addOption(jsonOption())
    .action(diff);
  return examples(command, 'lcfs layer diff web', 'lcfs layer diff web-2.0 --base web-1.0 --json');
}

async function diff(name: string, options: JsonOptions & { base?: string }): Promise<void> {
  const daemon = await daemonFor(options);
  const list = new JsonList();
  for await (const change of daemon.lines<Change>('GET', layerPath(name, '/diff'), { base: options.base })) {
    if (options.json) list.add(change);
    else printLine(`${LETTERS[change.kind]} ${printable(change.path)}`);
  }
  if (options.json) list.end();
}

/** A name may hold anything; what would move the cursor or forge a line is shown as an escape. */
export function printable(path: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what this is about
  return path.replaceAll(/[\u0000-\u001f\u007f\\]/g, (character) => (character === '\\' ? '\\\\' : `\\x${hex(character)}`));
}

function hex(character: string): string {
  return character.charCodeAt(0).toString(16).padStart(2, '0');
}
