/** `lcfs layer create`: an empty layer. */
import { Command, Option } from 'commander';
import type { Layer } from '../../daemon/protocol.js';
import { controlOption, daemonFor, examples, jsonOption, type JsonOptions } from '../options.js';
import { printJson } from '../output.js';
import { parsePositiveSize } from '../sizes.js';

export function layerCreateCommand(): Command {
  const command = new Command('create')
    .description('make an empty layer')
    .argument('<layer>', 'its name')
    .option('--quota <size>', 'the most space it may take', parsePositiveSize)
    .addOption(
      new Option('--fsync <mode>', 'what fsync promises in the layer; without, what the daemon says').choices(['relaxed', 'strict']),
    )
    .addOption(controlOption())
    .addOption(jsonOption())
    .action(create);
  return examples(command, 'lcfs layer create base', 'lcfs layer create scratch --quota 1G');
}

async function create(name: string, options: JsonOptions & { quota?: number; fsync?: string }): Promise<void> {
  const daemon = await daemonFor(options);
  const layer = await daemon.call<Layer>('POST', 'layers', { name, quotaBytes: options.quota, fsync: options.fsync });
  if (options.json) printJson(layer);
}
