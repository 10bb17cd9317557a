/**
 * Reading and writing in a container, by a small program that measures itself: in order and at random, what the image
 * brought and what the container wrote, from the disk and from the page cache, by calls and through mappings; the first write
 * to a large file of the image; the making of small files.
 */
import type { Bench, Comparison } from '../harness/bench.js';
import type { Peer } from '../harness/peer.js';
import { PEERS, type Part, type PeerName } from '../harness/types.js';
import { PAIR } from '../parts/takers.js';
import { Containers } from './containers.js';
import { DATA_BYTES, DATA_FILE, dataRoot } from './roots.js';

const MIB = 2 ** 20;
/** How much of the large file is read or written at a time. */
const BYTES = 256 * MIB;
const RANDOM_COLD_BYTES = 8 * MIB;
const RANDOM_WRITTEN_BYTES = 64 * MIB;
const LARGE_BLOCK = 128 * 1024;
const SMALL_BLOCK = 4096;
const OWN_FILE = '/root/own';
const SMALL_FILES = 5000;
const SMALL_FILE_BYTES = 1000;

export const readsWrites: Part = {
  name: 'io',
  description: 'reads, writes, mappings, small files and the first write to a large file, in a container',
  disks: ['fast', 'slow'],
  run: async (bench) => {
    const peers = bench.disk === 'slow' ? PAIR : PEERS;
    const containers = await Containers.open(bench, peers, 'data', await dataRoot());
    try {
      await new ReadsWrites(bench, containers).run();
    } finally {
      await containers.close();
    }
    await measureFirstWrite(bench, peers);
  },
};

/**
 * Each first write needs a container that has not written to the file yet. Last, as it takes so little time that a daemon shows
 * whether V8 has compiled what it runs: this one has served the rest of the part before.
 */
async function measureFirstWrite(bench: Bench, peers: readonly PeerName[]): Promise<void> {
  const tar = await dataRoot();
  let containers: Containers | undefined;
  await bench.compare({
    metric: 'first write to a file of 1 GiB of the image',
    unit: 'µs',
    peers,
    prepare: async (peer) => void (containers = await Containers.open(bench, [peer.name], 'data', tar)),
    work: async (peer) => 1000 * (await containers!.io(peer, 'first-write', DATA_FILE, DATA_BYTES, SMALL_BLOCK)),
    after: async () => containers?.close(),
  });
}

interface Kind {
  metric: string;
  mode: string;
  file: string;
  bytes: number;
  block: number;
  cold?: boolean;
}

const IMAGE: readonly Kind[] = [
  { metric: 'read of the image, in order, cold', mode: 'read', file: DATA_FILE, bytes: BYTES, block: LARGE_BLOCK, cold: true },
  {
    metric: 'read of the image, 4 KiB at random, cold',
    mode: 'random-read',
    file: DATA_FILE,
    bytes: RANDOM_COLD_BYTES,
    block: SMALL_BLOCK,
    cold: true,
  },
  { metric: 'mapping of the image, in order, cold', mode: 'map', file: DATA_FILE, bytes: BYTES, block: SMALL_BLOCK, cold: true },
  { metric: 'read of the image, in order, warm', mode: 'read', file: DATA_FILE, bytes: BYTES, block: LARGE_BLOCK },
  { metric: 'read of the image, 4 KiB at random, warm', mode: 'random-read', file: DATA_FILE, bytes: BYTES, block: SMALL_BLOCK },
  { metric: 'mmap of the image, in order, warm', mode: 'map', file: DATA_FILE, bytes: BYTES, block: SMALL_BLOCK },
  { metric: 'mmap of the image, at random, warm', mode: 'random-map', file: DATA_FILE, bytes: BYTES, block: SMALL_BLOCK },
];

/** All that is measured on the slow disk: what else there is happens in memory. */
const waitsForDisk = ({ cold = false, mode }: Kind): boolean => cold || mode.startsWith('direct-');

const OWN: readonly Kind[] = [
  { metric: 'read of own file, in order, cold', mode: 'read', file: OWN_FILE, bytes: BYTES, block: LARGE_BLOCK, cold: true },
  { metric: 'read of own file, in order, warm', mode: 'read', file: OWN_FILE, bytes: BYTES, block: LARGE_BLOCK },
  {
    metric: 'read of own file, 4 KiB at random, past the page cache',
    mode: 'direct-random-read',
    file: OWN_FILE,
    bytes: RANDOM_COLD_BYTES,
    block: SMALL_BLOCK,
  },
  { metric: 'write to own file, 4 KiB at random', mode: 'random-write', file: OWN_FILE, bytes: RANDOM_WRITTEN_BYTES, block: SMALL_BLOCK },
  {
    metric: 'write to own file, 4 KiB at random, past the page cache',
    mode: 'direct-random-write',
    file: OWN_FILE,
    bytes: RANDOM_COLD_BYTES,
    block: SMALL_BLOCK,
  },
];

class ReadsWrites {
  readonly #bench: Bench;
  readonly #containers: Containers;

  constructor(bench: Bench, containers: Containers) {
    this.#bench = bench;
    this.#containers = containers;
  }

  async run(): Promise<void> {
    const isSlow = this.#bench.disk === 'slow';
    for (const kind of isSlow ? IMAGE.filter(waitsForDisk) : IMAGE) await this.#measure(kind);
    if (!isSlow) await this.#writing('write of a new file, in order', false);
    await this.#writing('write of a new file, in order, until it is on the disk', true);
    await this.#bench.prepare(this.#containers.peers, 'a file of its own', (peer) =>
      this.#containers.io(peer, 'write', OWN_FILE, BYTES, LARGE_BLOCK),
    );
    for (const kind of isSlow ? OWN.filter(waitsForDisk) : OWN) await this.#measure(kind);
    if (!isSlow) await this.#create();
  }

  #compare(comparison: Comparison): Promise<unknown> {
    return this.#bench.compare({ peers: this.#containers.peers, ...comparison });
  }

  /** MiB a second of one kind of access. What is warm was read as a whole before. */
  async #measure({ metric, mode, file, bytes, block, cold = false }: Kind): Promise<void> {
    const warm = (peer: Peer): Promise<number> => this.#containers.io(peer, 'read', file, BYTES, LARGE_BLOCK);
    const pieces = mode.includes('direct') || cold ? {} : { prepare: warm };
    await this.#compare({
      metric,
      unit: 'MiB/s',
      better: 'higher',
      cold,
      warmUp: !cold,
      ...pieces,
      work: async (peer) => rate(bytes, await this.#containers.io(peer, mode, file, bytes, block)),
    });
  }

  async #writing(metric: string, durable: boolean): Promise<void> {
    const name = '/root/new';
    await this.#compare({
      metric,
      unit: 'MiB/s',
      better: 'higher',
      work: async (peer) => {
        const started = performance.now();
        const time = await this.#containers.io(peer, 'write', name, BYTES, LARGE_BLOCK);
        if (!durable) return rate(BYTES, time);
        await peer.settle();
        return rate(BYTES, performance.now() - started);
      },
      after: (peer) => this.#containers.remove(peer, name),
    });
  }

  async #create(): Promise<void> {
    await this.#compare({
      metric: `making of ${SMALL_FILES.toLocaleString('en')} files of ${SMALL_FILE_BYTES} bytes`,
      work: (peer) => this.#containers.io(peer, 'create', '/root/small', SMALL_FILES, SMALL_FILE_BYTES),
      after: (peer) => this.#containers.remove(peer, '/root/small'),
    });
  }
}

const rate = (bytes: number, ms: number): number => (bytes / MIB / ms) * 1000;
