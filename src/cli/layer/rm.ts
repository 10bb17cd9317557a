/** `lcfs layer rm`: removes layers. */
import { Command } from 'commander';
import { controlOption, daemonFor, examples, type ControlOptions } from '../options.js';
import { layerPath } from './paths.js';

export function layerRemoveCommand(): Command {
  const command = new Command('rm')
    .description('remove layers that nothing was cloned from and nobody uses; their space comes back in the background')
    .argument('<layer...>', 'names, removed in this order')
    .addOption(controlOption())
    .action(remove);
  return examples(command, 'lcfs layer rm web', 'lcfs layer rm child parent');
}

async function remove(names: readonly string[], options: ControlOptions): Promise<void> {
  const daemon = await daemonFor(options);
  for (const name of names) await daemon.call('DELETE', layerPath(name));
}
