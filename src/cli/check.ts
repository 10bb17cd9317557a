/** `lcfs check`: proves a volume. */
import { Command } from 'commander';
import { realpathSync } from 'node:fs';
import type { CheckReport, Status } from '../daemon/protocol.js';
import { LcfsError } from '../engine/errors.js';
import { findDaemon, type Client } from './client.js';
import { controlOption, examples, jsonOption, type JsonOptions } from './options.js';
import { Progress, printJson, printLine } from './output.js';

interface CheckFlags extends JsonOptions {
  data: boolean;
  online?: boolean;
}

const NOTES = `
Every page and record is proven: checksums, order of keys, owners, link counts, sizes, and that each block is free or in
use exactly once. Unless told --no-data, all data is read and compared with its checksums too.
The volume must not be in use. With --online its daemon checks it; whoever writes to it waits meanwhile.
The exit code is 1 if anything is wrong. Nothing is changed.`;

export function checkCommand(): Command {
  const command = new Command('check')
    .description('prove that a volume is sound')
    .argument('<device>', 'block device or file with a volume')
    .option('--no-data', 'leave out the checksums of the data')
    .option('--online', 'let the daemon that serves the volume check it')
    .addOption(controlOption())
    .addOption(jsonOption())
    .addHelpText('after', NOTES)
    .action(check);
  return examples(command, 'lcfs check /dev/sdb', 'lcfs check --online /srv/lcfs.img --no-data');
}

async function check(device: string, flags: CheckFlags): Promise<void> {
  const report = flags.online === true ? await checkOnline(device, flags) : await checkOffline(device, flags.data);
  if (flags.json) printJson(report);
  else printReport(device, report);
  if (report.errorCount > 0) process.exitCode = 1;
}

async function checkOnline(device: string, flags: CheckFlags): Promise<CheckReport> {
  const daemon = await findDaemon(flags.control);
  await proveServes(daemon, device);
  return daemon.call<CheckReport>('POST', 'check', { data: flags.data });
}

async function proveServes(daemon: Client, device: string): Promise<void> {
  const { volume, mountpoint } = await daemon.call<Status>('GET', 'status');
  if (realpathSync(device) === realpathSync(volume)) return;
  throw new LcfsError(
    'invalid',
    `the daemon of ${mountpoint} serves ${volume}, not ${device}: check that one, or name another daemon with --control`,
  );
}

async function checkOffline(device: string, data: boolean): Promise<CheckReport> {
  const { checkDevice } = await import('../daemon/offline-check.js');
  const progress = new Progress();
  try {
    return checkDevice(device, data, (layer, done) => progress.show(() => `checking layer ${layer}, ${done} done`));
  } finally {
    progress.end();
  }
}

function printReport(device: string, report: CheckReport): void {
  for (const error of report.errors) printLine(error);
  const { layers, inodes, pages, dataBlocks } = report.counts;
  const looked = `${layers} layers, ${inodes} inodes, ${pages} pages, ${dataBlocks} blocks of data`;
  if (report.errorCount === 0) printLine(`${device} is sound (${looked})`);
  else printLine(`${device}: ${report.errorCount} errors (${looked})`);
}
