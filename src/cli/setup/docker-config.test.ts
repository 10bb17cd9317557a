import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dockerConfig, dockerVariables, usesContainerd, withoutDockerConfig } from './docker-config.js';
import { parseVersion } from './version.js';

const of = (text: string | null, version: string): unknown => JSON.parse(dockerConfig(text, parseVersion(version)!, '/lcfs'));

test('up to 27 Docker gets a graph driver plugin, from 28 a snapshotter', () => {
  const graphDriver = { experimental: true, 'data-root': '/lcfs/global/docker', 'storage-driver': 'lcfs' };
  assert.deepEqual(of(null, '20.10.24+dfsg1'), graphDriver);
  assert.deepEqual(of('', '27.5.1'), graphDriver);
  assert.deepEqual(of(null, '28.5.2'), { features: { 'containerd-snapshotter': true }, 'storage-driver': 'lcfs' });
  assert.deepEqual(
    ['26.1.5', '27.0.1', '28.0.0'].map((v) => dockerVariables(parseVersion(v)!, undefined)),
    [[], ['DOCKERD_DEPRECATED_GRAPHDRIVER_PLUGINS=1'], []],
  );
  assert.deepEqual(
    ['27.5.1', '28.0.0', '29.1.0'].map((v) => usesContainerd(parseVersion(v)!)),
    [false, true, true],
  );
});

test('temporary files may lie elsewhere', () => {
  assert.deepEqual(dockerVariables(parseVersion('20.10.24')!, '/var/tmp/docker'), ['DOCKER_TMPDIR=/var/tmp/docker']);
  assert.equal(dockerVariables(parseVersion('27.5.1')!, '/var/tmp/docker').length, 2);
});

test('other settings stay, and come back', () => {
  const before = '{"log-driver":"local","storage-driver":"overlay2","features":{"buildkit":true}}';
  for (const version of ['20.10.24', '28.5.2']) {
    const text = dockerConfig(before, parseVersion(version)!, '/lcfs');
    const settings = JSON.parse(text) as Record<string, unknown>;
    assert.equal(settings['log-driver'], 'local');
    assert.equal((settings['features'] as Record<string, unknown>)['buildkit'], true);
    assert.equal(withoutDockerConfig(text, before), before, 'to the byte');
  }
});

test('what was changed since stays when LCFS is taken out', () => {
  const text = dockerConfig('{"debug": true}', parseVersion('28.5.2')!, '/lcfs');
  const changed = JSON.stringify({ ...JSON.parse(text), debug: false, dns: ['10.0.0.1'] });
  assert.deepEqual(JSON.parse(withoutDockerConfig(changed, '{"debug": true}')!), { debug: false, dns: ['10.0.0.1'] });
  const elsewhere = '{"storage-driver":"overlay2","experimental":true}';
  assert.equal(withoutDockerConfig(elsewhere, null), elsewhere, 'no longer ours');
});

test('a data root of its own stays where it is', () => {
  const before = '{"data-root":"/srv/docker"}';
  const text = dockerConfig(before, parseVersion('27.5.1')!, '/lcfs');
  assert.equal((JSON.parse(text) as Record<string, unknown>)['data-root'], '/srv/docker');
  assert.equal(withoutDockerConfig(text, before), before);
  const moved = JSON.stringify({ ...JSON.parse(dockerConfig(null, parseVersion('27.5.1')!, '/')), 'data-root': '/srv/docker' });
  assert.deepEqual(JSON.parse(withoutDockerConfig(moved, null)!), { 'data-root': '/srv/docker' });
});

test('a file that was made for LCFS goes', () => {
  for (const version of ['20.10.24', '28.5.2'])
    assert.equal(withoutDockerConfig(dockerConfig(null, parseVersion(version)!, '/lcfs'), null), null);
});

test('a file that is not JSON is refused', () => {
  assert.throws(() => of('{"debug": tru', '28.0.0'), SyntaxError);
});
