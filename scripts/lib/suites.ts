/**
 * Newer suites of Debian, for the engines that the machine's own distribution does not have yet.
 *
 * A suite is installed once with debootstrap into the cache folder and then only read. Programs run in it as in a small
 * machine of its own: a mount namespace whose root is the suite, with the machine's /proc, /sys, /dev and
 * cgroups, empty /run, /tmp and /var/tmp, and one folder of the caller at the same path as outside. That folder is a shared mount
 * outside and a slave inside, so what LCFS mounts in it appears within, now or later, while what the engines mount within
 * stays there. No other mount of the machine is visible within, so none is kept in use by it. The namespace and all its mounts
 * go when the last process in it ends; one that waits for the end of its standard input, and so for that of the script,
 * holds it.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { CACHE } from './folders.js';
import { distribution } from './images.js';
import { describeProcess, MOMENT_MS, within } from './limits.js';
import { unmountBelow } from './mounts.js';
import { install, needCommands } from './packages.js';
import { run } from './run.js';

/** Somewhere that programs can be run: the machine itself or a suite. */
export interface Place {
  /** What to spawn, so that `program` runs there; the process that is spawned becomes the program. */
  command(program: string, args: readonly string[]): [string, string[]];
}

export const HOST: Place = { command: (program, args) => [program, [...args]] };

export type SuiteName = 'trixie' | 'forky';

/** Packages of each suite, beside those that debootstrap takes for essential. */
const PACKAGES: Readonly<Record<SuiteName, readonly string[]>> = {
  trixie: ['containerd', 'runc'],
  forky: ['containerd', 'runc', 'docker.io', 'docker-cli', 'docker-buildx'],
};

const DEBIAN_MIRROR = 'http://deb.debian.org/debian';
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const SCRIPTS = '/usr/share/debootstrap/scripts';
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Nothing that a program is run for. */
const BALLAST = ['usr/share/doc', 'usr/share/man', 'usr/share/locale', 'var/lib/apt/lists', 'var/cache/apt'];

/** Installs a suite, or finds it in the cache. Returns its root folder. */
export async function needSuite(name: SuiteName): Promise<string> {
  const root = join(CACHE, `suite-${name}`);
  if (existsSync(root)) return root;
  await needCommands('debootstrap');
  if (!existsSync(KEYRING)) await install(['debian-archive-keyring']);
  mkdirSync(CACHE, { recursive: true });
  const work = mkdtempSync(join(CACHE, 'make-'));
  try {
    await debootstrap(name, join(work, 'root'));
    renameSync(join(work, 'root'), root);
  } finally {
    await unmountBelow(work); // a debootstrap that failed leaves /proc
    rmSync(work, { recursive: true, force: true });
  }
  return root;
}

async function debootstrap(name: SuiteName, root: string): Promise<void> {
  console.error(`installing ${PACKAGES[name].join(', ')} of Debian ${name}; they are kept in ${CACHE}`);
  // An older debootstrap does not know the names of later suites, which are made as sid is.
  const script = existsSync(join(SCRIPTS, name)) ? name : 'sid';
  const options = ['--variant=minbase', `--include=${PACKAGES[name].join(',')}`, `--keyring=${KEYRING}`];
  await run('debootstrap', [...options, name, root, mirror(), join(SCRIPTS, script)], { timeoutMs: 1_800_000 });
  for (const path of BALLAST) rmSync(join(root, path), { recursive: true, force: true });
}

/** On Debian the machine's own mirror, which is likely to be near. */
function mirror(): string {
  return /^ID=debian$/m.test(readFileSync('/etc/os-release', 'utf8')) ? distribution().mirror : DEBIAN_MIRROR;
}

/**
 * Makes a folder a mount point whose later mounts can be seen from a suite. To be called before anything is mounted in it;
 * `unmountBelow(folder)` undoes it.
 */
export async function shareFolder(folder: string): Promise<void> {
  await run('mount', ['--bind', folder, folder]);
  await run('mount', ['--make-shared', folder]);
}

/** Run by a shell in the new mount namespace with the suite's root and the shared folder as arguments. */
const ENTER = `
set -e
root=$1 folder=$2
mount --bind "$root" "$root"
for name in proc sys dev; do mount --rbind "/$name" "$root/$name"; done
for name in run tmp var/tmp; do mount -t tmpfs -o mode=755 tmpfs "$root/$name"; done
mkdir -p "$root$folder"
mount --rbind "$folder" "$root$folder"
cd "$root"
pivot_root . mnt
umount --lazy mnt
echo entered
exec cat
`;

export class Suite implements Place {
  readonly root: string;
  readonly #holder: ChildProcess;

  private constructor(root: string, holder: ChildProcess) {
    this.root = root;
    this.#holder = holder;
  }

  /** Opens a namespace in which a suite is the root and `folder`, made by `shareFolder`, is what it is outside. */
  static async enter(name: SuiteName, folder: string): Promise<Suite> {
    const root = await needSuite(name);
    const args = ['--mount', '--propagation', 'slave', 'sh', '-c', ENTER, 'sh', root, folder];
    const holder = spawn('unshare', args, { stdio: ['pipe', 'pipe', 'inherit'], detached: true });
    const entered = Promise.race([once(holder.stdout, 'data'), once(holder, 'exit').then(() => undefined)]);
    const said = await within(entered, MOMENT_MS, () => `a mount namespace for ${root}; ${describeProcess(holder.pid!)}`);
    if (said === undefined) throw new Error(`no mount namespace could be made for ${root}`);
    return new Suite(root, holder);
  }

  command(program: string, args: readonly string[]): [string, string[]] {
    return ['nsenter', [`--target=${this.#holder.pid}`, '--mount', '--wdns=/', 'env', `PATH=${PATH}`, program, ...args]];
  }

  /** Gives up the namespace. Its mounts stay until the processes that were started in it have ended. */
  async leave(): Promise<void> {
    if (this.#holder.exitCode !== null || this.#holder.signalCode !== null) return;
    const ended = once(this.#holder, 'exit');
    this.#holder.stdin!.end();
    await within(ended, MOMENT_MS, () => `the end of a mount namespace; ${describeProcess(this.#holder.pid!)}`);
  }
}
