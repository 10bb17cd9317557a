import { test } from 'node:test';
import { fuzzInProcess } from '../../test/support/fuzz.js';

test('requests that no kernel sends are answered, and the volume stays sound', { timeout: 120_000 }, async () => {
  await fuzzInProcess(new URL('./dispatch.fuzz.js', import.meta.url).href, 'fuzzDispatch');
});
