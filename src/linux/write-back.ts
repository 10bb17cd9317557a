/** Waiting until the kernel has written what it holds back for files. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** Standard input, output and error come first. */
const FIRST_DESCRIPTOR = 3;

/**
 * fdatasync(2) of files that are open, with O_PATH at least. Another program does it: files may be those of a mount that this process
 * serves, and one that waits in the kernel for itself could not even be killed. It outlives this process. Rejects with what went
 * wrong, which may be a write of long ago that nobody was told of.
 */
export async function writeBack(files: readonly number[]): Promise<void> {
  const paths = files.map((_, i) => `/proc/self/fd/${FIRST_DESCRIPTOR + i}`);
  // Without --data some versions write everything there is instead, and do not wait for a mount of ours.
  const child = spawn('sync', ['--data', ...paths], {
    stdio: ['ignore', 'ignore', 'pipe', ...files],
    env: { ...process.env, LC_ALL: 'C' },
  });
  let said = '';
  child.stderr!.on('data', (data: Buffer) => (said += data.toString()));
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  if (code !== 0) throw new Error(said.trim() || `sync ended with ${code ?? signal}`);
}
