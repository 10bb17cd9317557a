/**
 * Root file systems made from the distribution's packages, as tar files in the cache folder: one of busybox alone (2 MB)
 * and one of a minimal Debian or Ubuntu with perl (about 200 MB). The mirror is the one that the machine itself uses.
 */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { CACHE } from './folders.js';
import { needCommands, needStaticBusybox } from './packages.js';
import { run, tryRun } from './run.js';

/** Makes (or finds in the cache) a tar of a root file system that has busybox with all its commands. */
export async function busyboxRoot(): Promise<string> {
  await needCommands('tar');
  const busybox = await needStaticBusybox();
  return cachedRoot('busybox.tar', async (root) => {
    for (const name of ['bin', 'etc', 'proc', 'sys', 'dev', 'root', 'tmp', 'var']) mkdirSync(join(root, name));
    copyFileSync(busybox, join(root, 'bin/busybox'));
    const applets = (await run(join(root, 'bin/busybox'), ['--list'])).trim().split('\n');
    for (const applet of applets) if (applet !== 'busybox') symlinkSync('busybox', join(root, 'bin', applet));
    writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n');
    writeFileSync(join(root, 'etc/group'), 'root:x:0:\nnogroup:x:65534:\n');
  });
}

/** Package that lies in the Debian root with all it needs, so that a build can install it without the network. */
const DOWNLOADED_PACKAGE = 'python3';
export const DOWNLOADED_FILES = '/opt/packages/*.deb';

/** Makes (or finds in the cache) a tar of a minimal root file system of the machine's own distribution. */
export async function debianRoot(): Promise<string> {
  await needCommands('debootstrap', 'tar');
  const { suite, mirror } = distribution();
  return cachedRoot(`${suite}.tar`, async (root) => {
    console.error(`making a ${suite} root file system from ${withoutPassword(mirror)}; it is kept in ${CACHE}`);
    await run('debootstrap', ['--variant=minbase', '--include=perl', suite, root, mirror], { timeoutMs: 1_800_000 });
    await copyAptSettings(root, suite, mirror);
    await run('chroot', [root, 'sh', '-ec', downloadScript()]);
  });
}

/** The package index goes again: it is half as large as the system itself. */
function downloadScript(): string {
  const fetch = `apt-get install -y --no-install-recommends --download-only -o Dir::Cache::archives=/opt/packages ${DOWNLOADED_PACKAGE}`;
  return `mkdir -p /opt/packages/partial; apt-get update; ${fetch}; rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin`;
}

/** Returns the cached tar, or lets `make` fill a directory and packs it. Another process may do the same meanwhile. */
export async function cachedRoot(name: string, make: (root: string) => Promise<void>): Promise<string> {
  const tar = join(CACHE, name);
  if (existsSync(tar)) return tar;
  mkdirSync(CACHE, { recursive: true });
  const work = mkdtempSync(join(CACHE, 'make-'));
  const root = join(work, 'root');
  mkdirSync(root);
  try {
    await make(root);
    await run('tar', ['-C', root, '--numeric-owner', '--xattrs', '--one-file-system', '-cf', join(work, 'tar'), '.']);
    renameSync(join(work, 'tar'), tar);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return tar;
}

/** The suite that the machine runs and the mirror that its apt is set to. */
export function distribution(): { suite: string; mirror: string } {
  const suite = /^VERSION_CODENAME=(\S+)$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1];
  if (suite === undefined) throw new Error('/etc/os-release names no VERSION_CODENAME: debootstrap cannot tell which suite to use');
  const mirror = sources().find((source) => source.suites.includes(suite))?.uri;
  if (mirror === undefined) throw new Error(`no entry for ${suite} in /etc/apt/sources.list or /etc/apt/sources.list.d`);
  return { suite, mirror };
}

interface Source {
  uri: string;
  suites: string[];
}

/** Entries of apt's source lists, in the one-line form and in the deb822 form. */
function sources(): Source[] {
  const directory = '/etc/apt/sources.list.d';
  const names = existsSync(directory) ? readdirSync(directory).map((name) => join(directory, name)) : [];
  const files = ['/etc/apt/sources.list', ...names].filter((name) => /\.(list|sources)$/.test(name) && existsSync(name));
  return files.flatMap((name) => {
    const text = readFileSync(name, 'utf8');
    return name.endsWith('.list') ? oneLineSources(text) : deb822Sources(text);
  });
}

function oneLineSources(text: string): Source[] {
  const entries = [...text.matchAll(/^\s*deb\s+(?:\[[^\]]*\]\s*)?(\S+)\s+(\S+)/gm)];
  return entries.map((entry) => ({ uri: entry[1]!, suites: [entry[2]!] }));
}

function deb822Sources(text: string): Source[] {
  return text.split(/\n\s*\n/).flatMap((stanza) => {
    const field = (name: string): string[] => new RegExp(`^${name}:\\s*(.+)$`, 'm').exec(stanza)?.[1]?.trim().split(/\s+/) ?? [];
    if (!field('Types').includes('deb') || field('Enabled').includes('no')) return [];
    return field('URIs').map((uri) => ({ uri, suites: field('Suites') }));
  });
}

const withoutPassword = (uri: string): string => uri.replace(/\/\/[^/@]*@/, '//');

/** Gives the root the machine's mirror, and its settings for proxies and for the age of the mirror's index. */
async function copyAptSettings(root: string, suite: string, mirror: string): Promise<void> {
  writeFileSync(join(root, 'etc/apt/sources.list'), `deb ${mirror} ${suite} main\n`);
  const { stdout } = await tryRun('apt-config', ['dump']);
  const wanted = /^Acquire::(https?::Proxy|https?::Verify|Check-Valid-Until|Check-Date)/;
  const lines = stdout.split('\n').filter((line) => wanted.test(line) && !line.endsWith(' "";'));
  writeFileSync(join(root, 'etc/apt/apt.conf.d/90machine'), lines.map((line) => `${line}\n`).join(''));
}
