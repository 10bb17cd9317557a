/** A bounded part of the power cuts; `npm run torture -- --only power` goes on for as long as one likes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random, withFolder } from '../support/volume.js';
import { testBudget } from './part.js';
import { powerCuts } from './power.js';

/** Cuts in `npm test`. */
const CUTS = 1000;

test('after a power cut at any write the volume is sound and holds a state that it went through', async (t) => {
  const { seed } = new Random();
  t.diagnostic(`LCFS_SEED=${seed}`);
  await withFolder(async (folder) => {
    const { cuts, operations, bytesVerified } = await powerCuts(testBudget(seed, CUTS, folder));
    t.diagnostic(`${cuts} cuts of ${operations} operations, ${bytesVerified} bytes verified`);
    assert.equal(cuts, CUTS);
    assert.ok(bytesVerified > CUTS);
  });
});
