/**
 * Files that layers share (src/fuse/sharing.ts), on a real mount: what is the same, when it stops being so, and what those
 * see who had them open before. Over both transports, with passthrough and without.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  fchmodSync,
  fstatSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  readdirSync,
  renameSync,
  statSync,
  statfsSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { isRunning } from '../../src/daemon/processes.js';
import { withChildren } from '../support/hang-report.js';
import { Mounted, TRANSPORTS, cannotMount } from './mounted.js';
import * as sys from './syscalls.js';

const { O_APPEND, O_CREAT, O_DIRECT, O_NONBLOCK, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = constants;
const O_PATH = 0o10000000;
const LARGE_BYTES = 5_000_000;
const LARGE = Buffer.alloc(LARGE_BYTES, 'contents of a large file, ');
const READ_LEASE = 0;
const NO_LEASE = 2;
/** Within this time the daemon notices that a layer is gone. */
const SWEEP_MS = 6000;

/** A file as read from its start through an opening. */
function contentsOf(fd: number, bytes = 64): string {
  const buffer = Buffer.alloc(bytes);
  return buffer.toString('latin1', 0, readSync(fd, buffer, 0, bytes, 0));
}

const viaProc = (fd: number): string => `/proc/self/fd/${fd}`;

/** Tries again for a while: what is announced to the kernel comes a moment later. */
async function soon(check: () => void): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      return check();
    } catch (error) {
      if (tries === 200) throw error;
      await delay(10);
    }
  }
}

for (const transport of TRANSPORTS) {
  for (const passthrough of ['auto', 'off'] as const) {
    const name = `shared files over ${transport}, passthrough ${passthrough}`;
    describe(name, { skip: cannotMount }, () => describeSharing(transport, passthrough));
  }
}

function describeSharing(transport: (typeof TRANSPORTS)[number], passthrough: 'auto' | 'off'): void {
  const isOn = passthrough === 'auto';
  let mounted: Mounted;
  let clones = 0;

  before(async () => {
    mounted = await new Mounted(transport, { passthrough }).ready();
    assert.equal(mounted.passthrough, isOn);
    await mounted.must({ order: 'create', name: 'base' });
    fill(join(mounted.layers, 'base'));
    await mounted.must({ order: 'create', name: 'middle', parent: 'base' });
  });
  after(async () => {
    try {
      await nothingOpen();
      await mounted.prove();
      await mounted.must({ order: 'stop', options: {} });
    } finally {
      await mounted.end();
    }
  });

  function fill(base: string): void {
    writeFileSync(join(base, 'small'), 'as it was');
    writeFileSync(join(base, 'large'), LARGE);
    writeFileSync(join(base, 'empty'), '');
    writeFileSync(join(base, 'one'), 'two names');
    linkSync(join(base, 'one'), join(base, 'other'));
    writeFileSync(join(base, 'privileged'), 'x'.repeat(100));
    chmodSync(join(base, 'privileged'), 0o4755);
    copyFileSync('/bin/sleep', join(base, 'program'));
    chmodSync(join(base, 'program'), 0o755);
    mkdirSync(join(base, 'directory'));
  }

  /** The folder of a new layer. */
  async function clone(parent = 'middle'): Promise<string> {
    const name = `clone ${clones++}`;
    await mounted.must({ order: 'create', name, parent });
    return join(mounted.layers, name);
  }

  async function nothingOpen(): Promise<void> {
    for (let tries = 0; ; tries++) {
      const { sharedFiles } = await mounted.must({ order: 'count' });
      if (sharedFiles === 0) return;
      if (tries === 200) assert.equal(sharedFiles, 0, 'files counted as open');
      await delay(10);
    }
  }

  /** Opens, runs and closes. */
  function withOpen<T>(path: string, flags: number | string, work: (fd: number) => T): T {
    const fd = openSync(path, flags);
    try {
      return work(fd);
    } finally {
      closeSync(fd);
    }
  }

  it('hold nothing of a layer that was removed while they were open', { skip: !isOn || transport !== TRANSPORTS[0] }, async () => {
    const keptIds = async (): Promise<number> => (await mounted.must({ order: 'count' })).keptIds!;
    await mounted.must({ order: 'create', name: 'short-lived' });
    const path = join(mounted.layers, 'short-lived', 'file');
    writeFileSync(path, 'contents');
    await mounted.must({ order: 'seal', name: 'short-lived' });
    const before = await keptIds();
    const fd = openSync(path, 'r');
    assert.equal(contentsOf(fd), 'contents');
    await mounted.must({ order: 'remove', name: 'short-lived' });
    await delay(SWEEP_MS);
    closeSync(fd);
    await nothingOpen();
    for (let tries = 0; (await keptIds()) > before; tries++) {
      assert.ok(tries < 100, 'a backing id is kept of a layer that is gone');
      await delay(SWEEP_MS / 50);
    }
  });

  it('have the same contents in every layer, read or mapped', async () => {
    for (const folder of [join(mounted.layers, 'base'), join(mounted.layers, 'middle'), await clone(), await clone()]) {
      assert.ok(readFileSync(join(folder, 'large')).equals(LARGE));
      assert.equal(readFileSync(join(folder, 'small'), 'utf8'), 'as it was');
      withOpen(join(folder, 'large'), 'r', (fd) => {
        for (const shared of [true, false]) {
          const mapping = sys.mmap(fd, LARGE_BYTES, shared, true);
          assert.ok(LARGE.equals(mapping.bytes));
          mapping.unmap();
        }
      });
      withOpen(join(folder, 'large'), O_RDONLY | O_DIRECT, (fd) => {
        const buffer = Buffer.alloc(8192);
        assert.equal(readSync(fd, buffer, 0, 8192, 4096), 8192);
        assert.ok(buffer.equals(LARGE.subarray(4096, 12_288)));
      });
    }
  });

  it('are looked up by shells, which end with the mount', { skip: !isOn }, async () => {
    const children = withChildren([mounted.server.pid!]);
    const shells = children.filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'latin1').startsWith('/bin/sh\0'));
    assert.ok(shells.length > 0 && shells.length <= readdirSync(`/proc/${mounted.server.pid}/task`).length);
    await mounted.remount();
    await soon(() => assert.deepEqual(shells.filter(isRunning), []));
  });

  it('are in the page cache once', async () => {
    const folder = await clone();
    writeFileSync(join(folder, 'fresh'), LARGE);
    const parent = `clone ${clones - 1}`;
    const first = await clone(parent);
    assert.ok(readFileSync(join(first, 'fresh')).equals(LARGE));
    const before = (await mounted.must({ order: 'count' })).reads!;
    for (let i = 0; i < 5; i++) {
      const other = await clone(parent);
      withOpen(join(other, 'fresh'), 'r', (fd) => {
        const mapping = sys.mmap(fd, LARGE_BYTES, false, true);
        assert.equal(mapping.cachedPages(), isOn ? Math.ceil(LARGE_BYTES / 4096) : 0, 'pages that are there before the first read');
        mapping.unmap();
      });
      assert.ok(readFileSync(join(other, 'fresh')).equals(LARGE));
    }
    const { reads } = await mounted.must({ order: 'count' });
    assert.equal(reads! - before > 0, !isOn, `${reads! - before} reads by the other clones`);
  });

  it('become private when opened for writing, and only there', async () => {
    const folder = await clone();
    const other = await clone();
    const path = join(folder, 'small');
    const ino = statSync(path).ino;
    withOpen(path, 'r', (old) =>
      withOpen(path, 'r+', (fd) => {
        assert.equal(contentsOf(fd), 'as it was');
        assert.equal(writeSync(fd, 'AS IT IS NOW', 0), 12);
        assert.equal(contentsOf(fd), 'AS IT IS NOW');
        assert.equal(readFileSync(path, 'utf8'), 'AS IT IS NOW');
        assert.equal(contentsOf(old), isOn ? 'as it was' : 'AS IT IS NOW');
        assert.equal(fstatSync(old).size, isOn ? 9 : 12);
        assert.deepEqual([fstatSync(fd).size, statSync(path).size], [12, 12]);
        assert.deepEqual([statSync(path).ino, fstatSync(old).ino, fstatSync(fd).ino], [ino, ino, ino]);
      }),
    );
    for (const place of [other, join(mounted.layers, 'base')]) assert.equal(readFileSync(join(place, 'small'), 'utf8'), 'as it was');
    assert.equal(readFileSync(path, 'utf8'), 'AS IT IS NOW');
    await nothingOpen();
  });

  it('stay what they are when opened for writing and not written', async () => {
    const folder = await clone();
    const path = join(folder, 'large');
    const { mtimeMs, ctimeMs, blocks } = statSync(path);
    closeSync(openSync(path, O_RDWR));
    closeSync(openSync(path, O_WRONLY | O_APPEND));
    assert.ok(readFileSync(path).equals(LARGE));
    const now = statSync(path);
    assert.deepEqual([now.mtimeMs, now.ctimeMs, now.blocks], [mtimeMs, ctimeMs, blocks]);
  });

  it('are written through mappings of the layer alone', async () => {
    const folder = await clone();
    const path = join(folder, 'large');
    const old = openSync(path, O_RDONLY);
    const oldMapping = sys.mmap(old, LARGE_BYTES, true, true);
    assert.equal(oldMapping.bytes[0], LARGE[0]);
    const fd = openSync(path, O_RDWR);
    const mapping = sys.mmap(fd, LARGE_BYTES, true);
    mapping.bytes[0] = 7;
    mapping.bytes[LARGE_BYTES - 1] = 8;
    mapping.sync();
    assert.deepEqual([oldMapping.bytes[0], oldMapping.bytes[LARGE_BYTES - 1]], isOn ? [LARGE[0], LARGE.at(-1)] : [7, 8]);
    mapping.unmap();
    oldMapping.unmap();
    closeSync(fd);
    closeSync(old);
    const now = readFileSync(path);
    assert.deepEqual([now[0], now[1], now.at(-1)], [7, LARGE[1], 8]);
    assert.ok(readFileSync(join(mounted.layers, 'middle', 'large')).equals(LARGE));
  });

  it('are truncated in their layer alone', async () => {
    const ways: [string, (path: string) => void, string][] = [
      ['O_TRUNC', (path) => closeSync(openSync(path, O_WRONLY | O_TRUNC)), ''],
      ['O_TRUNC while reading', (path) => closeSync(openSync(path, O_RDONLY | O_TRUNC)), ''],
      ['O_CREAT', (path) => closeSync(openSync(path, O_RDWR | O_CREAT | O_TRUNC, 0o600)), ''],
      ['truncate', (path) => assert.equal(sys.truncate(path, 5), 0), 'as it'],
      ['truncate to more', (path) => assert.equal(sys.truncate(path, 11), 0), 'as it was\0\0'],
      ['ftruncate', (path) => withOpen(path, 'r+', (fd) => ftruncateSync(fd, 2)), 'as'],
    ];
    for (const [name, truncate, left] of ways) {
      const folder = await clone();
      const path = join(folder, 'small');
      withOpen(path, 'r', (old) => {
        truncate(path);
        assert.equal(readFileSync(path, 'latin1'), left, name);
        assert.equal(statSync(path).size, left.length, name);
        if (isOn) assert.deepEqual([contentsOf(old), fstatSync(old).size], ['as it was', 9], name);
      });
      assert.equal(readFileSync(join(mounted.layers, 'middle', 'small'), 'latin1'), 'as it was', name);
    }
  });

  it('append to what they hold', async () => {
    const path = join(await clone(), 'small');
    withOpen(path, 'a', (fd) => writeSync(fd, ', and more'));
    assert.equal(readFileSync(path, 'utf8'), 'as it was, and more');
  });

  it('get a second name, and both show the same ever after', async () => {
    const folder = await clone();
    const path = join(folder, 'small');
    const name = join(folder, 'directory', 'second');
    readFileSync(path);
    linkSync(path, name);
    assert.deepEqual([statSync(path).nlink, statSync(name).nlink], [2, 2]);
    assert.equal(statSync(path).ino, statSync(name).ino);
    withOpen(path, 'r', (fd) => {
      writeFileSync(name, 'through the second name');
      assert.equal(contentsOf(fd), 'through the second name');
    });
    unlinkSync(path);
    withOpen(name, 'r', (fd) => {
      withOpen(name, 'r+', (writer) => writeSync(writer, 'T', 0));
      assert.equal(contentsOf(fd), 'Through the second name');
    });
  });

  it('with several names are one file, also when names go', async () => {
    const folder = await clone();
    withOpen(join(folder, 'one'), 'r', (fd) => {
      withOpen(join(folder, 'other'), 'r+', (writer) => writeSync(writer, 'TWO', 0));
      assert.equal(contentsOf(fd), 'TWO names');
      unlinkSync(join(folder, 'other'));
      withOpen(join(folder, 'one'), 'r+', (writer) => writeSync(writer, 'One', 0));
      assert.equal(contentsOf(fd), 'One names');
    });
    assert.equal(readFileSync(join(mounted.layers, 'middle', 'other'), 'utf8'), 'two names');
  });

  it('run as programs, and can be replaced while they do', async () => {
    const folder = await clone();
    const path = join(folder, 'program');
    const running = spawn(path, ['100']);
    await once(running, 'spawn');
    assert.equal(
      sys.codeOf(() => openSync(path, O_RDWR)),
      'ETXTBSY',
    );
    assert.equal(spawnSync(path, ['0']).status, 0);
    copyFileSync('/bin/true', `${path}.new`);
    chmodSync(`${path}.new`, 0o755);
    renameSync(`${path}.new`, path);
    assert.equal(spawnSync(path, ['1000']).status, 0);
    assert.equal(running.exitCode, null);
    running.kill();
    await once(running, 'exit');
    assert.equal(spawnSync(join(mounted.layers, 'middle', 'program'), ['0']).status, 0);
  });

  it('run as programs after they were written', async () => {
    const path = join(await clone(), 'program');
    withOpen(path, 'r', (old) => {
      writeFileSync(path, '#!/bin/sh\nexit 7\n');
      assert.equal(spawnSync(path).status, 7);
      if (isOn) assert.equal(contentsOf(old).slice(1, 4), 'ELF');
    });
  });

  it('lose set-user-ID bits and capabilities when written', async () => {
    const folder = await clone();
    const path = join(folder, 'privileged');
    const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');
    assert.equal(sys.setxattr(path, 'security.capability', capability), 0);
    assert.equal(statSync(path).mode & 0o7777, 0o4755);
    chmodSync(path, 0o4777);
    withOpen(path, 'r', (old) => {
      sys.asUser(1000, 1000, [], () => withOpen(path, O_WRONLY, (fd) => writeSync(fd, 'y')));
      assert.equal(statSync(path).mode & 0o7777, 0o777);
      assert.equal(typeof sys.getxattr(path, 'security.capability'), 'number');
      assert.equal(contentsOf(old, 2), isOn ? 'xx' : 'yx');
    });
    assert.equal(statSync(join(mounted.layers, 'middle', 'privileged')).mode & 0o7777, 0o4755);
  });

  it('break leases when opened for writing', async () => {
    const path = join(await clone(), 'small');
    const fd = openSync(path, O_RDONLY);
    const leased = sys.setLease(fd, READ_LEASE);
    if (leased === 0) {
      process.once('SIGIO', () => undefined);
      assert.equal(
        sys.codeOf(() => openSync(path, O_WRONLY | O_NONBLOCK)),
        'EAGAIN',
      );
      assert.equal(sys.setLease(fd, NO_LEASE), 0);
    } else assert.equal(isOn, false, `leases are refused with ${sys.errorName(-leased)}`);
    withOpen(path, O_WRONLY | O_NONBLOCK, (writer) => writeSync(writer, 'AS'));
    assert.equal(contentsOf(fd), isOn ? 'as it was' : 'AS it was');
    closeSync(fd);
  });

  it('without data hold locks for readers and writers alike', async () => {
    const path = join(await clone(), 'empty');
    withOpen(path, 'r', (reader) =>
      withOpen(path, 'r+', (writer) => {
        const [LOCK_EX, LOCK_NB] = [2, 4];
        assert.equal(sys.flock(reader, LOCK_EX | LOCK_NB), 0);
        assert.equal(sys.errorName(-sys.flock(writer, LOCK_EX | LOCK_NB)), 'EAGAIN');
      }),
    );
  });

  it('keep their contents for who has them open, whatever becomes of their names', async () => {
    const folder = await clone();
    const [small, large] = [join(folder, 'small'), join(folder, 'large')];
    const open = openSync(small, O_RDONLY);
    renameSync(small, join(folder, 'directory', 'moved'));
    assert.equal(readFileSync(join(folder, 'directory', 'moved'), 'utf8'), 'as it was');
    const replaced = openSync(large, O_RDONLY);
    renameSync(join(folder, 'directory', 'moved'), large);
    assert.equal(readFileSync(large, 'utf8'), 'as it was');
    unlinkSync(large);
    assert.equal(contentsOf(open), 'as it was');
    assert.equal(contentsOf(replaced, 20), LARGE.toString('latin1', 0, 20));
    assert.deepEqual([fstatSync(open).nlink, fstatSync(open).size], [0, 9]);
    assert.equal(
      withOpen(viaProc(open), O_RDONLY, (again) => contentsOf(again)),
      'as it was',
    );
    closeSync(open);
    closeSync(replaced);
  });

  it('are unlinked and written after that by who opened them before', async () => {
    const path = join(await clone(), 'small');
    const old = openSync(path, O_RDONLY);
    const fd = openSync(path, O_RDWR);
    unlinkSync(path);
    writeSync(fd, 'no name', 0);
    assert.equal(contentsOf(fd), 'no nameas');
    if (isOn) assert.equal(contentsOf(old), 'as it was');
    closeSync(fd);
    if (isOn) assert.equal(contentsOf(old), 'as it was');
    closeSync(old);
  });

  it('without a name are freed with the last who has them open, as one or the other', async () => {
    const inodesFree = (folder: string): number => Number(statfsSync(folder).ffree);
    for (const closesOldFirst of [true, false]) {
      const folder = await clone();
      const path = join(folder, 'small');
      const before = inodesFree(folder);
      const old = openSync(path, O_RDONLY);
      const fd = openSync(path, O_RDWR);
      unlinkSync(path);
      const [first, last] = closesOldFirst ? [old, fd] : [fd, old];
      closeSync(first);
      await delay(50);
      assert.equal(inodesFree(folder), before);
      assert.equal(contentsOf(last), 'as it was');
      assert.equal(fstatSync(last).nlink, 0);
      closeSync(last);
      await soon(() => assert.equal(inodesFree(folder), before + 1));
    }
  });

  it('are found and copied as they were through openings from before', { skip: !isOn }, async () => {
    const folder = await clone();
    const path = join(folder, 'large');
    const old = openSync(path, O_RDONLY);
    writeFileSync(path, 'short');
    const target = openSync(join(folder, 'copy'), O_RDWR | O_CREAT);
    assert.equal(sys.copyFileRange(old, 0, target, 0, 10_000), 10_000);
    assert.ok(readFileSync(join(folder, 'copy')).equals(LARGE.subarray(0, 10_000)));
    assert.equal(sys.lseek(old, 4_000_000, sys.SEEK_DATA), 4_000_000);
    assert.equal(sys.lseek(old, 0, sys.SEEK_HOLE), LARGE_BYTES);
    closeSync(target);
    closeSync(old);
  });

  it('show changes of attributes through both of their inodes', async () => {
    const path = join(await clone(), 'small');
    const old = openSync(path, O_RDONLY);
    withOpen(path, 'r+', () => undefined);
    assert.equal(statSync(path).mode & 0o777, 0o644);
    fchmodSync(old, 0o640);
    await soon(() => assert.equal(statSync(path).mode & 0o777, 0o640));
    chmodSync(path, 0o604);
    await soon(() => assert.equal(fstatSync(old).mode & 0o777, 0o604));
    closeSync(old);
  });

  it('are listed and found with the same number, shared or private', async () => {
    const folder = await clone();
    const listing = (): string[] => readdirSync(folder, { withFileTypes: true }).map((entry) => `${entry.name} ${entry.isFile()}`);
    const before = listing();
    const stats = readdirSync(folder).map((name) => statSync(join(folder, name)).ino);
    closeSync(openSync(join(folder, 'small'), O_RDWR));
    assert.deepEqual(listing(), before);
    assert.deepEqual(
      readdirSync(folder).map((name) => statSync(join(folder, name)).ino),
      stats,
    );
  });

  describe('by the back door', { skip: !isOn }, () => {
    it('are written through a descriptor that was opened as a path only', async () => {
      const folder = await clone();
      const path = join(folder, 'small');
      const handle = openSync(path, O_PATH);
      withOpen(viaProc(handle), O_RDWR, (fd) => {
        assert.equal(contentsOf(fd), 'as it was');
        assert.equal(writeSync(fd, 'AS IT IS NOW', 0), 12);
        assert.equal(contentsOf(fd), 'AS IT IS NOW');
        assert.equal(fstatSync(fd).size, 12);
      });
      closeSync(handle);
      await soon(() => assert.equal(readFileSync(path, 'utf8'), 'AS IT IS NOW'));
      assert.equal(statSync(path).size, 12);
      assert.equal(readFileSync(join(mounted.layers, 'middle', 'small'), 'utf8'), 'as it was');
    });

    it('append at their end, wherever that is by now', async () => {
      const path = join(await clone(), 'small');
      const handle = openSync(path, O_PATH);
      const fd = openSync(viaProc(handle), O_WRONLY | O_APPEND);
      writeFileSync(path, 'something longer');
      writeSync(fd, ', appended');
      await soon(() => assert.equal(readFileSync(path, 'utf8'), 'something longer, appended'));
      closeSync(fd);
      closeSync(handle);
    });

    it('are read as they are now through a path descriptor from before', async () => {
      const path = join(await clone(), 'small');
      const handle = openSync(path, O_PATH);
      writeFileSync(path, 'changed meanwhile');
      assert.equal(
        withOpen(viaProc(handle), O_RDONLY, (fd) => contentsOf(fd)),
        'changed meanwhile',
      );
      const old = openSync(viaProc(handle), O_RDONLY);
      const mapping = sys.mmap(old, 8, false);
      assert.equal(Buffer.from(mapping.bytes).toString(), 'changed ');
      mapping.unmap();
      closeSync(old);
      closeSync(handle);
    });

    it('are not written while somebody has the shared contents open', async () => {
      const path = join(await clone(), 'small');
      const old = openSync(path, O_RDONLY);
      for (const flags of [O_RDWR, O_WRONLY, O_WRONLY | O_TRUNC]) {
        assert.equal(
          sys.codeOf(() => openSync(viaProc(old), flags)),
          'ETXTBSY',
        );
      }
      assert.equal(readFileSync(path, 'utf8'), 'as it was');
      writeFileSync(path, 'changed');
      withOpen(viaProc(old), O_RDONLY, (again) => assert.equal(contentsOf(again), 'changed'));
      assert.equal(contentsOf(old), 'as it was');
      closeSync(old);
      await nothingOpen();
    });

    it('are kept without a name while they are open, and no longer', async () => {
      const folder = await clone();
      const path = join(folder, 'small');
      const before = Number(statfsSync(folder).ffree);
      const handle = openSync(path, O_PATH);
      const fd = openSync(viaProc(handle), O_RDWR);
      await soon(() => assert.equal(writeSync(fd, 'x', 20), 1));
      unlinkSync(path);
      closeSync(handle);
      await delay(50);
      assert.equal(contentsOf(fd), `as it was${'\0'.repeat(11)}x`);
      closeSync(fd);
      await soon(() => assert.equal(Number(statfsSync(folder).ffree), before + 1));
    });

    it('are truncated and linked', async () => {
      const folder = await clone();
      const path = join(folder, 'small');
      const handle = openSync(path, O_PATH);
      assert.equal(sys.truncate(viaProc(handle), 5), 0);
      await soon(() => assert.equal(readFileSync(path, 'utf8'), 'as it'));
      assert.equal(sys.linkDescriptor(handle, join(folder, 'linked')), 0);
      await soon(() => assert.deepEqual([statSync(path).nlink, statSync(join(folder, 'linked')).nlink], [2, 2]));
      writeFileSync(join(folder, 'linked'), 'one file');
      await soon(() => assert.equal(readFileSync(path, 'utf8'), 'one file'));
      closeSync(handle);
    });

    it('are written where one file is a mount', async () => {
      const folder = await clone();
      const path = join(folder, 'small');
      const target = join(mounted.folder, 'bound');
      writeFileSync(target, '');
      const MS_BIND = 4096;
      assert.equal(sys.mount(path, target, MS_BIND), 0);
      try {
        writeFileSync(target, 'through the mount');
        assert.equal(readFileSync(target, 'utf8'), 'through the mount');
        withOpen(target, 'a', (fd) => writeSync(fd, '!'));
        await soon(() => assert.equal(readFileSync(path, 'utf8'), 'through the mount!'));
      } finally {
        assert.equal(sys.umount(target), 0);
      }
    });

    it('cannot be mapped for writing, so what all share stays as it is', async () => {
      const path = join(await clone(), 'large');
      const handle = openSync(path, O_PATH);
      withOpen(viaProc(handle), O_RDWR, (fd) => {
        assert.throws(() => sys.mmap(fd, 4096, true), /error 19/);
        const mapping = sys.mmap(fd, 4096, false);
        mapping.bytes[0] = 1;
        mapping.unmap();
      });
      closeSync(handle);
      assert.ok(readFileSync(join(mounted.layers, 'middle', 'large')).equals(LARGE));
    });
  });

  it('outlive the removal of their layer without harm', async () => {
    const folder = await clone();
    const name = `clone ${clones - 1}`;
    const [cached, uncached] = [openSync(join(folder, 'small'), O_RDONLY), openSync(join(folder, 'large'), O_RDONLY)];
    const mapping = sys.mmap(uncached, LARGE_BYTES, false, true);
    assert.equal(contentsOf(cached), 'as it was');
    await mounted.must({ order: 'remove', name });
    assert.match(
      sys.codeOf(() => openSync(join(folder, 'small'), O_RDONLY))!,
      /ENOENT|-116/,
    );
    if (isOn) assert.deepEqual([contentsOf(cached), mapping.bytes[0]], ['as it was', LARGE[0]]);
    else assert.match(sys.codeOf(() => void contentsOf(cached)) ?? contentsOf(cached), /as it was|EIO|-116/);
    mapping.unmap();
    closeSync(cached);
    closeSync(uncached);
    assert.equal(readFileSync(join(mounted.layers, 'middle', 'small'), 'utf8'), 'as it was');
  });

  it('of a layer that is removed with its parents leave nothing behind', async () => {
    await mounted.must({ order: 'create', name: 'whole' });
    writeFileSync(join(mounted.layers, 'whole', 'file'), LARGE);
    await mounted.must({ order: 'create', name: 'part', parent: 'whole' });
    const fd = openSync(join(mounted.layers, 'part', 'file'), O_RDONLY);
    assert.equal(contentsOf(fd, 8), LARGE.toString('latin1', 0, 8));
    await mounted.must({ order: 'remove', name: 'part' });
    await mounted.must({ order: 'remove', name: 'whole' });
    const late = Buffer.alloc(4096);
    // What was not cached can't be read any more; what was may be.
    const code = sys.codeOf(() => void readSync(fd, late, 0, 4096, 4_500_000));
    assert.ok(code === undefined || /EIO|-116/.test(code), code);
    if (code === undefined) assert.ok(late.equals(LARGE.subarray(4_500_000, 4_504_096)));
    closeSync(fd);
    await nothingOpen();
  });

  it('of a sealed layer are read and not written', async () => {
    const path = join(mounted.layers, 'base', 'small');
    withOpen(path, O_RDONLY, (fd) => assert.equal(contentsOf(fd), 'as it was'));
    for (const flags of [O_RDWR, O_WRONLY | O_TRUNC])
      assert.equal(
        sys.codeOf(() => openSync(path, flags)),
        'EROFS',
      );
    assert.equal(sys.errorName(-sys.truncate(path, 0)), 'EROFS');
    assert.equal(
      sys.codeOf(() => linkSync(path, join(mounted.layers, 'base', 'linked'))),
      'EROFS',
    );
  });

  it('switch under readers, writers and mappings at once', async () => {
    const folder = await clone();
    const FILES = 40;
    mkdirSync(join(folder, 'many'));
    for (let i = 0; i < FILES; i++) writeFileSync(join(folder, 'many', String(i)), Buffer.alloc(50_000, 'a'));
    const layer = await clone(`clone ${clones - 1}`);
    const roles = ['reader', 'mapper', 'writer', 'reader', 'truncater'];
    const workers = roles.map((role, id) => {
      const worker = new Worker(new URL('./switcher.js', import.meta.url), {
        workerData: { directory: join(layer, 'many'), role, id, files: FILES },
      });
      return once(worker, 'exit').then(([code]) => assert.equal(code, 0, `${role} ended with ${code}`));
    });
    await Promise.all(workers);
    for (let i = 0; i < FILES; i++) assert.ok(readFileSync(join(folder, 'many', String(i))).equals(Buffer.alloc(50_000, 'a')));
    await nothingOpen();
  });
}
