/**
 * Kills under load. Programs that keep a journal (client.ts) work in a mounted volume, layers come and go (churn.ts), and
 * the process that serves the mount is killed at random moments. After each kill:
 *
 *   1. the time until the mount answers again is taken;
 *   2. every program compares its directory with its journal, and every committed layer is read and compared;
 *   3. now and then the volume is checked before it is opened again.
 *
 * Without a process that survives it, a kill takes the mount along: what was not acknowledged may be missing, from the end
 * only. Half of the rounds run with `--fsync=strict`, where every fsync is such an acknowledgement.
 */
import { rmSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { makeFolder } from '../../scripts/lib/folders.js';
import { LcfsDaemon } from '../../scripts/lib/lcfs.js';
import { Churn } from './churn.js';
import { Client } from './clients.js';
import { noFigures, randomOf, violation, within, type Budget, type Figures } from './part.js';

const CLIENTS = 3;
const LAYERS = 2;
/** Load before a kill. */
const LOAD_MS_MAX = 2500;
/** A check of the whole volume comes before one of so many starts. */
const KILLS_PER_CHECK = 8;
const VOLUME_SIZE = '256M';

export class Kills {
  readonly figures: Figures = noFigures();
  /** The longest time whose changes a kill took along. */
  lostMsMax = 0;
  readonly #folder = makeFolder('lcfs-k-');
  readonly #budget: Budget;
  readonly #random;
  readonly #clients: Client[] = [];
  #lcfs: LcfsDaemon;
  #churn!: Churn;

  constructor(budget: Budget) {
    this.#budget = budget;
    this.#random = randomOf(budget.seed);
    this.#lcfs = this.#daemon(false);
  }

  #daemon(strict: boolean): LcfsDaemon {
    const args = ['--cache', '16M', '--fsync', strict ? 'strict' : 'relaxed'];
    return new LcfsDaemon({ directory: join(this.#folder, 'l'), driver: `lcfs-torture-${process.pid}`, size: VOLUME_SIZE, args });
  }

  get #done(): boolean {
    return this.figures.kills >= this.#budget.most || performance.now() >= this.#budget.until;
  }

  async run(): Promise<Figures> {
    try {
      await this.#start();
      while (!this.#done) await this.#round();
      await this.#end();
      return this.figures;
    } catch (error) {
      throw this.#violation(error);
    } finally {
      await this.#takeDown();
    }
  }

  #violation(error: unknown): Error {
    const text = error instanceof Error ? error.stack! : String(error);
    const found = this.#clients.find((client) => client.violation !== null)?.violation;
    return violation(
      join(this.#budget.evidence, `kills-${this.#budget.seed}`),
      `seed ${this.#budget.seed}, kill ${this.figures.kills}: ${found ?? text}`,
      {
        'lcfs.log': this.#lcfs.log(),
      },
    );
  }

  async #start(): Promise<void> {
    await this.#lcfs.start();
    for (let i = 0; i < LAYERS; i++) await this.#lcfs.lcfs('layer', 'create', `home${i}`);
    for (let i = 0; i < CLIENTS; i++) this.#clients.push(new Client(this.#home(i), this.#budget.seed + i));
    this.#churn = new Churn(this.#lcfs.control, this.#random);
    await this.#commit();
  }

  #home(client: number): string {
    return join(this.#lcfs.mountpoint, 'layers', `home${client % LAYERS}`, `client${client}`);
  }

  /** Makes durable what the clients have done so far, and lets them know. */
  async #commit(): Promise<void> {
    const resting = await Promise.all(this.#clients.map((client) => client.rest()));
    await this.#lcfs.lcfs('commit');
    for (const [i, client] of this.#clients.entries()) client.acknowledged(resting[i]!.changes);
  }

  async #round(): Promise<void> {
    const strict = this.#random.below(2) === 0;
    this.#budget.log(`seed ${this.#budget.seed}: kill ${this.figures.kills}`);
    await Promise.all(this.#clients.map((client) => client.go(strict && this.#lcfsIsStrict)));
    this.#churn.go();
    await delay(this.#random.below(LOAD_MS_MAX));
    await this.#kill(strict);
    await this.#verify(true);
  }

  /** How the daemon that runs was started. */
  #lcfsIsStrict = false;

  async #kill(strictNext: boolean): Promise<void> {
    await this.#lcfs.kill();
    await within('the end of what was under way', Promise.all([this.#churn.rest(), ...this.#clients.map((client) => client.rest())]));
    if (this.figures.kills % KILLS_PER_CHECK === 0) await this.#check();
    const began = performance.now();
    this.#lcfs = this.#daemon(strictNext);
    this.#lcfsIsStrict = strictNext;
    await this.#lcfs.start();
    await within('the first answer', stat(join(this.#lcfs.mountpoint, 'layers', 'home0')));
    this.figures.recoveryMs.push(performance.now() - began);
    this.figures.kills++;
  }

  async #check(): Promise<void> {
    const { status, stdout, stderr } = await this.#lcfs.check();
    if (status !== 0) throw new Error(`check: ${stdout}${stderr}`);
  }

  async #verify(lost: boolean): Promise<void> {
    for (const client of this.#clients) {
      const { bytes, changes, lostMs } = await client.verify(lost);
      this.figures.bytesVerified += bytes;
      this.figures.operations += changes;
      this.lostMsMax = Math.max(this.lostMsMax, lostMs);
    }
    const before = this.#churn.bytesVerified;
    await within('comparing layers', this.#churn.verify());
    this.figures.bytesVerified += this.#churn.bytesVerified - before;
    await this.#commit();
  }

  /** An end in order loses nothing. */
  async #end(): Promise<void> {
    await this.#churn.clear();
    await Promise.all(this.#clients.map((client) => client.letGo()));
    await within('lcfs stop', this.#lcfs.stop());
    await this.#check();
  }

  async #takeDown(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.end()));
    await this.#lcfs.end();
    rmSync(this.#folder, { recursive: true, force: true });
    rmSync(this.#lcfs.socket, { force: true });
  }
}

export function kills(budget: Budget): Promise<Figures> {
  return new Kills(budget).run();
}
