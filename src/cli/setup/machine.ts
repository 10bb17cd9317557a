/** What is installed on this machine. */
import { spawnSync } from 'node:child_process';
import { LcfsError } from '../../engine/errors.js';
import { parseVersion, type Version } from './version.js';

/** Names that Go, and so containerd, has for architectures. */
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386', arm64: 'arm64', arm: 'arm', riscv64: 'riscv64' };

export function platform(): string {
  return `linux/${ARCHITECTURES[process.arch] ?? process.arch}`;
}

/**
 * Version of an installed program, from its `--version`.
 * @param root folder that stands for `/`
 * @throws LcfsError `not-found` if it is not installed or says nothing of a version
 */
export function installedVersion(program: string, root: string): Version {
  const [command, ...args] = root === '/' ? [program] : ['chroot', root, program];
  const { stdout, error } = spawnSync(command!, [...args, '--version'], { encoding: 'utf8' });
  const version = error === undefined ? parseVersion(stdout) : undefined;
  if (version !== undefined) return version;
  const place = root === '/' ? '' : ` in ${root}`;
  throw new LcfsError(
    'not-found',
    `${program} is not installed${place}: install it first, or name the version that will be with --engine-version`,
  );
}
