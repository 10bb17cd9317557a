#!/usr/bin/env node
/**
 * The command `lcfs`. `lcfs serve`, which a supervisor starts and no user, has its own way in: it is to serve as soon as
 * possible, and needs none of the commands.
 */
if (process.argv[2] === 'serve') await (await import('../daemon/serve.js')).runServing();
else await (await import('./run.js')).runCommand();
