/** A bounded part of the power cuts under a Docker Engine; `npm run torture -- --only docker` goes on for as long as one likes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dockerCuts } from '../torture/docker-cuts.js';
import { testBudget } from '../torture/part.js';
import { Random, withFolder } from '../support/volume.js';

/** One with Docker's files on the volume, one with them beside it. */
const CUTS = 2;

test('after a power cut every image that Docker lists is complete and every container that it lists starts', async (t) => {
  const { seed } = new Random();
  t.diagnostic(`LCFS_SEED=${seed}`);
  await withFolder(async (folder) => {
    const { cuts, bytesVerified } = await dockerCuts({ ...testBudget(seed, CUTS, folder), until: Infinity }, { workMs: 8000, cuts: 1 });
    assert.equal(cuts, CUTS);
    assert.ok(bytesVerified > 0);
  });
});
