import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { BACKUP_SUFFIX, Files } from './files.js';
import { notes, planRemoval, planSetup, type Setup } from './plan.js';
import { parseVersion } from './version.js';

let root = '';
beforeEach(() => (root = mkdtempSync(join(tmpdir(), 'lcfs-setup-'))));
afterEach(() => rmSync(root, { recursive: true }));

function setupOf(containerd: string | undefined, docker: string | undefined): Setup {
  const version = (text: string | undefined) => (text === undefined ? undefined : parseVersion(text)!);
  const place = { device: '/dev/sdb', mountpoint: '/lcfs', size: '20G', socket: '/run/lcfs/containerd.sock' };
  return {
    containerd: version(containerd),
    docker: version(docker),
    program: ['node', 'lcfs'],
    platform: 'linux/amd64',
    kubernetes: false,
    ...place,
  };
}

function put(path: string, text: string, mode = 0o644): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
  chmodSync(join(root, path), mode);
}

/** All files below the root with their contents. */
function snapshot(): Map<string, string> {
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((name) => statSync(join(root, name)).isFile());
  return new Map(names.toSorted().map((name) => [`/${name}`, readFileSync(join(root, name), 'utf8')]));
}

function write(setup: Setup): void {
  const files = new Files(root);
  for (const { path, text } of planSetup(setup, files)) files.write(path, text!);
}

function remove(): void {
  const files = new Files(root);
  for (const { path, text } of planRemoval(files)) files.restore(path, text);
}

test('each engine gets the files it needs and no others', () => {
  const paths = (setup: Setup): string[] => planSetup(setup, new Files(root)).map(({ path }) => path.replace(/^.*\/(?=.*\/)/, ''));
  assert.deepEqual(paths(setupOf('2.1.9', undefined)), [
    'conf.d/lcfs.toml',
    'containerd/config.toml',
    'system/lcfs.service',
    'containerd.service.d/lcfs.conf',
  ]);
  assert.deepEqual(paths(setupOf(undefined, '20.10.24')), ['docker/daemon.json', 'system/lcfs.service', 'docker.service.d/lcfs.conf']);
  assert.equal(paths(setupOf('2.1.9', '28.5.2')).length, 6);
});

test('the daemon serves what the engine asks', () => {
  const unit = (setup: Setup): string => planSetup(setup, new Files(root)).find(({ path }) => path.endsWith('lcfs.service'))!.text!;
  assert.ok(unit(setupOf('2.1.9', '28.5.2')).includes('--containerd /run/lcfs/containerd.sock --detach'));
  assert.ok(unit(setupOf(undefined, '27.5.1')).includes('--format --docker --detach'));
});

test('what was set up for one engine stays when the other one is set up', () => {
  const unit = (): string => new Files(root).read('/etc/systemd/system/lcfs.service')!;
  write(setupOf(undefined, '27.5.1'));
  write(setupOf('1.7.24', undefined));
  assert.ok(unit().includes('--format --containerd /run/lcfs/containerd.sock --docker --detach'), unit());
  write(setupOf(undefined, '27.5.1'));
  assert.ok(unit().includes('--containerd /run/lcfs/containerd.sock --docker --detach'), unit());
});

test('a machine that had nothing has nothing afterwards', () => {
  for (const setup of [setupOf('2.1.9', '28.5.2'), setupOf(undefined, '27.5.1'), setupOf('1.6.20', undefined)]) {
    write(setup);
    write(setup); // again, as after an update
    remove();
    assert.deepEqual([...snapshot().keys()], []);
  }
});

test('what was there is kept beside it and comes back to the byte, with its rights', () => {
  put('/etc/containerd/config.toml', 'version = 3\n[plugins]', 0o600);
  put('/etc/docker/daemon.json', '{ "debug":true }', 0o640);
  const before = snapshot();
  write(setupOf('2.1.9', '28.5.2'));
  write(setupOf('2.1.9', '28.5.2'));
  const written = snapshot();
  assert.equal(written.get(`/etc/containerd/config.toml${BACKUP_SUFFIX}`), 'version = 3\n[plugins]');
  assert.equal(written.get(`/etc/docker/daemon.json${BACKUP_SUFFIX}`), '{ "debug":true }');
  assert.equal(statSync(join(root, `/etc/docker/daemon.json${BACKUP_SUFFIX}`)).mode & 0o777, 0o640);
  assert.equal(statSync(join(root, '/etc/containerd/config.toml')).mode & 0o777, 0o600);
  assert.ok(!existsSync(join(root, '/etc/containerd/config.toml.new')));
  remove();
  assert.deepEqual(snapshot(), before);
});

test('what the user changed since stays', () => {
  put('/etc/containerd/config.toml', 'version = 2\n');
  write(setupOf('2.1.9', '28.5.2'));
  put('/etc/containerd/config.toml', `${snapshot().get('/etc/containerd/config.toml')!}oom_score = -500\n`);
  remove();
  assert.deepEqual([...snapshot()], [['/etc/containerd/config.toml', 'version = 2\noom_score = -500\n']]);
});

test('a daemon.json that is not JSON is left alone and named', () => {
  put('/etc/docker/daemon.json', '{');
  assert.throws(() => planSetup(setupOf('2.1.9', '28.5.2'), new Files(root)), /\/etc\/docker\/daemon\.json is not valid JSON/);
});

test('what the set-up cannot do is said', () => {
  assert.equal(notes(setupOf('1.6.20', undefined), new Files(root)).length, 2);
  assert.equal(notes(setupOf('2.1.9', undefined), new Files(root)).length, 1);
  assert.equal(notes(setupOf('2.1.9', '28.5.2'), new Files(root)).length, 1);
  assert.equal(notes(setupOf(undefined, '27.5.1'), new Files(root)).length, 2);
});

test('Kubernetes is set up if asked for, and undone with the rest', () => {
  for (const main of [
    null,
    'disabled_plugins = ["cri"]\n',
    'version = 3\n[plugins."io.containerd.cri.v1.images"]\n  snapshotter = "native"\n',
  ]) {
    if (main !== null) put('/etc/containerd/config.toml', main);
    const before = snapshot();
    const kubernetes = { ...setupOf('2.1.9', undefined), kubernetes: true };
    assert.equal(notes(kubernetes, new Files(root)).length, main?.startsWith('disabled') === true ? 2 : 1);
    write(kubernetes);
    write(setupOf('2.1.9', undefined)); // what was asked for once stays
    write(kubernetes);
    assert.match(snapshot().get('/etc/containerd/config.toml')!, /^ {2}snapshotter = "lcfs" #/m);
    remove();
    assert.deepEqual(snapshot(), before);
  }
});
