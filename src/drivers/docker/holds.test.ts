import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Holds } from './holds.js';

function makeHolds(): { holds: Holds; calls: string[] } {
  const calls: string[] = [];
  const holds = new Holds({
    hold: (name) => {
      if (name === 'missing') throw new Error('there is no such layer');
      calls.push(`hold ${name}`);
    },
    release: (name) => void calls.push(`release ${name}`),
  });
  return { holds, calls };
}

test('the engine hears of the first Get and of the last Put only', () => {
  const { holds, calls } = makeHolds();
  holds.take('a', '/home');
  holds.take('a', '/home');
  holds.drop('a');
  assert.deepEqual(calls, ['hold a']);
  assert.equal(holds.count('a'), 1);
  holds.drop('a');
  assert.deepEqual(calls, ['hold a', 'release a']);
  assert.equal(holds.count('a'), 0);
});

test('a Put without a Get does nothing', () => {
  const { holds, calls } = makeHolds();
  holds.drop('a');
  assert.deepEqual(calls, []);
});

test('a layer that cannot be held is not counted', () => {
  const { holds, calls } = makeHolds();
  assert.throws(() => holds.take('missing', '/home'));
  holds.drop('missing');
  assert.deepEqual(calls, []);
});

test('only the holds of the engine that restarts are dropped', () => {
  const { holds, calls } = makeHolds();
  holds.take('a', '/one');
  holds.take('b', '/two');
  holds.take('a', '/one');
  holds.dropAllOf('/one');
  assert.deepEqual(calls, ['hold a', 'hold b', 'release a']);
  assert.equal(holds.count('b'), 1);
});
