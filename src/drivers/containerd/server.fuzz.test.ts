import { test } from 'node:test';
import { fuzzInProcess } from '../../../test/support/fuzz.js';

test('malformed messages and broken streams harm neither the server nor a snapshot', { timeout: 120_000 }, async () => {
  await fuzzInProcess(new URL('./server.fuzz.js', import.meta.url).href, 'fuzzContainerdServer');
});
