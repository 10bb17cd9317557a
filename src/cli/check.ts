/** `lcfs check`: proves a volume, and repairs it if told so. */
import { Command, Option } from 'commander';
import { realpathSync } from 'node:fs';
import type { CheckReport, DamageReport, LogReport, RepairReport, Status } from '../daemon/protocol.js';
import { LcfsError } from '../engine/errors.js';
import { findDaemon, type Client } from './client.js';
import { controlOption, examples, jsonOption, type JsonOptions } from './options.js';
import { Progress, printJson, printLine } from './output.js';

interface CheckFlags extends JsonOptions {
  data: boolean;
  online?: boolean;
  repair?: boolean;
}

const NOTES = `
Every page and record is proven: checksums, order of keys, owners, link counts, sizes, and that each block is free or in
use exactly once. Unless told --no-data, all data is read and compared with its checksums too.
The volume must not be in use. With --online its daemon checks it; whoever writes to it waits meanwhile.
Of damage it says which files of which layers are hit, and what a repair would do. Nothing is changed. After a crash the volume is
checked with what the intent log has of the last seconds, and it is said that this is still to be applied: the next mount does so.

With --repair what can be read is made whole again, in one step that can be cut off at any time: space is counted anew, and
only what cannot be read is lost. A file keeps its other blocks, and gives an error for those that are lost; files without
names go to /lost+found of their layer. Layers that lost something bear the property lcfs.damaged. Make a copy of the device
first if it is failing: a repair writes. What the intent log has of the last seconds before a crash is applied first, as far as it
can be read; what was not is said, with the reason.
The exit code is 1 if anything is wrong, after a repair if anything is wrong still: blocks of data that cannot be read are.`;

export function checkCommand(): Command {
  const command = new Command('check')
    .description('prove that a volume is sound')
    .argument('<device>', 'block device or file with a volume')
    .option('--no-data', 'leave out the checksums of the data')
    .option('--online', 'let the daemon that serves the volume check it')
    .addOption(new Option('--repair', 'repair what is wrong').conflicts('online'))
    .addOption(controlOption())
    .addOption(jsonOption())
    .addHelpText('after', NOTES)
    .action(check);
  return examples(command, 'lcfs check /dev/sdb', 'lcfs check --online /srv/lcfs.img --no-data', 'lcfs check --repair /dev/sdb');
}

async function check(device: string, flags: CheckFlags): Promise<void> {
  const report = flags.online === true ? await checkOnline(device, flags) : await checkOffline(device, flags);
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

async function checkOffline(device: string, { data, repair }: CheckFlags): Promise<CheckReport> {
  const { checkDevice, repairDevice } = await import('../daemon/offline-check.js');
  const progress = new Progress();
  try {
    return (repair === true ? repairDevice : checkDevice)(device, data, (layer, done) =>
      progress.show(() => `checking layer ${layer}, ${done} done`),
    );
  } finally {
    progress.end();
  }
}

function printReport(device: string, report: CheckReport): void {
  for (const error of report.errors) printLine(error);
  if (report.damage.length > 0) printDamage('hit:', report.damage);
  if (report.log !== null) printLog(report.log, 'that the next mount applies');
  if (report.repair !== null) printRepair(device, report.repair);
  const { layers, inodes, pages, dataBlocks } = report.counts;
  const looked = `${layers} layers, ${inodes} inodes, ${pages} pages, ${dataBlocks} blocks of data`;
  if (report.errorCount === 0) printLine(`${device} is sound (${looked})`);
  else printLine(`${device}: ${report.errorCount} errors (${looked})`);
  if (report.errorCount > 0 && report.errorCount === report.dataErrors)
    printLine('blocks of data that cannot be read give an error to whoever reads them; no repair brings them back: replace the files');
}

function printDamage(heading: string, damage: readonly DamageReport[]): void {
  printLine(heading);
  for (const { layer, layerName, path, ino, text } of damage) {
    const where = path ?? (ino === 0 ? '' : `inode ${ino}`);
    printLine(`  layer ${layer}${layerName === '' ? '' : ` "${layerName}"`}${where === '' ? '' : `, ${where}`}: ${text}`);
  }
}

function printLog({ operations, leftOut }: LogReport, what: string): void {
  printLine(`the intent log has ${operations} operations behind the last checkpoint ${what}`);
  for (const text of leftOut) printLine(`  not applied: ${text}`);
}

function printRepair(device: string, repair: RepairReport): void {
  if (repair.log !== null) printLog(repair.log, repair.done ? 'that were applied' : 'that are applied by it');
  for (const text of repair.notes) printLine(`${repair.done ? 'repaired' : 'to repair'}: ${text}`);
  const lost = `${repair.damage.length} ${repair.damage.length === 1 ? 'loss' : 'losses'}`;
  if (repair.done) printDamage(`${device} is repaired, with ${lost}:`, repair.damage);
  else
    printLine(
      `lcfs check --repair ${device} makes the volume whole, with ${lost}${repair.damage.length === 0 ? '' : ' as above or fewer'}`,
    );
}
