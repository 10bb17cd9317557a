/** `lcfs grow`: takes a larger device into use. */
import { Command } from 'commander';
import { controlOption, daemonFor, examples, jsonOption, type JsonOptions } from './options.js';
import { printJson, printLine } from './output.js';
import { formatSize } from './sizes.js';

export function growCommand(): Command {
  const command = new Command('grow')
    .description('use all of a device (or file) that was made larger')
    .argument('[mountpoint]', 'where the volume is mounted')
    .addOption(controlOption())
    .addOption(jsonOption())
    .action(grow);
  return examples(command, 'truncate -s 40G /srv/lcfs.img && lcfs grow');
}

async function grow(mountpoint: string | undefined, options: JsonOptions): Promise<void> {
  const daemon = await daemonFor(options, mountpoint);
  const answer = await daemon.call<{ blocks: number; blockBytes: number }>('POST', 'grow');
  if (options.json) printJson(answer);
  else printLine(`the volume has ${formatSize(answer.blocks * answer.blockBytes)}`);
}
