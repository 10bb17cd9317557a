import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { makeSocket, removeSocket, serveSocket, socketInode } from './socket.js';

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'lcfs-socket-'));
});
after(() => rmSync(folder, { recursive: true }));

test('who connects before anybody serves is served later', async () => {
  const path = join(folder, 'waits');
  const fd = await makeSocket(path);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(folder), ['waits']);
  const early = connect(path);
  early.write('early');
  await once(early, 'connect');
  const server = createServer((connection) => connection.pipe(connection));
  await serveSocket(server, fd);
  const [echo] = (await once(early, 'data')) as [Buffer];
  assert.equal(echo.toString(), 'early');
  early.destroy();
  server.close();
  await once(server, 'close');
});

test('a socket that is served is left alone, one that is dead is replaced', async () => {
  const path = join(folder, 'served');
  const server = createServer();
  await serveSocket(server, await makeSocket(path));
  await assert.rejects(makeSocket(path), { code: 'busy' });
  const inode = socketInode(path);
  server.close();
  await once(server, 'close');
  const again = createServer();
  await serveSocket(again, await makeSocket(path));
  removeSocket(path, inode);
  assert.notEqual(socketInode(path), 0, 'only one of ours is taken away');
  again.close();
});

test('a path that no socket can have is refused', async () => {
  await assert.rejects(makeSocket(join(folder, 'x'.repeat(108))), { code: 'invalid' });
});
