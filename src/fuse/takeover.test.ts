/** Who wakes the queues of the ring goes on until each has been woken, and can be told to leave. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { allowedCpus, onlineCpus } from '../linux/affinity.js';
import { Waker } from './takeover.js';

test('what cannot be woken is tried again; what is woken is not', { timeout: 60_000 }, async () => {
  const cpus = allowedCpus();
  let asked = 0;
  const waker = new Waker(() => (++asked <= onlineCpus().length ? '/there/is/no/such/directory' : '/'));
  waker.start();
  while (asked < 2 * onlineCpus().length) await delay(20);
  while (waker.isWaking) await delay(20);
  assert.equal(asked, 2 * onlineCpus().length);
  assert.deepEqual(allowedCpus(), cpus, 'the thread may run where it could');
  assert.equal(await waker.stop(), false);
});

test('who is told to leave tries no more', { timeout: 60_000 }, async () => {
  let asked = 0;
  const waker = new Waker(() => {
    asked++;
    return '/there/is/no/such/directory';
  });
  waker.start();
  assert.equal(await waker.stop(), true);
  const before = asked;
  await delay(300);
  assert.equal(asked, before);
});
