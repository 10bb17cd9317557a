/**
 * Programs that the demonstration, the tests and the benchmark need, installed from the machine's own distribution
 * (Debian or Ubuntu) when they are missing.
 *
 * What the packages bring must not disturb the machine: while apt-get runs, /usr/sbin/policy-rc.d forbids that any
 * service is started, and a Docker that is already installed is used as it is. Graph driver plugins were removed from
 * Docker 28; on a distribution that has it, the newest older version is taken, and if another Docker is installed
 * already, that version is only unpacked to a folder of its own.
 */
import { accessSync, chmodSync, constants, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { CACHE } from './folders.js';
import { run, tryRun } from './run.js';

/** Commands and the package that each comes from. */
const PACKAGES: Readonly<Record<string, string>> = {
  containerd: 'containerd',
  runc: 'runc',
  debootstrap: 'debootstrap',
  busybox: 'busybox-static',
  'docker-registry': 'docker-registry',
  'mkfs.ext4': 'e2fsprogs',
  'mkfs.btrfs': 'btrfs-progs',
  btrfs: 'btrfs-progs',
  tar: 'tar',
  setfattr: 'attr',
  getcap: 'libcap2-bin',
};

export { CACHE } from './folders.js';

const POLICY = '/usr/sbin/policy-rc.d';
const POLICY_ASIDE = '/usr/sbin/policy-rc.d.before-lcfs';
/** First major version of Docker without graph driver plugins. */
const DOCKER_WITHOUT_PLUGINS = 28;

/** Path of a command, searched in the system's directories and PATH; undefined if it is not installed. */
export function findCommand(name: string): string | undefined {
  const directories = ['/usr/bin', '/usr/sbin', '/bin', '/sbin', ...(process.env['PATH'] ?? '').split(delimiter)];
  return directories.map((directory) => join(directory, name)).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Makes sure that the commands exist, installing their packages where they do not. */
export async function needCommands(...names: string[]): Promise<void> {
  const missing = names.filter((name) => findCommand(name) === undefined);
  if (missing.length > 0) await install(missing.map((name) => PACKAGES[name] ?? name));
  const still = names.filter((name) => findCommand(name) === undefined);
  if (still.length > 0) throw new Error(`${still.join(', ')} cannot be found, although its package was installed`);
}

/** Installs packages of the distribution (each a name or name=version) without starting any service. */
export async function install(packages: readonly string[]): Promise<void> {
  if (process.getuid?.() !== 0) throw new Error(`installing ${packages.join(', ')} needs root`);
  if (findCommand('apt-get') === undefined) throw new Error(`install ${packages.join(', ')} by hand: this machine has no apt-get`);
  console.error(`installing ${packages.join(' ')}`);
  await updateIndex();
  await withoutServices(() => aptGet('install', '-y', '--no-install-recommends', '--no-remove', ...packages));
}

let indexUpdated = false;
/** Refreshes the package index once per process; an old one may name versions that the mirror has dropped. */
async function updateIndex(): Promise<void> {
  if (indexUpdated) return;
  await aptGet('update', '-q');
  indexUpdated = true;
}

async function aptGet(...args: string[]): Promise<void> {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', NEEDRESTART_SUSPEND: '1' };
  // Another apt (unattended-upgrades on a fresh machine) may hold the lock for a while.
  await run('apt-get', ['-o', 'DPkg::Lock::Timeout=300', ...args], { env, timeoutMs: 1_800_000 });
}

/** Runs `work` while no package may start a service (exit status 101: action forbidden by policy). */
async function withoutServices(work: () => Promise<void>): Promise<void> {
  if (existsSync(POLICY) && !existsSync(POLICY_ASIDE)) renameSync(POLICY, POLICY_ASIDE);
  writeFileSync(POLICY, '#!/bin/sh\nexit 101\n');
  chmodSync(POLICY, 0o755);
  try {
    await work();
  } finally {
    if (existsSync(POLICY_ASIDE)) renameSync(POLICY_ASIDE, POLICY);
    else rmSync(POLICY);
  }
}

/** Programs of one Docker Engine. */
export interface DockerPrograms {
  docker: string;
  dockerd: string;
  containerd: string;
  version: string;
  /** Directory that must come first in PATH for dockerd to find its helpers. */
  path: string;
}

/** Finds a Docker Engine that takes graph driver plugins, installing or unpacking the distribution's if need be. */
export async function needDocker(): Promise<DockerPrograms> {
  const present = await installedDocker();
  if (present !== undefined && supportsPlugins(present.version)) return present;
  const version = await packagedVersion();
  if (present !== undefined) return unpackDocker(version, present);
  await install([`docker.io=${version}`]);
  // Packages of their own from Debian 13 on, as is what `docker build` needs for BuildKit.
  if (findCommand('docker') === undefined) await install(['docker-cli', 'docker-buildx']);
  const installed = await installedDocker();
  if (installed === undefined) throw new Error('docker.io was installed, but dockerd, containerd or docker is missing');
  return installed;
}

async function installedDocker(): Promise<DockerPrograms | undefined> {
  const dockerd = findCommand('dockerd');
  const docker = findCommand('docker'); // the distribution's in /usr/bin goes before any other in PATH
  const containerd = findCommand('containerd');
  if (dockerd === undefined || docker === undefined || containerd === undefined) return undefined;
  return { docker, dockerd, containerd, version: await dockerVersion(dockerd), path: '/usr/bin' };
}

/** Version of a dockerd, as in "Docker version 20.10.24+dfsg1, build 5d6db84". */
async function dockerVersion(dockerd: string): Promise<string> {
  const text = await run(dockerd, ['--version']);
  return /version (\d[^,\s]*)/.exec(text)?.[1] ?? '0';
}

const supportsPlugins = (version: string): boolean => Number.parseInt(version, 10) < DOCKER_WITHOUT_PLUGINS;

/** Newest version of docker.io in the package index that still takes graph driver plugins. */
async function packagedVersion(): Promise<string> {
  await updateIndex();
  const table = await run('apt-cache', ['madison', 'docker.io']);
  const versions = table.split('\n').map((line) => line.split('|')[1]?.trim() ?? '');
  const version = versions.find((candidate) => candidate !== '' && supportsPlugins(candidate));
  if (version !== undefined) return version;
  throw new Error(`no docker.io below version ${DOCKER_WITHOUT_PLUGINS} in the package index, and later ones have no graph driver plugins`);
}

/** Unpacks docker.io beside the Docker that is installed, which stays as it is and lends containerd and runc. */
async function unpackDocker(version: string, present: DockerPrograms): Promise<DockerPrograms> {
  const root = await unpack('docker.io', version);
  const docker = [join(root, 'usr/bin/docker'), present.docker].find(isExecutable)!;
  return { docker, dockerd: join(root, 'usr/sbin/dockerd'), containerd: present.containerd, version, path: join(root, 'usr/bin') };
}

/** Path of a busybox that needs no libraries. Its package excludes that of the dynamic one, which may be installed. */
export async function needStaticBusybox(): Promise<string> {
  await needCommands('busybox');
  const installed = findCommand('busybox')!;
  const { stdout, stderr } = await tryRun('ldd', [installed]);
  if (/not a dynamic executable|statically linked/.test(stdout + stderr)) return installed;
  const root = await unpack('busybox-static');
  return [join(root, 'usr/bin/busybox'), join(root, 'bin/busybox')].find(isExecutable)!;
}

/** Downloads a package and unpacks it to a folder of the cache, which is returned. Nothing is installed. */
async function unpack(name: string, version = ''): Promise<string> {
  const root = join(CACHE, `${name}-${version}`.replace(/[^\w.-]/g, '_'));
  if (existsSync(join(root, 'usr'))) return root;
  await updateIndex();
  mkdirSync(root, { recursive: true });
  await run('apt-get', ['download', version === '' ? name : `${name}=${version}`], { cwd: root });
  await run('sh', ['-c', 'for deb in *.deb; do dpkg-deb -x "$deb" .; done'], { cwd: root });
  return root;
}
