/** Options that several commands share. */
import { Option, type Command } from 'commander';
import { findDaemon, type Client } from './client.js';

export interface ControlOptions {
  control?: string;
}

export interface JsonOptions extends ControlOptions {
  json?: boolean;
}

export function controlOption(): Option {
  return new Option('--control <socket|mountpoint>', 'the daemon to ask, where several run').env('LCFS_CONTROL');
}

export function jsonOption(): Option {
  return new Option('--json', 'print JSON');
}

/** The daemon that a command means: a mountpoint given as argument goes before `--control`. */
export function daemonFor(options: ControlOptions, mountpoint?: string): Promise<Client> {
  return findDaemon(mountpoint ?? options.control);
}

/** Adds examples, one a line, below the help of a command. */
export function examples(command: Command, ...lines: readonly string[]): Command {
  return command.addHelpText('after', `\nExamples:\n${lines.map((line) => `  $ ${line}`).join('\n')}`);
}
