import assert from 'node:assert/strict';
import { test } from 'node:test';
import { shared } from './sharing.js';

test('those who come in one turn share a write, which is begun after the last of them came', async () => {
  let done = 0;
  let writes = 0;
  const durable = shared(() => {
    assert.equal(done, 3);
    writes++;
  });
  const calls = [0, 1, 2].map(async () => {
    done++;
    await durable();
  });
  await Promise.all(calls);
  assert.equal(writes, 1);
  await durable();
  assert.equal(writes, 2);
});

test('a write that fails fails all that wait for it, and not the next ones', async () => {
  let fails = true;
  const durable = shared(() => {
    if (fails) throw new Error('the device');
  });
  const results = await Promise.allSettled([durable(), durable()]);
  assert.deepEqual(
    results.map(({ status }) => status),
    ['rejected', 'rejected'],
  );
  fails = false;
  await durable();
});
