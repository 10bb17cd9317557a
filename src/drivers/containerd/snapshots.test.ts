/** The snapshotter as containerd sees it: gRPC calls on a unix socket, against a volume in a temporary file. */
import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { status, type MethodDefinition } from '@grpc/grpc-js';
import { makeDurable } from '../../engine/durability.js';
import { createLayer, findLayer, layerInfo, listLayers, removeLayer } from '../../engine/layers.js';
import { reclaimAll } from '../../engine/maintenance.js';
import { abandonVolume, closeVolume, formatVolume, openVolume } from '../../engine/volume.js';
import { find, make, put, ROOT } from '../../../test/support/files.js';
import { TestClient } from '../../../test/support/containerd.js';
import { assertSound, MIB, withFolder } from '../../../test/support/volume.js';
import { KIND_ACTIVE, KIND_COMMITTED, KIND_VIEW, type Info } from './messages.js';
import { Service } from './rpc.js';
import { makeSocket } from '../socket.js';
import { serve, type RunningServer } from './server.js';
import { addSnapshots, METHODS } from './snapshots-service.js';
import { Snapshotter } from './snapshotter.js';

const MOUNTPOINT = '/mnt';
const TARGET = 'containerd.io/snapshot.ref';

/** A driver on a volume, which can be started again. */
class Setup {
  readonly folder: string;
  readonly socket: string;
  readonly announced: string[] = [];
  readonly broughtIn: string[] = [];
  checkpoints = 0;
  logWrites = 0;
  client!: TestClient;
  #server!: RunningServer;

  constructor(folder: string) {
    this.folder = folder;
    this.socket = join(folder, 'run/containerd.sock');
  }

  async start(): Promise<void> {
    openVolume(join(this.folder, 'volume'), { cacheBytes: 8 * MIB });
    const service = new Service(() => {});
    const checkpoint = async (): Promise<void> => void this.checkpoints++;
    const durable = async (): Promise<void> => {
      makeDurable();
      this.logWrites++;
    };
    const bringIn = async (layer: string): Promise<void> => void this.broughtIn.push(`${layer} ${layerInfo(layer).state}`);
    const announce = (name: string): void => void this.announced.push(name);
    addSnapshots(service, new Snapshotter({ mountpoint: MOUNTPOINT, bringIn, checkpoint, durable, announce }));
    this.#server = await serve(service, await makeSocket(this.socket));
    this.client = new TestClient(this.socket);
  }

  async stop(): Promise<void> {
    this.client.close();
    await this.#server.stop(1000);
    reclaimAll();
    assertSound();
    closeVolume();
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** The power fails, and comes back. */
  async cutPower(): Promise<void> {
    this.client.close();
    await this.#server.stop(1000);
    abandonVolume();
    await this.start();
  }

  call<A, B>(method: MethodDefinition<A, B>, request: A): Promise<B> {
    return this.client.call(method, request);
  }

  async prepare(key: string, parent = '', labels: Record<string, string> = {}): Promise<string> {
    return sourceOf(await this.call(METHODS.prepare, { key, parent, labels }));
  }

  async view(key: string, parent = ''): Promise<string> {
    return sourceOf(await this.call(METHODS.view, { key, parent }));
  }

  commit(name: string, key: string, labels: Record<string, string> = {}): Promise<unknown> {
    return this.call(METHODS.commit, { name, key, labels });
  }

  /** A committed snapshot by way of an active one. */
  async layer(name: string, parent = '', labels: Record<string, string> = {}): Promise<void> {
    await this.prepare(`${name}-active`, parent, labels);
    await this.commit(name, `${name}-active`, labels);
  }

  remove(key: string): Promise<unknown> {
    return this.call(METHODS.remove, { key });
  }

  async stat(key: string): Promise<Info> {
    return (await this.call(METHODS.stat, { key })).info as Info;
  }

  async list(...filters: string[]): Promise<Info[]> {
    return (await this.client.collect(METHODS.list, { filters })).flatMap(({ info }) => info as Info[]);
  }

  async names(...filters: string[]): Promise<string[]> {
    return (await this.list(...filters)).map(({ name }) => name).sort();
  }
}

function sourceOf({ mounts }: { mounts?: readonly { source?: string }[] }): string {
  assert.equal(mounts!.length, 1);
  return mounts![0]!.source!;
}

/** The layer behind a mount. */
function layerAt(source: string): string {
  assert.ok(source.startsWith(`${MOUNTPOINT}/layers/`));
  return source.slice(`${MOUNTPOINT}/layers/`.length);
}

const fails = (code: status, message?: RegExp) => (error: { code: status; details: string }) => {
  assert.equal(error.code, code, error.details);
  if (message !== undefined) assert.match(error.details, message);
  return true;
};

async function withSetup(work: (setup: Setup) => Promise<void>, bytes = 64 * MIB): Promise<void> {
  await withFolder(async (folder) => {
    formatVolume(join(folder, 'volume'), { bytes });
    const setup = new Setup(folder);
    await setup.start();
    try {
      await work(setup);
    } finally {
      await setup.stop();
    }
  });
}

const nanoseconds = (time: Info['createdAt']): bigint => BigInt(time!.seconds!) * 1_000_000_000n + BigInt(time!.nanos!);
const layers = (): string[] => Array.from(listLayers(), ({ name }) => name);
const chain = (digit: string): string => `sha256:${digit.repeat(64)}`;

test('life of a snapshot', () =>
  withSetup(async (setup) => {
    const { mounts } = await setup.call(METHODS.prepare, { key: 'ns/1/a', labels: { one: '1', none: '' } });
    assert.deepEqual(mounts, [{ type: 'bind', source: '/mnt/layers/ctr~ns~1~a', target: '', options: ['rbind', 'rw'] }]);
    assert.deepEqual((await setup.call(METHODS.mounts, { key: 'ns/1/a' })).mounts, mounts);
    const active = await setup.stat('ns/1/a');
    assert.deepEqual([active.name, active.parent, active.kind, active.labels], ['ns/1/a', '', KIND_ACTIVE, { one: '1' }]);
    assert.deepEqual(active.createdAt, active.updatedAt);
    assert.ok(Math.abs(active.createdAt!.seconds! - Date.now() / 1000) < 60);

    assert.ok(make(findLayer('ctr~ns~1~a'), ROOT, 'file') > 0);
    await setup.commit('ns/2/c', 'ns/1/a', { two: '2' });
    assert.equal(setup.checkpoints, 1);
    assert.deepEqual(setup.broughtIn, ['ctr~ns~1~a writable'], 'what was mapped comes in before the layer is sealed');
    assert.equal(layerInfo('ctr~ns~2~c').state, 'sealed');
    await assert.rejects(setup.stat('ns/1/a'), fails(status.NOT_FOUND));
    const committed = await setup.stat('ns/2/c');
    assert.deepEqual([committed.kind, committed.labels], [KIND_COMMITTED, { two: '2' }]);
    assert.ok(nanoseconds(committed.createdAt) > nanoseconds(active.createdAt));

    const child = await setup.prepare('ns/3/a', 'ns/2/c');
    assert.equal((await setup.stat('ns/3/a')).parent, 'ns/2/c');
    assert.ok(find(findLayer(layerAt(child)), ROOT, 'file') > 0);
    await assert.rejects(setup.remove('ns/2/c'), fails(status.FAILED_PRECONDITION, /remove/));
    await setup.remove('ns/3/a');
    await setup.remove('ns/2/c');
    assert.deepEqual(layers(), []);
    assert.deepEqual(await setup.names(), []);
  }));

test('a view is the layer itself, read-only', () =>
  withSetup(async (setup) => {
    await setup.layer('base');
    const { mounts } = await setup.call(METHODS.view, { key: 'v', parent: 'base' });
    assert.deepEqual(mounts, [{ type: 'bind', source: '/mnt/layers/ctr~base', target: '', options: ['rbind', 'ro'] }]);
    assert.deepEqual((await setup.call(METHODS.mounts, { key: 'v' })).mounts, mounts);
    assert.deepEqual([(await setup.stat('v')).kind, (await setup.stat('v')).parent], [KIND_VIEW, 'base']);
    assert.deepEqual(await setup.call(METHODS.usage, { key: 'v' }), { size: 0, inodes: 0 });
    await setup.view('w', 'base');
    await assert.rejects(setup.remove('base'), fails(status.FAILED_PRECONDITION, /remove/));
    await assert.rejects(setup.commit('x', 'v'), fails(status.FAILED_PRECONDITION));
    await setup.remove('v');
    await setup.restart();
    assert.deepEqual(await setup.names(), ['base', 'w']);
    await setup.remove('w');
    await setup.remove('base');
    const empty = layerAt(await setup.view('empty'));
    assert.equal(layerInfo(empty).state, 'sealed');
    await setup.remove('empty');
    assert.deepEqual(layers(), []);
  }));

test('what is refused, and how', () =>
  withSetup(async (setup) => {
    await setup.layer('c');
    await setup.prepare('a', 'c');
    await setup.view('v', 'c');
    const cases: [() => Promise<unknown>, status][] = [
      [() => setup.prepare(''), status.INVALID_ARGUMENT],
      [() => setup.prepare('x', 'nothing'), status.NOT_FOUND],
      [() => setup.prepare('x', 'a'), status.INVALID_ARGUMENT],
      [() => setup.prepare('x', 'v'), status.INVALID_ARGUMENT],
      [() => setup.view('x', 'nothing'), status.NOT_FOUND],
      [() => setup.view('x', 'a'), status.INVALID_ARGUMENT],
      [() => setup.prepare('a', 'c'), status.ALREADY_EXISTS],
      [() => setup.prepare('v', 'c'), status.ALREADY_EXISTS],
      [() => setup.view('c', 'c'), status.ALREADY_EXISTS],
      [() => setup.view('a'), status.ALREADY_EXISTS],
      [() => setup.commit('c', 'a'), status.ALREADY_EXISTS],
      [() => setup.commit('v', 'a'), status.ALREADY_EXISTS],
      [() => setup.commit('x', 'nothing'), status.NOT_FOUND],
      [() => setup.commit('x', 'c'), status.FAILED_PRECONDITION],
      [() => setup.commit('x', 'v'), status.FAILED_PRECONDITION],
      [() => setup.commit('', 'a'), status.INVALID_ARGUMENT],
      [() => setup.call(METHODS.commit, { name: 'x', key: 'a', parent: 'other' }), status.INVALID_ARGUMENT],
      [() => setup.call(METHODS.mounts, { key: 'c' }), status.FAILED_PRECONDITION],
      [() => setup.call(METHODS.mounts, { key: 'nothing' }), status.NOT_FOUND],
      [() => setup.call(METHODS.usage, { key: 'nothing' }), status.NOT_FOUND],
      [() => setup.stat('nothing'), status.NOT_FOUND],
      [() => setup.stat(''), status.NOT_FOUND],
      [() => setup.remove('nothing'), status.NOT_FOUND],
      [() => setup.call(METHODS.update, {}), status.NOT_FOUND],
      [() => setup.call(METHODS.update, { info: { name: 'a' }, updateMask: { paths: ['parent'] } }), status.INVALID_ARGUMENT],
      [() => setup.prepare('x'.repeat(4097)), status.INVALID_ARGUMENT],
      [() => setup.prepare('x', '', { l: 'v'.repeat(4096) }), status.INVALID_ARGUMENT],
      [
        () => setup.prepare('x', '', Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`l${i}`, 'v'.repeat(4000)]))),
        status.INVALID_ARGUMENT,
      ],
      [() => setup.list('kind=='), status.INVALID_ARGUMENT],
    ];
    for (const [index, [call, code]] of cases.entries()) await assert.rejects(call, { code }, `case ${index}`);
    assert.deepEqual(await setup.names(), ['a', 'c', 'v']);
    // The parent that a snapshot has may be named at its commit.
    await setup.call(METHODS.commit, { name: 'd', key: 'a', parent: 'c' });
  }));

test('names that were removed can be used again, for whatever', () =>
  withSetup(async (setup) => {
    await setup.layer('c');
    await setup.prepare('k', 'c');
    await setup.remove('k');
    await setup.view('k', 'c');
    await setup.remove('k');
    await setup.prepare('k');
    await setup.remove('c');
    await setup.commit('c', 'k');
    await setup.prepare('k', 'c');
    assert.deepEqual(await setup.names(), ['c', 'k']);
  }));

test('labels and times after updates, and after a restart', () =>
  withSetup(async (setup) => {
    await setup.prepare('a', '', { l1: 'v1' });
    const before = await setup.stat('a');
    const update = async (labels: Record<string, string>, ...paths: string[]): Promise<Info> => {
      const info = { name: 'a', parent: 'elsewhere', kind: KIND_COMMITTED, labels };
      return (await setup.call(METHODS.update, { info, updateMask: { paths } })).info as Info;
    };
    assert.deepEqual((await update({ l1: 'x', l2: 'y', l3: '' })).labels, { l1: 'x', l2: 'y' });
    assert.deepEqual((await update({ l1: 'new', l4: 'not named' }, 'labels.l1', 'labels.l2')).labels, { l1: 'new' });
    assert.deepEqual((await update({ 'a.b/c': 'dots' }, 'labels.a.b/c')).labels, { l1: 'new', 'a.b/c': 'dots' });
    assert.deepEqual((await update({ __proto__: 'x', constructor: 'y' } as never, 'labels')).labels, { constructor: 'y' });
    const long = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`label-${i}`, 'ä'.repeat(2000)]));
    const after = await update(long);
    assert.deepEqual([after.kind, after.parent, after.createdAt], [before.kind, before.parent, before.createdAt]);
    assert.ok(nanoseconds(after.updatedAt) > nanoseconds(before.updatedAt));
    await setup.restart();
    assert.deepEqual(await setup.stat('a'), after);
  }));

test('List filters, and sends everything in several messages', () =>
  withSetup(async (setup) => {
    await setup.layer('p', '', { l: '1' });
    for (let i = 0; i < 250; i++) await setup.view(`v${i}`, 'p');
    await setup.prepare('a', 'p', { l: '2' });
    assert.equal((await setup.client.collect(METHODS.list, {})).length, 3);
    assert.equal((await setup.list()).length, 252);
    assert.deepEqual(await setup.names('kind==active', 'kind==committed'), ['a', 'p']);
    assert.deepEqual(await setup.names('parent==p,labels.l'), ['a']);
    assert.deepEqual(await setup.names('kind==view,name~=^v24[89]$'), ['v248', 'v249']);
    assert.deepEqual(await setup.names('name==nothing'), []);
  }));

test('usage is what the snapshot has itself', () =>
  withSetup(async (setup) => {
    await setup.prepare('a');
    for (let i = 0; i < 5; i++) make(findLayer('ctr~a'), ROOT, `file${i}`);
    await setup.commit('base', 'a');
    const base = await setup.call(METHODS.usage, { key: 'base' });
    assert.equal(base.inodes, 6);
    assert.ok(base.size! >= 4096);
    await setup.prepare('b', 'base');
    assert.deepEqual(await setup.call(METHODS.usage, { key: 'b' }), { size: 0, inodes: 0 });
    make(findLayer('ctr~b'), ROOT, 'more');
    assert.equal((await setup.call(METHODS.usage, { key: 'b' })).inodes, 1);
  }));

test('keys of all kinds', () =>
  withSetup(async (setup) => {
    const keys = ['..', '.', '/', '//', 'a\0b', 'ä/ö', ' ', 'x'.repeat(4096), `${'x'.repeat(4095)}y`, '%2F', '~', '__proto__', 'toString'];
    for (const key of keys) await setup.prepare(key);
    await setup.restart();
    assert.deepEqual(await setup.names(), keys.toSorted());
    for (const key of keys) assert.equal((await setup.stat(key)).name, key);
    for (const key of keys) await setup.remove(key);
    assert.deepEqual(layers(), []);
  }));

test('what containerd writes down when it is answered outlives a power cut', () =>
  withSetup(async (setup) => {
    await setup.layer(`one/1/${chain('a')}`);
    await setup.prepare('one/2/container', `one/1/${chain('a')}`);
    await setup.cutPower();
    assert.equal((await setup.stat('one/2/container')).kind, KIND_ACTIVE);
    await setup.view('one/3/view', `one/1/${chain('a')}`);
    await setup.cutPower();
    assert.equal((await setup.stat('one/3/view')).kind, KIND_VIEW);
    await setup.view('one/4/empty');
    await setup.cutPower();
    assert.equal((await setup.stat('one/4/empty')).kind, KIND_VIEW);
    await assert.rejects(setup.prepare('two/1/x', '', { [TARGET]: chain('a') }), fails(status.ALREADY_EXISTS));
    await setup.cutPower();
    assert.equal((await setup.list(`labels."${TARGET}"==${chain('a')}`)).length, 1);
  }));

test('a layer whose commit is not durable yet is offered when it is', () =>
  withSetup(async (setup) => {
    await setup.layer(`one/2/${chain('a')}`, '', { [TARGET]: chain('a') });
    await assert.rejects(setup.prepare('two/1/x', '', { [TARGET]: chain('a') }), fails(status.ALREADY_EXISTS));
    await setup.cutPower();
    assert.equal((await setup.stat(`one/2/${chain('a')}`)).kind, KIND_COMMITTED);
  }));

test('a snapshot that an image is unpacked into waits for its commit to be durable', () =>
  withSetup(async (setup) => {
    await setup.prepare('one/1/extract', '', { [TARGET]: chain('a') });
    assert.deepEqual([setup.logWrites, setup.checkpoints], [0, 0]);
    await setup.commit(`one/2/${chain('a')}`, 'one/1/extract');
    assert.deepEqual([setup.logWrites, setup.checkpoints], [0, 1]);
  }));

// One copy for everybody

test('a layer that is there is offered under the same parent', () =>
  withSetup(async (setup) => {
    await setup.layer(`one/2/${chain('a')}`, '', { [TARGET]: chain('a') });
    const prepare = setup.prepare(`two/1/extract ${chain('a')}`, '', { [TARGET]: chain('a') });
    await assert.rejects(prepare, fails(status.ALREADY_EXISTS));
    // Containerd takes over the snapshot that is there.
    assert.deepEqual(await setup.names(`labels."${TARGET}"==${chain('a')},parent==""`), [`one/2/${chain('a')}`]);
    assert.equal(layers().length, 1);
  }));

test('a layer is known by the name of its snapshot, too', () =>
  withSetup(async (setup) => {
    await setup.layer(`one/2/${chain('a')}`);
    await setup.restart();
    await assert.rejects(setup.prepare('two/1/x', '', { [TARGET]: chain('a') }), fails(status.ALREADY_EXISTS));
    const [found] = await setup.list(`labels."${TARGET}"==${chain('a')}`);
    assert.equal(found!.name, `one/2/${chain('a')}`);
    await setup.restart();
    assert.equal((await setup.list(`labels."${TARGET}"==${chain('a')}`)).length, 1);
  }));

test('a layer is offered under another parent by a snapshot that shares it', () =>
  withSetup(async (setup) => {
    await setup.layer(`one/2/${chain('a')}`);
    await setup.prepare('one/3/x', `one/2/${chain('a')}`);
    make(findLayer('ctr~one~3~x'), ROOT, 'second');
    await setup.commit(`one/4/${chain('b')}`, 'one/3/x');
    await setup.layer('two/1/own'); // unpacked again: its chain ID was not known
    await assert.rejects(setup.prepare('two/2/x', 'two/1/own', { [TARGET]: chain('b') }), fails(status.ALREADY_EXISTS));
    const [found] = await setup.list(`labels."${TARGET}"==${chain('b')},parent=="two/1/own",kind==committed`);
    assert.equal(found!.name, `two/2/${chain('b')}`);
    assert.equal(layers().length, 3);

    // The namespace that brought the layers removes them in its order; what the other one needs stays.
    await assert.rejects(setup.remove(`one/2/${chain('a')}`), fails(status.FAILED_PRECONDITION));
    await setup.remove(`one/4/${chain('b')}`);
    await setup.remove(`one/2/${chain('a')}`);
    assert.deepEqual(await setup.names(), ['two/1/own', `two/2/${chain('b')}`]);
    const child = await setup.prepare('two/3/x', `two/2/${chain('b')}`);
    assert.ok(find(findLayer(layerAt(child)), ROOT, 'second') > 0);
    await setup.restart();
    assert.equal(layers().length, 4);
    await assert.rejects(setup.remove(`two/2/${chain('b')}`), fails(status.FAILED_PRECONDITION));
    await assert.rejects(setup.remove('two/1/own'), fails(status.FAILED_PRECONDITION));
    await setup.remove('two/3/x');
    await setup.remove(`two/2/${chain('b')}`); // and with it the layer that was kept for it
    await setup.remove('two/1/own');
    assert.deepEqual(layers(), []);
  }));

test('of several layers with the same contents, the one with the right parent is offered', () =>
  withSetup(async (setup) => {
    for (const namespace of ['one', 'two']) await setup.prepare(`${namespace}/1/x`);
    for (const namespace of ['one', 'two']) await setup.commit(`${namespace}/2/${chain('a')}`, `${namespace}/1/x`);
    for (const namespace of ['one', 'two']) await setup.prepare(`${namespace}/3/x`, `${namespace}/2/${chain('a')}`);
    for (const namespace of ['one', 'two']) await setup.commit(`${namespace}/4/${chain('b')}`, `${namespace}/3/x`);
    for (const namespace of ['one', 'two']) {
      const parent = `${namespace}/2/${chain('a')}`;
      await assert.rejects(setup.prepare('three/1/x', parent, { [TARGET]: chain('b') }), fails(status.ALREADY_EXISTS));
      assert.deepEqual(await setup.names(`labels."${TARGET}"==${chain('b')},parent=="${parent}"`), [`${namespace}/4/${chain('b')}`]);
    }
    assert.equal((await setup.names()).length, 4);
  }));

test('what is gone is not offered, nor what was never committed', () =>
  withSetup(async (setup) => {
    await setup.prepare('one/1/x', '', { [TARGET]: chain('a') });
    await setup.prepare('two/1/x', '', { [TARGET]: chain('a') });
    await setup.commit(`one/2/${chain('a')}`, 'one/1/x');
    await setup.commit(`two/2/${chain('a')}`, 'two/1/x');
    await setup.remove(`one/2/${chain('a')}`);
    await assert.rejects(setup.prepare('three/1/x', '', { [TARGET]: chain('a') }), fails(status.ALREADY_EXISTS));
    await setup.remove(`two/2/${chain('a')}`);
    await setup.prepare('three/1/x', '', { [TARGET]: chain('a') });
    await setup.prepare('three/2/x', '', { [TARGET]: 'no chain ID' });
    await setup.commit('three/3/x', 'three/2/x', { [TARGET]: 'no chain ID' });
    await setup.prepare('three/4/x', '', { [TARGET]: 'no chain ID' });
  }));

test('names of offered snapshots do not get in the way of older ones', () =>
  withSetup(async (setup) => {
    await setup.layer(`one/2/${chain('a')}`);
    await setup.layer(`two/1/${chain('a')}`);
    await setup.layer('two/0/p');
    const prepare = setup.prepare('two/1/extract', 'two/0/p', { [TARGET]: chain('a') });
    await assert.rejects(prepare, fails(status.ALREADY_EXISTS));
    assert.deepEqual(await setup.names(`labels."${TARGET}"==${chain('a')},parent==two/0/p`), ['two/1/extract']);
  }));

test('of many calls with one key, one is done', () =>
  withSetup(async (setup) => {
    const done = async (calls: Promise<unknown>[]): Promise<number> =>
      (await Promise.allSettled(calls)).filter(({ status: end }) => end === 'fulfilled').length;
    assert.equal(await done(Array.from({ length: 20 }, () => setup.prepare('a', '', { [TARGET]: chain('a') }))), 1);
    assert.equal(await done(Array.from({ length: 20 }, (_, i) => setup.commit(`c${i}`, 'a'))), 1);
    const [name] = await setup.names();
    assert.equal(await done(Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? setup.prepare('b', name) : setup.view('b', name)))), 1);
    assert.equal(await done(Array.from({ length: 20 }, () => setup.remove('b'))), 1);
    assert.deepEqual([await setup.names(), layers()], [[name], [`ctr~${name}`]]);
  }));

test('what is committed with the contents of a layer that is there becomes one more snapshot on that', () =>
  withSetup(async (setup) => {
    await setup.layer(`one/2/${chain('a')}`);
    const mine = await setup.prepare('two/1/x');
    make(findLayer(layerAt(mine)), ROOT, 'again');
    await setup.commit(`two/2/${chain('a')}`, 'two/1/x', { mark: 'two' });
    assert.deepEqual(layers(), [`ctr~one~2~${chain('a').replace(':', '%3A')}`]);
    assert.ok(setup.announced.includes(layerAt(mine)));
    await setup.restart();
    assert.deepEqual(await setup.names(), [`one/2/${chain('a')}`, `two/2/${chain('a')}`]);
    assert.deepEqual((await setup.stat(`two/2/${chain('a')}`)).labels, { mark: 'two' });
    await setup.remove(`one/2/${chain('a')}`);
    await setup.prepare('two/3/x', `two/2/${chain('a')}`);
    await setup.remove('two/3/x');
    await setup.remove(`two/2/${chain('a')}`);
    assert.deepEqual(layers(), []);
  }));

test('containerd that has lost its database commits under names that it gave before', () =>
  withSetup(async (setup) => {
    const [below, above] = [`one/2/${chain('a')}`, `one/4/${chain('b')}`];
    const pull = async (mark: string): Promise<void> => {
      await setup.prepare(`one/1/${mark}`);
      await setup.commit(below, `one/1/${mark}`, { mark });
      await setup.prepare(`one/3/${mark}`, below);
      await setup.commit(above, `one/3/${mark}`, { mark });
    };
    await pull('first');
    const before = layers();
    for (const mark of ['second', 'third']) {
      await pull(mark);
      assert.deepEqual([layers(), await setup.names()], [before, [below, above]]);
      assert.deepEqual([(await setup.stat(above)).labels, (await setup.stat(above)).parent], [{ mark }, below]);
      await setup.restart();
    }
    await assert.rejects(setup.remove(below), fails(status.FAILED_PRECONDITION));
    await setup.remove(above);
    await setup.remove(below);
    assert.deepEqual(layers(), []);
  }));

test('a name that is taken by other contents stays taken', () =>
  withSetup(async (setup) => {
    const name = `one/2/${chain('a')}`;
    await setup.layer(name);
    await setup.prepare('one/3/x');
    const refused = fails(status.ALREADY_EXISTS, /exists already/);
    await assert.rejects(setup.commit(name, 'one/3/x', { [TARGET]: chain('b') }), refused);
    await setup.prepare(`one/4/${chain('c')}`);
    await assert.rejects(setup.commit(`one/4/${chain('c')}`, 'one/3/x'), refused);
    await setup.layer('plain');
    await assert.rejects(setup.commit('plain', 'one/3/x'), refused);
    // A snapshot cannot take the place of one that it is built on.
    await setup.layer('one/5/on', name);
    await setup.prepare('one/6/x', 'one/5/on');
    await assert.rejects(setup.commit(name, 'one/6/x'), refused);
    await assert.rejects(setup.commit(name, 'nobody'), fails(status.NOT_FOUND));
    await assert.rejects(setup.commit(name, 'one/5/on'), fails(status.FAILED_PRECONDITION));
  }));

// Others at work

test('layers of others under the names of snapshots are left alone', () =>
  withSetup(async (setup) => {
    createLayer('ctr~a');
    assert.equal(await setup.prepare('a'), '/mnt/layers/ctr~a~2');
    await setup.commit('b', 'a');
    await setup.remove('b');
    assert.deepEqual(layers(), ['ctr~a']);
  }));

test('layers that are built on, by whomever, are kept as long as that', () =>
  withSetup(async (setup) => {
    await setup.layer('c');
    createLayer('mine', { parent: 'ctr~c' });
    await setup.remove('c');
    assert.deepEqual(await setup.names(), []);
    await setup.restart();
    assert.deepEqual(layers(), ['ctr~c', 'mine']);
    await setup.layer('c');
    removeLayer('mine');
    await setup.call(METHODS.cleanup, {});
    assert.deepEqual(layers(), ['ctr~c~2']);
  }));

test('a layer that was removed behind the back of the driver takes its snapshots along', () =>
  withSetup(async (setup) => {
    await setup.layer('c');
    await setup.prepare('a', 'c');
    removeLayer('ctr~a');
    await assert.rejects(setup.call(METHODS.mounts, { key: 'a' }), fails(status.NOT_FOUND));
    await setup.prepare('a', 'c');
    removeLayer('ctr~a');
    await assert.rejects(setup.commit('x', 'a'), fails(status.NOT_FOUND));
    await setup.layer(`one/1/${chain('a')}`);
    removeLayer(layers().find((name) => name.startsWith('ctr~one'))!);
    await setup.prepare('b', '', { [TARGET]: chain('a') });
    await setup.remove('b');
    await setup.remove('c');
    assert.deepEqual(layers(), []);
  }));

test('a full volume refuses and goes on', () =>
  withSetup(async (setup) => {
    await setup.layer('c');
    const labels = Object.fromEntries(Array.from({ length: 25 }, (_, i) => [`label-${i}`, 'v'.repeat(4000)]));
    fill(createLayer('filler'), 200 * MIB);
    let made = 0;
    await assert.rejects(async () => {
      for (; made < 4000; made++) await setup.prepare(`a${made}`, 'c', labels);
    }, fails(status.RESOURCE_EXHAUSTED));
    assert.ok(made > 100, `${made} snapshots with 100 KB of labels each`);
    for (let i = 0; i < made; i++) await setup.remove(`a${i}`);
    await setup.prepare('again', 'c', labels);
  }, 256 * MIB));

function fill(layer: number, bytes: number): void {
  const file = make(layer, ROOT, 'file');
  const data = new Uint8Array(MIB).fill(1);
  for (let at = 0; at < bytes; at += MIB) assert.equal(put(layer, file, at, data), MIB);
}

// The socket

test('the socket is for root alone; garbage does not end the server', () =>
  withSetup(async (setup) => {
    assert.equal(statSync(setup.socket).mode & 0o777, 0o600);
    for (const garbage of ['GET / HTTP/1.1\r\n\r\n', '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxxxxxxxxxxxx']) {
      const socket = connect(setup.socket);
      socket.on('error', () => {});
      socket.end(garbage);
      await new Promise((resolve) => socket.once('close', resolve).resume());
    }
    const raw = { ...METHODS.stat, requestSerialize: () => Buffer.from([0xff, 0xff, 0xff, 0x12, 0x7f, 1]) };
    await assert.rejects(setup.call(raw, {}), fails(status.INTERNAL));
    await assert.rejects(
      setup.call({ ...METHODS.stat, path: '/containerd.services.snapshots.v1.Snapshots/Nothing' }, {}),
      fails(status.UNIMPLEMENTED),
    );
    await setup.prepare('a');
  }));
