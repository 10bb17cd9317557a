/** What is open when its name goes keeps what it holds, whoever serves it: over each transport, with shared files. */
import assert from 'node:assert/strict';
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Transport } from '../../src/fuse/session.js';
import { TRANSPORTS, cannotMount } from './mounted.js';
import type { Answer, Order } from './nameless-client.js';
import { FILES, contentsOf } from './takeover-client.js';
import { within } from '../../scripts/lib/limits.js';
import { ANSWER_MS, Served } from './takeover.js';
import { limitTests } from '../support/hangs.js';

limitTests(280);

const HOLDER = fileURLToPath(new URL('./nameless-client.js', import.meta.url));
const KILLS = 2;
/** A while after a takeover, what the kernel does not know any more is let go (session.ts): by then it must not be this. */
const SWEEP_MS = 7000;

/** The program that has the files open. */
class Holder {
  private readonly child: ChildProcess;

  constructor(folder: string) {
    this.child = fork(HOLDER, [folder], { stdio: 'inherit' });
  }

  async ask(order: Order): Promise<readonly string[]> {
    const answer = once(this.child, 'message') as Promise<[Answer]>;
    this.child.send(order);
    return (await within(answer, ANSWER_MS, `an answer to ${order}`))[0].faults;
  }

  kill(): void {
    this.child.kill('SIGKILL');
  }
}

async function withHolder(transport: Transport, work: (served: Served, holder: Holder) => Promise<void>): Promise<void> {
  const served = new Served(transport, 'auto');
  const folder = join(served.mountpoint, 'layers', 'home0');
  let holder: Holder | undefined;
  try {
    await served.serve(false);
    await served.ask({ ask: 'create', name: 'image', parent: null });
    for (let i = 0; i < FILES; i++) await writeFile(join(served.mountpoint, 'layers', 'image', `file${i}`), contentsOf(i));
    await served.ask({ ask: 'seal', name: 'image' });
    await served.ask({ ask: 'create', name: 'home0', parent: 'image' });
    holder = new Holder(folder);
    await work(served, holder);
  } finally {
    holder?.kill();
    served.end();
  }
}

async function provesSound(served: Served): Promise<void> {
  for (;;) {
    const { orphans } = await served.ask({ ask: 'count' });
    if (orphans === 0) break;
    await delay(50);
  }
  const { errors } = await served.ask({ ask: 'check' });
  assert.deepEqual(errors, []);
  await served.stop();
}

describe('what is open when its name goes', { skip: cannotMount, concurrency: true }, () => {
  for (const transport of TRANSPORTS) {
    it(`keeps what it holds when who serves it is killed, over ${transport}`, { timeout: 300_000 }, () =>
      withHolder(transport, async (served, holder) => {
        await holder.ask('make');
        assert.deepEqual(await holder.ask('faults'), []);
        for (let kill = 0; kill < KILLS; kill++) {
          await served.kill();
          assert.deepEqual(await holder.ask('faults'), []);
          await served.ask({ ask: 'cool' });
        }
        await delay(SWEEP_MS);
        assert.deepEqual(await holder.ask('faults'), []);
        await holder.ask('end');
        await provesSound(served);
      }),
    );

    it(`is read to its end when who serves it dies meanwhile, over ${transport}`, { timeout: 300_000 }, () =>
      withHolder(transport, async (served, holder) => {
        await holder.ask('half');
        await served.halt();
        const faults = holder.ask('read');
        await served.isAsked();
        await served.kill();
        assert.deepEqual(await faults, []);
        await holder.ask('end');
        await provesSound(served);
      }),
    );
  }
});
