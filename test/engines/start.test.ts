/** `npm start`, as a person runs it. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { mountsBelow } from '../../scripts/lib/mounts.js';
import { processesUsing, run, tryRun } from '../../scripts/lib/run.js';

const SCRIPT = join(dirname(fileURLToPath(import.meta.url)), '../../scripts/start.js');

/** The folder that the demonstration works in, from what it printed. */
function folderIn(output: string): string {
  const folder = /sparse file (\S+)\/volume\.img/.exec(output)?.[1];
  assert.ok(folder, output);
  return folder;
}

function assertGone(folder: string): void {
  assert.equal(existsSync(folder), false);
  assert.deepEqual(mountsBelow(folder), []);
  assert.deepEqual(processesUsing(folder), []);
}

test('shows a container on LCFS and ends clean', async () => {
  const output = await run(process.execPath, [SCRIPT]);
  for (const line of [
    /^volume .*20G sparse file/m,
    /^docker .*private/m,
    /written in a container on LCFS/,
    /^clone .*(ms|µs)/m,
    /^space .*shared/m,
    /^containerd .*private/m,
    /written in a container of containerd\n\s+\S+ \/ fuse\.lcfs/,
    /^snapshots .* demo +Active, on sha256:[0-9a-f]{12}\n +sha256:[0-9a-f]{12} +Committed/m,
  ])
    assert.match(output, line);
  assertGone(folderIn(output));
});

test('an image that no registry has is replaced by a local one; --keep leaves everything running, --stop ends it', async () => {
  const output = await run(process.execPath, [SCRIPT, '127.0.0.1:1/no/image', '--', '--keep']);
  const folder = folderIn(output);
  try {
    assert.match(output, /cannot be pulled/);
    const command = / {2}(\S+ --config .*) run --rm -it/.exec(output)?.[1];
    assert.ok(command, output);
    const [docker, ...args] = command.split(' ');
    assert.equal(await run(docker!, [...args, 'run', '--rm', '--network', 'host', 'lcfs/busybox', 'echo', 'still here']), 'still here\n');
    assert.ok(readFileSync('/proc/self/mountinfo', 'utf8').includes(`${folder}/mnt`));
  } finally {
    await run(process.execPath, [SCRIPT, '--stop', folder]);
  }
  assertGone(folder);
});

test('--stop of what is not there says so', async () => {
  const result = await tryRun(process.execPath, [SCRIPT, '--stop', '/nowhere']);
  assert.equal(result.status, 1);
  assert.match(result.stderr, /name the folder/);
});
