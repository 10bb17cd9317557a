/** `lcfs syncer`: how often checkpoints come. */
import { Command } from 'commander';
import { controlOption, daemonFor, examples, jsonOption, type JsonOptions } from './options.js';
import { printJson, printLine } from './output.js';
import { parseSeconds } from './sizes.js';

export function syncerCommand(): Command {
  const command = new Command('syncer')
    .description('set the longest time between a change and its checkpoint')
    .argument('<seconds>', 'from 0.1 to 3600', parseSeconds)
    .argument('[mountpoint]', 'where the volume is mounted')
    .addOption(controlOption())
    .addOption(jsonOption())
    .action(syncer);
  return examples(command, 'lcfs syncer 2', 'lcfs syncer 30 /lcfs');
}

async function syncer(seconds: number, mountpoint: string | undefined, options: JsonOptions): Promise<void> {
  const daemon = await daemonFor(options, mountpoint);
  const answer = await daemon.call<{ seconds: number }>('POST', 'syncer', { seconds });
  if (options.json) printJson(answer);
  else printLine(`a checkpoint comes at most ${answer.seconds} s after a change`);
}
