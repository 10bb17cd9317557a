/** `lcfs pcache`: how much memory the page cache may use. */
import { Command } from 'commander';
import { controlOption, daemonFor, examples, jsonOption, type JsonOptions } from './options.js';
import { printJson, printLine } from './output.js';
import { formatSize, parsePositiveSize } from './sizes.js';

export function pcacheCommand(): Command {
  const command = new Command('pcache')
    .description('set the memory for the page cache while the daemon runs')
    .argument('<size>', 'from 4M up to the --cache-max that the daemon was started with', parsePositiveSize)
    .argument('[mountpoint]', 'where the volume is mounted')
    .addOption(controlOption())
    .addOption(jsonOption())
    .action(pcache);
  return examples(command, 'lcfs pcache 512M', 'lcfs pcache 64M /lcfs');
}

async function pcache(bytes: number, mountpoint: string | undefined, options: JsonOptions): Promise<void> {
  const daemon = await daemonFor(options, mountpoint);
  const answer = await daemon.call<{ bytes: number }>('POST', 'pcache', { bytes });
  if (options.json) printJson(answer);
  else printLine(`the page cache takes up to ${formatSize(answer.bytes)}`);
}
