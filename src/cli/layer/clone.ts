/** `lcfs layer clone`: a writable layer that starts as what its parent is. */
import { Command, Option } from 'commander';
import type { Layer } from '../../daemon/protocol.js';
import { controlOption, daemonFor, examples, jsonOption, type JsonOptions } from '../options.js';
import { printJson } from '../output.js';
import { parsePositiveSize } from '../sizes.js';

export function layerCloneCommand(): Command {
  const command = new Command('clone')
    .description('make a writable layer on a parent; the parent is sealed: it never changes again')
    .argument('<parent>', 'the layer to start from')
    .argument('<layer>', 'name of the new layer')
    .option('--quota <size>', 'the most space that the new layer itself may take', parsePositiveSize)
    .addOption(
      new Option('--fsync <mode>', 'what fsync promises in the layer; without, what the daemon says').choices(['relaxed', 'strict']),
    )
    .addOption(controlOption())
    .addOption(jsonOption())
    .action(clone);
  return examples(command, 'lcfs layer clone base web');
}

async function clone(parent: string, name: string, options: JsonOptions & { quota?: number; fsync?: string }): Promise<void> {
  const daemon = await daemonFor(options);
  const layer = await daemon.call<Layer>('POST', 'layers', { name, parent, quotaBytes: options.quota, fsync: options.fsync });
  if (options.json) printJson(layer);
}
