/** `lcfs flush`: forgets what is cached. */
import { Command } from 'commander';
import { controlOption, daemonFor, examples, jsonOption, type JsonOptions } from './options.js';
import { printJson, printLine } from './output.js';

export function flushCommand(): Command {
  const command = new Command('flush')
    .description('drop clean pages from the page cache (to measure, or to give memory back)')
    .argument('[mountpoint]', 'where the volume is mounted')
    .option('--kernel', 'also let the kernel drop what it caches, of all filesystems of this machine')
    .addOption(controlOption())
    .addOption(jsonOption())
    .action(flush);
  return examples(command, 'lcfs flush', 'lcfs flush --kernel');
}

async function flush(mountpoint: string | undefined, options: JsonOptions & { kernel?: boolean }): Promise<void> {
  const daemon = await daemonFor(options, mountpoint);
  const answer = await daemon.call<{ pages: number }>('POST', 'flush', { kernel: options.kernel === true });
  if (options.json) printJson(answer);
  else printLine(`dropped ${answer.pages} pages`);
}
