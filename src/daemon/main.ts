/** `lcfs daemon`: supervises a volume in this process, which starts the one that serves it (serve.ts). */
import { dup2 } from '../linux/libc.js';
import { reportFailure, reportReady } from './detach.js';
import type { DaemonOptions } from './options.js';
import { STDERR, settleOptions, type Settings } from './settings.js';
import { Supervisor, spareSupervisor } from './supervisor.js';

/** Runs until nothing is served any more. Throws LcfsError if the volume can't be opened or mounted. */
export async function runDaemon(options: DaemonOptions): Promise<void> {
  let supervisor: Supervisor;
  spareSupervisor();
  try {
    const settings = settleOptions(options);
    supervisor = await Supervisor.start(settings);
    keepLogTogether(settings);
    reportReady(settings.mountpoint);
  } catch (error) {
    if (reportFailure(error)) process.exit(1);
    throw error;
  }
  process.exitCode = await supervisor.ended;
  process.exit();
}

/** From now on there is nobody at the terminal who waits for an answer, so what Node says when it dies goes where the log goes. */
function keepLogTogether({ log, logShape }: Settings): void {
  if (log !== null) dup2(logShape.fd, STDERR);
}
