import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dockerConfig, needsPluginsVariable, usesContainerd, withoutDockerConfig } from './docker-config.js';
import { parseVersion } from './version.js';

const of = (text: string | null, version: string): unknown => JSON.parse(dockerConfig(text, parseVersion(version)!));

test('up to 27 Docker gets a graph driver plugin, from 28 a snapshotter', () => {
  assert.deepEqual(of(null, '20.10.24+dfsg1'), { experimental: true, 'storage-driver': 'lcfs' });
  assert.deepEqual(of('', '27.5.1'), { experimental: true, 'storage-driver': 'lcfs' });
  assert.deepEqual(of(null, '28.5.2'), { features: { 'containerd-snapshotter': true }, 'storage-driver': 'lcfs' });
  assert.deepEqual(
    ['26.1.5', '27.0.1', '28.0.0'].map((v) => needsPluginsVariable(parseVersion(v)!)),
    [false, true, false],
  );
  assert.deepEqual(
    ['27.5.1', '28.0.0', '29.1.0'].map((v) => usesContainerd(parseVersion(v)!)),
    [false, true, true],
  );
});

test('other settings stay, and come back', () => {
  const before = '{"log-driver":"local","storage-driver":"overlay2","features":{"buildkit":true}}';
  for (const version of ['20.10.24', '28.5.2']) {
    const text = dockerConfig(before, parseVersion(version)!);
    const settings = JSON.parse(text) as Record<string, unknown>;
    assert.equal(settings['log-driver'], 'local');
    assert.equal((settings['features'] as Record<string, unknown>)['buildkit'], true);
    assert.equal(withoutDockerConfig(text, before), before, 'to the byte');
  }
});

test('what was changed since stays when LCFS is taken out', () => {
  const text = dockerConfig('{"debug": true}', parseVersion('28.5.2')!);
  const changed = JSON.stringify({ ...JSON.parse(text), debug: false, dns: ['10.0.0.1'] });
  assert.deepEqual(JSON.parse(withoutDockerConfig(changed, '{"debug": true}')!), { debug: false, dns: ['10.0.0.1'] });
  const elsewhere = '{"storage-driver":"overlay2","experimental":true}';
  assert.equal(withoutDockerConfig(elsewhere, null), elsewhere, 'no longer ours');
});

test('a file that was made for LCFS goes', () => {
  for (const version of ['20.10.24', '28.5.2']) assert.equal(withoutDockerConfig(dockerConfig(null, parseVersion(version)!), null), null);
});

test('a file that is not JSON is refused', () => {
  assert.throws(() => of('{"debug": tru', '28.0.0'), SyntaxError);
});
