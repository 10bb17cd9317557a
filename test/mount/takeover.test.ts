/** Whoever uses a mount survives the end of the process that serves it, over each transport, with shared files and without. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Random } from '../support/volume.js';
import { TRANSPORTS, cannotMount } from './mounted.js';
import { survive, surviveQuietly } from './takeover.js';
import { limitTests } from '../support/hangs.js';

limitTests(240);

const KILLS = 3;

describe('a mount whose server is killed', { skip: cannotMount }, () => {
  for (const transport of TRANSPORTS) {
    it(`answers over ${transport} what came while nobody served, though nothing comes after it`, () => surviveQuietly(transport));
    for (const passthrough of ['auto', 'off'] as const) {
      it(`goes on over ${transport}, passthrough ${passthrough}`, async (t) => {
        const { seed } = new Random();
        t.diagnostic(`LCFS_SEED=${seed}`);
        const { kills, changes, recoveryMs } = await survive({ transport, passthrough, kills: KILLS, seed });
        t.diagnostic(`${changes} changes, served again after ${recoveryMs.map(Math.round).join(', ')} ms`);
        assert.equal(kills, KILLS);
        assert.ok(changes > 0);
      });
    }
  }
});
