import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { test } from 'node:test';
import { createMemoryFile } from '../../linux/memory-file.js';
import { Notes } from '../notes.js';
import { Holds, type HoldingEngine } from './holds.js';

function makeEngine(): { engine: HoldingEngine; calls: string[] } {
  const calls: string[] = [];
  const engine = {
    hold: (name: string) => {
      if (name === 'missing') throw new Error('there is no such layer');
      calls.push(`hold ${name}`);
    },
    release: (name: string) => void calls.push(`release ${name}`),
  };
  return { engine, calls };
}

function makeHolds(): { holds: Holds; calls: string[] } {
  const { engine, calls } = makeEngine();
  return { holds: new Holds(engine), calls };
}

/** Processes one after the other, with notes that outlive them. */
class Lives {
  readonly #notes = createMemoryFile('lcfs-test-holds', 0);
  #answers: (() => void)[] = [];
  calls: string[] = [];

  next(): Holds {
    this.#answers = [];
    const { engine, calls } = makeEngine();
    this.calls = calls;
    return new Holds(engine, new Notes(this.#notes), (work) => void this.#answers.push(work));
  }

  /** All calls have been answered. */
  answer(): void {
    for (const work of this.#answers.splice(0)) work();
  }

  end(): void {
    closeSync(this.#notes);
  }
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

test('a process that comes later holds what was held', () => {
  const lives = new Lives();
  const first = lives.next();
  first.take('a', '/one');
  first.take('a', '/one');
  first.take('b', '/two');
  first.take('c', '/two');
  first.drop('c');
  lives.answer();
  const second = lives.next();
  assert.deepEqual(lives.calls, ['hold a', 'hold b']);
  assert.deepEqual([second.count('a'), second.count('b'), second.count('c')], [2, 1, 0]);
  second.forgetUnsure('a');
  assert.equal(second.count('a'), 2, 'all of that is sure');
  second.dropAllOf('/two');
  assert.equal(second.count('b'), 0);
  assert.equal(lives.next().count('a'), 2);
  lives.end();
});

test('a call that may come twice never leaves a mounted layer without a hold', () => {
  for (const repeats of [false, true]) {
    const lives = new Lives();
    const first = lives.next();
    first.take('a', '/home');
    lives.answer();
    first.take('a', '/home'); // the process dies before or after the answer is out
    const second = lives.next();
    if (repeats) second.take('a', '/home');
    second.drop('a'); // Docker has one hold now
    assert.ok(second.count('a') > 0);
    lives.answer();
    second.drop('a'); // and none now
    second.forgetUnsure('a');
    assert.equal(second.count('a'), 0, 'so Docker may remove it');
    assert.equal(lives.next().count('a'), 0);
    lives.end();
  }
});

test('a Put that may come twice never leaves a mounted layer without a hold', () => {
  for (const repeats of [false, true]) {
    const lives = new Lives();
    const first = lives.next();
    for (let i = 0; i < 3; i++) first.take('a', '/home');
    lives.answer();
    first.drop('a'); // the process dies before or after the answer is out
    const second = lives.next();
    if (repeats) second.drop('a');
    second.drop('a'); // Docker has one hold now
    assert.ok(second.count('a') > 0);
    second.drop('a');
    second.forgetUnsure('a');
    assert.equal(second.count('a'), 0);
    lives.end();
  }
});

test('a layer that was removed meanwhile is not held', () => {
  const notes = createMemoryFile('lcfs-test-holds', 0);
  new Notes(notes).put('missing', { home: '/home', count: 1, gets: 0, puts: 0, unsure: 0 });
  const { engine } = makeEngine();
  assert.equal(new Holds(engine, new Notes(notes)).count('missing'), 0);
  assert.equal(new Notes(notes).read().size, 0);
  closeSync(notes);
});
