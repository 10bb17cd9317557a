import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configVersionOf, containerdConfig, type ContainerdTarget, OUR_FILE, withImport, withoutImport } from './containerd-config.js';
import { parseVersion } from './version.js';

function target(version: string, configVersion = 2): ContainerdTarget {
  const socket = '/run/lcfs/containerd.sock';
  return { version: parseVersion(version)!, configVersion, socket, mountpoint: '/lcfs', platform: 'linux/amd64' };
}

test('containerd 1.6 gets a snapshotter and nothing that it does not know', () => {
  assert.equal(
    containerdConfig(target('1.6.20')),
    `# LCFS as a snapshotter of containerd. Written by \`lcfs setup\`, removed by \`lcfs setup --remove\`.

version = 2

[proxy_plugins.lcfs]
  type = "snapshot"
  address = "/run/lcfs/containerd.sock"
`,
  );
});

test('containerd 2 gets snapshotter, differ, the order of differs and what the transfer service unpacks with', () => {
  assert.equal(
    containerdConfig(target('2.1.9')),
    `# LCFS as a snapshotter of containerd. Written by \`lcfs setup\`, removed by \`lcfs setup --remove\`.

version = 2

[proxy_plugins.lcfs]
  type = "snapshot"
  address = "/run/lcfs/containerd.sock"
[proxy_plugins.lcfs.exports]
  root = "/lcfs"
  enable_remote_snapshot_annotations = "true"

[proxy_plugins.lcfs-diff]
  type = "diff"
  address = "/run/lcfs/containerd.sock"

[plugins."io.containerd.service.v1.diff-service"]
  default = ["lcfs-diff", "walking"]

[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = "linux/amd64"
  snapshotter = "lcfs"
  differ = "lcfs-diff"
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = "linux/amd64"
  snapshotter = "overlayfs"
  differ = "walking"
`,
  );
});

test('differs come with 1.7.4, exports with 1.7.23', () => {
  const has = (version: string, text: string): boolean => containerdConfig(target(version)).includes(text);
  assert.equal(has('1.7.3', 'lcfs-diff'), false);
  assert.equal(has('1.7.4', 'lcfs-diff'), true);
  assert.equal(has('1.7.22', 'exports'), false);
  assert.equal(has('1.7.23', 'exports'), true);
});

test('beside a configuration of version 1, plugins have their short names', () => {
  const text = containerdConfig(target('1.7.24', 1));
  assert.ok(!text.includes('version ='));
  assert.ok(text.includes('[plugins."diff-service"]'));
});

test('the version of a configuration', () => {
  assert.equal(configVersionOf(null), 2);
  assert.equal(configVersionOf('disabled_plugins = ["cri"]\n'), 1);
  assert.equal(configVersionOf('# version = 9\nversion = 3\n[plugins]\n'), 3);
  assert.equal(configVersionOf('[plugins.x]\n  version = 7\n'), 1);
});

const IMPORT = `imports = ["${OUR_FILE}"]\n`;
const CASES: readonly [string, string | null, string][] = [
  ['no file', null, `version = 2\n${IMPORT}`],
  ['an empty file', '', IMPORT],
  ['top level only', 'version = 2\n', `version = 2\n${IMPORT}`],
  ['no newline at the end', 'version = 2', `version = 2\n${IMPORT}`],
  [
    'before the tables',
    'version = 2\n[plugins]\n  [plugins.x]\n    a = 1\n',
    `version = 2\n${IMPORT}[plugins]\n  [plugins.x]\n    a = 1\n`,
  ],
  ['other imports', 'imports = ["/a.toml"]\nversion = 3\n', `imports = ["/a.toml", "${OUR_FILE}"]\nversion = 3\n`],
  ['no imports', 'imports = []\n[grpc]\n', `imports = ["${OUR_FILE}"]\n[grpc]\n`],
  ['a list over lines', 'imports = [\n  "/a.toml",\n]\n', `imports = [\n  "/a.toml", "${OUR_FILE}"]\n`],
  ['a pattern that covers it', 'imports = ["/etc/containerd/conf.d/*.toml"]\n', 'imports = ["/etc/containerd/conf.d/*.toml"]\n'],
  ['a pattern that does not', "imports = ['/etc/containerd/*.toml']\n", `imports = ['/etc/containerd/*.toml', "${OUR_FILE}"]\n`],
];

for (const [name, before, after] of CASES) {
  test(`import into a main file: ${name}`, () => {
    assert.equal(withImport(before, OUR_FILE), after);
    assert.equal(withImport(after, OUR_FILE), after, 'twice is as good as once');
  });
}

test('an import is taken out again, whatever stands around it', () => {
  for (const [, before, after] of CASES) {
    const left = withoutImport(after, OUR_FILE);
    assert.ok(!left.includes(OUR_FILE));
    if (before?.endsWith('\n') === true && !before.includes('imports = [\n') && !before.includes('[]')) assert.equal(left, before);
  }
  assert.equal(withoutImport(`imports = ["${OUR_FILE}", "/b.toml"]\n`, OUR_FILE), 'imports = ["/b.toml"]\n');
  assert.equal(withoutImport('version = 2\n', OUR_FILE), 'version = 2\n');
});
