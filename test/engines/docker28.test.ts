/**
 * Docker 28, from Debian's testing suite, with its images in containerd and LCFS as snapshotter and differ: everything that
 * people do with images and containers. The results are compared to those of another Docker 28 on the same containerd, with
 * overlayfs.
 */
import assert from 'node:assert/strict';
import { constants, copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before } from 'node:test';
import { StoreDocker } from '../../scripts/lib/docker-store.js';
import { debianRoot, DOWNLOADED_FILES } from '../../scripts/lib/images.js';
import { type Image, packImage, pushImage } from '../../scripts/lib/oci.js';
import { needCommands } from '../../scripts/lib/packages.js';
import { casesOn, SETUP_MS } from './cases.js';
import { Stack } from './containerd-harness.js';
import { assertSame } from './harness.js';
import { commitMapped } from './mapped.js';
import { Registry } from './registry.js';
import { listTar, type ListOptions } from './tar-list.js';
import { TEMPORARY, removeTemporary } from './temporary.js';

/** Names of both engines' folders and namespaces. */
const ENGINES = ['moby', 'other'] as const;
const NO_NETWORK = ['--network', 'none'] as const;
/** What dockerd itself puts into every container, and the root directory, whose time it changes by that. */
const DOCKER_FILES = /^$|^(dev|etc|etc\/(hosts|hostname|resolv\.conf|mtab)|\.dockerenv|proc|sys)(\/|$)/;

const stack = new Stack();
let docker: StoreDocker;
let overlay: StoreDocker;
let registry: Registry;
let usedAtStart = 0;

before(
  async () => {
    await needCommands('docker-registry');
    await stack.start('forky');
    const engine = (name: string, options: { snapshotter?: string }): StoreDocker =>
      new StoreDocker({ directory: stack.path(name), containerd: stack.containerd, place: stack.place, namespace: name, ...options });
    docker = engine(ENGINES[0], {});
    overlay = engine(ENGINES[1], { snapshotter: 'overlayfs' });
    await Promise.all([docker.start(), overlay.start()]);
    registry = await Registry.start(stack.path('registry'));
    usedAtStart = await stack.usedBlocks();
  },
  { timeout: SETUP_MS },
);

after(async () => {
  await registry?.stop();
  await Promise.all([docker?.end(), overlay?.end()]);
  await stack.stop();
});

async function startAfresh(): Promise<void> {
  await Promise.all([docker.end(), overlay.end()]);
  await stack.startAfresh();
  for (const name of ENGINES) rmSync(stack.path(name), { recursive: true, force: true });
  await Promise.all([docker.start(), overlay.start()]);
  usedAtStart = await stack.usedBlocks();
}

const check = casesOn({ startAfresh, tidy: () => removeTemporary(docker), logs: () => `${stack.logs()}\n--- dockerd\n${docker.log()}` });

async function both<T>(work: (engine: StoreDocker) => Promise<T>): Promise<[T, T]> {
  return [await work(docker), await work(overlay)];
}

const runIn = (engine: StoreDocker, image: string, ...command: string[]): Promise<string> =>
  engine.docker('run', '--rm', ...NO_NETWORK, image, ...command);

/** The files of an image, as a container made of it has them. */
async function imageFiles(engine: StoreDocker, image: string, options: ListOptions = {}): Promise<Map<string, string>> {
  const id = await engine.docker('create', ...NO_NETWORK, image, 'none');
  const tar = stack.path('export.tar');
  try {
    await engine.docker('export', '-o', tar, id);
    return listTar(tar, { ignore: DOCKER_FILES, ...options });
  } finally {
    rmSync(tar, { force: true });
    await engine.docker('rm', id);
  }
}

async function assertSameImage(image: string, options: ListOptions = {}): Promise<void> {
  const [a, b] = await both((engine) => imageFiles(engine, image, options));
  assertSame(a, b, ['lcfs', 'overlayfs']);
  assert.ok(a.size > 5, `${image} has files`);
}

async function build(engine: StoreDocker, image: string, dockerfile: string, files: Record<string, string> = {}): Promise<void> {
  const folder = stack.path('context');
  mkdirSync(folder);
  writeFileSync(join(folder, 'Dockerfile'), dockerfile);
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
  try {
    await engine.docker('build', '--no-cache', ...NO_NETWORK, '-t', image, folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function carry(image: string, from: StoreDocker, to: StoreDocker): Promise<void> {
  const file = stack.path('carried.tar');
  await from.docker('save', '-o', file, image);
  await to.docker('load', '-i', file);
  rmSync(file);
}

/** What cases work on: images on both engines, and a container. */
const MAKERS = {
  odd: () => pull('odd', stack.images.odd),
  busybox: () => pull('busybox', stack.images.plain),
  changes: async () => {
    await need('busybox');
    await both((engine) => build(engine, 'changes', CHANGES, { one: 'first', two: 'second' }));
  },
  debian: async () => {
    const tar = stack.path('debian.tar');
    copyFileSync(await debianRoot(), tar, constants.COPYFILE_FICLONE);
    await both((engine) => engine.docker('import', tar, 'debian'));
  },
  python: async () => {
    await need('debian');
    await build(docker, 'python', `FROM debian\nRUN apt-get install -y ${DOWNLOADED_FILES}\nRUN python3 -c 'print(6*7)' > /answer\n`);
    await carry('python', docker, overlay);
  },
  changed: async () => {
    await need('busybox');
    await both((engine) => engine.docker('run', '--name', 'changed', ...NO_NETWORK, 'busybox', 'sh', '-c', CHANGE));
  },
  committed: async () => {
    await need('changed');
    await both((engine) => engine.docker('commit', '-m', 'changed', 'changed', 'committed'));
  },
};

/** Makes what is not there. */
async function need(...names: (keyof typeof MAKERS)[]): Promise<void> {
  for (const name of names) {
    // Of what kind it is has to be said: else Docker asks every plugin for a volume of that name.
    const found = await both((engine) => engine.try(name === 'changed' ? 'container' : 'image', 'inspect', name));
    if (found.some(({ status }) => status !== 0)) await MAKERS[name]();
  }
}

async function pull(name: string, image: Image): Promise<void> {
  const host = `127.0.0.1:${registry.port}`;
  await pushImage(image, host, name, '1');
  await both(async (engine) => {
    await engine.docker('pull', `${host}/${name}:1`);
    await engine.docker('tag', `${host}/${name}:1`, name);
  });
}

const CHANGE =
  'echo x >> /etc/passwd; rm /etc/group; mkdir -p /new/dir; echo y > /new/dir/f; mv /bin/vi /bin/moved; chmod 700 /root; ln -s f /new/dir/l';

check('is Docker 28 or newer on LCFS', async () => {
  assert.ok(docker.version.major >= 28, docker.versionText);
  const info = await docker.docker('info');
  assert.match(info, /Storage Driver: lcfs\n\s+driver-type: io\.containerd\.snapshotter\.v1/);
});

check('pull from a registry', async () => {
  await need('odd', 'busybox');
  await assertSameImage('odd', { times: true });
  const through = new Set((await stack.layers()).map(({ properties }) => properties['diff-id']));
  for (const diffId of stack.images.odd.diffIds) assert.ok(through.has(diffId), `${diffId} went through the differ`);
});

check('run', async () => {
  await need('busybox');
  const mount = await runIn(docker, 'busybox', 'sh', '-c', 'grep " / " /proc/self/mounts');
  assert.match(mount, /^\S+ \/ fuse\.lcfs /);
  assert.equal((await docker.try('run', '--rm', ...NO_NETWORK, 'busybox', 'sh', '-c', 'echo x > /x; exit 7')).status, 7);
  assert.equal((await docker.try('run', '--rm', ...NO_NETWORK, 'busybox', 'ls', '/x')).status, 1);
});

check('start again, exec, rename, pause, restart, cp, volumes', async () => {
  await need('busybox');
  await docker.docker('run', '-d', '--name', 'first', ...TEMPORARY, ...NO_NETWORK, '-v', '/data', 'busybox', 'sleep', '10000');
  await docker.docker('rename', 'first', 'server');
  await docker.docker('exec', 'server', 'sh', '-c', 'echo kept > /kept; echo volume > /data/f');
  await docker.docker('pause', 'server');
  await docker.docker('unpause', 'server');
  await docker.docker('restart', '-t', '0', 'server');
  assert.equal(await docker.docker('exec', 'server', 'cat', '/kept', '/data/f'), 'kept\nvolume');
  writeFileSync(stack.path('in'), 'copied in');
  await docker.docker('cp', stack.path('in'), 'server:/in');
  await docker.docker('cp', 'server:/in', stack.path('out'));
  assert.equal(readFileSync(stack.path('out'), 'utf8'), 'copied in');
  await docker.docker('rm', '-fv', 'server');
});

/** Everything that a step of a build can do to the files below it. */
const CHANGES = `FROM busybox
RUN mkdir -p /a/b/c /gone/dir /replaced /moved/deep && echo 1 > /a/b/c/f && echo 2 > /gone/dir/f && echo 3 > /replaced/old && echo 4 > /moved/deep/f && \
  ln /a/b/c/f /a/hard && ln -s b /a/soft && mkfifo /a/pipe && mknod /a/null c 1 3 && chmod 4711 /a/hard && chown 7:8 /a/b
RUN rm -r /gone && rm -r /replaced && mkdir /replaced && echo new > /replaced/new && mv /moved /elsewhere && rm /a/soft && mkdir /a/soft && \
  rm -r /a/b/c && echo file > /a/b/c && echo more >> /a/hard && ln /a/hard /a/third && chmod 700 /a && dd if=/dev/zero of=/zeros bs=1000 count=300
COPY one two /copied/
ADD --chown=5:6 one /added
RUN mv /elsewhere /back && rm /a/hard && touch -d '2001-02-03 04:05:06' /dated && chmod 0 /added && mkdir -p /x/y && rmdir /x/y
RUN --mount=type=cache,target=/cache --mount=type=tmpfs,target=/scratch echo x > /cache/x && echo y > /scratch/y
FROM busybox AS other
COPY --from=0 /back /from-before
COPY --from=0 --link /copied /linked
FROM other
COPY --from=0 / /
`;

check('build with BuildKit: steps change, replace, move, remove and copy', async () => {
  await need('changes');
  await assertSameImage('changes');
  await carry('changes', docker, overlay);
  await assertSameImage('changes', { times: true });
  assert.equal(await runIn(docker, 'changes', 'cat', '/replaced/new', '/back/deep/f'), 'new\n4');
});

check('import of a Debian root of about 200 MB, and a build with apt-get on it', async () => {
  await need('debian');
  await assertSameImage('debian', { times: true });
  await need('python');
  assert.equal(await runIn(docker, 'python', 'cat', '/answer'), '42');
  await assertSameImage('python', { times: true });
});

check('diff and commit', async () => {
  await need('committed');
  const [a, b] = await both(async (engine) => (await engine.docker('diff', 'changed')).split('\n').toSorted());
  assert.deepEqual(a, b);
  assert.ok(a.includes('A /new/dir/f') && a.includes('D /etc/group') && a.includes('C /etc'));
  await assertSameImage('committed');
  assert.equal(await runIn(docker, 'committed', 'cat', '/new/dir/l'), 'y');
});

check('a commit of a running container has what it wrote through a memory mapping', async () => {
  await need('python');
  await commitMapped((...args) => docker.docker(...args), 'python', NO_NETWORK);
});

check('save, rmi and load', async () => {
  await need('odd', 'committed', 'changes');
  const file = stack.path('saved.tar');
  const files = await imageFiles(docker, 'committed', { times: true });
  await docker.docker('save', '-o', file, 'committed', 'changes');
  await docker.docker('rmi', 'committed', 'changes');
  assert.notEqual((await docker.try('image', 'inspect', 'committed')).status, 0);
  await docker.docker('load', '-i', file);
  assertSame(files, await imageFiles(docker, 'committed', { times: true }), ['before', 'loaded']);
  await packImage(stack.images.odd, 'docker.io/lcfs/loaded:1', stack.path('loaded.tar'));
  await docker.docker('load', '-i', stack.path('loaded.tar'));
  assertSame(await imageFiles(docker, 'odd', { times: true }), await imageFiles(docker, 'lcfs/loaded:1', { times: true }), [
    'pulled',
    'loaded',
  ]);
});

check('push to a registry, and pull what was pushed', async () => {
  await need('committed');
  const image = `127.0.0.1:${registry.port}/lcfs/committed:1`;
  await docker.docker('tag', 'committed', image);
  await docker.docker('push', image);
  await overlay.docker('pull', image);
  await assertSameImage(image, { times: true });
  await docker.docker('rmi', image, 'committed');
  await docker.docker('pull', image);
  await assertSameImage(image, { times: true });
});

check('system df tells sizes', async () => {
  await need('debian', 'python', 'changed', 'committed');
  const [size, other] = await both(async (engine) => bytesOf(await engine.docker('image', 'ls', '--format', '{{.Size}}', 'debian')));
  // Overlayfs counts blocks of small files and directories where LCFS has none; both count the blob.
  assert.ok(size > other / 2 && size < other * 1.5, `${size} is about ${other}`);
  const table = await docker.docker('system', 'df', '--format', '{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}}');
  const [images, containers] = table.split('\n');
  assert.match(images!, /^Images [1-9]\d* 1 \d+(\.\d+)?MB$/);
  assert.match(containers!, /^Containers 1 0 \d+(\.\d+)?k?B$/);
  assert.match(await docker.docker('ps', '-as', '--format', '{{.Names}} {{.Size}}'), /^changed \d+(\.\d+)?k?B \(virtual \d/m);
  assert.match(await docker.docker('system', 'df', '-v'), /\bpython\b/);
});

function bytesOf(text: string): number {
  const [, number, unit] = /^([\d.]+)([kMG]?)B$/.exec(text.trim())!;
  return Number(number) * 1000 ** ['', 'k', 'M', 'G'].indexOf(unit!);
}

check('many containers at once, while an image is being built', async () => {
  await need('busybox', 'debian');
  const building = build(docker, 'meanwhile', `FROM debian\nRUN apt-get install -y ${DOWNLOADED_FILES}\n`);
  const runs = Array.from({ length: 8 }, (_, i) => runIn(docker, 'busybox', 'sh', '-c', `echo ${i} > /mine; cat /mine`));
  assert.deepEqual(
    await Promise.all(runs),
    Array.from({ length: 8 }, (_, i) => String(i)),
  );
  await building;
});

check('Docker is stopped and started again, and killed while a container runs', async () => {
  await need('busybox', 'changes');
  const files = await imageFiles(docker, 'changes', { times: true });
  await docker.stop();
  await docker.start();
  assertSame(files, await imageFiles(docker, 'changes', { times: true }), ['before', 'after the restart']);
  await docker.docker(
    'run',
    '-d',
    '--name',
    'survivor',
    '--stop-signal',
    'KILL',
    ...TEMPORARY,
    ...NO_NETWORK,
    'busybox',
    'sh',
    '-c',
    'echo here > /here; sleep 10000',
  );
  await docker.kill();
  await docker.start();
  await docker.docker('cp', 'survivor:/here', stack.path('here'));
  assert.equal(readFileSync(stack.path('here'), 'utf8'), 'here\n');
  await docker.docker('rm', '-f', 'survivor');
});

check('LCFS is stopped and started again while Docker runs, without containers', async () => {
  await need('busybox', 'changes');
  const files = await imageFiles(docker, 'changes', { times: true });
  await stack.lcfs.stop();
  await stack.startLcfs();
  assertSame(files, await imageFiles(docker, 'changes', { times: true }), ['before', 'after the restart']);
  await build(docker, 'after-restart', 'FROM busybox\nRUN echo built > /built\n');
  assert.equal(await runIn(docker, 'after-restart', 'cat', '/built'), 'built');
});

check('rm, rmi and prune give all layers and all space back', async () => {
  await need('python', 'changed');
  await docker.docker('rm', '-fv', ...(await docker.docker('ps', '-aq')).split('\n').filter(Boolean));
  await docker.docker('rmi', 'python');
  await docker.docker('builder', 'prune', '-af');
  await docker.docker('system', 'prune', '-af', '--volumes');
  assert.equal(await docker.docker('images', '-q'), '');
  await stack.containerd.collectGarbage();
  assert.deepEqual(await stack.layers(), []);
  await stack.spaceComesBack(usedAtStart + 64);
});

check('the volume is sound after all of it', async () => {
  await Promise.all([docker.end(), overlay.end()]);
  await stack.stopAndCheck();
});
