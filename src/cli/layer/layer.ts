/** `lcfs layer …`: the commands on layers. */
import { Command } from 'commander';
import { layerCloneCommand } from './clone.js';
import { layerCommitCommand } from './commit.js';
import { layerCreateCommand } from './create.js';
import { layerDiffCommand } from './diff.js';
import { layerExportCommand } from './export.js';
import { layerImportCommand } from './import.js';
import { layerInspectCommand } from './inspect.js';
import { layerListCommand } from './ls.js';
import { layerRemoveCommand } from './rm.js';
import { layerTreeCommand } from './tree.js';

export function layerCommand(): Command {
  const command = new Command('layer').description('list, make, change and remove layers');
  for (const make of COMMANDS) command.addCommand(make());
  return command;
}

const COMMANDS: readonly (() => Command)[] = [
  layerListCommand,
  layerTreeCommand,
  layerInspectCommand,
  layerCreateCommand,
  layerCloneCommand,
  layerCommitCommand,
  layerRemoveCommand,
  layerDiffCommand,
  layerImportCommand,
  layerExportCommand,
];
