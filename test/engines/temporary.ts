/** Containers that go with the test that starts them, also if it fails: later tests remove images, and stop LCFS. */
import type { RunResult } from '../../scripts/lib/run.js';

interface Engine {
  docker(...args: string[]): Promise<string>;
  try(...args: string[]): Promise<RunResult>;
}

const LABEL = 'lcfs-test=temporary';

/** Options of `docker run`. */
export const TEMPORARY = ['--label', LABEL] as const;

/** To be called after each test. */
export async function removeTemporary(engine: Engine): Promise<void> {
  const { stdout } = await engine.try('ps', '-aq', '--filter', `label=${LABEL}`);
  const containers = stdout.split('\n').filter(Boolean);
  if (containers.length > 0) await engine.try('rm', '-fv', ...containers);
}
