/** `lcfs stop`: unmounts a volume and ends its daemon. */
import { Command } from 'commander';
import { setTimeout as delay } from 'node:timers/promises';
import type { Status } from '../daemon/protocol.js';
import { isRunning } from '../daemon/processes.js';
import { findDaemon } from './client.js';
import { examples } from './options.js';

const EXIT_PATIENCE_MS = 5000;
const POLL_MS = 20;

export function stopCommand(): Command {
  const command = new Command('stop')
    .description('unmount a volume and end its daemon')
    .argument('<mountpoint>', 'where the volume is mounted, or the control socket of its daemon')
    .option('--force', 'even if it is in use: its users get errors from then on')
    .action(stop);
  return examples(command, 'lcfs stop /lcfs');
}

async function stop(mountpoint: string, options: { force?: boolean }): Promise<void> {
  const daemon = await findDaemon(mountpoint);
  const { pid, supervisor } = await daemon.call<Status>('GET', 'status');
  await daemon.call('POST', 'stop', { force: options.force === true });
  await ended(pid);
  if (supervisor !== null) await ended(supervisor);
}

/** The answer means that the volume is closed; what follows is a matter of milliseconds. */
async function ended(pid: number): Promise<void> {
  for (let waited = 0; waited < EXIT_PATIENCE_MS && isRunning(pid); waited += POLL_MS) await delay(POLL_MS);
}
