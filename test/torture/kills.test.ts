/** A bounded part of the kills under load; `npm run torture -- --only kills` goes on for as long as one likes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random, withFolder } from '../support/volume.js';
import { kills } from './kills.js';
import { testBudget } from './part.js';
import { limitTests } from '../support/hangs.js';

limitTests(300);

const KILLS = 4;

test('the daemon is killed under load: what was acknowledged is there, what is missing is missing from the end', async (t) => {
  const { seed } = new Random();
  t.diagnostic(`LCFS_SEED=${seed}`);
  await withFolder(async (folder) => {
    const figures = await kills(testBudget(seed, KILLS, folder));
    t.diagnostic(
      `${figures.operations} changes, ${figures.bytesVerified} bytes verified, takeovers in ms: ${figures.takeoverMs.map(Math.round).join(' ')}, restarts: ${figures.restartMs.map(Math.round).join(' ')}`,
    );
    assert.equal(figures.kills, KILLS);
    assert.ok(figures.operations > KILLS);
  });
});
