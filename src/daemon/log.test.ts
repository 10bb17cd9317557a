import assert from 'node:assert/strict';
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openLog } from './log.js';

test('a message is a line, with its values and, indented, the stack of an error', () => {
  const directory = mkdtempSync(join(tmpdir(), 'lcfs-log-'));
  const file = join(directory, 'log');
  try {
    const log = openLog({ fd: openSync(file, 'a'), level: 'info' }, 'main');
    log.debug('not shown');
    log.info({ transport: 'uring', queues: 2 }, 'mounted');
    log.child({ thread: 'fuse' }).error({ err: new Error('no') }, 'failed\nbadly');
    const lines = readFileSync(file, 'utf8').split('\n');
    assert.match(lines[0]!, /^\d{4}-\d\d-\d\dT[\d:.]+Z info  main: mounted transport=uring queues=2$/);
    assert.match(lines[1]!, / error fuse: failed$/);
    assert.equal(lines[2], '    badly');
    assert.equal(lines[3], '    Error: no');
    assert.match(lines[4]!, /^ {8}at /);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
