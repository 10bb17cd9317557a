/** A test that hangs in its mount says so, fails, and holds nobody up. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { cannotMount } from '../mount/mounted.js';

const HANGING = fileURLToPath(new URL('./hanging.js', import.meta.url));
/** Enough for a daemon to start on a slow machine. */
const LIMIT_S = 30;

test('a test that hangs in its mount', { skip: cannotMount }, async () => {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const child = spawn(process.execPath, ['--test-reporter=tap', HANGING, String(LIMIT_S)], { stdio: ['ignore', 'pipe', 'pipe'], env });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (said += String(chunk)));
  const [code] = (await once(child, 'close')) as [number];
  assert.equal(code, 1, said);
  assert.match(said, /^hangs: not over within \d+ s/m);
  assert.match(said, /in request_wait_answer, call \d+/, 'where the test waits');
  assert.match(said, /T \(stopped\)/, 'that nobody serves');
  assert.match(said, /^ +\d+: [1-9]\d* requests wait$/m);
  assert.match(said, /the end of \/.*\.log:\n.*is mounted on/s);
  assert.match(said, /^not ok \d - hangs$/m);
  assert.match(said, /^ok \d - goes on$/m);
});
