/** Mounting, unmounting and what can come in between, over each transport. */
import assert from 'node:assert/strict';
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  rmdirSync,
  statSync,
  statfsSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterEach, describe, it } from 'node:test';
import { LcfsError } from '../../src/engine/errors.js';
import { abortConnection, findMount } from '../../src/linux/mount.js';
import { startFuse } from '../../src/fuse/session.js';
import type { VolumeHandle } from '../../src/engine/volume.js';
import { Mounted, TRANSPORTS, cannotMount } from './mounted.js';
import * as sys from './syscalls.js';

let mounted: Mounted | undefined;

afterEach(async () => {
  await mounted?.end();
  mounted = undefined;
});

async function mount(transport: 'auto' | 'uring' | 'devfuse'): Promise<Mounted> {
  mounted = new Mounted(transport);
  return mounted.ready();
}

/** The error of starting on a mount point where that is refused before the volume matters. */
async function refusal(mountpoint: string): Promise<LcfsError> {
  try {
    await startFuse({} as VolumeHandle, { mountpoint, source: 'none', log: () => undefined });
  } catch (error) {
    assert.ok(error instanceof LcfsError, String(error));
    return error;
  }
  throw new Error(`starting at ${mountpoint} was not refused`);
}

describe('a session', { skip: cannotMount }, () => {
  it('prefers io_uring', async () => {
    const { transport, mountpoint, connection } = await mount('auto');
    assert.equal(transport, 'uring');
    assert.equal(readFileSync('/sys/module/fuse/parameters/enable_uring', 'latin1').trim(), 'Y');
    assert.equal(readFileSync(`/sys/class/bdi/0:${connection}/read_ahead_kb`, 'latin1').trim(), '1024');
    const { type, source } = findMount(mountpoint)!;
    assert.equal(type, 'fuse.lcfs');
    assert.ok(source.endsWith('/volume'));
  });

  it('refuses mount points that cannot be', async () => {
    const { mountpoint, folder } = await mount('auto');
    const taken = await refusal(mountpoint);
    assert.equal(taken.code, 'busy');
    assert.match(taken.message, /already has LCFS volume .*volume mounted/);
    const absent = await refusal(join(folder, 'absent'));
    assert.deepEqual([absent.code, /does not exist/.test(absent.message)], ['not-found', true]);
    writeFileSync(join(folder, 'file'), '');
    assert.equal((await refusal(join(folder, 'file'))).code, 'invalid');
  });

  for (const transport of TRANSPORTS) describe(`over ${transport}`, () => lifeCycle(transport));
});

function lifeCycle(transport: 'uring' | 'devfuse'): void {
  it('stops and starts again with everything there', async () => {
    const { global, mountpoint } = await mount(transport);
    writeFileSync(join(global, 'file'), 'kept');
    await mounted!.must({ order: 'stop', options: {} });
    assert.equal(findMount(mountpoint), undefined);
    await mounted!.must({ order: 'start' });
    assert.equal(readFileSync(join(global, 'file'), 'utf8'), 'kept');
    await mounted!.prove();
  });

  it('refuses to stop while it is in use, and stops when it must', async () => {
    const { global } = await mount(transport);
    writeFileSync(join(global, 'open'), 'still there');
    const fd = openSync(join(global, 'open'), 'r');
    const refused = await mounted!.order({ order: 'stop', options: {} });
    assert.deepEqual([refused.kind, refused.code], ['failed', 'busy']);
    assert.match(refused.message!, /in use/);
    assert.equal(readFileSync(join(global, 'open'), 'utf8'), 'still there');
    await mounted!.must({ order: 'stop', options: { lazy: true, timeoutMs: 100 } });
    assert.equal(
      sys.codeOf(() => void statSync(`/proc/self/fd/${fd}`)),
      'ENOTCONN',
    );
    closeSync(fd);
    await mounted!.must({ order: 'start' });
    assert.equal(readFileSync(join(global, 'open'), 'utf8'), 'still there');
  });

  it('waits for the last user after a lazy stop', async () => {
    const { global } = await mount(transport);
    writeFileSync(join(global, 'open'), 'still there');
    const fd = openSync(join(global, 'open'), 'r');
    mounted!.server.send({ order: 'stop', options: { lazy: true, timeoutMs: 10_000 } });
    while (findMount(mounted!.mountpoint) !== undefined) await new Promise((resolve) => setTimeout(resolve, 20));
    const buffer = Buffer.alloc(11);
    assert.equal(readSync(fd, buffer), 11);
    closeSync(fd);
    const { kind } = await mounted!.report('done', 'failed');
    assert.equal(kind, 'done');
  });

  it('notices that it was unmounted', async () => {
    const { mountpoint, global } = await mount(transport);
    writeFileSync(join(global, 'file'), 'kept');
    assert.equal(sys.umount(mountpoint), 0);
    const { message } = await mounted!.report('ended');
    assert.equal(message, undefined, 'the session ended, not the process');
    await mounted!.must({ order: 'start' });
    assert.equal(readFileSync(join(global, 'file'), 'utf8'), 'kept');
  });

  it('notices that its connection was aborted', async () => {
    const { connection, mountpoint, global } = await mount(transport);
    abortConnection(connection);
    const { message } = await mounted!.report('ended');
    assert.equal(message, undefined);
    assert.equal(
      sys.codeOf(() => void statSync(global)),
      'ENOTCONN',
    );
    assert.equal(sys.umount(mountpoint), 0);
  });

  it('leaves a dead mount when it is killed, which the next one names', async () => {
    const { server, mountpoint, global } = await mount(transport);
    server.kill('SIGKILL');
    await once(server, 'exit');
    // The kernel lets go of an io_uring, and with it of the connection, a moment after its process has ended.
    while (sys.codeOf(() => void statSync(global)) !== 'ENOTCONN') await new Promise((resolve) => setTimeout(resolve, 20));
    const refused = await refusal(mountpoint);
    assert.equal(refused.code, 'busy');
    assert.match(refused.message, /dead FUSE mount.*umount -l/);
    assert.equal(sys.umount(mountpoint), 0);
  });

  it('frees what was unlinked but open when it ended', async () => {
    const { global, mountpoint } = await mount(transport);
    const free = statfsSync(global).bfree;
    const fd = openSync(join(global, 'unlinked'), 'w+');
    writeFileSync(fd, Buffer.alloc(4 << 20, 1));
    unlinkSync(join(global, 'unlinked'));
    await mounted!.must({ order: 'stop', options: { lazy: true, timeoutMs: 50 } });
    closeSync(fd);
    await mounted!.must({ order: 'start' });
    assert.ok(statfsSync(join(mountpoint, 'global')).bfree > free - 100);
    await mounted!.prove();
  });

  it('survives callers that are killed in the middle of a request', async () => {
    const { global } = await mount(transport);
    for (let round = 0; round < 20; round++) {
      const directory = join(global, `killed ${round}`);
      mkdirSync(directory);
      const child = spawn('sh', [
        '-c',
        `while :; do : > "${directory}/a"; mv "${directory}/a" "${directory}/b"; rm "${directory}/b"; done`,
      ]);
      await new Promise((resolve) => setTimeout(resolve, 20 + round * 3));
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    for (let round = 0; round < 20; round++)
      assert.equal(
        sys.codeOf(() => void statSync(join(global, `killed ${round}`))),
        undefined,
      );
    await mounted!.prove();
    assert.equal(
      sys.codeOf(() => rmdirSync(global)),
      'EPERM',
    );
  });
}
