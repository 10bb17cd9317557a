import assert from 'node:assert/strict';
import { test } from 'node:test';
import { circles, importsOf, wrongDirections } from './check-layers.js';

test('imports of every form are seen, comments are not', () => {
  const text = `/* import './no.js' */
import { a } from '../engine/a.js';
import type { B } from './b.js';
export * from './c.js';
import './d.js';
const e = await import('./e.js');
new Worker(new URL('./f.js', import.meta.url));
import { readFileSync } from 'node:fs';`;
  assert.deepEqual(importsOf('src/daemon/x.ts', text), [
    'src/engine/a.ts',
    'src/daemon/b.ts',
    'src/daemon/c.ts',
    'src/daemon/d.ts',
    'src/daemon/e.ts',
    'src/daemon/f.ts',
  ]);
});

test('an import upwards or sideways is wrong, downwards and within a folder right', () => {
  const complain = (from: string, to: string): number => wrongDirections(new Map([[from, [to]]])).length;
  assert.equal(complain('src/engine/a.ts', 'src/layout/b.ts'), 0);
  assert.equal(complain('src/engine/a.ts', 'src/engine/b.ts'), 0);
  assert.equal(complain('src/engine/a.ts', 'src/fuse/b.ts'), 1);
  assert.equal(complain('src/fuse/a.ts', 'src/archive/b.ts'), 1);
  assert.equal(complain('src/cli/a.ts', 'scripts/b.ts'), 1);
  assert.equal(complain('src/unheard-of/a.ts', 'src/layout/b.ts'), 2);
});

test('a circle is named file by file', () => {
  const graph = new Map([
    ['a', ['b']],
    ['b', ['c']],
    ['c', ['a']],
    ['d', ['c']],
  ]);
  assert.deepEqual(circles(graph), ['a -> b -> c -> a']);
});
