import { test } from 'node:test';
import { fuzzInProcess } from '../support/fuzz.js';

const MODULE = new URL('./format.fuzz.js', import.meta.url).href;

test('volumes with wrong fields and right checksums crash nothing', { timeout: 120_000 }, async () => {
  await fuzzInProcess(MODULE, 'fuzzFormat');
});

test('nor does their repair', { timeout: 120_000 }, async () => {
  await fuzzInProcess(MODULE, 'fuzzRepair');
});
