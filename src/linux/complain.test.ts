import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

const folder = new URL('.', import.meta.url).href;

/** Makes its standard error a pipe that does not wait, and complains until well after it is full. */
const PROGRAM = `
const { fcntl } = await import('${folder}libc.js');
const { complain } = await import('${folder}complain.js');
const F_SETFL = 4;
fcntl(2, F_SETFL, 0o4000);
for (let i = 0; i < 40; i++) complain('x'.repeat(10_000));
process.exit(3);
`;

/** Whoever reads the pipe begins when the program has ended: it says so in the end of what is read. */
const SHELL = '{ "$0" --input-type=module -e "$1"; echo "code $?"; } 2>&1 >&3 3>&- | { sleep 1; cat; }';

test('a standard error that nobody reads loses lines, and nothing else', () => {
  const { stdout, stderr } = spawnSync('sh', ['-c', `exec 3>&1; ${SHELL}`, process.execPath, PROGRAM], { encoding: 'utf8' });
  assert.equal(stderr, '');
  assert.match(stdout, /^code 3$/m, 'it ends as it should');
  const lost = 40 - (stdout.match(/^lcfs: /gm) ?? []).length;
  assert.ok(lost > 0 && lost < 40, `${lost} lines are lost`);
});
