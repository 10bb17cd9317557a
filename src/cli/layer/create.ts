/** `lcfs layer create`: an empty layer. */
import { Command } from 'commander';
import type { Layer } from '../../daemon/protocol.js';
import { controlOption, daemonFor, examples, jsonOption, type JsonOptions } from '../options.js';
import { printJson } from '../output.js';
import { parsePositiveSize } from '../sizes.js';

export function layerCreateCommand(): Command {
  const command = new Command('create')
    .description('make an empty layer')
    .argument('<layer>', 'its name')
    .option('--quota <size>', 'the most space it may take', parsePositiveSize)
    .addOption(controlOption())
    .addOption(jsonOption())
    .action(create);
  return examples(command, 'lcfs layer create base', 'lcfs layer create scratch --quota 1G');
}

async function create(name: string, options: JsonOptions & { quota?: number }): Promise<void> {
  const daemon = await daemonFor(options);
  const layer = await daemon.call<Layer>('POST', 'layers', { name, quotaBytes: options.quota });
  if (options.json) printJson(layer);
}
