/**
 * Real Docker Engines at work: everything that people do with images and containers, on a volume of LCFS, with the results
 * compared to those of the same Docker on overlay2.
 */
import assert from 'node:assert/strict';
import { closeSync, mkdirSync, openSync, readFileSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before } from 'node:test';
import type { Layer, Status } from '../../src/daemon/protocol.js';
import type { PrivateDocker } from '../../scripts/lib/docker.js';
import { busyboxRoot, debianRoot, DOWNLOADED_FILES } from '../../scripts/lib/images.js';
import { waitUntil } from '../../scripts/lib/limits.js';
import { needCommands } from '../../scripts/lib/packages.js';
import { run } from '../../scripts/lib/run.js';
import { casesOn, SETUP_MS } from './cases.js';
import { assertSame, Engines } from './harness.js';
import { makeOddRoot } from './odd-root.js';
import { commitMapped } from './mapped.js';
import { Registry } from './registry.js';
import { TEMPORARY, removeTemporary } from './temporary.js';
import { limitTests } from '../support/hangs.js';

limitTests(600);

const HOST_NETWORK = ['--network', 'host'] as const;
/** Builds install packages, also from the network. */
const BUILD_MS = 600_000;

const engines = new Engines();
const docker = engines.onLcfs;
const overlay = engines.onOverlay;

before(
  async () => {
    await needCommands('tar', 'busybox', 'debootstrap', 'docker-registry', 'setfattr');
    await engines.start();
  },
  { timeout: SETUP_MS },
);

after(() => engines.stop());

const check = casesOn({ startAfresh: () => engines.startAfresh(), tidy: () => removeTemporary(docker), logs: () => engines.logs() });

const status = (): Promise<Status> => engines.lcfs.json<Status>('status');

/** Runs a command in a new container that goes when it ends; returns what it printed. */
const runIn = (engine: PrivateDocker, image: string, ...command: string[]): Promise<string> =>
  engine.docker('run', '--rm', ...HOST_NETWORK, image, ...command);

interface BuildOptions {
  /** With BuildKit instead of the classic builder. */
  kit?: boolean;
  network?: string;
  /** Files beside the Dockerfile. */
  files?: Record<string, string>;
}

async function build(engine: PrivateDocker, image: string, dockerfile: string, options: BuildOptions = {}): Promise<void> {
  const folder = engines.path('context');
  mkdirSync(folder);
  writeFileSync(join(folder, 'Dockerfile'), dockerfile);
  for (const [name, content] of Object.entries(options.files ?? {})) writeFileSync(join(folder, name), content);
  const env = { DOCKER_BUILDKIT: options.kit === true ? '1' : '0' };
  try {
    await engine.dockerWith(
      { env, timeoutMs: BUILD_MS },
      'build',
      '--no-cache',
      '--network',
      options.network ?? 'host',
      '-t',
      image,
      folder,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A container and the image that is committed of it; what it does is done once, in the same way on both engines. */
const CHANGE =
  'echo x >> /etc/passwd; rm /etc/group; mkdir -p /new/dir; echo y > /new/dir/f; mv /bin/vi /bin/moved; chmod 700 /root; ln -s f /new/dir/l';

/** What cases work on: images on both engines, and a container. */
const MAKERS = {
  busybox: async () => {
    const tar = await busyboxRoot();
    await engines.both((engine) => engine.docker('import', tar, 'busybox'));
  },
  debian: async () => {
    const tar = await debianRoot();
    await engines.both((engine) => engine.docker('import', tar, 'debian'));
  },
  python: async () => {
    await need('debian');
    await build(docker, 'python', PYTHON);
    await engines.carry('python', docker, overlay);
  },
  changes: async () => {
    await need('busybox');
    await engines.both((engine) => build(engine, 'changes', CHANGES, { files: CHANGES_FILES }));
  },
  changed: async () => {
    await need('busybox');
    await engines.both((engine) => engine.docker('run', '--name', 'changed', ...HOST_NETWORK, 'busybox', 'sh', '-c', CHANGE));
  },
  committed: async () => {
    await need('changed');
    await engines.both((engine) => engine.docker('commit', '-m', 'changed', 'changed', 'committed'));
  },
};

/** Makes what is not there. */
async function need(...names: (keyof typeof MAKERS)[]): Promise<void> {
  for (const name of names) {
    // Of what kind it is has to be said: else Docker asks every plugin for a volume of that name.
    const found = await engines.both((engine) => engine.try(name === 'changed' ? 'container' : 'image', 'inspect', name));
    if (found.some(({ status: missing }) => missing !== 0)) await MAKERS[name]();
  }
}

check('info shows the volume', async () => {
  const info = await docker.docker('info');
  assert.match(info, new RegExp(`Storage Driver: ${engines.driver}`));
  for (const line of [/Volume: .*volume\.img/, /Space total: 20\.00GiB/, /Space free: \d/, /Layers: 0/, /Transport: (uring|devfuse)/])
    assert.match(info, line);
});

check('import of a small root file system; run', async () => {
  await need('busybox');
  await engines.assertSameImage('busybox', { times: true });
  assert.equal(await runIn(docker, 'busybox', 'sh', '-c', 'echo $((6*7)) > /answer; cat /answer'), '42');
  assert.equal((await docker.try('run', '--rm', ...HOST_NETWORK, 'busybox', 'sh', '-c', 'exit 7')).status, 7);
});

check('import of a root with everything that a file system can hold', async () => {
  const tar = engines.path('odd.tar');
  await makeOddRoot(tar);
  await engines.both((engine) => engine.docker('import', tar, 'odd'));
  await engines.assertSameImage('odd', { times: true });
  rmSync(tar);
});

check('import of a Debian root of about 200 MB', async () => {
  await need('debian');
  await engines.assertSameImage('debian', { times: true });
  const [a, b] = await engines.both((engine) => engine.docker('inspect', '-f', '{{json .RootFS.Layers}}', 'debian'));
  assert.equal(a, b);
  // Overlay2 counts what symbolic links point to, too.
  const [size, other] = await engines.both(async (engine) => Number(await engine.docker('inspect', '-f', '{{.Size}}', 'debian')));
  assert.ok(Math.abs(size - other) < other / 1000, `${size} is about ${other}`);
  assert.match(await runIn(docker, 'debian', 'sh', '-c', 'dpkg -l | wc -l; perl -e "print 6*7"'), /\d+\n42$/);
});

const PYTHON = `FROM debian\nRUN apt-get install -y ${DOWNLOADED_FILES}\nRUN python3 -c 'print(6*7)' > /answer\n`;

check('build with apt-get; the image is the same after it was saved and loaded on the other engine', async () => {
  await need('python');
  assert.equal(await runIn(docker, 'python', 'cat', '/answer'), '42');
  await engines.assertSameImage('python', { times: true });
  await build(overlay, 'python-overlay', PYTHON);
  await engines.carry('python-overlay', overlay, docker);
  await engines.assertSameImage('python-overlay', { times: true });
});

check('build with apt-get from the network', async () => {
  await need('debian');
  await build(docker, 'less', 'FROM debian\nRUN apt-get update && apt-get install -y --no-install-recommends less\n');
  assert.match(await runIn(docker, 'less', 'less', '--version'), /^less \d/);
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
`;

const CHANGES_FILES = { one: 'first', two: 'second' };

check('steps of a build change, replace, move and remove: classic builder and BuildKit', async () => {
  await need('changes');
  await engines.both((engine) => build(engine, 'changes-kit', CHANGES, { kit: true, files: CHANGES_FILES }));
  for (const image of ['changes', 'changes-kit']) {
    await engines.assertSameImage(image);
    await engines.carry(image, docker, overlay);
    await engines.assertSameImage(image, { times: true });
  }
  assert.equal(await runIn(docker, 'changes-kit', 'cat', '/replaced/new'), 'new');
  assert.equal((await docker.docker('history', '-q', 'changes')).split('\n').length, 6);
});

check('diff and commit', async () => {
  await need('committed');
  const [a, b] = await engines.both(async (engine) => (await engine.docker('diff', 'changed')).split('\n').toSorted());
  assert.deepEqual(a, b);
  assert.ok(a.includes('A /new/dir/f') && a.includes('D /etc/group') && a.includes('C /etc'));
  await engines.assertSameImage('committed');
  assert.equal(await runIn(docker, 'committed', 'cat', '/new/dir/l'), 'y');
  const sizes = await docker.docker('ps', '-as', '--format', '{{.Names}} {{.Size}}');
  assert.match(sizes, /^changed \d+(\.\d+)?k?B \(virtual/m);
});

check('a commit of a running container has what it wrote through a memory mapping', async () => {
  await need('python');
  await commitMapped((...args) => docker.docker(...args), 'python', HOST_NETWORK);
});

check('inspect shows where a container lives', async () => {
  await need('changed');
  const data = JSON.parse(await docker.docker('inspect', '-f', '{{json .GraphDriver.Data}}', 'changed')) as Record<string, string>;
  const [layer] = await engines.lcfs.json<[Layer]>('layer', 'inspect', data['Layer']!);
  assert.equal(data['MergedDir'], join(engines.lcfs.mountpoint, 'layers', layer.name));
  assert.equal(data['LayerIndex'], String(layer.index));
  assert.equal(data['Parent'], layer.parent);
  assert.equal(readFileSync(join(data['MergedDir']!, 'new/dir/f'), 'utf8'), 'y\n');
});

check('save and load', async () => {
  await need('committed', 'changes');
  const file = engines.path('saved.tar');
  const filesBefore = await engines.imageFiles(docker, 'committed', { times: true });
  await docker.docker('save', '-o', file, 'committed', 'changes');
  await docker.docker('tag', 'committed', 'other:tag');
  await docker.docker('rmi', 'committed', 'other:tag', 'changes');
  assert.notEqual((await docker.try('image', 'inspect', 'committed')).status, 0);
  await docker.docker('load', '-i', file);
  assertSame(filesBefore, await engines.imageFiles(docker, 'committed', { times: true }), ['before', 'loaded']);
  rmSync(file);
});

check('export and import', async () => {
  await need('changed');
  const file = engines.path('flat.tar');
  await docker.docker('export', '-o', file, 'changed');
  await docker.docker('import', file, 'flat');
  rmSync(file);
  assertSame(await engines.containerFiles(docker, 'changed'), await engines.imageFiles(docker, 'flat'), ['container', 'imported']);
});

check('cp into and out of a container', async () => {
  await need('changed');
  writeFileSync(engines.path('in'), 'copied in');
  await docker.docker('cp', engines.path('in'), 'changed:/new/in');
  await docker.docker('cp', 'changed:/new', engines.path('out'));
  assert.equal(readFileSync(engines.path('out/in'), 'utf8'), 'copied in');
  assert.equal(readFileSync(engines.path('out/dir/f'), 'utf8'), 'y\n');
  await docker.docker('cp', '/dev/null', 'changed:/nothing');
});

check('start again, exec, rename, pause, restart, volumes', async () => {
  await need('busybox');
  await docker.docker('run', '-d', '--name', 'first', ...TEMPORARY, ...HOST_NETWORK, '-v', '/data', 'busybox', 'sleep', '10000');
  await docker.docker('rename', 'first', 'server');
  await docker.docker('exec', 'server', 'sh', '-c', 'echo kept > /kept; echo volume > /data/f');
  await docker.docker('pause', 'server');
  await docker.docker('unpause', 'server');
  await docker.docker('restart', '-t', '0', 'server');
  assert.equal(await docker.docker('exec', 'server', 'cat', '/kept', '/data/f'), 'kept\nvolume');
  await docker.docker('rm', '-fv', 'server');
});

check('push to a registry and pull on the other engine', async () => {
  await need('python');
  const registry = await Registry.start(engines.path('registry'));
  try {
    const image = `127.0.0.1:${registry.port}/lcfs/python:1`;
    await docker.docker('tag', 'python', image);
    await docker.docker('push', image);
    await overlay.docker('pull', image);
    await engines.assertSameImage(image, { times: true });
    const filesBefore = await engines.imageFiles(docker, image, { times: true });
    await docker.docker('rmi', image, 'python');
    await docker.docker('pull', image);
    assertSame(filesBefore, await engines.imageFiles(docker, image, { times: true }), ['before', 'pulled']);
    await docker.docker('tag', image, 'python');
  } finally {
    await registry.stop();
  }
});

check('storage-opt size is a limit on what the container writes', async () => {
  await need('busybox');
  const fill = 'dd if=/dev/urandom of=/big bs=1M count=20; echo status $?; ls -l /big; rm /big; echo small > /small && cat /small';
  const limited = await docker.docker('run', '--rm', '--storage-opt', 'size=10M', ...HOST_NETWORK, 'busybox', 'sh', '-c', `(${fill}) 2>&1`);
  assert.match(limited, /(Disk quota exceeded|No space left on device)/);
  assert.match(limited, /status 1/);
  assert.match(limited, /small$/);
  const enough = await docker.docker('run', '--rm', '--storage-opt', 'size=30M', ...HOST_NETWORK, 'busybox', 'sh', '-c', fill);
  assert.match(enough, /status 0/);
  const wrong = await docker.try('run', '--rm', '--storage-opt', 'colour=red', ...HOST_NETWORK, 'busybox', 'true');
  assert.match(wrong.stderr, /unknown storage option 'colour'/);
});

check('many containers at once, while an image is being built', async () => {
  await need('busybox', 'debian');
  const building = build(docker, 'meanwhile', `FROM debian\nRUN apt-get install -y ${DOWNLOADED_FILES}\n`);
  const runs = Array.from({ length: 12 }, (_, i) => runIn(docker, 'busybox', 'sh', '-c', `echo ${i} > /mine; cat /mine`));
  assert.deepEqual(
    await Promise.all(runs),
    Array.from({ length: 12 }, (_, i) => String(i)),
  );
  await building;
});

check('a tar that is cut off is refused and leaves nothing behind', async () => {
  const before = (await status()).layers;
  const file = engines.path('cut.tar');
  closeSync(openSync(file, 'w'));
  await run('cp', [await busyboxRoot(), file]);
  truncateSync(file, 1_000_000);
  assert.notEqual((await docker.try('import', file, 'cut')).status, 0);
  assert.equal((await status()).layers, before);
  rmSync(file);
});

check('Docker is stopped and started again, and killed while a container runs', async () => {
  await need('busybox', 'changed');
  const files = await engines.containerFiles(docker, 'changed');
  await docker.stopDockerd();
  await docker.startDockerd();
  assertSame(files, await engines.containerFiles(docker, 'changed'), ['before', 'after the restart']);
  await docker.docker(
    'run',
    '-d',
    '--name',
    'survivor',
    '--stop-signal',
    'KILL',
    ...TEMPORARY,
    ...HOST_NETWORK,
    'busybox',
    'sh',
    '-c',
    'echo here > /here; sleep 10000',
  );
  await docker.killDockerd();
  await docker.startDockerd();
  await docker.try('stop', '-t', '0', 'survivor');
  assert.match(await docker.docker('start', '-a', 'changed').catch(String), /.*/);
  await docker.docker('cp', 'survivor:/here', engines.path('here'));
  assert.equal(readFileSync(engines.path('here'), 'utf8'), 'here\n');
  await docker.docker('rm', '-f', 'survivor');
  assert.equal(await runIn(docker, 'busybox', 'echo', 'fine'), 'fine');
});

check('LCFS is stopped and started again while Docker runs, without containers', async () => {
  await need('busybox', 'committed');
  const files = await engines.imageFiles(docker, 'committed', { times: true });
  await engines.lcfs.stop();
  const checked = await engines.lcfs.check();
  assert.equal(checked.status, 0, checked.stdout + checked.stderr);
  await engines.lcfs.start();
  assertSame(files, await engines.imageFiles(docker, 'committed', { times: true }), ['before', 'after the restart']);
  assert.equal(await runIn(docker, 'busybox', 'sh', '-c', 'echo again > /x; cat /x'), 'again');
  await build(docker, 'after-restart', 'FROM busybox\nRUN echo built > /built\n');
  assert.equal(await runIn(docker, 'after-restart', 'cat', '/built'), 'built');
});

check('LCFS refuses to stop while a container runs', async () => {
  await need('busybox');
  await docker.docker('run', '-d', '--name', 'user', ...TEMPORARY, ...HOST_NETWORK, 'busybox', 'sleep', '10000');
  await assert.rejects(engines.lcfs.stop(), /in use/);
  assert.equal(await docker.docker('exec', 'user', 'echo', 'still here'), 'still here');
  await docker.docker('rm', '-f', 'user');
});

check('removing all containers and images gives all layers back', async (context) => {
  await need('committed');
  await docker.docker('rm', '-fv', ...(await docker.docker('ps', '-aq')).split('\n').filter(Boolean));
  await docker.docker('system', 'prune', '-af');
  await docker.docker('builder', 'prune', '-af');
  const leaked = readdirSync(join(docker.dataRoot, 'image', engines.driver, 'layerdb/mounts')).length;
  // Docker 26 keeps the layers of containers that were exported, with overlay2 as well.
  if (leaked > 0) return context.diagnostic(`Docker ${docker.version} kept ${leaked} containers that it no longer shows`);
  assert.equal(await engines.lcfs.lcfs('layer', 'ls', '--quiet'), '');
  await waitUntil('space comes back', async () => {
    await engines.lcfs.lcfs('commit');
    return (await status()).blocks.used <= 20_000;
  });
});

check('Docker with its own files on the volume', async () => {
  const inside = engines.engine('c', engines.driver, join(engines.lcfs.mountpoint, 'global/docker'));
  await inside.start();
  await inside.docker('import', await busyboxRoot(), 'busybox');
  await build(inside, 'inside', 'FROM busybox\nRUN echo inside > /inside\n');
  await inside.docker('run', '--name', 'written', ...HOST_NETWORK, 'inside', 'sh', '-c', 'echo more >> /inside');
  await inside.stopDockerd();
  await inside.startDockerd();
  await inside.docker('cp', 'written:/inside', engines.path('inside'));
  assert.equal(readFileSync(engines.path('inside'), 'utf8'), 'inside\nmore\n');
  await inside.stop();
});

check('Docker with user namespaces', async () => {
  const ranges = new IdRanges('nobody:700000:65536');
  try {
    const mapped = engines.engine('d', engines.driver, undefined, ['--userns-remap', 'nobody:nogroup']);
    await mapped.start();
    await mapped.docker('import', await busyboxRoot(), 'busybox');
    await build(mapped, 'mapped', 'FROM busybox\nRUN echo x > /owned && chown 7:8 /owned\n', { network: 'none' });
    const look = 'stat -c %u:%g / /owned /bin/busybox; id -u; cat /proc/self/uid_map | tr -s " "';
    const seen = await mapped.docker('run', '--rm', '--network', 'none', 'mapped', 'sh', '-c', look);
    assert.equal(seen, '0:0\n7:8\n0:0\n0\n 0 700000 65536');
    await mapped.docker('create', '--name', 'own', 'mapped', 'none');
    const own = await mapped.docker('inspect', '-f', '{{.GraphDriver.Data.MergedDir}}', 'own');
    assert.equal(await run('stat', ['-c', '%u:%g', join(own, 'owned')]), '700007:700008\n');
    await engines.carry('mapped', mapped, overlay);
    assert.equal(await runIn(overlay, 'mapped', 'stat', '-c', '%u:%g', '/owned'), '7:8');
    await mapped.stop();
  } finally {
    ranges.restore();
  }
});

/** A line in /etc/subuid and /etc/subgid, for the time of a test. */
class IdRanges {
  readonly #saved = ['/etc/subuid', '/etc/subgid'].map((file) => [file, readOr(file, '')] as const);
  constructor(line: string) {
    for (const [file, text] of this.#saved) writeFileSync(file, `${text.replace(/\n?$/, text === '' ? '' : '\n')}${line}\n`);
  }
  restore(): void {
    for (const [file, text] of this.#saved) writeFileSync(file, text);
  }
}

function readOr(file: string, otherwise: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return otherwise;
  }
}

check('the volume is sound after all of it', async () => {
  await Promise.all([docker.stop(), overlay.stop()]);
  await engines.lcfs.stop();
  const checked = await engines.lcfs.check();
  assert.equal(checked.status, 0, checked.stdout + checked.stderr);
});
