/**
 * A process that serves a volume which another one holds the mount of, for tests that kill it: `takeover-server.js ORDER`,
 * where ORDER is JSON (`Handover`); descriptors have the numbers that it names. Says `ready`, then answers questions.
 */
import { checkVolume } from '../../src/engine/check.js';
import { checkpoint } from '../../src/engine/checkpoint.js';
import { createLayer, layerIndices, sealLayer } from '../../src/engine/layers.js';
import type { LogMemory } from '../../src/engine/log-memory.js';
import { orphansOf } from '../../src/engine/orphans.js';
import { dropCleanPages } from '../../src/engine/pager.js';
import { readStats } from '../../src/engine/stats.js';
import { closeVolume, openVolume } from '../../src/engine/volume.js';
import type { ServingState } from '../../src/fuse/serving.js';
import { serveFuse } from '../../src/fuse/session.js';
import { exitNow } from '../../src/linux/libc.js';
import { dropPages } from '../../src/linux/page-cache.js';

export interface Handover {
  readonly volume: string;
  readonly state: ServingState;
  readonly log: LogMemory;
  readonly takeover: boolean;
}

export type Question =
  | { readonly ask: 'create'; readonly name: string; readonly parent: string | null }
  | { readonly ask: 'seal'; readonly name: string }
  /** Lets go what is cached of the device and of the trees. */
  | { readonly ask: 'cool' }
  | { readonly ask: 'check' | 'count' | 'stop' };

export interface Reply {
  readonly ready?: boolean;
  readonly failed?: string;
  readonly errors?: readonly string[];
  /** READ requests so far, shared files that are open, files without a name. */
  readonly reads?: number;
  readonly sharedFiles?: number;
  readonly orphans?: number;
}

const CACHE_BYTES = 16 << 20;
const CHECKPOINT_MS = 300;

const { volume, state, log, takeover } = JSON.parse(process.argv[2]!) as Handover;
const handle = openVolume(volume, { cacheBytes: CACHE_BYTES, log, takeover });
const session = await serveFuse(handle, state, { takeover });
const checkpoints = setInterval(checkpoint, CHECKPOINT_MS);

async function answer(question: Question): Promise<Reply> {
  if (question.ask === 'create') {
    createLayer(question.name, question.parent === null ? {} : { parent: question.parent });
    session.invalidateLayer(question.name);
  } else if (question.ask === 'seal') sealLayer(question.name);
  else if (question.ask === 'check') return { errors: checkVolume({ data: true }).errors };
  else if (question.ask === 'count') return { reads: countReads(), sharedFiles: session.sharedFiles(), orphans: countOrphans() };
  else if (question.ask === 'cool') {
    checkpoint();
    dropCleanPages();
    dropPages(handle.fd, 0, 0);
  } else await stop();
  return {};
}

function countReads(): number {
  const reads = readStats().flatMap(({ operations }) => operations.filter(({ kind }) => kind === 'read'));
  return reads.reduce((sum, { count }) => sum + count, 0);
}

function countOrphans(): number {
  return [0, ...layerIndices(1, 1000)].reduce((sum, layer) => sum + orphansOf(layer).length, 0);
}

async function stop(): Promise<void> {
  clearInterval(checkpoints);
  await session.stop();
  closeVolume();
}

process.on('message', (question: Question) => {
  answer(question).then(
    (reply) => process.send!(reply, () => question.ask === 'stop' && exitNow(0)),
    (error: Error) => process.send!({ failed: error.stack! } satisfies Reply),
  );
});
process.on('disconnect', () => exitNow(1));
process.send!({ ready: true } satisfies Reply);
