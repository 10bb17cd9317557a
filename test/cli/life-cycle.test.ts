/** Every command of the command line, as users run them, against real daemons on volumes in files. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { afterEach, beforeEach, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Layer, LayerReport, Status } from '../../src/daemon/protocol.js';
import { isRunning } from '../../src/daemon/processes.js';
import { findMount } from '../../src/linux/mount.js';
import { crashDaemon, servingProcess } from '../../scripts/lib/daemon-processes.js';
import { Mapper } from '../support/mapper.js';
import { Sandbox, exitCode } from './sandbox.js';

let box: Sandbox;
beforeEach(() => {
  box = new Sandbox();
});
afterEach(() => box.end());

const names = async (): Promise<string[]> => (await box.json<Layer[]>('layer', 'ls')).map((layer) => layer.name);

test('a volume is formatted once, and again only by force', async () => {
  await box.fails(1, /there is no .*--size/, 'format', box.image);
  assert.match(await box.ok('format', box.image, '--size', '64M'), /formatted .*64/);
  await box.fails(1, /holds an LCFS volume.*--force/, 'format', box.image);
  await box.ok('format', box.image, '--force');
  const printed = await box.json<{ volume: string; bytes: number }>('format', box.image, '--force', '--size', '128M');
  assert.deepEqual(printed, { volume: box.image, bytes: 128 * 2 ** 20 });
  await box.fails(1, /4 MiB at least/, 'format', box.path('small'), '--size', '1M');
});

test('a damaged volume is not taken for an empty device', async () => {
  await box.ok('format', box.image, '--size', '64M');
  const fd = openSync(box.image, 'r+');
  writeSync(fd, Buffer.alloc(8192, 1), 0, 8192, 0);
  closeSync(fd);
  const before = readFileSync(box.image);
  await box.fails(1, /both superblocks are damaged/, 'daemon', box.image, box.mountpoint, '--format', '--detach');
  assert.ok(before.equals(readFileSync(box.image)));
});

test('wrong calls end with exit code 2 and say what is wrong', async () => {
  await box.fails(2, /unknown command/, 'frobnicate');
  await box.fails(2, /unknown option/, 'status', '--frob');
  await box.fails(2, /missing required argument/, 'format');
  await box.fails(2, /is not a size/, 'format', box.image, '--size', 'big');
  await box.fails(2, /Allowed choices/, 'daemon', box.image, box.mountpoint, '--transport', 'pigeon');
  await box.fails(2, /number of seconds/, 'syncer', 'soon');
  assert.equal((await box.run('--help')).status, 0);
  assert.equal((await box.run('layer', 'import', '--help')).status, 0);
  assert.match(await box.ok('--version'), /^\d+\.\d+\.\d+/);
});

test('without a daemon the client says how to start one', async () => {
  await box.fails(1, /no daemon runs.*lcfs daemon/, 'status');
  await box.fails(1, /no daemon answers/, 'stop', box.mountpoint);
  await box.fails(1, /there is no .*lcfs format/, 'daemon', box.image, box.mountpoint);
});

test('status tells what is mounted', async () => {
  const pid = await box.start('--fsync', 'strict');
  const status = await box.json<Status>('status');
  assert.equal(status.supervisor, pid);
  assert.equal(servingProcess(pid), status.pid);
  assert.equal(status.readOnly, null);
  assert.equal(status.volume, box.image);
  assert.equal(status.mountpoint, box.mountpoint);
  assert.ok(['uring', 'devfuse'].includes(status.transport));
  assert.equal(status.fsync, 'strict');
  assert.ok(status.generation > 0);
  assert.equal(status.blocks.total, 65536);
  assert.equal(status.blocks.used + status.blocks.free, status.blocks.total);
  assert.equal(status.layers, 0);
  assert.match(await box.ok('status', box.mountpoint), /mounted on +\S+mnt\n/);
  assert.deepEqual(readdirSync(box.mountpoint).toSorted(), ['global', 'layers']);
  assert.equal(await box.ok('stop', box.mountpoint), '');
  assert.equal(isRunning(pid), false);
  assert.equal(isRunning(status.pid), false);
  assert.equal(findMount(box.mountpoint), undefined);
  assert.deepEqual(readdirSync(box.path('run')), []);
});

test('layers are made, cloned, committed, compared and removed', async () => {
  await box.start();
  await box.ok('layer', 'create', 'base', '--quota', '64M');
  writeFileSync(box.mounted('layers/base/kept'), 'kept');
  writeFileSync(box.mounted('layers/base/gone'), 'gone');
  await box.ok('layer', 'clone', 'base', 'work');
  assert.throws(() => writeFileSync(box.mounted('layers/base/late'), ''), /EROFS/);
  writeFileSync(box.mounted('layers/work/kept'), 'changed');
  mkdirSync(box.mounted('layers/work/new dir'));
  await spawnOk('rm', box.mounted('layers/work/gone'));
  assert.equal(await box.ok('layer', 'diff', 'work'), 'D /gone\nC /kept\nA /new dir\n');
  assert.deepEqual(await box.json('layer', 'diff', 'work'), [
    { kind: 'deleted', path: '/gone' },
    { kind: 'changed', path: '/kept' },
    { kind: 'added', path: '/new dir' },
  ]);
  const [base, work] = await box.json<Layer[]>('layer', 'inspect', 'base', 'work');
  assert.equal(base!.state, 'sealed');
  assert.equal(base!.quotaBytes, 64 * 2 ** 20);
  assert.equal(base!.children, 1);
  assert.equal(work!.parent, 'base');
  assert.equal(work!.state, 'writable');
  assert.match(await box.ok('layer', 'tree'), /^base \(sealed.*\n↳ work \(writable/);
  await box.ok('layer', 'commit', 'work', 'done');
  assert.deepEqual(await names(), ['base', 'done']);
  assert.equal(existsSync(box.mounted('layers/work')), false);
  assert.equal(readFileSync(box.mounted('layers/done/kept'), 'utf8'), 'changed');
  await box.fails(1, /has children.*remove them first/, 'layer', 'rm', 'base');
  await box.ok('layer', 'rm', 'done', 'base');
  assert.deepEqual(await names(), []);
  assert.equal(existsSync(box.mounted('layers/base')), false);
});

/** So many pages are not written in the time that a command takes to begin. */
const MAPPED_BYTES = 16 << 20;

test('whatever looks at a layer or seals it has what was written through a mapping that is still there', async () => {
  await box.start();
  await box.ok('layer', 'create', 'mapped');
  const mapped = await Mapper.map(box.mounted('layers/mapped/file'), MAPPED_BYTES);
  try {
    await mapped.write('exported');
    await box.ok('layer', 'export', 'mapped', box.path('exported.tar'));
    assert.equal(pagesWith(box.path('exported.tar'), 'exported'), MAPPED_BYTES / 4096);
    await mapped.write('cloned');
    await box.ok('layer', 'clone', 'mapped', 'clone');
    assert.equal(pagesWith(box.mounted('layers/clone/file'), 'cloned'), MAPPED_BYTES / 4096);
  } finally {
    await mapped.end('SIGKILL');
  }
});

test('a commit and an import have what was written through a mapping of the layer that they seal', async () => {
  await box.start('--fsync', 'strict'); // with a mount of another type
  writeFileSync(box.path('empty.tar'), Buffer.alloc(1024));
  for (const [name, ...seal] of [
    ['committed', 'layer', 'commit', 'committed'],
    ['parent', 'layer', 'import', 'child', box.path('empty.tar'), '--parent', 'parent'],
  ] as const) {
    await box.ok('layer', 'create', name);
    const mapped = await Mapper.map(box.mounted('layers', name, 'file'), MAPPED_BYTES);
    try {
      await mapped.write('sealed');
      await box.ok(...seal);
    } finally {
      await mapped.end('SIGKILL');
    }
    await box.ok('flush', '--kernel');
    assert.equal(pagesWith(box.mounted('layers', name, 'file'), 'sealed'), MAPPED_BYTES / 4096);
  }
});

test('a checkpoint and the end of a mount have what was written through mappings', async () => {
  const pid = await box.start();
  const mapped = await Mapper.map(box.mounted('global/file'), MAPPED_BYTES);
  try {
    await mapped.write('durable');
    await box.ok('commit');
    await crashDaemon(pid);
  } finally {
    await mapped.end('SIGKILL');
  }
  await box.start();
  assert.equal(pagesWith(box.mounted('global/file'), 'durable'), MAPPED_BYTES / 4096);
  const again = await Mapper.map(box.mounted('global/file'), MAPPED_BYTES);
  try {
    await again.write('the end');
    await box.ok('stop', '--force', box.mountpoint);
  } finally {
    await again.end('SIGKILL');
  }
  await box.start();
  assert.equal(pagesWith(box.mounted('global/file'), 'the end'), MAPPED_BYTES / 4096);
});

/** How many blocks of a file begin with a text. */
function pagesWith(path: string, text: string): number {
  const contents = readFileSync(path);
  let pages = 0;
  for (let at = 0; at < contents.length; at += 512) if (contents.toString('latin1', at, at + text.length) === text) pages++;
  return pages;
}

async function spawnOk(command: string, ...args: string[]): Promise<void> {
  const child = spawn(command, args, { stdio: 'inherit' });
  assert.equal(await exitCode(child), 0);
}

test('what is refused says why', async () => {
  await box.start();
  await box.ok('layer', 'create', 'a');
  await box.fails(1, /layer "a" exists already/, 'layer', 'create', 'a');
  await box.fails(1, /no layer "b"/, 'layer', 'clone', 'b', 'c');
  await box.fails(1, /no layer "b"/, 'layer', 'inspect', 'b');
  await box.fails(1, /no layer "b"/, 'layer', 'diff', 'b');
  await box.fails(1, /no layer "b"/, 'layer', 'export', 'b', box.path('x.tar'));
  for (const name of ['.', '..', 'a/b', '', 'x'.repeat(256)]) await box.fails(1, /cannot be the name of a layer/, 'layer', 'create', name);
  await box.fails(1, /"global" is the name of the layer that every volume has/, 'layer', 'create', 'global');
  await box.fails(1, /"global" is the name/, 'layer', 'commit', 'a', 'global');
  writeFileSync(box.path('empty.tar'), Buffer.alloc(1024));
  for (const call of [['create'], ['clone', 'a'], ['commit', 'a'], ['import']])
    await box.fails(1, /belong to the differ/, 'layer', ...call, 'ctr+staging~1', ...(call[0] === 'import' ? [box.path('empty.tar')] : []));
  await box.ok('layer', 'create', '%2e%2e ?#ä');
  assert.deepEqual(await names(), ['a', '%2e%2e ?#ä']);
  await box.ok('layer', 'rm', '%2e%2e ?#ä');
});

test('the settings of a running daemon are changed', async () => {
  await box.start('--cache', '32M', '--cache-max', '64M');
  await box.ok('syncer', '1.5');
  assert.deepEqual(await box.json('pcache', '64M'), { bytes: 64 * 2 ** 20 });
  assert.deepEqual(await box.json('pcache', '1T'), { bytes: 64 * 2 ** 20 });
  assert.deepEqual(await box.json('pcache', '8M'), { bytes: 8 * 2 ** 20 });
  const status = await box.json<Status>('status');
  assert.equal(status.syncerSeconds, 1.5);
  assert.deepEqual(status.cache, { bytes: 8 * 2 ** 20, bytesMax: 64 * 2 ** 20 });
  assert.match(await box.ok('flush'), /dropped \d+ pages/);
  truncateSync(box.image, 512 * 2 ** 20);
  assert.match(await box.ok('grow'), /512 MiB/);
  assert.equal((await box.json<Status>('status')).blocks.total, 131072);
});

test('a checkpoint makes a change durable, as a crash shows', async () => {
  const pid = await box.start();
  await box.ok('syncer', '3600');
  await box.ok('layer', 'create', 'a');
  writeFileSync(box.mounted('layers/a/durable'), 'yes');
  const before = (await box.json<Status>('status')).generation;
  const { generation } = await box.json<{ generation: number }>('commit');
  assert.ok(generation > before);
  writeFileSync(box.mounted('layers/a/lost'), 'perhaps');
  await crashDaemon(pid);
  await box.fails(1, /no daemon runs/, 'status');
  assert.deepEqual(readdirSync(box.path('run')), [], 'the stale socket is removed');
  // The dead mount is still there; the new daemon takes it away.
  await box.start();
  // What came after the checkpoint may be there, too: the log is written every half second.
  assert.ok(readdirSync(box.mounted('layers/a')).includes('durable'));
  await box.ok('stop', box.mountpoint);
  assert.match(await box.ok('check', box.image), /is sound/);
});

test('with --fsync=strict sync(2) makes a change durable, as a crash shows', async () => {
  const pid = await box.start('--fsync', 'strict');
  assert.equal(findMount(box.mountpoint)!.type, 'fuseblk.lcfs');
  await box.ok('syncer', '3600');
  await box.ok('layer', 'create', 'a');
  // The log alone is written out now and then: what counts is the last change before the crash.
  for (let i = 0; i < 20; i++) {
    writeFileSync(box.mounted(`layers/a/${i}`), 'durable');
    execFileSync('sync', ['--file-system', box.mounted('layers/a')]);
  }
  await crashDaemon(pid);
  await box.start('--fsync', 'strict');
  assert.equal(readdirSync(box.mounted('layers/a')).length, 20);
  assert.equal(readFileSync(box.mounted('layers/a/19'), 'utf8'), 'durable');
  await box.ok('stop', box.mountpoint);
  assert.match(await box.ok('check', box.image), /is sound/);
});

test('operations are counted per layer and kind', async () => {
  await box.start();
  await box.ok('layer', 'create', 'a');
  for (let i = 0; i < 10; i++) writeFileSync(box.mounted(`layers/a/${i}`), 'x');
  const [report] = await box.json<LayerReport[]>('stats', 'a');
  assert.equal(report!.layer, 'a');
  const writes = report!.operations.find((operation) => operation.kind === 'write')!;
  assert.equal(writes.count, 10);
  assert.ok(writes.totalMicroseconds >= writes.longestMicroseconds);
  assert.match(await box.ok('stats'), /^LAYER +OPERATION +COUNT[\s\S]*\na +write +10 /);
  await box.ok('stats', 'a', '--clear');
  assert.deepEqual(await box.json('stats', 'a'), []);
  await box.fails(1, /no layer "b"/, 'stats', 'b');
});

test('a volume in use is refused to others', async () => {
  const pid = await box.start();
  await box.fails(1, new RegExp(`in use by pid ${pid}`), 'daemon', box.image, box.path('other'));
  await box.fails(1, /already|serves/, 'daemon', box.path('other.img'), box.mountpoint, '--format', '--size', '64M');
  await box.fails(1, new RegExp(`in use by pid ${pid}.*--online`), 'check', box.image);
  await box.fails(1, new RegExp(`in use by pid ${pid}`), 'format', box.image, '--force');
  assert.match(await box.ok('check', '--online', box.image), /is sound/);
});

test('check finds damage', async () => {
  await box.start();
  await box.ok('layer', 'create', 'a');
  writeFileSync(box.mounted('layers/a/file'), Buffer.alloc(1 << 20, 'lcfs-was-here '));
  await box.ok('stop', box.mountpoint);
  const bytes = readFileSync(box.image);
  const at = bytes.indexOf('lcfs-was-here');
  assert.ok(at > 0);
  bytes[at] = 0x4c;
  writeFileSync(box.image, bytes);
  assert.equal((await box.run('check', '--no-data', box.image)).status, 0);
  const { status, stdout } = await box.run('check', box.image);
  assert.equal(status, 1);
  assert.match(stdout, /wrong checksum/);
  const report = await box.run('check', '--json', box.image);
  assert.equal(report.status, 1);
  assert.equal((JSON.parse(report.stdout) as { errorCount: number }).errorCount, 1);
});

test('what the engine finds damaged goes to the log of a daemon in the foreground', async () => {
  await box.start();
  await box.ok('layer', 'create', 'a');
  writeFileSync(box.mounted('layers/a/file'), Buffer.alloc(1 << 20, 'lcfs-was-here '));
  await box.ok('stop', box.mountpoint);
  const bytes = readFileSync(box.image);
  bytes[bytes.indexOf('lcfs-was-here')] = 0x4c;
  writeFileSync(box.image, bytes);
  const log = box.path('foreground.log');
  const daemon = box.spawn('daemon', box.image, box.mountpoint, '--log', log);
  try {
    for (let tries = 0; tries < 200 && findMount(box.mountpoint) === undefined; tries++) await delay(50);
    for (let tries = 0; tries < 200 && !readFileSync(log, 'utf8').includes('is mounted on'); tries++) await delay(50);
    assert.throws(() => readFileSync(box.mounted('layers/a/file')), /EIO/);
    assert.match(readFileSync(log, 'utf8'), /layer \d+ inode \d+: file block \d+ in block \d+ has a wrong checksum/);
  } finally {
    daemon.kill('SIGTERM');
    await exitCode(daemon);
  }
});

test('with several daemons one has to be named', async () => {
  const other = { image: box.path('other.img'), mountpoint: box.path('other'), socket: box.path('other.sock') };
  await box.start();
  await box.startOn(other.image, other.mountpoint, '--control', other.socket);
  await box.fails(1, /2 daemons run; name one/, 'status');
  await box.ok('layer', 'create', 'there', '--control', other.mountpoint);
  assert.deepEqual(await box.json<Layer[]>('layer', 'ls', '--control', box.mountpoint), []);
  assert.equal((await box.json<Status>('status', other.mountpoint)).mountpoint, other.mountpoint);
  assert.equal((await box.json<Status>('status', '--control', other.socket)).layers, 1);
  assert.equal(statSync(other.socket).mode & 0o777, 0o600);
  assert.equal(statSync(box.path('run')).mode & 0o777, 0o700);
  await box.ok('stop', other.mountpoint);
  assert.equal((await box.json<Status>('status')).mountpoint, box.mountpoint);
});

test('a mount in use is not taken away, except by force', async () => {
  const pid = await box.start();
  const user = spawn('sleep', ['60'], { cwd: box.mounted('global') });
  try {
    await once(user, 'spawn');
    await box.fails(1, new RegExp(`in use by pid ${user.pid} \\(sleep, working directory\\)`), 'stop', box.mountpoint);
    assert.equal((await box.json<Status>('status')).supervisor, pid);
    await box.ok('stop', '--force', box.mountpoint);
    assert.equal(isRunning(pid), false);
  } finally {
    user.kill('SIGKILL');
  }
  assert.match(await box.ok('check', box.image), /is sound/);
});

test('a start that fails half-way leaves nothing behind and says why', async () => {
  writeFileSync(box.path('file'), '');
  await box.ok('format', box.image, '--size', '64M');
  await box.fails(
    1,
    /Docker graph driver cannot be served on/,
    'daemon',
    box.image,
    box.mountpoint,
    '--docker',
    box.path('file/docker.sock'),
  );
  await box.fails(1, /ENOTDIR|EEXIST/, 'daemon', box.image, box.mountpoint, '--control', box.path('file/control.sock'), '--detach');
  await box.fails(1, /cannot be made or reached|not a directory/, 'daemon', box.image, box.path('file'));
  // Where folders are, but cannot be made:
  await box.fails(1, /served on \/proc\/lcfs\/s: ENOENT/, 'daemon', box.image, box.mountpoint, '--docker', '/proc/lcfs/s');
  await box.fails(1, /served on \/proc\/lcfs\/s: ENOENT/, 'daemon', box.image, box.mountpoint, '--containerd', '/proc/lcfs/s');
  await box.fails(1, /folder \/proc\/lcfs cannot be made/, 'daemon', box.image, box.mountpoint, '--control', '/proc/lcfs/s');
  await box.fails(1, /folder \/proc\/lcfs\/a cannot be made/, 'daemon', box.image, '/proc/lcfs/a/mnt', '--detach');
  await box.fails(1, /ENOENT.*\/proc\/lcfs/, 'daemon', box.image, box.mountpoint, '--detach', '--log', '/proc/lcfs/log');
  assert.equal(findMount(box.mountpoint), undefined);
  assert.match(await box.ok('check', box.image), /is sound/);
});

test('SIGTERM names who uses the mount and goes on serving', async () => {
  const pid = await box.start();
  const user = spawn('sleep', ['60'], { cwd: box.mounted('global') });
  try {
    await once(user, 'spawn');
    process.kill(pid, 'SIGTERM');
    const log = `${box.mountpoint}.log`;
    for (let tries = 0; tries < 200 && !readFileSync(log, 'utf8').includes('is in use by'); tries++) await delay(50);
    assert.match(readFileSync(log, 'utf8'), new RegExp(`is in use by pid ${user.pid} \\(sleep`));
    assert.equal((await box.json<Status>('status')).supervisor, pid);
  } finally {
    user.kill('SIGKILL');
    await once(user, 'exit');
  }
  process.kill(pid, 'SIGTERM');
  for (let tries = 0; tries < 200 && isRunning(pid); tries++) await delay(50);
  assert.equal(isRunning(pid), false);
  assert.equal(findMount(box.mountpoint), undefined);
});

test('SIGTERM unmounts cleanly', async () => {
  const daemon = await box.startForeground();
  await box.ok('layer', 'create', 'kept');
  daemon.kill('SIGTERM');
  assert.equal(await exitCode(daemon), 0);
  assert.equal(findMount(box.mountpoint), undefined);
  await box.start();
  assert.deepEqual(await names(), ['kept']);
});

test('a mount that is taken away from outside ends the daemon cleanly', async () => {
  const daemon = await box.startForeground();
  await box.ok('layer', 'create', 'kept');
  await spawnOk('umount', box.mountpoint);
  assert.equal(await exitCode(daemon), 0);
  assert.match(await box.ok('check', box.image), /is sound/);
});

test('many calls at once are safe', async () => {
  await box.start();
  await box.ok('layer', 'create', 'base');
  const made = await Promise.all(Array.from({ length: 12 }, (_, i) => box.run('layer', 'clone', 'base', `clone-${i % 8}`)));
  assert.equal(made.filter((result) => result.status === 0).length, 8);
  assert.equal((await names()).length, 9);
  await Promise.all(Array.from({ length: 8 }, (_, i) => box.ok('layer', 'rm', `clone-${i}`)));
  assert.deepEqual(await names(), ['base']);
});
