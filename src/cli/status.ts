/** `lcfs status`: what a daemon serves, and how full it is. */
import { Command } from 'commander';
import type { Status } from '../daemon/protocol.js';
import { controlOption, daemonFor, examples, jsonOption, type JsonOptions } from './options.js';
import { printJson, printLine } from './output.js';
import { scrubText } from './scrub.js';
import { formatSize } from './sizes.js';

export function statusCommand(): Command {
  const command = new Command('status')
    .description('show a volume, its space and its daemon')
    .argument('[mountpoint]', 'where the volume is mounted')
    .addOption(controlOption())
    .addOption(jsonOption())
    .action(status);
  return examples(command, 'lcfs status', 'lcfs status /lcfs --json');
}

async function status(mountpoint: string | undefined, options: JsonOptions): Promise<void> {
  const daemon = await daemonFor(options, mountpoint);
  const answer = await daemon.call<Status>('GET', 'status');
  if (options.json) printJson(answer);
  else for (const [name, text] of statusLines(answer)) printLine(`${name.padEnd(12)}${text}`);
}

export function statusLines(status: Status): [string, string][] {
  const size = (blocks: number): string => formatSize(blocks * status.blockBytes);
  const { total, used, free } = status.blocks;
  return [
    ['volume', `${status.volume} (${status.uuid})`],
    ['mounted on', status.mountpoint],
    ['daemon', `pid ${status.pid}, LCFS ${status.version}, since ${status.started}, ${formatSize(status.memoryBytes)} resident`],
    ['supervisor', supervisorText(status)],
    ['space', `${size(total)}: ${size(used)} used (${Math.round((used / total) * 100)} %), ${size(free)} free`],
    ['layers', String(status.layers)],
    ['checkpoint', `generation ${status.generation}, every ${status.syncerSeconds} s when something changed`],
    ['cache', `${formatSize(status.cache.bytes)}, at most ${formatSize(status.cache.bytesMax)}`],
    ['transport', status.transport],
    ['passthrough', status.passthrough ? `on: layers share cached files, ${status.files.backings} are open` : 'off'],
    ['fsync', status.fsync],
    ...(status.readOnly === null ? [] : [['read-only', status.readOnly] satisfies [string, string]]),
    ['scrub', scrubText(status.scrub)],
    ['containerd', status.containerd ?? 'not served'],
    ['docker', status.docker ?? 'not served'],
    ['control', status.control],
  ];
}

function supervisorText({ supervisor, standby, deaths, lastDeath, lastUpgrade }: Status): string {
  const who = supervisor === null ? 'gone: nobody starts the daemon again if it dies' : `pid ${supervisor}`;
  const died = lastDeath === null ? '' : `, ${deaths} deaths survived (the last at ${lastDeath.at}: ${lastDeath.cause})`;
  const failed =
    typeof lastUpgrade?.failure !== 'string'
      ? ''
      : `, upgrade to ${lastUpgrade.version} failed at ${lastUpgrade.at}: ${lastUpgrade.failure}`;
  const next = standby === null ? '' : `, pid ${standby} waits to take over`;
  return `${who}${next}${died}${failed}`;
}
