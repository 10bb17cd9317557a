import { test } from 'node:test';
import { fuzzInProcess } from '../../../test/support/fuzz.js';

test('malformed, huge and broken requests harm neither the server nor a layer', { timeout: 120_000 }, async () => {
  await fuzzInProcess(new URL('./server.fuzz.js', import.meta.url).href, 'fuzzDockerServer');
});
