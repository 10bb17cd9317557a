import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { mountId, removeIfStale } from './sockets.js';

test('ids are readable and different for different mountpoints', () => {
  assert.equal(mountId('/lcfs'), 'lcfs');
  assert.equal(mountId('/srv/lcfs'), 'srv-lcfs');
  assert.notEqual(mountId('/srv-lcfs'), mountId('/srv/lcfs'));
  assert.equal(mountId('/with blank/ä'), 'with%20blank-%C3%A4');
  const long = `/nowhere/${'x'.repeat(200)}`;
  assert.ok(mountId(long).length <= 60);
  assert.notEqual(mountId(long), mountId(`${long}y`));
});

test('stale sockets go, live ones and their links stay', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'lcfs-sockets-'));
  const [live, link, stale, dangling] = ['live', 'link', 'stale', 'dangling'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
    string,
  ];
  const server = createServer();
  try {
    await new Promise<void>((settle) => server.listen(live, settle));
    symlinkSync(live, link);
    writeFileSync(stale, '');
    symlinkSync(join(directory, 'gone'), dangling);
    assert.equal(await removeIfStale(live), false);
    assert.equal(await removeIfStale(link), false);
    assert.equal(await removeIfStale(stale), true);
    assert.equal(await removeIfStale(dangling), true);
    assert.equal(await removeIfStale(join(directory, 'never')), true);
    assert.deepEqual([existsSync(live), existsSync(stale)], [true, false]);
  } finally {
    server.close();
    rmSync(directory, { recursive: true });
  }
});
