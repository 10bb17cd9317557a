import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';

const MODULE = new URL('./complain.js', import.meta.url).href;

/** Makes its standard error a pipe that does not wait, as Node does, and complains until well after it is full. */
const PROGRAM = `
process.stderr._handle?.setBlocking?.(false);
process.stderr.write('');
const { complain } = await import(${JSON.stringify(MODULE)});
for (let i = 0; i < 40; i++) complain('x'.repeat(10_000));
process.exit(3);
`;

test('a standard error that nobody reads loses lines, and nothing else', async () => {
  const child = spawn(process.execPath, ['--input-type=module', '-e', PROGRAM], { stdio: ['ignore', 'ignore', 'pipe'] });
  // Nobody reads until it has ended.
  const [code] = (await once(child, 'exit')) as [number];
  assert.equal(code, 3);
  let text = '';
  for await (const part of child.stderr) text += String(part);
  assert.match(text, /^lcfs: x{10000}\n/);
  assert.ok(text.length < 400_000, 'not all of it had room');
});
