/** LCFS: its volume is the loop device itself; Docker's own files lie in the global folder of the volume. */
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { LcfsDaemon } from '../../scripts/lib/lcfs.js';
import { Client } from '../../src/cli/client.js';
import type { Status } from '../../src/daemon/protocol.js';
import { type Clone, Peer } from './peer.js';

const RECLAIM_POLL_MS = 20;

export class LcfsPeer extends Peer {
  #daemon: LcfsDaemon | undefined;
  #client: Client | undefined;

  /** Formats the volume and starts its daemon, with the options that it has by default. */
  async start(): Promise<void> {
    const daemon = new LcfsDaemon({
      directory: join(this.runFolder, 'l'),
      driver: this.driver,
      volume: this.disk.device,
      mountpoint: this.mountpoint,
    });
    this.undo.add('daemon of LCFS', () => daemon.end());
    await daemon.start();
    this.#daemon = daemon;
    this.#client = new Client(daemon.control);
  }

  get folder(): string {
    return join(this.mountpoint, 'global');
  }

  protected get driver(): string {
    return `lcfs-bench-${process.pid}`;
  }

  override get pids(): number[] {
    return [this.#daemon!.pid, this.#daemon!.servingPid];
  }

  /** Asks the daemon, as in src/daemon/protocol.ts. */
  get client(): Client {
    return this.#client!;
  }

  status(): Promise<Status> {
    return this.client.call<Status>('GET', 'status');
  }

  async importRoot(name: string, tar: string): Promise<void> {
    await this.client.upload(`layers/${name}/content`, createReadStream(tar));
  }

  async removeRoot(name: string): Promise<void> {
    await this.client.call('DELETE', `layers/${name}`);
  }

  protected async makeClone(root: string, name: string): Promise<Clone> {
    await this.client.call('POST', 'layers', { name, parent: root });
    const path = join(this.mountpoint, 'layers', name);
    return { path, remove: async () => void (await this.client.call('DELETE', `layers/${name}`)) };
  }

  override async settle(): Promise<void> {
    await super.settle();
    while ((await this.status()).removing > 0) await delay(RECLAIM_POLL_MS);
    await this.client.call('POST', 'commit');
  }

  override async dropCaches(): Promise<void> {
    await super.dropCaches();
    await this.client.call('POST', 'flush', { kernel: true });
  }
}
