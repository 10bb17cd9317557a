/** `lcfs setup`: configures containerd or Docker to keep their images and containers on LCFS. */
import { Argument, Command, InvalidArgumentError } from 'commander';
import { realpathSync } from 'node:fs';
import { CONTAINERD_SOCKET } from '../daemon/options.js';
import { LcfsError } from '../engine/errors.js';
import { examples } from './options.js';
import { printLine } from './output.js';
import { usesContainerd } from './setup/docker-config.js';
import { BACKUP_SUFFIX, type FileChange, Files } from './setup/files.js';
import { installedVersion, platform } from './setup/machine.js';
import { notes, planRemoval, planSetup, type Setup } from './setup/plan.js';
import type { Engine } from './setup/units.js';
import { formatVersion, parseVersion, type Version } from './setup/version.js';
import { parsePositiveSize } from './sizes.js';

interface Flags {
  write?: boolean;
  remove?: boolean;
  device: string;
  mountpoint: string;
  size: string;
  socket: string;
  kubernetes?: boolean;
  dockerTmp?: string;
  root: string;
  engineVersion?: Version;
}

export function setupCommand(): Command {
  const command = new Command('setup')
    .description('configure containerd or Docker to use LCFS: prints what is to be written, or writes it')
    .addArgument(new Argument('[engine]', 'what to set up').choices(['containerd', 'docker']))
    .option('--write', 'write the files, keeping what was there as NAME.before-lcfs')
    .option('--remove', 'undo it')
    .option('--device <device>', 'block device or file with the volume', absolute, '/var/lib/lcfs/volume.img')
    .option('--mountpoint <folder>', 'where the volume is mounted', absolute, '/lcfs')
    .option('--size <size>', 'size of the volume file if there is none yet', checkedSize, '20G')
    .option('--socket <socket>', 'where LCFS serves containerd', absolute, CONTAINERD_SOCKET)
    .option('--kubernetes', 'make LCFS the snapshotter of Kubernetes on this containerd, too')
    .option('--docker-tmp <folder>', 'where Docker keeps temporary files, so that they need not pass through the volume', absolute)
    .option('--engine-version <version>', 'set up for this version instead of the installed one', version)
    .option('--root <folder>', 'prepare the machine whose root file system lies in this folder', '/')
    .action(setup);
  return examples(command, 'lcfs setup containerd', 'lcfs setup docker --device /dev/sdb --write', 'lcfs setup --remove');
}

function absolute(path: string): string {
  if (!path.startsWith('/')) throw new InvalidArgumentError('It must be an absolute path: services have no current folder.');
  return path;
}

function checkedSize(text: string): string {
  parsePositiveSize(text);
  return text;
}

function version(text: string): Version {
  const parsed = parseVersion(text);
  if (parsed === undefined) throw new InvalidArgumentError('A version looks like 1.7.24.');
  return parsed;
}

function setup(engine: Engine | undefined, flags: Flags, command: Command): void {
  const files = new Files(flags.root);
  if (flags.remove === true) remove(files);
  else if (engine === undefined) command.error("name the engine: 'lcfs setup containerd' or 'lcfs setup docker'", { exitCode: 2 });
  else if (engine === 'docker' && flags.kubernetes === true)
    command.error('--kubernetes goes with lcfs setup containerd: Docker and Kubernetes have namespaces of their own', { exitCode: 2 });
  else if (flags.dockerTmp !== undefined && !keepsFilesOnVolume(engine, flags))
    command.error('--docker-tmp goes with lcfs setup docker and Docker up to 27, which has its own files on the volume', { exitCode: 2 });
  else configure(describe(engine, flags), files, flags);
}

/** Whether what is set up is a Docker whose own files lie on the volume. */
function keepsFilesOnVolume(engine: Engine, { engineVersion, root }: Flags): boolean {
  return engine === 'docker' && !usesContainerd(engineVersion ?? installedVersion('dockerd', root));
}

/** What is to be set up, with the versions that are installed. */
function describe(engine: Engine, flags: Flags): Setup {
  const { device, mountpoint, size, socket, root } = flags;
  const docker = engine === 'docker' ? (flags.engineVersion ?? installedVersion('dockerd', root)) : undefined;
  const common = {
    docker,
    program: program(),
    device,
    mountpoint,
    size,
    socket,
    platform: platform(),
    kubernetes: flags.kubernetes === true,
    temporary: flags.dockerTmp,
  };
  return { ...common, containerd: containerdFor(docker, flags) };
}

/** The version of containerd that has to be configured too, if any. */
function containerdFor(docker: Version | undefined, { engineVersion, root }: Flags): Version | undefined {
  if (docker === undefined) return engineVersion ?? installedVersion('containerd', root);
  return usesContainerd(docker) ? installedVersion('containerd', root) : undefined;
}

/** How a service starts this program, whatever its PATH. */
function program(): string[] {
  return [process.execPath, realpathSync(process.argv[1]!)];
}

function configure(plan: Setup, files: Files, { write }: Flags): void {
  const changes = planSetup(plan, files);
  if (write === true) writeAll(changes, files);
  else for (const { path, text } of changes) printLine(`# ---- ${path}\n${text}`);
  printLine(`# for ${engines(plan)}`);
  for (const note of notes(plan, files)) printLine(`# ${note}`);
  printLine(write === true ? nextSteps(plan) : '# Nothing was written; --write does it.');
}

function engines({ containerd, docker }: Setup): string {
  const found = { Docker: docker, containerd };
  const named = Object.entries(found).flatMap(([name, version]) => (version === undefined ? [] : [`${name} ${formatVersion(version)}`]));
  return named.join(' and ');
}

function writeAll(changes: readonly FileChange[], files: Files): void {
  needRoot();
  for (const { path, text } of changes) {
    const before = files.read(path) !== null;
    const changed = files.write(path, text!);
    printLine(changed ? `wrote ${path}${before ? `; what it was is in ${path}${BACKUP_SUFFIX}` : ''}` : `${path} is as it should be`);
  }
}

function nextSteps({ containerd, docker }: Setup): string {
  const services = [...(containerd === undefined ? [] : ['containerd']), ...(docker === undefined ? [] : ['docker'])].join(' ');
  return `# To use it: systemctl daemon-reload && systemctl enable --now lcfs && systemctl restart ${services}`;
}

function remove(files: Files): void {
  needRoot();
  const changes = planRemoval(files);
  for (const { path, text } of changes) {
    if (files.restore(path, text)) printLine(`${text === null ? 'removed' : 'restored'} ${path}`);
  }
  if (changes.length === 0) printLine('nothing of LCFS is set up here');
  else printLine('# To put it into effect: systemctl daemon-reload && systemctl restart containerd docker; systemctl stop lcfs');
}

function needRoot(): void {
  if (process.getuid?.() !== 0) throw new LcfsError('invalid', 'changing the configuration of the machine needs root');
}
