/** A bounded part of the power cuts under engines; `npm run torture -- --only docker,containerd` goes on for as long as one likes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { containerdCuts } from '../torture/containerd-cuts.js';
import { dockerCuts } from '../torture/docker-cuts.js';
import { testBudget } from '../torture/part.js';
import { Random, withFolder } from '../support/volume.js';
import { limitTests } from '../support/hangs.js';

limitTests(600);

/** One with the engine's files on the volume, one with them beside it. */
const CUTS = 2;
const EXTENT = { workMs: 8000, cuts: 1 };

for (const [engine, cutPower] of [
  ['Docker', dockerCuts],
  ['containerd', containerdCuts],
] as const)
  test(`after a power cut every image that ${engine} lists is complete and every container that it lists starts`, async (t) => {
    const { seed } = new Random();
    t.diagnostic(`LCFS_SEED=${seed}`);
    await withFolder(async (folder) => {
      const { cuts, bytesVerified } = await cutPower(testBudget(seed, CUTS, folder), EXTENT);
      assert.equal(cuts, CUTS);
      assert.ok(bytesVerified > 0);
    });
  });
