/** `lcfs layer commit`: seals a layer and makes it durable. */
import { Command } from 'commander';
import type { Layer } from '../../daemon/protocol.js';
import { controlOption, daemonFor, examples, jsonOption, type JsonOptions } from '../options.js';
import { printJson } from '../output.js';
import { layerPath } from './paths.js';

export function layerCommitCommand(): Command {
  const command = new Command('commit')
    .description('seal a layer: it never changes again; durable when the command returns')
    .argument('<layer>', 'a writable layer')
    .argument('[name]', 'its name from now on')
    .addOption(controlOption())
    .addOption(jsonOption())
    .action(commit);
  return examples(command, 'lcfs layer commit web', 'lcfs layer commit scratch web-1.0');
}

async function commit(name: string, newName: string | undefined, options: JsonOptions): Promise<void> {
  const daemon = await daemonFor(options);
  const layer = await daemon.call<Layer>('POST', layerPath(name, '/commit'), { newName });
  if (options.json) printJson(layer);
}
