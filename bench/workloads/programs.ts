/**
 * What people do in containers, by the programs that they do it with: walking through the files, unpacking, deleting,
 * cloning a repository, installing packages, compiling, committing to a database.
 *
 * Programs and what they read come from the image. On the slow disk only those that wait for it, on LCFS and overlay2 alone,
 * with less to do.
 */
import type { Bench, Comparison } from '../harness/bench.js';
import type { Peer } from '../harness/peer.js';
import { PEERS, type Part } from '../harness/types.js';
import { PAIR } from '../parts/takers.js';
import { Containers } from './containers.js';
import { TAR_FILES, toolsRoot } from './roots.js';

/** A single walk is over so soon that starting the program would be most of it. */
const WALKS = 5;
const COMMITS = 500;
const SLOW_COMMITS = 50;
const RELAXED = 'fsync of LCFS is relaxed, as by default: durable with the next checkpoint';

export const programs: Part = {
  name: 'programs',
  description: 'find, tar, rm, git, npm, make and SQLite in a container',
  disks: ['fast', 'slow'],
  run: async (bench) => {
    const isSlow = bench.disk === 'slow';
    const containers = await Containers.open(bench, isSlow ? PAIR : PEERS, 'tools', await toolsRoot());
    try {
      await new Programs(bench, containers).run(isSlow);
    } finally {
      await containers.close();
    }
  },
};

class Programs {
  readonly #bench: Bench;
  readonly #containers: Containers;

  constructor(bench: Bench, containers: Containers) {
    this.#bench = bench;
    this.#containers = containers;
  }

  async run(isSlow: boolean): Promise<void> {
    await this.#find(isSlow);
    await this.#files(isSlow);
    await this.#git(isSlow);
    if (!isSlow) await this.#npm();
    if (!isSlow) await this.#compile();
    await this.#database(isSlow);
  }

  async #compare(comparison: Comparison): Promise<void> {
    await this.#bench.compare({ peers: this.#containers.peers, ...comparison });
  }

  #sh(script: string | ((round: number) => string)): (peer: Peer, round: number) => Promise<void> {
    // What it prints is nobody's business: a number returned would be taken for a measured value.
    return async (peer, round) => void (await this.#containers.sh(peer, typeof script === 'string' ? script : script(round)));
  }

  async #find(isSlow: boolean): Promise<void> {
    const find = 'find / -xdev -size +1G';
    await this.#compare({ metric: 'find /, cold', cold: true, warmUp: false, work: this.#sh(find) });
    if (isSlow) return;
    const walks = `for i in $(seq ${WALKS}); do ${find}; done`;
    await this.#compare({ metric: `find /, warm, ${WALKS} times`, prepare: this.#sh(find), work: this.#sh(walks) });
  }

  /** What the repetitions of tar unpack, those of rm delete. */
  async #files(isSlow: boolean): Promise<void> {
    const folder = (round: number): string => `/root/unpacked-${round + 1}`;
    const name = TAR_FILES.toLocaleString('en');
    const untar = (round: number): string => `mkdir ${folder(round)}; tar -C ${folder(round)} -xf /srv/files.tar`;
    const remove = (round: number): string => `rm -rf ${folder(round)}`;
    const look = (round: number): string => `find ${folder(round)} -size +1G`;
    await this.#compare({
      metric: `untar of ${name} files`,
      durable: isSlow,
      prepare: this.#sh('cat /srv/files.tar > /dev/null'),
      work: this.#sh(untar),
    });
    await this.#compare({ metric: `rm -rf of ${name} files`, durable: isSlow, prepare: this.#sh(look), work: this.#sh(remove) });
  }

  async #git(isSlow: boolean): Promise<void> {
    await this.#compare({
      metric: 'git clone of 4,000 files',
      durable: isSlow,
      prepare: this.#sh('cat /srv/repository.git/objects/pack/* > /dev/null'),
      work: this.#sh("git -c safe.directory='*' clone -q file:///srv/repository.git /root/clone"),
      after: this.#sh('rm -rf /root/clone'),
    });
  }

  async #npm(): Promise<void> {
    const install = 'npm ci --offline --ignore-scripts --no-audit --no-fund --loglevel=error --cache /srv/project/cache';
    await this.#compare({
      metric: 'npm ci of 7,000 files',
      prepare: this.#sh('find /srv/project/cache -type f -exec cat {} + > /dev/null'),
      work: this.#sh(`cd /srv/project; ${install}`),
      after: this.#sh('rm -rf /srv/project/node_modules'),
    });
  }

  async #compile(): Promise<void> {
    await this.#compare({
      metric: 'C compile of 100 files',
      prepare: this.#sh('rm -rf /root/sources; cp -a /srv/sources /root/'),
      work: this.#sh('make -s -j2 -C /root/sources'),
      after: this.#sh('rm -rf /root/sources'),
    });
  }

  async #database(isSlow: boolean): Promise<void> {
    const commits = isSlow ? SLOW_COMMITS : COMMITS;
    for (const [journal, name] of [
      ['delete', 'rollback journal'],
      ['wal', 'write-ahead log'],
    ]) {
      const begin = `pragma journal_mode=${journal}; create table t (a, b);`;
      const insert = `seq ${commits} | sed "s/.*/insert into t values (&, hex(randomblob(50)));/"`;
      await this.#compare({
        metric: `SQLite, ${commits} commits, ${name}`,
        notes: RELAXED,
        work: this.#sh(`( echo '${begin}'; ${insert} ) | sqlite3 /root/base > /dev/null`),
        after: this.#sh('rm -f /root/base*'),
      });
    }
  }
}
