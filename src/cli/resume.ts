/** `lcfs resume`: allows changes of a volume again that is read-only because its daemon died again and again. */
import { Command } from 'commander';
import type { Status } from '../daemon/protocol.js';
import { findDaemon, nextProcess } from './client.js';
import { examples } from './options.js';
import { printLine } from './output.js';

export function resumeCommand(): Command {
  const command = new Command('resume')
    .description('allow changes again on a volume that is read-only because its daemon died again and again')
    .argument('<mountpoint>', 'where the volume is mounted, or the control socket of its daemon')
    .action(resume);
  return examples(command, 'lcfs resume /lcfs');
}

async function resume(mountpoint: string): Promise<void> {
  const daemon = await findDaemon(mountpoint);
  const { pid } = await daemon.call<Status>('GET', 'status');
  await daemon.call('POST', 'resume');
  const after = await nextProcess(daemon, pid);
  printLine(`${after.mountpoint} takes changes again (pid ${after.pid})`);
}
