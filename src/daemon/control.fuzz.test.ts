import { test } from 'node:test';
import { fuzzInProcess } from '../../test/support/fuzz.js';

test('malformed, huge and broken control requests harm neither the daemon nor a layer', { timeout: 120_000 }, async () => {
  await fuzzInProcess(new URL('./control.fuzz.js', import.meta.url).href, 'fuzzControl');
});
