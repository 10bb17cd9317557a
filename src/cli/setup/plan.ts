/** What setting an engine up means: which files, and what shall be in them. No file is changed here. */
import { configVersionOf, containerdConfig, MAIN_FILE, OUR_FILE, takesDiffers, withImport, withoutImport } from './containerd-config.js';
import { isCriDisabled, withCri, withoutCri } from './cri-config.js';
import { DOCKER_FILE, dockerConfig, dockerVariables, usesContainerd, withoutDockerConfig } from './docker-config.js';
import type { FileChange, Files } from './files.js';
import { dropInFile, type Engine, engineDropIn, lcfsUnit, UNIT_FILE } from './units.js';
import type { Version } from './version.js';

export interface Setup {
  /** Version of containerd; undefined where it is not needed, with a Docker up to 27. */
  containerd: Version | undefined;
  /** Version of Docker, if Docker is what is set up. */
  docker: Version | undefined;
  program: readonly string[];
  device: string;
  mountpoint: string;
  size: string;
  /** Socket on which containerd is served. */
  socket: string;
  platform: string;
  /** Whether Kubernetes' part of containerd shall use LCFS, too. */
  kubernetes: boolean;
  /** Folder for Docker's temporary files, if they shall not lie below its data root. */
  temporary?: string | undefined;
}

/** Files and their new contents, in the order in which they are to be written. */
export function planSetup(setup: Setup, files: Files): FileChange[] {
  return [...planContainerd(setup, files), ...planDocker(setup, files), ...planUnits(setup, files)];
}

function planContainerd(setup: Setup, files: Files): FileChange[] {
  if (setup.containerd === undefined) return [];
  const main = files.read(MAIN_FILE);
  const configVersion = configVersionOf(main);
  const { socket, mountpoint, platform } = setup;
  const text = containerdConfig({ version: setup.containerd, configVersion, socket, mountpoint, platform });
  const imported = withImport(main, OUR_FILE);
  return [
    { path: OUR_FILE, text },
    { path: MAIN_FILE, text: setup.kubernetes ? withCri(imported, configVersion, setup.containerd) : imported },
  ];
}

function planDocker({ docker, mountpoint }: Setup, files: Files): FileChange[] {
  if (docker === undefined) return [];
  try {
    return [{ path: DOCKER_FILE, text: dockerConfig(files.read(DOCKER_FILE), docker, mountpoint) }];
  } catch (error) {
    throw new Error(`${DOCKER_FILE} is not valid JSON (${(error as Error).message}): correct it and try again`, { cause: error });
  }
}

function planUnits(setup: Setup, files: Files): FileChange[] {
  const { containerd, docker, program, device, mountpoint, size, temporary } = setup;
  const serve = servedOptions(setup, files.read(UNIT_FILE) ?? '');
  const engines: [Engine, string[]][] = [];
  if (containerd !== undefined) engines.push(['containerd', []]);
  if (docker !== undefined) engines.push(['docker', dockerVariables(docker, temporary)]);
  const dropIns = engines.map(([engine, variables]) => ({ path: dropInFile(engine), text: engineDropIn(variables) }));
  return [{ path: UNIT_FILE, text: lcfsUnit({ program, device, mountpoint, size, serve }) }, ...dropIns];
}

/** What one engine was set up for before stays when another one is. */
function servedOptions({ containerd, docker, socket }: Setup, unit: string): string[] {
  const earlier = / --containerd (\S+)/.exec(unit)?.[1];
  const sockets = containerd === undefined ? earlier : socket;
  const graphDriver = servesGraphDriver(docker) || unit.includes(' --docker ');
  return [...(sockets === undefined ? [] : ['--containerd', sockets]), ...(graphDriver ? ['--docker'] : [])];
}

const servesGraphDriver = (docker: Version | undefined): boolean => docker !== undefined && !usesContainerd(docker);

/** What undoes a set-up, of whichever engines it was. */
export function planRemoval(files: Files): FileChange[] {
  const changes: FileChange[] = [
    { path: OUR_FILE, text: files.readBackup(OUR_FILE) },
    { path: MAIN_FILE, text: containerdWithout(files) },
    { path: DOCKER_FILE, text: dockerWithout(files) },
    ...[UNIT_FILE, dropInFile('containerd'), dropInFile('docker')].map((path) => ({ path, text: files.readBackup(path) })),
  ];
  return changes.filter(({ path, text }) => files.read(path) !== text || files.readBackup(path) !== null);
}

/** A file that nobody has touched since becomes what it was to the byte, or goes if it was made for our import alone. */
function containerdWithout(files: Files): string | null {
  const text = files.read(MAIN_FILE);
  const before = files.readBackup(MAIN_FILE);
  if (text === null) return before;
  const rest = withoutCri(text);
  return rest.trimEnd() === withImport(before, OUR_FILE).trimEnd() ? before : withoutImport(rest, OUR_FILE);
}

function dockerWithout(files: Files): string | null {
  const text = files.read(DOCKER_FILE);
  return text === null ? null : withoutDockerConfig(text, files.readBackup(DOCKER_FILE));
}

/** Hints about what the set-up cannot do on its own. */
export function notes({ containerd, docker, kubernetes }: Setup, files: Files): string[] {
  const lines: string[] = [];
  if (containerd !== undefined && !takesDiffers(containerd)) lines.push(NO_DIFFER);
  if (containerd !== undefined && docker === undefined && !kubernetes) lines.push(KUBERNETES);
  if (kubernetes) lines.push(PULL_AGAIN);
  if (kubernetes && isCriDisabled(files.read(MAIN_FILE))) lines.push(CRI_DISABLED);
  if (docker !== undefined) lines.push(IMAGES_STAY);
  if (servesGraphDriver(docker)) lines.push(VOLUMES_TOO);
  return lines;
}

const NO_DIFFER = 'This containerd takes no differs (they came with 1.7.4): it unpacks layers by itself, through the mount.';
const KUBERNETES = 'Kubernetes goes on with the snapshotter that it has; --kubernetes makes LCFS its own.';
const PULL_AGAIN = 'Kubernetes pulls its images again: drain the node before containerd is restarted.';
const CRI_DISABLED = `Kubernetes cannot use this containerd: disabled_plugins in ${MAIN_FILE} switches CRI off.`;
const VOLUMES_TOO =
  "Docker's own files and its volumes go to the volume of LCFS, where fsync returns at once unless the daemon has --fsync strict. A data-root of your own stays.";
const IMAGES_STAY = 'Images and containers that Docker has now stay where they are and come back into sight with lcfs setup --remove.';
