/** Import and export of layers through the command line: whole streams, broken ones, slow ones. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  createReadStream,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { ImportReport, Layer } from '../../src/daemon/protocol.js';
import { Sandbox, exitCode } from './sandbox.js';

let box: Sandbox;
before(async () => {
  box = new Sandbox();
  await box.start();
  makeTree();
});
after(() => box.end());

/** A tree with something of most kinds, and its tar. */
function makeTree(): void {
  mkdirSync(box.path('tree/etc'), { recursive: true });
  writeFileSync(box.path('tree/etc/hosts'), 'localhost\n');
  writeFileSync(box.path('tree/large'), Buffer.alloc(8 << 20, 'abcdefg'));
  symlinkSync('etc/hosts', box.path('tree/link'));
  linkSync(box.path('tree/large'), box.path('tree/etc/hard'));
  execFileSync('tar', ['-cf', box.path('tree.tar'), '-C', box.path('tree'), '.']);
}

const names = async (): Promise<string[]> => (await box.json<Layer[]>('layer', 'ls')).map((layer) => layer.name);

test('a tar becomes a sealed layer with what it holds', async () => {
  const report = await box.json<ImportReport>('layer', 'import', 'file', box.path('tree.tar'));
  assert.equal(report.layer.state, 'sealed');
  assert.equal(report.bytes, statSync(box.path('tree.tar')).size);
  execFileSync('diff', ['-r', '--no-dereference', box.path('tree'), box.mounted('layers/file')]);
  assert.equal(statSync(box.mounted('layers/file/etc/hard')).nlink, 2);
});

test('a tar comes through standard input and may be compressed with gzip', async () => {
  writeFileSync(box.path('tree.tar.gz'), gzipSync(readFileSync(box.path('tree.tar'))));
  for (const [name, file] of [
    ['plain', 'tree.tar'],
    ['gzip', 'tree.tar.gz'],
  ] as const) {
    const child = box.spawn('layer', 'import', name);
    createReadStream(box.path(file)).pipe(child.stdin!);
    assert.equal(await exitCode(child), 0);
    execFileSync('diff', ['-r', '--no-dereference', box.path('tree'), box.mounted('layers', name)]);
  }
});

test('what is exported is what was imported, and a change is a change', async () => {
  await box.ok('layer', 'import', 'base', box.path('tree.tar'));
  await box.ok('layer', 'clone', 'base', 'change');
  writeFileSync(box.mounted('layers/change/etc/hosts'), 'other\n');
  execFileSync('rm', [box.mounted('layers/change/link')]);
  await box.ok('layer', 'export', 'change', box.path('change.tar'));
  const listed = execFileSync('tar', ['-tf', box.path('change.tar')], { encoding: 'utf8' });
  assert.ok(listed.includes('etc/hosts') && listed.includes('.wh.link') && !listed.includes('large'), listed);
  await box.ok('layer', 'import', 'again', box.path('change.tar'), '--parent', 'base');
  execFileSync('diff', ['-r', '--no-dereference', box.mounted('layers/change'), box.mounted('layers/again')]);
  await box.ok('layer', 'export', 'change', box.path('whole.tar'), '--whole');
  mkdirSync(box.path('unpacked'));
  execFileSync('tar', ['-xf', box.path('whole.tar'), '-C', box.path('unpacked')]);
  execFileSync('diff', ['-r', '--no-dereference', box.mounted('layers/change'), box.path('unpacked')]);
});

test('an archive that is refused leaves no layer behind', async () => {
  const before = await names();
  writeFileSync(box.path('garbage'), Buffer.alloc(100_000, 'garbage'));
  await box.fails(1, /archive/, 'layer', 'import', 'bad', box.path('garbage'));
  writeFileSync(box.path('zstd'), Buffer.from('28b52ffd00000000', 'hex'));
  await box.fails(1, /zstd -dc/, 'layer', 'import', 'bad', box.path('zstd'));
  execFileSync('cp', [box.path('tree.tar'), box.path('cut.tar')]);
  truncateSync(box.path('cut.tar'), 1_000_000);
  await box.fails(1, /breaks off/, 'layer', 'import', 'bad', box.path('cut.tar'));
  writeFileSync(box.path('empty'), '');
  await box.fails(1, /archive/, 'layer', 'import', 'bad', box.path('empty'));
  await box.fails(1, /ENOENT/, 'layer', 'import', 'bad', box.path('not-there'));
  await box.fails(1, /no layer "nobody"/, 'layer', 'import', 'bad', box.path('tree.tar'), '--parent', 'nobody');
  await box.fails(1, /exists already/, 'layer', 'import', before[0]!, box.path('tree.tar'));
  assert.deepEqual(await names(), before);
});

test('a client that goes away in the middle leaves no layer behind', async () => {
  const before = await names();
  const child = box.spawn('layer', 'import', 'interrupted');
  child.stdin!.write(readFileSync(box.path('tree.tar')).subarray(0, 1 << 20));
  while (!(await names()).includes('interrupted')) await new Promise((wake) => setTimeout(wake, 20));
  await box.fails(1, /in use|held|holders/, 'layer', 'rm', 'interrupted');
  child.kill('SIGKILL');
  await once(child, 'exit');
  while ((await names()).includes('interrupted')) await new Promise((wake) => setTimeout(wake, 20));
  assert.deepEqual(await names(), before);
});

test('an import that waits for its client keeps nobody else waiting', async () => {
  const idle = Array.from({ length: 6 }, (_, i) => box.spawn('layer', 'import', `idle-${i}`));
  try {
    await box.ok('layer', 'create', 'meanwhile');
    await box.ok('status');
    await box.ok('layer', 'rm', 'meanwhile');
  } finally {
    for (const child of idle) child.kill('SIGKILL');
  }
});

test('an export that fails leaves no file behind', async () => {
  await box.fails(1, /no layer "nobody"/, 'layer', 'export', 'nobody', box.path('nobody.tar'));
  assert.equal(existsSync(box.path('nobody.tar')), false);
  await box.fails(1, /no layer "nobody"/, 'layer', 'export', 'file', box.path('nobody.tar'), '--base', 'nobody');
  assert.equal(existsSync(box.path('nobody.tar')), false);
});

test('a volume that is full refuses an import and takes smaller ones afterwards', async () => {
  writeFileSync(box.path('huge'), '');
  truncateSync(box.path('huge'), 0);
  execFileSync('sh', [
    '-c',
    `head -c 300M /dev/urandom > "${box.path('huge')}" && tar -cf "${box.path('huge.tar')}" -C "${box.directory}" huge`,
  ]);
  const before = await names();
  await box.fails(1, /no space/, 'layer', 'import', 'huge', box.path('huge.tar'));
  assert.deepEqual(await names(), before);
  await box.ok('layer', 'import', 'small', box.path('tree.tar'));
  assert.match(await box.ok('check', '--online', box.image), /is sound/);
});
