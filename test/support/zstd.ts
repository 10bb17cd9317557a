/** Compressing with the `zstd` of the distribution. */
import { execFileSync } from 'node:child_process';

export function zstdSync(bytes: Buffer): Buffer {
  return execFileSync('zstd', ['-cq', '-3'], { input: bytes, maxBuffer: 1 << 28 });
}
