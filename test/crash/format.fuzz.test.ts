import { test } from 'node:test';
import { fuzzInProcess } from '../support/fuzz.js';

test('volumes with wrong fields and right checksums crash nothing', { timeout: 120_000 }, async () => {
  await fuzzInProcess(new URL('./format.fuzz.js', import.meta.url).href, 'fuzzFormat');
});
