/**
 * What must hold for every containerd that uses LCFS: a function over the suite it comes from, run by one test file each.
 */
import assert from 'node:assert/strict';
import { closeSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { after, before, describe } from 'node:test';
import { containerdConfig, takesDiffers, withImport } from '../../src/cli/setup/containerd-config.js';
import { withCri } from '../../src/cli/setup/cri-config.js';
import { isAtLeast, type Version } from '../../src/cli/setup/version.js';
import { PATIENCE_MS, waitUntil, within } from '../../scripts/lib/limits.js';
import { unmountBelow } from '../../scripts/lib/mounts.js';
import type { RunResult } from '../../scripts/lib/run.js';
import type { SuiteName } from '../../scripts/lib/suites.js';
import { blobFile, chainIds, type Image, packImage } from '../../scripts/lib/oci.js';
import { casesOn, SETUP_MS } from './cases.js';
import { brokenImages, damagedImage, largeImage } from './containerd-images.js';
import { Stack } from './containerd-harness.js';
import { criPull, criRemove, KUBERNETES_NAMESPACE } from './cri.js';
import { assertSame } from './harness.js';
import { listTar } from './tar-list.js';

const WRITE = 'echo one > /one; mkdir /two; echo x > /etc/passwd; rm -r /deep; chmod 700 /var; ln /one /two/three';
/** What the volume's own records may take more than before; less than the smallest layer that the tests unpack. */
const BLOCKS_SLACK = 32;
/** So much of the large layer, 200 MB, is unpacked when something dies. */
const BLOCKS_UNPACKED = 4096;
/** Configurations of CRI by the version of the file, as of somebody who has set a snapshotter and a runtime. */
const OTHER_SNAPSHOTTER = [
  '[plugins.cri.containerd]\n  snapshotter = "native"\n[plugins.cri.containerd.runtimes.x]\n  runtime_type = "x"\n',
  '[plugins."io.containerd.grpc.v1.cri".containerd]\n  snapshotter = "native"\n[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.x]\n  runtime_type = "x"\n',
  "[plugins.'io.containerd.cri.v1.images']\n  snapshotter = 'native'\n",
];
/** In what containerd takes its configuration to be: the table of CRI, and in it the snapshotter. */
const CRI_SNAPSHOTTER =
  /\[plugins\.["']io\.containerd\.(grpc\.v1\.cri["']\.containerd|cri\.v1\.images["'])\]\n(?:(?!\s*\[).*\n)*?\s*snapshotter = ["']lcfs["']/;
/** What a case does in the middle of something is done in vain if that has ended meanwhile. */
const TRIES = 10;

/** @param expected says whether a version is one that the tests are meant for */
export function containerdTests(suite: SuiteName | undefined, expected: (version: Version) => boolean): void {
  describe(`containerd of ${suite ?? 'this machine'}`, () => {
    const stack = new Stack();
    let odd = '';
    let plain = '';
    let usedAtStart = 0;
    before(
      async () => {
        await stack.start(suite);
        odd = stack.registry.add('odd', stack.images.odd);
        plain = stack.registry.add('plain', stack.images.plain);
        usedAtStart = await stack.usedBlocks();
      },
      { timeout: SETUP_MS },
    );
    after(() => stack.stop());

    const differ = (): boolean => takesDiffers(stack.containerd.version);
    const layersFetched = (): string[] => {
      const layers = new Set(stack.images.odd.manifest.layers.map(({ digest }) => digest));
      return stack.registry.fetched.filter((digest) => layers.has(digest));
    };
    const startAfresh = async (): Promise<void> => {
      await stack.startAfresh();
      usedAtStart = await stack.usedBlocks();
    };
    const check = casesOn({ startAfresh, logs: () => stack.logs() });

    check('is a version that this is meant for', async () => {
      assert.ok(expected(stack.containerd.version), stack.containerd.versionText);
      const plugins = await stack.ctr('plugins', 'ls');
      assert.match(plugins, /io\.containerd\.snapshotter\.v1\s+lcfs\s.*ok/);
      if (differ()) assert.match(plugins, /io\.containerd\.differ\.v1\s+lcfs-diff\s.*ok/);
    });

    check('reads what lcfs setup writes, beside a main file of each version', async () => {
      const { version, address } = stack.containerd;
      for (const configVersion of isAtLeast(version, 2) ? [1, 2, 3] : [1, 2]) {
        const ours = stack.path(`ours-${configVersion}.toml`);
        const main = stack.path(`main-${configVersion}.toml`);
        const target = { version, configVersion, socket: stack.socket, mountpoint: stack.lcfs.mountpoint, platform: 'linux/amd64' };
        // Without a version, as Docker's packages of containerd have it.
        const text = configVersion === 1 ? 'disabled_plugins = ["cri"]\n' : `version = ${configVersion}\n`;
        writeFileSync(ours, containerdConfig(target));
        writeFileSync(main, withImport(`${text}[grpc]\n  address = "${address}"\n`, ours));
        const dump = await stack.run('containerd', '--config', main, 'config', 'dump');
        assert.match(dump, /\[proxy_plugins\.lcfs\]/);
        if (differ()) assert.match(dump, /default = \[['"]lcfs-diff['"], ['"]walking['"]\]/);
      }
    });

    check('takes LCFS for Kubernetes from what lcfs setup --kubernetes writes, into files of each version', async () => {
      const { version } = stack.containerd;
      const heads = ['', 'version = 2\n', ...(isAtLeast(version, 2) ? ['version = 3\n'] : [])];
      for (const [i, head] of heads.entries()) {
        for (const [form, text] of [head, head + OTHER_SNAPSHOTTER[i]!].entries()) {
          const main = stack.path(`kubernetes-${i}-${form}.toml`);
          writeFileSync(main, withCri(text, i + 1, version));
          // What containerd 2 takes from an older file is told by another command.
          const config = await stack.run('containerd', '--config', main, 'config', isAtLeast(version, 2) ? 'migrate' : 'dump');
          assert.match(config, CRI_SNAPSHOTTER);
        }
      }
    });

    check('an image pulled from a registry has the files that it has on overlayfs, layer by layer', async () => {
      await forget(stack, odd);
      await stack.pull(odd);
      const committed = [...(await stack.snapshots())].filter(([, kind]) => kind === 'Committed').map(([key]) => key);
      assert.deepEqual(committed.toSorted(), chainIds(stack.images.odd.diffIds).toSorted());
      await stack.pull(odd, 'overlayfs');
      await stack.assertSameFiles(stack.images.odd, 'overlayfs');
    });

    check('layers went through the differ where containerd takes one', async () => {
      await stack.pull(odd);
      const through = (await stack.layers()).map(({ properties }) => properties['diff-id']).filter((id) => id !== undefined);
      assert.deepEqual(through.toSorted(), differ() ? stack.images.odd.diffIds.toSorted() : []);
    });

    check('containers write for themselves', async () => {
      await stack.pull(odd);
      await stack.pull(odd, 'overlayfs');
      assert.match(await stack.runContainer(odd, 'c1', `${WRITE}; cat /one; grep ' / ' /proc/self/mounts`), /^one\n\S+ \/ fuse/);
      assert.equal(
        await stack.runContainer(odd, 'c2', 'ls -d /one /deep /two 2>&1; stat -c %a /var', '--rm').catch(String),
        await listing(),
      );
      assert.equal((await stack.snapshots()).get('c1'), 'Active');
      assert.equal((await stack.snapshots()).has('c2'), false, 'went with its container');
    });
    /** A container that has written, named c1. */
    const needWritten = async (): Promise<void> => {
      await stack.pull(odd);
      if (!(await stack.snapshots()).has('c1')) await stack.runContainer(odd, 'c1', WRITE);
    };
    const listing = async (): Promise<string> => {
      // What the image itself has, by way of the other snapshotter.
      const options = ['--cgroup', `/${stack.containerd.cgroup}/o1`, '--snapshotter', 'overlayfs', '--rm'];
      return stack.ctr('run', ...options, odd, 'o1', 'sh', '-c', 'ls -d /one /deep /two 2>&1; stat -c %a /var').catch(String);
    };

    check('the diff of a container is what it is on overlayfs', async () => {
      await needWritten();
      await stack.pull(odd, 'overlayfs');
      const options = ['--cgroup', `/${stack.containerd.cgroup}/c1`, '--snapshotter', 'overlayfs'];
      await stack.ctr('run', ...options, odd, 'o2', 'sh', '-c', WRITE);
      const diff = async (snapshotter: string, key: string): Promise<Map<string, string>> => {
        const file = stack.path(`${snapshotter}.tar`);
        const command = stack.containerd.command('--namespace', 'test', 'snapshots', '--snapshotter', snapshotter, 'diff', key);
        await stack.hostShell(`${command.join(' ')} > ${file}.gz && gzip -dc ${file}.gz > ${file}`);
        return listTar(file);
      };
      assertSame(await diff('lcfs', 'c1'), await diff('overlayfs', 'o2'), ['lcfs', 'overlayfs']);
      await stack.ctr('containers', 'rm', 'o2');
    });

    check('a container can be committed, and others are made of that', async () => {
      await needWritten();
      await stack.ctr('snapshots', '--snapshotter', 'lcfs', 'commit', 'mine', 'c1');
      const files = await stack.files('mine', 'lcfs');
      assert.ok(files.has('one') && files.has('two/three') && !files.has('deep/er/second-name'));
      await stack.ctr('snapshots', '--snapshotter', 'lcfs', 'prepare', 'on-mine', 'mine');
      assert.equal((await stack.snapshots()).get('mine'), 'Committed');
      const again = await stack.containerd.try('snapshots', '--snapshotter', 'lcfs', 'commit', 'mine2', 'mine');
      assert.notEqual(again.status, 0, 'what is committed cannot be committed');
      await stack.ctr('snapshots', '--snapshotter', 'lcfs', 'rm', 'on-mine');
      await stack.ctr('snapshots', '--snapshotter', 'lcfs', 'rm', 'mine');
      await stack.ctr('containers', 'rm', 'c1');
    });

    check('another namespace shares the layers that are there', async () => {
      await stack.pull(odd);
      await stack.containerd.collectGarbage();
      const before = await stack.layers();
      stack.registry.fetched = [];
      await stack.pullSharing(odd, 'other');
      const sameLayers = (await stack.layers()).map(({ name }) => name);
      assert.deepEqual(sameLayers.toSorted(), before.map(({ name }) => name).toSorted());
      assert.deepEqual(layersFetched(), []);
      assert.deepEqual([...(await stack.snapshots('lcfs', 'other')).keys()].toSorted(), chainIds(stack.images.odd.diffIds).toSorted());
      const options = ['--cgroup', `/${stack.containerd.cgroup}/n1`, '--snapshotter', 'lcfs', '--rm'];
      assert.equal(await stack.containerd.ctrIn('other', 'run', ...options, odd, 'n1', 'sh', '-c', 'cat /etc/new'), 'new');
    });

    check('Kubernetes pulls onto LCFS, and shares the layers that are there', async () => {
      const { containerd } = stack;
      await stack.pull(odd);
      await containerd.collectGarbage(); // after a restart it would not know of any
      await restartContainerd(stack, { servesKubernetes: true });
      const before = (await stack.layers()).map(({ name }) => name);
      stack.registry.fetched = [];
      await criPull(containerd.address, odd);
      assert.deepEqual(
        [...(await stack.snapshots('lcfs', KUBERNETES_NAMESPACE)).keys()].toSorted(),
        chainIds(stack.images.odd.diffIds).toSorted(),
      );
      assert.deepEqual(
        (await stack.layers()).map(({ name }) => name),
        before,
      );
      assert.deepEqual(layersFetched(), []);
      await criRemove(containerd.address, odd);
      await containerd.collectGarbage();
      assert.equal((await stack.snapshots('lcfs', KUBERNETES_NAMESPACE)).size, 0);
      assert.equal((await stack.layers()).length, before.length);
      await restartContainerd(stack, { servesKubernetes: false });
    });

    check('what one namespace removes stays for the other; the last one gives the space back', async () => {
      await stack.containerd.try('containers', 'rm', 'c1'); // one that no case has removed would hold its image
      await stack.pull(odd);
      await stack.pullSharing(odd, 'other');
      await stack.ctr('images', 'rm', '--sync', odd);
      assert.equal((await stack.snapshots()).size, 0);
      assert.equal((await stack.layers()).length, stack.images.odd.diffIds.length);
      await stack.containerd.ctrIn('other', 'images', 'rm', '--sync', odd);
      await stack.containerd.collectGarbage();
      assert.deepEqual(await stack.layers(), []);
      await stack.spaceComesBack(usedAtStart + BLOCKS_SLACK);
    });

    check('a container goes on while containerd is restarted, and while it has crashed', async () => {
      await stack.pull(plain);
      await stack.runContainer(plain, 'long', 'echo before > /file; sleep 10000', '--detach');
      const exec = (id: string, script: string): Promise<string> => stack.ctr('tasks', 'exec', '--exec-id', id, 'long', 'sh', '-c', script);
      await exec('e1', 'until grep -q before /file; do sleep 0.1; done');
      await stack.containerd.stop();
      await stack.containerd.start();
      assert.match(await stack.ctr('tasks', 'ls'), /long\s+\d+\s+RUNNING/);
      await stack.containerd.kill();
      await stack.containerd.start();
      assert.equal(await exec('e2', 'echo after >> /file; cat /file'), 'before\nafter');
      await stack.ctr('tasks', 'kill', '--signal', 'SIGKILL', 'long');
      await waitUntil('the container has stopped', async () => /STOPPED/.test(await stack.ctr('tasks', 'ls')));
      await stack.ctr('tasks', 'rm', 'long');
      await stack.ctr('containers', 'rm', 'long');
    });

    check('LCFS restarts beside a containerd that runs, and loses nothing', async () => {
      await stack.pull(plain);
      await stack.runContainer(plain, 'ended', 'echo kept > /file');
      const before = [...(await stack.snapshots())];
      await stack.lcfs.stop();
      await stack.startLcfs();
      assert.deepEqual([...(await stack.snapshots())], before);
      assert.ok((await stack.activeFiles('ended', 'lcfs')).has('file'));
      await stack.ctr('containers', 'rm', 'ended');
      assert.equal(await stack.runContainer(plain, 'c3', 'echo hello', '--rm'), 'hello');
    });

    check('a committed layer is there after LCFS was killed', async () => {
      await stack.pull(odd, 'overlayfs');
      await stack.pull(odd);
      await stack.killLcfs();
      await stack.startLcfs();
      await stack.assertSameFiles(stack.images.odd, 'overlayfs');
      await stack.ctr('images', 'rm', '--sync', odd);
    });

    /** Starts containerd again without anything that it knew. */
    const loseDatabase = async (): Promise<void> => {
      await stack.containerd.stop();
      await unmountBelow(stack.path('c/root'));
      rmSync(stack.path('c/root'), { recursive: true });
      await stack.containerd.start();
    };

    check('layers outlive the database of containerd: nothing is downloaded or unpacked again', async () => {
      await stack.pull(odd);
      await loseDatabase();
      const before = (await stack.layers()).map(({ name, created }) => `${name} ${created}`);
      stack.registry.fetched = [];
      // The transfer service of containerd 2 asks for layers before it downloads them; ctr before that does not.
      if (isAtLeast(stack.containerd.version, 2)) await stack.pull(odd);
      else await stack.pullSharing(odd);
      assert.deepEqual(
        (await stack.layers()).map(({ name, created }) => `${name} ${created}`),
        before,
      );
      assert.deepEqual(layersFetched(), []);
      assert.equal(await stack.runContainer(odd, 'c4', 'cat /etc/new', '--rm'), 'new');
      await stack.ctr('images', 'rm', '--sync', odd);
      await stack.containerd.collectGarbage();
    });

    check('a client that does not say what it is going to make shares the layers of a lost database, too', async () => {
      // A new database counts from one again: each commit has a name that a snapshot of the lost one bears.
      await loseDatabase();
      await stack.pull(odd);
      const before = (await stack.layers()).map(({ name, created }) => `${name} ${created}`);
      await loseDatabase();
      await stack.pull(odd);
      assert.deepEqual(
        (await stack.layers()).map(({ name, created }) => `${name} ${created}`),
        before,
      );
      assert.deepEqual([...(await stack.snapshots()).keys()].toSorted(), chainIds(stack.images.odd.diffIds).toSorted());
      await stack.pull(odd, 'overlayfs');
      await stack.assertSameFiles(stack.images.odd, 'overlayfs');
      assert.equal(await stack.runContainer(odd, 'c5', 'cat /etc/new', '--rm'), 'new');
      await stack.ctr('images', 'rm', '--sync', odd);
      await stack.containerd.collectGarbage();
      assert.deepEqual(await stack.layers(), []);
    });

    check('broken layers are refused and leave nothing', async () => {
      const used = await stack.usedBlocks();
      const known = (await stack.layers()).length;
      for (const [name, image] of await brokenImages(stack.path('i'), stack.images.plain)) {
        const reference = stack.registry.add(`broken-${name}`, image);
        const pulled = await stack.containerd.try('images', 'pull', '--plain-http', '--snapshotter', 'lcfs', reference);
        assert.notEqual(pulled.status, 0, `${name}: ${pulled.stdout}`);
        assert.ok(![...(await stack.snapshots()).keys()].some((key) => key.startsWith('extract')), `${name} left a snapshot`);
        await forget(stack, reference);
        assert.equal((await stack.layers()).length, known, `${name} left a layer`);
      }
      await stack.spaceComesBack(used + BLOCKS_SLACK);
    });

    check('a blob that was damaged in the content store is found out', async () => {
      const [reference, image] = ['docker.io/lcfs/damaged:1', await damagedImage(stack.path('i'))];
      await packImage(image, reference, stack.path('damaged.tar'));
      const local = isAtLeast(stack.containerd.version, 2) ? ['--local'] : [];
      await stack.ctr('images', 'import', '--no-unpack', ...local, stack.path('damaged.tar'));
      const content = stack.path('c/root/io.containerd.content.v1.content');
      const fd = openSync(blobFile(content, image.manifest.layers[0]!), 'r+');
      writeSync(fd, Buffer.from('damage'), 0, 6, 1_000_000);
      closeSync(fd);
      const ran = await stack.runContainer(reference, 'd1', 'true').catch(String);
      assert.match(ran, /sha256/);
      assert.deepEqual(
        [...(await stack.snapshots()).keys()].filter((key) => key.startsWith('extract') || key === 'd1'),
        [],
      );
      await forget(stack, reference);
    });

    /** Begins to pull an image. Unless it is waited for, nobody minds how it ends. */
    const beginPull = (reference: string): Promise<RunResult> => {
      const pulling = stack.containerd.try('images', 'pull', '--plain-http', '--snapshotter', 'lcfs', reference);
      pulling.catch(() => {});
      return pulling;
    };

    check('a containerd that dies while it downloads leaves nothing half-made', async () => {
      await forget(stack, odd);
      const used = await stack.usedBlocks();
      const [first, stalled, ...others] = stack.images.odd.manifest.layers.map(({ digest }) => digest);
      const reached = stack.registry.stall(stalled!);
      const pulling = beginPull(odd);
      await within(Promise.race([reached, endedEarly(pulling)]), PATIENCE_MS, 'half of a layer is downloaded');
      await waitUntil('the other layers are downloaded', async () => {
        const blobs = new Set((await stack.ctr('content', 'ls', '-q')).split('\n'));
        return [first!, ...others].every((digest) => blobs.has(digest));
      });
      await stack.containerd.kill();
      // Before containerd 2 it is ctr that downloads: it would not notice until it has more to hand on.
      stack.registry.letGo();
      assert.notEqual((await pulling).status, 0);
      await stack.containerd.start();
      await recover(stack, used);
    });

    let largeOne: Image | undefined;
    const large = async (): Promise<Image> => (largeOne ??= await largeImage(stack.path('i')));
    const stagedLayers = async (): Promise<string[]> => (await stack.layerNames()).filter((name) => name.startsWith('ctr+staging~'));

    /** Pulls an image with one large layer. Returns, in an array, the pull whose layer is unpacked in part; missed ones are made again. */
    const beginUnpacking = async (reference: string): Promise<Promise<RunResult>[]> => {
      for (let tries = 0; tries < TRIES; tries++) {
        await forget(stack, reference);
        const { free } = (await stack.status()).blocks;
        const pulling = beginPull(reference);
        let isOver = false;
        const over = (): boolean => (isOver = true);
        void pulling.then(over, over);
        const begun = async (): Promise<boolean> => isOver || (await stack.status()).blocks.free < free - BLOCKS_UNPACKED;
        await waitUntil('a part of a layer is unpacked', begun, PATIENCE_MS, 20);
        if (!isOver) return [pulling];
        assert.equal((await pulling).status, 0, (await pulling).stderr);
      }
      throw new Error(`the layer was whole as soon as anything of it was there, ${TRIES} times`);
    };

    /** Has something die when a part of a layer is unpacked, and once more after `revive` if the pull was through by then. */
    const dieUnpacking = async (die: () => Promise<unknown>, revive: () => Promise<void>): Promise<string> => {
      const reference = stack.registry.add('large', await large());
      for (let tries = 0; tries < TRIES; tries++) {
        const [pulling] = await beginUnpacking(reference);
        await die();
        if ((await pulling!).status !== 0) return reference;
        await revive();
      }
      throw new Error(`the layer was whole before anything died, ${TRIES} times`);
    };

    check('the differ unpacks a layer beside its snapshot, where there is one', async () => {
      const reference = stack.registry.add('large', await large());
      for (let tries = 0, most = -1; most < (differ() ? 1 : 0); tries++) {
        assert.ok(tries < TRIES, 'no layer was seen that is only half there');
        const [pulling] = await beginUnpacking(reference);
        most = Math.max(most, (await stagedLayers()).length);
        assert.equal((await pulling!).status, 0, (await pulling!).stderr);
        assert.deepEqual(await stagedLayers(), []);
      }
      await forget(stack, reference);
      assert.deepEqual(await stack.layers(), []);
    });

    check('a containerd that dies while a layer is unpacked leaves nothing half-made', async () => {
      const used = await stack.usedBlocks();
      const reference = await dieUnpacking(
        () => stack.containerd.kill(),
        () => stack.containerd.start(),
      );
      await stack.containerd.start();
      await recover(stack, used);
      await stack.pull(reference);
      await forget(stack, reference);
      assert.deepEqual(await stack.layers(), []);
    });

    check('only the process that serves dies while a layer is unpacked: pulled again, the layer is whole', async () => {
      const reference = stack.registry.add('large', await large());
      const [pulling] = await beginUnpacking(reference);
      const dead = await stack.lcfs.killServing();
      await pulling; // containerd's own differ, which writes to the mount, need not notice
      assert.notEqual((await stack.status()).pid, dead);
      await stack.meetLcfs();
      await stack.pull(reference);
      assert.deepEqual(await stagedLayers(), []);
      await forget(stack, reference);
      assert.deepEqual(await stack.layers(), []);
    });

    check('LCFS that dies while a layer is unpacked leaves nothing half-made', async () => {
      const used = await stack.usedBlocks();
      const reference = await dieUnpacking(
        () => stack.killLcfs(),
        () => stack.startLcfs(),
      );
      const proof = await stack.lcfs.check();
      assert.equal(proof.status, 0, proof.stdout + proof.stderr);
      await stack.startLcfs();
      await recover(stack, used);
      assert.deepEqual(await stack.layers(), []);
      await stack.pull(reference);
      await stack.pull(reference, 'overlayfs');
      await stack.assertSameFiles(await large(), 'overlayfs');
      await forget(stack, reference);
    });

    check('in the end the volume holds what it held at first, and is sound', async () => {
      const left = (await stack.ctr('images', 'ls', '-q')).split('\n').filter((reference) => reference !== '');
      for (const reference of left) await stack.ctr('images', 'rm', '--sync', reference);
      await stack.containerd.collectGarbage();
      assert.deepEqual(await stack.layers(), []);
      await stack.spaceComesBack(usedAtStart + BLOCKS_SLACK);
      await stack.stopAndCheck();
    });
  });
}

async function restartContainerd({ containerd }: Stack, { servesKubernetes }: { servesKubernetes: boolean }): Promise<void> {
  await containerd.stop();
  containerd.servesKubernetes = servesKubernetes;
  await containerd.start();
}

/** What a client that died has pinned with its lease goes when the lease does; it would expire by itself after a day. */
async function recover(stack: Stack, used: number): Promise<void> {
  const leases = await stack.ctr('leases', 'ls', '-q');
  for (const lease of leases.split('\n')) if (lease !== '') await stack.ctr('leases', 'rm', lease);
  await stack.containerd.collectGarbage();
  assert.ok(![...(await stack.snapshots()).keys()].some((key) => key.startsWith('extract')), 'a half-made snapshot is visible');
  await stack.spaceComesBack(used + BLOCKS_SLACK);
}

/** Removes an image of which containerd may have a record, and lets the garbage go. */
async function forget(stack: Stack, reference: string): Promise<void> {
  await stack.containerd.try('images', 'rm', '--sync', reference);
  await stack.containerd.collectGarbage();
}

/** Fails if a pull ends at all. */
async function endedEarly(pulling: Promise<RunResult>): Promise<never> {
  const { status, stdout, stderr } = await pulling;
  throw new Error(`the pull ended already, with exit status ${status}: ${stdout}${stderr}`);
}
