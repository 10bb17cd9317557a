/** Every wait ends, and says what it was for. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeFolder } from './folders.js';
import { describeProcess, waitUntil, within } from './limits.js';
import { startServer, tryRun, waitReady } from './run.js';

const never = new Promise<never>(() => {});
/** Reached on purpose. */
const SHORT_MS = 50;

test('what settles in time is handed on', async () => {
  assert.equal(await within(Promise.resolve(7), 600_000, 'seven'), 7);
  await assert.rejects(within(Promise.reject(new Error('own')), 600_000, 'nothing'), /^Error: own$/);
  let asked = 0;
  await waitUntil('three', async () => ++asked === 3, 600_000, 1);
  assert.equal(asked, 3);
});

test('what does not is named', async () => {
  await assert.rejects(within(never, SHORT_MS, 'the end of time'), /not within 0\.05 s: the end of time/);
  await assert.rejects(
    waitUntil('a change', async () => false, SHORT_MS, 1),
    /not within 0\.05 s: a change/,
  );
});

test('a question that is never answered ends with the wait', async () => {
  await assert.rejects(
    waitUntil('an answer', () => never, SHORT_MS),
    /an answer/,
  );
});

test('a command that does not end is killed, with what it does, and does not pass for one that failed', async () => {
  const hung = tryRun('sh', ['-c', 'sleep 30 & wait'], { timeoutMs: SHORT_MS });
  await assert.rejects(hung, /not within 0\.05 s: sh -c sleep 30 & wait ends; process \d+ has threads in state [RSD]/);
});

test('a server that is not ready, or will not end, is no reason to wait for ever', async () => {
  const folder = makeFolder('lcfs-w-');
  const server = startServer('sh', ['-c', 'trap "" TERM; echo started; while :; do sleep 0.1; done'], join(folder, 'log'));
  try {
    await assert.rejects(
      waitReady(server, 'it', () => never, SHORT_MS),
      /not within 0\.05 s: it is ready; process \d+ has threads in state/,
    );
    assert.equal(await server.stop(SHORT_MS), 128);
    assert.match(describeProcess(server.pid), /has ended/);
  } finally {
    await server.kill();
    rmSync(folder, { recursive: true });
  }
});
