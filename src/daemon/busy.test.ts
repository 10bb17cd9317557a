import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { test } from 'node:test';
import type { MountEntry } from '../linux/mount.js';
import { mountsOn, processesOn } from './busy.js';

const entry = (mountpoint: string, device: number, type = 'fuse.lcfs'): MountEntry => ({ mountpoint, device, type, source: '', root: '/' });

test('mounts on top of a mount and other views of it count as users', () => {
  const mounts = [
    entry('/', 1, 'ext4'),
    entry('/lcfs', 50),
    entry('/lcfs/global/tmp', 51, 'tmpfs'),
    entry('/mnt/view', 50),
    entry('/lcfs2', 52),
  ];
  assert.deepEqual(mountsOn(mounts[1]!, mounts), ['/lcfs/global/tmp', '/mnt/view']);
});

test('a process with its working directory on a device is found', async () => {
  const child = spawn('sleep', ['30'], { cwd: '/dev/shm' });
  try {
    await once(child, 'spawn');
    const { dev } = statSync('/dev/shm');
    const users = processesOn(`${dev >> 8}:${dev & 0xff}`);
    assert.ok(users.some((user) => user.pid === child.pid && user.what === 'working directory'));
    assert.ok(users.every((user) => user.pid !== process.pid));
  } finally {
    child.kill('SIGKILL');
  }
});
