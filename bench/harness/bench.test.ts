import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Bench } from './bench.js';
import type { Counters } from './loop-disk.js';
import type { Peer } from './peer.js';
import type { Disk, PeerName, Row } from './types.js';
import { Undo } from './undo.js';

const PEERS = ['lcfs', 'overlay2', 'vfs'] as const;

/** Peers without a disk, which note what is asked of them; each `settle` writes once. */
class FakeBench extends Bench {
  readonly calls: string[] = [];
  budget = Infinity;
  #writes = 0;

  constructor(runs: number, disk: Disk = 'fast') {
    super({ folder: '/nonexistent', runFolder: '/nonexistent', runs, quick: false, volumeBytes: 0, undo: new Undo() });
    this.disk = disk;
    this.part = 'part';
  }

  override async peer(name: PeerName): Promise<Peer> {
    const counters = (): Counters => ({ reads: 0, bytesRead: 0, writes: this.#writes, bytesWritten: 0, flushes: 0 });
    const throttle = (iops: number): void => void this.calls.push(`${name} throttle ${iops}`);
    const settle = async (): Promise<void> => void this.#writes++;
    return { name, disk: { counters, throttle }, settle, enginePids: [], pids: [process.pid] } as unknown as Peer;
  }

  protected override budgetMs(): number {
    return this.budget;
  }

  override addRow(row: Parameters<Bench['addRow']>[0]): void {
    this.rows.push(row as never);
  }
}

test('peers take turns, another one first each time, after a round that is not counted', async () => {
  const bench = new FakeBench(2);
  const turns: string[] = [];
  await bench.compare({ metric: 'm', peers: PEERS, work: async ({ name }, round) => void turns.push(`${name} ${round}`) });
  const rounds = [0, 3, 6].map((at) => turns.slice(at, at + 3));
  assert.deepEqual(rounds[0], ['lcfs -1', 'overlay2 -1', 'vfs -1']);
  assert.deepEqual(rounds[1], ['overlay2 0', 'vfs 0', 'lcfs 0']);
  assert.deepEqual(rounds[2], ['vfs 1', 'lcfs 1', 'overlay2 1']);
  assert.deepEqual(
    bench.rows.map((row) => row.values.length),
    [2, 2, 2],
  );
});

test('a peer that fails is told of and takes no further part; the others go on', async () => {
  const bench = new FakeBench(3);
  let attempts = 0;
  const after: string[] = [];
  const work = async ({ name }: Peer): Promise<number> => {
    if (name !== 'vfs') return 7;
    attempts++;
    throw new Error('no room');
  };
  await bench.compare({ metric: 'm', peers: PEERS, work, after: ({ name }) => void after.push(name) });
  const [lcfs, , vfs] = bench.rows;
  assert.deepEqual(lcfs!.values, [7, 7, 7]);
  assert.equal(vfs!.failed, 'no room');
  assert.deepEqual(vfs!.values, []);
  assert.equal(attempts, 1);
  assert.equal(after.filter((name) => name === 'vfs').length, 1, 'what it left is taken away');
});

test('what is written until everything is settled is counted, for the measured work alone', async () => {
  const bench = new FakeBench(2);
  const prepare = async (peer: Peer): Promise<void> => peer.settle();
  await bench.compare({ metric: 'm', peers: ['lcfs'], prepare, work: async (peer) => peer.settle() });
  assert.deepEqual(bench.rows[0]!.writes, [2, 2], 'once by the work and once after it');
});

test('processor time is that of the measured work', async () => {
  const bench = new FakeBench(1);
  const work = async (): Promise<void> => {
    const { user, system } = process.cpuUsage();
    for (const end = user + system + 100_000; process.cpuUsage().user + process.cpuUsage().system < end;);
  };
  await bench.compare({ metric: 'm', peers: ['lcfs'], work });
  const [{ busyMs, engineMs, storageMs }] = bench.rows as [Row];
  assert.ok(storageMs[0]! >= 80 && busyMs[0]! >= 50, `${storageMs} of ${busyMs}`);
  assert.deepEqual(engineMs, [0]);
});

test('a disk is slow only while the work is measured', async () => {
  const bench = new FakeBench(1, 'slow');
  const note = (what: string) => (): void => void bench.calls.push(what);
  await bench.compare({
    metric: 'm',
    peers: ['lcfs'],
    prepare: note('prepare'),
    work: async () => bench.calls.push('work'),
    after: note('after'),
  });
  assert.deepEqual(bench.calls, ['prepare', 'lcfs throttle 400', 'work', 'lcfs throttle 0', 'lcfs throttle 0', 'after']);
});

test('work that measures several points gives a row for each', async () => {
  const bench = new FakeBench(2);
  await bench.compare({ metric: 'm', peers: ['lcfs'], points: [20, 40], work: async () => [1, 2] });
  const found = bench.rows.map(({ x, values, writes }) => ({ x, values, writes }));
  assert.deepEqual(found, [
    { x: 20, values: [1, 1], writes: [] },
    { x: 40, values: [2, 2], writes: [1, 1] },
  ]);
});

test('a peer that has used up its time does no more repetitions', async () => {
  const bench = new FakeBench(4);
  bench.budget = 0;
  await bench.compare({ metric: 'm', peers: ['vfs'], work: async () => delay(1).then(() => 1) });
  assert.deepEqual(bench.rows[0]!.values, [1]);
});
