import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as tick } from 'node:timers/promises';
import { Turns } from './turns.js';

/** A piece of work that ends when it is told to, and writes down when it starts and ends. */
function task(name: string, events: string[]): { work: () => Promise<void>; finish: () => void } {
  let finish = (): void => {};
  const finished = new Promise<void>((resolve) => (finish = resolve));
  const work = async (): Promise<void> => {
    events.push(`+${name}`);
    await finished;
    events.push(`-${name}`);
  };
  return { work, finish };
}

test('calls on different layers do not wait for each other', async () => {
  const turns = new Turns();
  const events: string[] = [];
  const a = task('a', events);
  const first = turns.run({ alone: ['x'] }, a.work);
  await turns.run({ alone: ['y'] }, () => void events.push('y'));
  a.finish();
  await first;
  assert.deepEqual(events, ['+a', 'y', '-a']);
});

test('readers share a turn; a writer waits for them, and later readers wait for the writer', async () => {
  const turns = new Turns();
  const events: string[] = [];
  const [a, b, c, d] = [task('a', events), task('b', events), task('c', events), task('d', events)];
  const all = [
    turns.run({ shared: ['x'] }, a.work),
    turns.run({ shared: ['x'] }, b.work),
    turns.run({ alone: ['x'] }, c.work),
    turns.run({ shared: ['x'] }, d.work),
  ];
  await tick();
  assert.deepEqual(events, ['+a', '+b']);
  for (const { finish } of [d, c, b, a]) finish();
  await Promise.all(all);
  assert.deepEqual(events.slice(4), ['+c', '-c', '+d', '-d']);
});

test('a call that fails gives its turn back', async () => {
  const turns = new Turns();
  await assert.rejects(
    turns.run({ alone: ['x'], shared: ['y'] }, () => {
      throw new Error('no');
    }),
    /no/,
  );
  assert.equal(await turns.run({ alone: ['x', 'y'] }, () => 7), 7);
});

test('calls that need the same layers in different order do not block each other', async () => {
  const turns = new Turns();
  let done = 0;
  const needs = [{ alone: ['a'], shared: ['b'] }, { alone: ['b'], shared: ['a'] }, { alone: ['a', 'b'] }, { shared: ['b', 'a', ''] }];
  const work = async (): Promise<void> => {
    await tick();
    done++;
  };
  await Promise.all(Array.from({ length: 40 }, (_, i) => turns.run(needs[i % 4]!, work)));
  assert.equal(done, 40);
});

test('a layer named twice is taken once', async () => {
  assert.equal(await new Turns().run({ alone: ['a'], shared: ['a'] }, () => 'done'), 'done');
});
