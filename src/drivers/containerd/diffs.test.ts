/** The differ as containerd sees it: gRPC calls on a unix socket; its threads work on a volume in a temporary file. */
import assert from 'node:assert/strict';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { gunzipSync, gzipSync } from 'node:zlib';
import { status } from '@grpc/grpc-js';
import { checkpoint } from '../../engine/checkpoint.js';
import { createLayer, findLayer, layerInfo, listLayers, removeLayer } from '../../engine/layers.js';
import { reclaimAll } from '../../engine/maintenance.js';
import { closeVolume, formatVolume, openVolume, type VolumeHandle } from '../../engine/volume.js';
import { archive, type EntrySpec } from '../../../test/support/archives.js';
import { FakeContainerd, TestClient, digestOf } from '../../../test/support/containerd.js';
import { find, get, make, put, remove, ROOT } from '../../../test/support/files.js';
import { assertSound, MIB, Random, withFolder } from '../../../test/support/volume.js';
import { zstdSync } from '../../../test/support/zstd.js';
import { DIRECTORY } from '../../archive/tar-format.js';
import { DiffPool } from './diff-pool.js';
import { addDiffs, METHODS as DIFFS } from './diff-service.js';
import { Differ } from './differ.js';
import { TAR, TAR_GZIP, TAR_ZSTD, type ApplyRequest, type DiffRequest, type Mount } from './messages.js';
import { Service } from './rpc.js';
import { makeSocket } from '../socket.js';
import { serve, type RunningServer } from './server.js';
import { addSnapshots, METHODS as SNAPSHOTS } from './snapshots-service.js';
import { Snapshotter, chainId } from './snapshotter.js';

const MOUNTPOINT = '/mnt';
const UNCOMPRESSED = 'containerd.io/uncompressed';
const TARGET = 'containerd.io/snapshot.ref';
const FOREIGN = { type: 'bind', source: '/somewhere', options: ['rbind', 'rw'] };

type Mounts = readonly Partial<Mount>[];

/** Driver and containerd. */
class Setup {
  readonly folder: string;
  readonly containerd = new FakeContainerd();
  client!: TestClient;
  readonly broughtIn: string[] = [];
  #handle!: VolumeHandle;
  #pool!: DiffPool;
  #server!: RunningServer;

  constructor(folder: string) {
    this.folder = folder;
  }

  get address(): string {
    return join(this.folder, 'containerd.sock');
  }

  async start(): Promise<void> {
    this.#handle = openVolume(join(this.folder, 'volume'), { cacheBytes: 8 * MIB });
    this.#pool = new DiffPool(this.#handle, 2);
    const service = new Service(() => {});
    const makeDurable = async (): Promise<void> => void checkpoint();
    const bringIn = async (layer: string): Promise<void> => void this.broughtIn.push(layer);
    const durable = { checkpoint: makeDurable, durable: makeDurable };
    const snapshotter = new Snapshotter({ mountpoint: MOUNTPOINT, bringIn, ...durable, announce: () => {} });
    const differ = new Differ({
      mountpoint: MOUNTPOINT,
      address: this.address,
      snapshotter,
      run: (task, signal) => this.#pool.run(task, signal),
      bringIn,
      startFlush: () => {},
      checkpoint: makeDurable,
    });
    addSnapshots(service, snapshotter);
    addDiffs(service, differ);
    this.#server = await serve(service, await makeSocket(join(this.folder, 'lcfs.sock')));
    this.client = new TestClient(join(this.folder, 'lcfs.sock'), 'moby');
  }

  /** Lets containerd keep blobs as files. The differ asks for it once, so it is started again. */
  async useRoot(root: string): Promise<void> {
    this.containerd.root = root;
    await this.stop();
    await this.start();
  }

  async stop(): Promise<void> {
    this.client.close();
    await this.#server.stop(1000);
    await this.#pool.close();
    reclaimAll();
    assertSound();
    closeVolume();
  }

  async prepare(key: string, parent = '', labels: Record<string, string> = {}): Promise<Mounts> {
    return (await this.client.call(SNAPSHOTS.prepare, { key, parent, labels })).mounts;
  }

  async view(key: string, parent = ''): Promise<Mounts> {
    return (await this.client.call(SNAPSHOTS.view, { key, parent })).mounts;
  }

  commit(name: string, key: string): Promise<unknown> {
    return this.client.call(SNAPSHOTS.commit, { name, key });
  }

  apply(mounts: Mounts, blob: Buffer, change: Partial<ApplyRequest> = {}, signal?: AbortSignal): Promise<unknown> {
    const diff = change.diff ?? { mediaType: TAR_GZIP, digest: this.containerd.add(blob), size: blob.length };
    return this.client.call(DIFFS.apply, { ...change, diff, mounts }, signal);
  }

  async diff(
    left: Mounts,
    right: Mounts,
    change: Partial<DiffRequest> = {},
  ): Promise<{ mediaType?: string; digest?: string; size?: number }> {
    return (await this.client.call(DIFFS.diff, { left, right, ...change })).diff!;
  }
}

async function withSetup(work: (setup: Setup) => Promise<void>): Promise<void> {
  await withFolder(async (folder) => {
    formatVolume(join(folder, 'volume'), { bytes: 128 * MIB });
    const setup = new Setup(folder);
    await setup.containerd.listen(setup.address);
    await setup.start();
    try {
      await work(setup);
    } finally {
      await setup.stop();
      setup.containerd.stop();
    }
  });
}

const layerOf = ([mount]: Mounts): number => findLayer(mount!.source!.replace(/.*\//, ''));
const layers = (): string[] => Array.from(listLayers(), ({ name }) => name);

function contentOf(layer: number, name: string): string | null {
  const ino = find(layer, ROOT, name);
  return ino < 0 ? null : get(layer, ino, 0, 4096).toString();
}

/** Whether no diff is being applied. */
const isCalm = (): boolean => !layers().some((name) => name.includes('staging'));

async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; !holds(); tries++) {
    assert.ok(tries < 500);
    await delay(10);
  }
}

const noise = (bytes: number): Buffer =>
  Buffer.from(
    Uint32Array.from(
      { length: bytes / 4 },
      (
        (random) => () =>
          random.next()
      )(new Random(3)),
    ).buffer,
  );

/** A layer of `bytes` bytes that nothing compresses. */
const tarOf = (bytes: number, ...more: EntrySpec[]): Buffer =>
  archive({ path: 'big', data: noise(bytes) }, { path: 'file', data: 'hello' }, ...more);

test('a blob becomes a layer: gzip, zstd or as it is, through the socket or from a file', () =>
  withSetup(async (setup) => {
    let number = 0;
    for (const root of ['', join(setup.folder, 'content')]) {
      await setup.useRoot(root);
      for (const bytes of [1024, 3 * MIB]) {
        const tar = tarOf(bytes);
        for (const blob of [gzipSync(tar), zstdSync(tar), tar]) {
          const mounts = await setup.prepare(`a${++number}`);
          const { applied } = (await setup.apply(mounts, blob)) as { applied: object };
          assert.deepEqual(applied, { mediaType: TAR, digest: digestOf(tar), size: tar.length, annotations: {} });
          assert.equal(contentOf(layerOf(mounts), 'file'), 'hello');
          assert.equal(layerInfo(layerOf(mounts)).properties['diff-id'], digestOf(tar));
          await setup.commit(`c${number}`, `a${number}`);
        }
      }
    }
    assert.equal(layers().length, number);
    assert.equal(setup.containerd.headers.get('containerd-namespace').length, 0);
  }));

test('layers upon layers, with whiteouts', () =>
  withSetup(async (setup) => {
    const mounts = await setup.prepare('a');
    await setup.apply(
      mounts,
      gzipSync(archive({ path: 'one', data: '1' }, { path: 'dir', type: DIRECTORY }, { path: 'dir/x', data: 'x' })),
    );
    await setup.commit('c', 'a');
    const upper = await setup.prepare('b', 'c');
    await setup.apply(upper, gzipSync(archive({ path: '.wh.one' }, { path: 'two', data: '2' })), { syncFs: true });
    assert.equal(contentOf(layerOf(upper), 'one'), null);
    assert.equal(contentOf(layerOf(upper), 'two'), '2');
    assert.equal(layerInfo(layerOf(upper)).parent, 'ctr~c');
  }));

test('a containerd that does not say in which namespace it asks: the snapshot does', () =>
  withSetup(async (setup) => {
    setup.client.metadata.remove('containerd-namespace');
    const tar = archive({ path: 'one', data: '1' });
    await setup.apply(await setup.prepare('k8s.io/1/a'), gzipSync(tar));
    assert.deepEqual([...setup.containerd.namespaces], ['k8s.io']);
    await setup.commit(`k8s.io/2/${digestOf(tar)}`, 'k8s.io/1/a');
    // Another namespace shares the layer, and looks at it.
    await assert.rejects(setup.prepare('moby/1/x', '', { [TARGET]: digestOf(tar) }), { code: status.ALREADY_EXISTS });
    await setup.diff([], await setup.view('moby/2/v', `k8s.io/2/${digestOf(tar)}`));
    assert.deepEqual(setup.containerd.headers.get('containerd-namespace'), ['moby']);
  }));

test('what is not ours, or not a plain layer, is left to others', () =>
  withSetup(async (setup) => {
    const blob = gzipSync(tarOf(1024));
    const mounts = await setup.prepare('a');
    const [mount] = mounts as [Mount];
    const other = [{ ...mount, source: '/mnt/layers/nothing' }];
    createLayer('mine');
    const written = await setup.prepare('written');
    make(layerOf(written), ROOT, 'file');
    const touched = await setup.prepare('touched');
    remove(layerOf(touched), ROOT, (make(layerOf(touched), ROOT, 'file'), 'file'));
    const cases: [Mounts, Partial<ApplyRequest>?][] = [
      [[]],
      [[FOREIGN]],
      [other],
      [[mount, mount]],
      [[{ ...mount, source: '/mnt/layers/../layers/ctr~a' }]],
      [[{ ...mount, source: '/mnt/layers/mine' }]],
      [[{ ...mount, type: 'overlay' }]],
      [[{ ...mount, options: ['rbind', 'ro'] }]],
      [await setup.view('v')],
      [written],
      [touched],
      [mounts, { payloads: { key: { typeUrl: 'x', value: Buffer.from('y') } } }],
      [mounts, { diff: { mediaType: `${TAR}+encrypted`, digest: digestOf(blob), size: 1 } }],
      [mounts, { diff: { mediaType: 'application/octet-stream', digest: digestOf(blob), size: 1 } }],
      [mounts, { diff: { mediaType: TAR_GZIP, digest: 'md5:00', size: 1 } }],
    ];
    for (const [index, [given, change]] of cases.entries())
      await assert.rejects(setup.apply(given, blob, change), { code: status.UNIMPLEMENTED }, `case ${index}`);
    assert.equal(layerInfo('ctr~a').inodes, 1);
  }));

test('a blob that is not what it should be leaves nothing behind', () =>
  withSetup(async (setup) => {
    const tar = tarOf(3 * MIB);
    const blob = gzipSync(tar);
    for (const root of ['', join(setup.folder, 'content')]) {
      await setup.useRoot(root);
      const mounts = await setup.prepare(`a${root.length}`);
      const before = layers();
      const store = (promised: Buffer, stored: Buffer): object => {
        const digest = setup.containerd.add(promised);
        setup.containerd.blobs.set(digest, { bytes: stored, labels: {} });
        if (root !== '') writeFileSync(join(root, 'blobs', ...digest.split(':')), stored);
        return { diff: { mediaType: TAR_GZIP, digest, size: promised.length } };
      };
      const flipped = Buffer.from(blob);
      flipped[blob.length >> 1]! ^= 1;
      const cut = gzipSync(tar.subarray(0, tar.length >> 1));
      const wrong: [object, status][] = [
        [store(blob, flipped), status.DATA_LOSS],
        [store(blob, blob.subarray(0, blob.length - 9)), status.DATA_LOSS],
        [store(blob, Buffer.concat([blob, Buffer.from('x')])), status.DATA_LOSS],
        [store(gzipSync(Buffer.from('another')), blob), status.DATA_LOSS],
        [store(cut, cut), status.INVALID_ARGUMENT],
        [store(noise(2 * MIB), noise(2 * MIB)), status.INVALID_ARGUMENT],
        [{ diff: { mediaType: TAR_GZIP, digest: digestOf(Buffer.from('not there')), size: 9 } }, status.NOT_FOUND],
      ];
      for (const [index, [change, code]] of wrong.entries()) {
        await assert.rejects(setup.apply(mounts, blob, change as Partial<ApplyRequest>), (error: { code: status; details: string }) => {
          assert.equal(error.code, code, `case ${index}: ${error.details}`);
          return true;
        });
        assert.deepEqual(layers(), before, `case ${index}`);
        assert.equal(layerInfo(layerOf(mounts)).inodes, 1);
      }
      store(blob, blob);
      await setup.apply(mounts, blob);
    }
  }));

test('containerd goes away in the middle', () =>
  withSetup(async (setup) => {
    const blob = gzipSync(tarOf(3 * MIB));
    const mounts = await setup.prepare('a');
    setup.containerd.breakAfter = MIB;
    await assert.rejects(setup.apply(mounts, blob), { code: status.UNAVAILABLE });
    setup.containerd.breakAfter = Infinity;
    setup.containerd.stallAfter = MIB;
    const stalled = setup.apply(mounts, blob);
    await delay(300);
    setup.containerd.stop();
    await assert.rejects(stalled, ({ code }: { code: status }) => [status.CANCELLED, status.UNAVAILABLE].includes(code));
    await assert.rejects(setup.apply(mounts, blob), { code: status.UNAVAILABLE });
    assert.deepEqual(layers(), ['ctr~a']);
    assert.equal(layerInfo('ctr~a').inodes, 1);
  }));

test('a caller that goes away ends its diff; others do not notice', () =>
  withSetup(async (setup) => {
    const blob = gzipSync(tarOf(3 * MIB));
    const [one, two, three] = [await setup.prepare('a'), await setup.prepare('b'), await setup.prepare('c')];
    setup.containerd.stallAfter = MIB;
    const controllers = [new AbortController(), new AbortController(), new AbortController()];
    const calls = [one, two, three].map((mounts, i) => setup.apply(mounts, blob, {}, controllers[i]!.signal));
    const ends = calls.map((call) => assert.rejects(call, { code: status.CANCELLED }));
    await delay(300);
    // Two threads are stalled, and the third call waits for one.
    await setup.prepare('meanwhile');
    for (const controller of controllers) controller.abort();
    await Promise.all(ends);
    await until(isCalm);
    setup.containerd.stallAfter = Infinity;
    await setup.apply(one, blob);
    await setup.apply(two, blob);
    assert.deepEqual(layers().toSorted(), ['ctr~a', 'ctr~b', 'ctr~c', 'ctr~meanwhile']);
    assert.equal(layerInfo('ctr~c').inodes, 1);
  }));

test('a snapshot that changes while a diff is on its way', () =>
  withSetup(async (setup) => {
    const blob = gzipSync(tarOf(3 * MIB));
    const mounts = await setup.prepare('a');
    setup.containerd.stallAfter = MIB;
    const controller = new AbortController();
    const first = assert.rejects(setup.apply(mounts, blob, {}, controller.signal), { code: status.CANCELLED });
    await delay(200);
    await assert.rejects(setup.apply(mounts, blob), { code: status.FAILED_PRECONDITION });
    await setup.client.call(SNAPSHOTS.cleanup, {}); // does not touch what is being worked on
    controller.abort();
    await first;
    await until(isCalm);
    setup.containerd.stallAfter = Infinity;
    // Removed, and made again, while the diff is applied.
    const large = gzipSync(tarOf(24 * MIB));
    const applying = setup.apply(mounts, large).then(
      () => 'done',
      (error: { code: status }) => error.code,
    );
    await setup.client.call(SNAPSHOTS.remove, { key: 'a' });
    await setup.prepare('a');
    assert.ok(['done', status.FAILED_PRECONDITION, status.NOT_FOUND, status.UNIMPLEMENTED].includes(await applying));
    assert.deepEqual(layers(), ['ctr~a']);
  }));

test('what a daemon left unfinished is gone when the next one starts', () =>
  withSetup(async (setup) => {
    await setup.prepare('a');
    createLayer('ctr+staging~7', { properties: { 'containerd.role': 'staging' } });
    await setup.stop();
    await setup.start();
    assert.deepEqual(layers(), ['ctr~a']);
  }));

test('a layer is offered if the differ agrees that it is what it is said to be', () =>
  withSetup(async (setup) => {
    const tars = [tarOf(1024), tarOf(2048)];
    const first = digestOf(tars[0]!);
    const second = chainId(first, digestOf(tars[1]!));
    await setup.apply(await setup.prepare('one/1/x'), gzipSync(tars[0]!));
    await setup.commit(`one/2/${first}`, 'one/1/x');
    await setup.apply(await setup.prepare('one/3/x', `one/2/${first}`), gzipSync(tars[1]!));
    await setup.commit(`one/4/${second}`, 'one/3/x');
    const wrong = `sha256:${'0'.repeat(64)}`;
    await setup.apply(await setup.prepare('one/5/x'), gzipSync(tars[0]!));
    await setup.commit(`one/6/${wrong}`, 'one/5/x');
    for (const target of [first, second]) {
      const parent = target === first ? '' : `one/2/${first}`;
      await assert.rejects(setup.prepare('two/1/x', parent, { [TARGET]: target }), { code: status.ALREADY_EXISTS });
    }
    await setup.prepare('two/1/x', '', { [TARGET]: wrong });
  }));

test('the same blobs upon the same contents are applied once', () =>
  withSetup(async (setup) => {
    const tars = [archive({ path: 'one', data: '1' }), archive({ path: 'two', data: '2' })];
    const blobs = tars.map((tar) => gzipSync(tar));
    const chains = [digestOf(tars[0]!), chainId(digestOf(tars[0]!), digestOf(tars[1]!))];
    const pull = async (namespace: string): Promise<void> => {
      for (const [i, blob] of blobs.entries()) {
        const parent = i === 0 ? '' : `${namespace}/1/${chains[i - 1]}`;
        const { applied } = (await setup.apply(await setup.prepare(`${namespace}/0/x${i}`, parent), blob)) as { applied: object };
        assert.deepEqual(applied, { mediaType: TAR, digest: digestOf(tars[i]!), size: tars[i]!.length, annotations: {} });
        await setup.commit(`${namespace}/1/${chains[i]}`, `${namespace}/0/x${i}`);
      }
    };
    await pull('one');
    assert.equal(setup.containerd.asked, 2);
    await setup.stop();
    await setup.start();
    await pull('two');
    assert.equal(setup.containerd.asked, 2);
    assert.equal(layers().length, 2, 'the snapshots of both share the layers');
    for (const chain of chains.toReversed()) await setup.client.call(SNAPSHOTS.remove, { key: `one/1/${chain}` });
    const mounts = await setup.prepare('two/2/x', `two/1/${chains[1]}`);
    assert.deepEqual(
      ['one', 'two'].map((name) => contentOf(layerOf(mounts), name)),
      ['1', '2'],
    );
    await pull('three');
    assert.equal(setup.containerd.asked, 2);
    // Upon other contents, or of another blob, it is another layer.
    await setup.apply(await setup.prepare('two/3/x', `two/1/${chains[1]}`), blobs[0]!);
    await setup.apply(await setup.prepare('two/4/x', `two/1/${chains[0]}`), gzipSync(tars[1]!, { level: 0 }));
    assert.equal(setup.containerd.asked, 4);
    for (const key of ['two/2/x', 'two/3/x', 'two/4/x']) await setup.client.call(SNAPSHOTS.remove, { key });
    for (const name of ['two', 'three'])
      for (const chain of chains.toReversed()) await setup.client.call(SNAPSHOTS.remove, { key: `${name}/1/${chain}` });
    assert.deepEqual(layers(), []);
  }));

test('the difference of two layers becomes a blob', () =>
  withSetup(async (setup) => {
    await setup.apply(await setup.prepare('a'), gzipSync(archive({ path: 'one', data: '1' }, { path: 'two', data: '2' })));
    await setup.commit('c', 'a');
    const left = await setup.view('v', 'c');
    const right = await setup.prepare('b', 'c');
    put(layerOf(right), make(layerOf(right), ROOT, 'three'), 0, Buffer.from('3'));
    remove(layerOf(right), ROOT, 'one');
    setup.broughtIn.length = 0;

    const result = await setup.diff(left, right, { ref: 'my-ref', labels: { mine: 'yes' } });
    assert.equal(result.mediaType, TAR_GZIP);
    const blob = setup.containerd.blobs.get(result.digest!)!;
    assert.equal(blob.bytes.length, result.size);
    const tar = gunzipSync(blob.bytes);
    assert.deepEqual(blob.labels, { mine: 'yes', [UNCOMPRESSED]: digestOf(tar) });
    assert.deepEqual(
      setup.broughtIn,
      [right, left].map(([mount]) => basename(mount!.source!)),
    );
    assert.deepEqual([setup.containerd.open.size, setup.containerd.leases.length], [0, 1]);
    assert.deepEqual(setup.containerd.headers.get('containerd-lease'), setup.containerd.leases);
    assert.deepEqual(setup.containerd.headers.get('containerd-namespace'), ['moby']);

    // Applied, it makes the same of the parent.
    const again = await setup.prepare('again', 'c');
    await setup.apply(again, blob.bytes);
    assert.deepEqual(
      ['one', 'two', 'three'].map((name) => contentOf(layerOf(again), name)),
      [null, '2', '3'],
    );

    // The same once more: the blob is there, but for its label.
    const known = setup.containerd.blobs.get(result.digest!)!;
    known.labels = {};
    assert.deepEqual(await setup.diff(left, right), result);
    assert.deepEqual(known.labels, { [UNCOMPRESSED]: digestOf(tar) });
    const plain = await setup.diff(left, right, { mediaType: TAR });
    assert.deepEqual([plain.mediaType, plain.digest, plain.size], [TAR, digestOf(tar), tar.length]);
    const zstd = await setup.diff(left, right, { mediaType: TAR_ZSTD });
    assert.equal(setup.containerd.blobs.get(zstd.digest!)!.bytes.readUInt32LE(0), 0xfd2fb528);
    assert.ok(layers().every((name) => layerInfo(name).holders === 0));
  }));

test('a difference from nothing, and the lease of the caller', () =>
  withSetup(async (setup) => {
    await setup.apply(await setup.prepare('a'), gzipSync(tarOf(3 * MIB)));
    await setup.commit('c', 'a');
    const right = await setup.view('v', 'c');
    setup.client.metadata.set('containerd-lease', 'of-the-caller');
    const whole = await setup.diff([], right);
    assert.deepEqual(setup.containerd.leases, []);
    assert.deepEqual(setup.containerd.headers.get('containerd-lease'), ['of-the-caller']);
    assert.deepEqual(await setup.diff(await setup.view('empty'), right), whole);
  }));

test('differences that cannot be told here are left to others', () =>
  withSetup(async (setup) => {
    for (const name of ['c', 'd']) {
      await setup.apply(await setup.prepare(`${name}-active`), gzipSync(tarOf(1024)));
      await setup.commit(name, `${name}-active`);
    }
    const [c, d] = [await setup.view('v', 'c'), await setup.view('w', 'd')];
    const child = await setup.prepare('child', 'c');
    const cases: [Mounts, Mounts, Partial<DiffRequest>?][] = [
      [[FOREIGN], c],
      [c, [FOREIGN]],
      [[], []],
      [c, d],
      [child, c],
      [c, child, { mediaType: 'application/octet-stream' }],
      [c, child, { sourceDateEpoch: { seconds: 1, nanos: 0 } }],
    ];
    for (const [index, [left, right, change]] of cases.entries())
      await assert.rejects(setup.diff(left, right, change), { code: status.UNIMPLEMENTED }, `case ${index}`);
    assert.deepEqual(setup.containerd.open.size, 0);
    await setup.diff(c, c);
  }));

test('a write that fails takes away what it wrote', () =>
  withSetup(async (setup) => {
    const right = await setup.prepare('a');
    setup.containerd.stop();
    await assert.rejects(setup.diff([], right), { code: status.UNAVAILABLE });
    rmSync(setup.address, { force: true });
    assert.equal(existsSync(setup.address), false);
    removeLayer('ctr~a');
  }));
