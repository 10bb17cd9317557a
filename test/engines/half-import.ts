/** An import into Docker that has come half-way and stays there, for what can happen in the middle of one. */
import { createReadStream } from 'node:fs';
import { waitUntil } from '../../scripts/lib/limits.js';
import type { PrivateDocker } from '../../scripts/lib/docker.js';
import type { LcfsDaemon } from '../../scripts/lib/lcfs.js';
import type { RunResult } from '../../scripts/lib/run.js';
import type { Layer } from '../../src/daemon/protocol.js';

/** What is sent, and what of it must have reached the volume: pipes and connections on the way hold the rest. */
const BYTES_SENT = 32 << 20;
const BYTES_ARRIVED = 8 << 20;

export interface HalfImport {
  /** How it ends, once `breakOff` was called: Docker waits for the rest of the archive whatever becomes of LCFS. */
  readonly ended: Promise<RunResult>;
  breakOff(): void;
}

/** Begins to import an archive that is larger than what is sent of it, and returns when that has arrived. */
export async function importHalf(docker: PrivateDocker, lcfs: LcfsDaemon, tar: string, image: string): Promise<HalfImport> {
  const layers = (): Promise<Layer[]> => lcfs.json<Layer[]>('layer', 'ls');
  const known = new Set((await layers()).map(({ name }) => name));
  let rest: NodeJS.WritableStream | undefined;
  const feed = (stdin: NodeJS.WritableStream): void => {
    rest = createReadStream(tar, { end: BYTES_SENT - 1 }).pipe(stdin, { end: false });
  };
  const ended = docker.tryWith({ feed }, 'import', '-', image);
  const early = ended.then(({ stderr }) => Promise.reject(new Error(`the import ended already: ${stderr}`)));
  const arrived = async (): Promise<boolean> => (await layers()).some(({ name, ownBytes }) => !known.has(name) && ownBytes > BYTES_ARRIVED);
  await Promise.race([waitUntil('half of an archive is imported', arrived), early]);
  return { ended, breakOff: () => void rest!.end() };
}
