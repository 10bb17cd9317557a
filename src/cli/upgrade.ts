/** `lcfs upgrade`: lets the program that runs this command serve a volume that is mounted already. */
import { Command } from 'commander';
import { HANDOVER_VERSION } from '../daemon/handover.js';
import { thisProgram } from '../daemon/program.js';
import type { Status } from '../daemon/protocol.js';
import { LcfsError } from '../engine/errors.js';
import { findDaemon, nextProcess } from './client.js';
import { examples } from './options.js';
import { printLine } from './output.js';

export function upgradeCommand(): Command {
  const command = new Command('upgrade')
    .description('let this version of lcfs serve a volume that is mounted: whoever uses it sees a short pause at most')
    .argument('<mountpoint>', 'where the volume is mounted, or the control socket of its daemon')
    .action(upgrade);
  command.addHelpText('after', PROGRAM);
  return examples(command, '/opt/lcfs-new/lcfs upgrade /lcfs');
}

const PROGRAM = `
The files of this lcfs, and of the node that runs it, have to stay where they are as long as they serve. If this version
cannot take over, the one that serves now goes on. A daemon that is started later, at the next boot for instance, is
whatever \`lcfs\` is called then.`;

async function upgrade(mountpoint: string): Promise<void> {
  const daemon = await findDaemon(mountpoint);
  const before = await daemon.call<Status>('GET', 'status');
  const program = thisProgram();
  await daemon.call('POST', 'upgrade', { ...program, handover: HANDOVER_VERSION });
  const { pid, version, lastUpgrade } = await nextProcess(daemon, before.pid);
  const failure = lastUpgrade?.failure ?? null;
  if (failure !== null) throw new LcfsError('state', `LCFS ${version} serves on, as the new one could not take over: ${failure}`);
  printLine(`LCFS ${version} serves ${before.mountpoint} (pid ${pid})`);
}
