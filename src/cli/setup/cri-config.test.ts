import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCriDisabled, withCri, withoutCri } from './cri-config.js';

const OURS = '  snapshotter = "lcfs" # by lcfs setup\n';

const ONE = { major: 1, minor: 7, patch: 24 };
const TWO = { major: 2, minor: 1, patch: 9 };

const CASES: readonly [string, number, string, string][] = [
  ['no table, version 2', 2, 'version = 2\n', `version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd] # by lcfs setup\n${OURS}`],
  ['no table, version 3', 3, 'version = 3\n', `version = 3\n[plugins."io.containerd.cri.v1.images"] # by lcfs setup\n${OURS}`],
  ['no table, no version', 1, 'root = "/x"\n', `root = "/x"\n[plugins.cri.containerd] # by lcfs setup\n${OURS}`],
  [
    'a table without the key',
    2,
    'version = 2\n[plugins]\n  [plugins."io.containerd.grpc.v1.cri"]\n    a = 1\n    [plugins."io.containerd.grpc.v1.cri".containerd]\n      b = 2\n    [plugins.x]\n      snapshotter = "x"\n',
    `version = 2\n[plugins]\n  [plugins."io.containerd.grpc.v1.cri"]\n    a = 1\n    [plugins."io.containerd.grpc.v1.cri".containerd]\n${OURS}      b = 2\n    [plugins.x]\n      snapshotter = "x"\n`,
  ],
  [
    'a table with the key, other quotes, a comment',
    3,
    "version = 3\n[plugins.'io.containerd.cri.v1.images'] # images\n  snapshotter = 'overlayfs' # usual\n  b = 2\n[grpc]\n",
    `version = 3\n[plugins.'io.containerd.cri.v1.images'] # images\n# before lcfs setup:   snapshotter = 'overlayfs' # usual\n${OURS}  b = 2\n[grpc]\n`,
  ],
  ['a table at the end, without a newline', 1, '[plugins.cri.containerd]', `[plugins.cri.containerd]\n${OURS}`],
  [
    'tables below the one that is meant',
    3,
    '[plugins."io.containerd.cri.v1.images".registry]\n  snapshotter = "no"\n',
    `[plugins."io.containerd.cri.v1.images".registry]\n  snapshotter = "no"\n[plugins."io.containerd.cri.v1.images"] # by lcfs setup\n${OURS}`,
  ],
];

for (const [name, version, before, after] of CASES) {
  test(`the snapshotter of CRI: ${name}`, () => {
    const containerd = version < 3 ? ONE : TWO;
    assert.equal(withCri(before, version, containerd), after);
    assert.equal(withCri(after, version, containerd), after, 'twice is as good as once');
    assert.equal(withoutCri(after).trimEnd(), before.trimEnd());
    assert.equal(withoutCri(`${after}# more\n`).replace('# more\n', '').trimEnd(), before.trimEnd(), 'what came later stays');
  });
}

test('the snapshotter of CRI: containerd 2 with an older file', () => {
  const ours = `[plugins."io.containerd.cri.v1.images"] # by lcfs setup\n${OURS}`;
  assert.equal(withCri('version = 2\n', 2, TWO), `version = 2\n${ours}`);
  const [cri, runtime] = [
    '[plugins."io.containerd.grpc.v1.cri".containerd]\n',
    '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.x]\n',
  ];
  const before = `${cri}  snapshotter = "overlayfs"\n${runtime}`;
  const after = `${cri}# before lcfs setup:   snapshotter = "overlayfs"\n${OURS}${runtime}${ours}`;
  assert.equal(withCri(before, 2, TWO), after);
  assert.equal(withoutCri(after), before);
});

test('what cannot be changed safely is left to the user', () => {
  for (const text of [
    'version = 2\nplugins."io.containerd.grpc.v1.cri".containerd.snapshotter = "overlayfs"\n',
    'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\n  containerd = { snapshotter = "overlayfs" }\n',
  ])
    assert.throws(() => withCri(text, 2, ONE), /config\.toml.*yourself/);
});

test('a configuration that switches CRI off', () => {
  assert.equal(isCriDisabled(null), false);
  assert.equal(isCriDisabled('disabled_plugins = []\n'), false);
  assert.equal(isCriDisabled('disabled_plugins = ["io.containerd.nri.v1.nri"]\n'), false);
  assert.equal(isCriDisabled('disabled_plugins = ["cri"]\n'), true);
  assert.equal(isCriDisabled("version = 3\ndisabled_plugins = [\n  'x',\n  'io.containerd.cri.v1.images'\n]\n"), true);
});
