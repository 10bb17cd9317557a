/** `lcfs layer inspect`: everything about layers. */
import { Command } from 'commander';
import type { Layer } from '../../daemon/protocol.js';
import { controlOption, daemonFor, examples, jsonOption, type JsonOptions } from '../options.js';
import { printJson, printLine } from '../output.js';
import { formatSize } from '../sizes.js';
import { layerPath } from './paths.js';

export function layerInspectCommand(): Command {
  const command = new Command('inspect')
    .description('show everything about layers')
    .argument('<layer...>', 'names')
    .addOption(controlOption())
    .addOption(jsonOption())
    .action(inspect);
  return examples(command, 'lcfs layer inspect web', 'lcfs layer inspect web --json');
}

async function inspect(names: readonly string[], options: JsonOptions): Promise<void> {
  const daemon = await daemonFor(options);
  const layers: Layer[] = [];
  for (const name of names) layers.push(await daemon.call<Layer>('GET', layerPath(name)));
  if (options.json) printJson(layers);
  else layers.forEach(printLayer);
}

function printLayer(layer: Layer, position: number): void {
  if (position > 0) printLine('');
  const lines: [string, string][] = [
    ['name', layer.name],
    ['index', String(layer.index)],
    ['state', layer.state],
    ['parent', layer.parent ?? 'none'],
    ['depth', String(layer.depth)],
    ['children', String(layer.children)],
    ['created', layer.created],
    ['own space', formatSize(layer.ownBytes)],
    ['quota', layer.quotaBytes === 0 ? 'none' : formatSize(layer.quotaBytes)],
    ['fsync', layer.fsync ?? 'as the daemon says'],
    ['inodes', String(layer.inodes)],
    ['in use by', String(layer.holders)],
    ...Object.entries(layer.properties).map(([key, value]): [string, string] => [`property ${key}`, value]),
  ];
  for (const [name, text] of lines) printLine(`${name.padEnd(12)}${text}`);
}
