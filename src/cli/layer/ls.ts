/** `lcfs layer ls`: all layers, a line each. */
import { Command } from 'commander';
import type { Layer } from '../../daemon/protocol.js';
import { controlOption, daemonFor, examples, jsonOption, type JsonOptions } from '../options.js';
import { JsonList, printLine, printTable } from '../output.js';
import { formatSize } from '../sizes.js';

export function layerListCommand(): Command {
  const command = new Command('ls')
    .description('list layers')
    .option('-q, --quiet', 'names only')
    .addOption(controlOption())
    .addOption(jsonOption())
    .action(list);
  return examples(command, 'lcfs layer ls', 'lcfs layer ls --json');
}

async function list(options: JsonOptions & { quiet?: boolean }): Promise<void> {
  const layers = (await daemonFor(options)).lines<Layer>('GET', 'layers');
  if (options.json) await printList(layers);
  else if (options.quiet === true) for await (const layer of layers) printLine(layer.name);
  else await printLayers(layers);
}

async function printList(layers: AsyncIterable<Layer>): Promise<void> {
  const list = new JsonList();
  for await (const layer of layers) list.add(layer);
  list.end();
}

async function printLayers(layers: AsyncIterable<Layer>): Promise<void> {
  const rows: string[][] = [];
  for await (const layer of layers) {
    rows.push([
      layer.name,
      layer.state,
      layer.parent ?? '-',
      String(layer.depth),
      formatSize(layer.ownBytes),
      quota(layer),
      String(layer.inodes),
      layer.created,
    ]);
  }
  printTable(['NAME', 'STATE', 'PARENT', '>DEPTH', '>OWN', '>QUOTA', '>INODES', 'CREATED'], rows);
}

function quota(layer: Layer): string {
  return layer.quotaBytes === 0 ? '-' : formatSize(layer.quotaBytes);
}
