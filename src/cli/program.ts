/** The tree of commands. Each is made in a file of its own. */
import { Command } from 'commander';
import { packageVersion } from '../daemon/version.js';
import { checkCommand } from './check.js';
import { commitCommand } from './commit.js';
import { daemonCommand } from './daemon.js';
import { flushCommand } from './flush.js';
import { formatCommand } from './format.js';
import { gcCommand } from './gc.js';
import { growCommand } from './grow.js';
import { layerCommand } from './layer/layer.js';
import { pcacheCommand } from './pcache.js';
import { scrubCommand } from './scrub.js';
import { resumeCommand } from './resume.js';
import { setupCommand } from './setup.js';
import { statsCommand } from './stats.js';
import { statusCommand } from './status.js';
import { stopCommand } from './stop.js';
import { syncerCommand } from './syncer.js';
import { upgradeCommand } from './upgrade.js';

const EXAMPLES = `
Examples:
  $ lcfs format /srv/lcfs.img --size 20G                  make a volume in a file
  $ lcfs daemon /srv/lcfs.img /lcfs --containerd --detach mount it and serve containerd
  $ lcfs status                                           see what it holds
  $ lcfs upgrade /lcfs                                    let this version serve it, while it is in use
  $ lcfs stop /lcfs                                       unmount it

Commands other than format and daemon talk to the daemon that runs. With several daemons, name one with
--control and its mountpoint or its control socket (or set LCFS_CONTROL).
Exit codes: 0 done, 1 failed, 2 called wrongly.`;

export function makeProgram(): Command {
  const program = new Command('lcfs')
    .description('Layer Cloning FileSystem: a filesystem made for container images and containers')
    .version(packageVersion())
    .addHelpText('after', EXAMPLES);
  for (const make of COMMANDS) program.addCommand(make());
  return settle(program);
}

const COMMANDS: readonly (() => Command)[] = [
  formatCommand,
  daemonCommand,
  stopCommand,
  upgradeCommand,
  resumeCommand,
  statusCommand,
  layerCommand,
  commitCommand,
  syncerCommand,
  pcacheCommand,
  flushCommand,
  growCommand,
  gcCommand,
  scrubCommand,
  statsCommand,
  setupCommand,
  checkCommand,
];

/** What holds for all commands: errors are thrown (main.ts sets the exit code) and come in our words. */
function settle(command: Command): Command {
  command
    .exitOverride()
    .showHelpAfterError(`(lcfs ${path(command)}--help tells more)`)
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'lcfs: ')) });
  for (const child of command.commands) settle(child);
  return command;
}

function path(command: Command): string {
  return command.parent === null ? '' : `${path(command.parent)}${command.name()} `;
}
