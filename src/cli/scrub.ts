/** `lcfs scrub`: the slow reading of everything that is in use. */
import { Argument, Command } from 'commander';
import type { Scrub } from '../daemon/protocol.js';
import { controlOption, daemonFor, examples, jsonOption, type JsonOptions } from './options.js';
import { printJson, printLine } from './output.js';
import { formatSize, parseSize } from './sizes.js';

interface ScrubFlags extends JsonOptions {
  rate?: number;
}

const NOTES = `
Everything in use is read from the device once a week and compared with its checksums, no faster than the rate says, so that
what the device forgets is found in time. What is damaged is logged with its layer and path; what is still good in memory is
written again. When the last pass ended, and how far this one is, is kept with the volume: after a restart it goes on. The rate is set when the daemon starts (lcfs daemon --scrub-rate) or here; 0 is off.`;

export function scrubCommand(): Command {
  const command = new Command('scrub')
    .description('read everything that is in use, slowly, to find damage')
    .addArgument(
      new Argument('[action]', 'begin a pass now, end the one that runs, or show how far it is')
        .choices(['start', 'stop', 'status'])
        .default('status'),
    )
    .option('--rate <size>', 'bytes a second from now on; 0: off', parseSize)
    .addOption(controlOption())
    .addOption(jsonOption())
    .addHelpText('after', NOTES)
    .action(scrub);
  return examples(command, 'lcfs scrub', 'lcfs scrub start --rate 50M', 'lcfs scrub --rate 0');
}

async function scrub(action: string, flags: ScrubFlags): Promise<void> {
  const daemon = await daemonFor(flags);
  const answer = await daemon.call<Scrub>('POST', 'scrub', { action, rate: flags.rate });
  if (flags.json) printJson(answer);
  else printLine(scrubText(answer));
}

/** One line about the pass that runs and the last one. */
export function scrubText(scrub: Scrub): string {
  const rate = scrub.rate === 0 ? 'off' : `${formatSize(scrub.rate)}/s at most`;
  return [rate, runningText(scrub), lastText(scrub)].filter((part) => part !== '').join('; ');
}

function runningText({ running, waiting, doneBytes, totalBytes, damagedBlocks, mendedBlocks }: Scrub): string {
  if (!running && !waiting) return '';
  const text = `${formatSize(doneBytes)} of ${formatSize(totalBytes)} read, ${findings(damagedBlocks, mendedBlocks)}`;
  return running ? text : `${text}, goes on in a few minutes`;
}

function findings(damaged: number, mended: number): string {
  const again = mended === 0 ? '' : `, ${mended} written again`;
  return `${damaged === 0 ? 'no damage' : `${damaged} ${damaged === 1 ? 'block' : 'blocks'} damaged: see the log`}${again}`;
}

function lastText({ lastEnded, lastDamagedBlocks }: Scrub): string {
  if (lastEnded === null) return 'no pass is complete';
  return `last pass ended ${lastEnded}, ${findings(lastDamagedBlocks!, 0)}`;
}
