#!/usr/bin/env node
/**
 * The command `lcfs`. `lcfs serve` and `lcfs standby`, which a supervisor starts and no user, have their own way in: they are to
 * serve as soon as possible, and need none of the commands.
 */
if (process.argv[2] === 'serve') await (await import('../daemon/serve.js')).runServing();
else if (process.argv[2] === 'standby') await (await import('../daemon/serve.js')).runStandby();
else await (await import('./run.js')).runCommand();
