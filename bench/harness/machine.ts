/** What the benchmark ran on: for the head of the report, gathered by the run itself. */
import { readFileSync, statSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { tryRun } from '../../scripts/lib/run.js';
import type { Machine } from './types.js';

/** Programs whose version matters, and how each tells it. */
const PROGRAMS: Readonly<Record<string, readonly string[]>> = {
  Docker: ['dockerd', '--version'],
  containerd: ['containerd', '--version'],
  runc: ['runc', '--version'],
  'fuse-overlayfs': ['fuse-overlayfs', '--version'],
  'btrfs-progs': ['mkfs.btrfs', '--version'],
  e2fsprogs: ['mkfs.ext4', '-V'],
  git: ['git', '--version'],
  gcc: ['gcc', '--version'],
  SQLite: ['sqlite3', '--version'],
};

/** @param folder where the files of the loop devices lie */
export async function describeMachine(folder: string, volumeBytes: number): Promise<Machine> {
  const processors = cpus();
  return {
    cpu: processors[0]?.model ?? 'unknown',
    cpus: processors.length,
    memoryMiB: Math.round(totalmem() / 2 ** 20),
    kernel: release(),
    distribution: /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'unknown',
    versions: await versions(),
    disk: await diskBelow(folder),
    volumeBytes,
  };
}

async function versions(): Promise<Record<string, string>> {
  const found: Record<string, string> = { LCFS: ownVersion(), Node: process.versions.node };
  for (const [name, [command, ...args]] of Object.entries(PROGRAMS)) {
    const { stdout, stderr } = await tryRun(command!, args).catch(() => ({ stdout: '', stderr: '' }));
    const lines = (stdout + stderr).split('\n').filter((text) => /\d+\.\d+/.test(text));
    const line = lines.find((text) => text.startsWith(`${name}:`)) ?? lines[0];
    const version = /\d+\.\d[\w.+~-]*/.exec(line ?? '')?.[0];
    if (version !== undefined) found[name] = version;
  }
  return found;
}

function ownVersion(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** As in `254:0, virtual disk, ext4`: model, kind and file system, as far as the machine tells. */
async function diskBelow(folder: string): Promise<string> {
  const [device, type] = (await tryRun('findmnt', ['-n', '-o', 'SOURCE,FSTYPE', '--target', folder])).stdout.trim().split(/\s+/);
  const name = (device ?? '').replace('/dev/', '');
  const read = (path: string): string => {
    try {
      return readFileSync(path, 'utf8').trim();
    } catch {
      return '';
    }
  };
  const model = read(`/sys/block/${name}/device/model`);
  const gibibytes = Math.round((Number(read(`/sys/block/${name}/size`)) * 512) / 2 ** 30);
  const kind = name.startsWith('vd') ? 'virtio disk' : model || name;
  return `${kind}${gibibytes > 0 ? ` of ${gibibytes} GiB` : ''}, ${type ?? 'unknown file system'}, block size ${statSync(folder).blksize}`;
}
