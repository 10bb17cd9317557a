/** Tests that hang in a mount which nobody serves, and the one after them: for hangs.test.ts, which runs this file. */
import { statfsSync } from 'node:fs';
import { afterEach, beforeEach, test } from 'node:test';
import { servingProcess } from '../../scripts/lib/daemon-processes.js';
import { Sandbox } from '../cli/sandbox.js';
import { limitTests } from './hangs.js';

limitTests(Number(process.argv[2]));

let box: Sandbox;
beforeEach(() => {
  box = new Sandbox();
});
afterEach(() => box.end());

test('hangs', async () => {
  const serving = servingProcess(await box.start())!;
  process.kill(serving, 'SIGSTOP');
  statfsSync(box.mountpoint);
});

test('goes on', async () => {
  await box.start();
  statfsSync(box.mountpoint);
});
