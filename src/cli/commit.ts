/** `lcfs commit`: a checkpoint, now. */
import { Command } from 'commander';
import { controlOption, daemonFor, examples, jsonOption, type JsonOptions } from './options.js';
import { printJson, printLine } from './output.js';

export function commitCommand(): Command {
  const command = new Command('commit')
    .description('make everything durable now (a layer is committed with lcfs layer commit)')
    .argument('[mountpoint]', 'where the volume is mounted')
    .addOption(controlOption())
    .addOption(jsonOption())
    .action(commit);
  return examples(command, 'lcfs commit', 'lcfs commit /lcfs');
}

async function commit(mountpoint: string | undefined, options: JsonOptions): Promise<void> {
  const daemon = await daemonFor(options, mountpoint);
  const answer = await daemon.call<{ generation: number }>('POST', 'commit');
  if (options.json) printJson(answer);
  else printLine(`everything up to now is durable (generation ${answer.generation})`);
}
