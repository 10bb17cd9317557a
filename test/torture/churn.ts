/**
 * Layers that come and go through the control socket while everything else goes on: archives are unpacked, upon layers that
 * are there or upon nothing, committed and removed. A journal knows what was acknowledged: a layer whose commit was answered
 * is there with the contents that were read back from it, unless its removal was asked for.
 */
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { Client } from '../../src/cli/client.js';
import type { Layer } from '../../src/daemon/protocol.js';
import { LcfsError } from '../../src/engine/errors.js';
import { archive, type EntrySpec } from '../support/archives.js';
import { randomBytes } from '../support/files.js';
import type { Random } from '../support/volume.js';
import { digestOf, type Readers } from './readers.js';

const PREFIX = 'churn-';
const LAYERS_MAX = 12;
/** What the daemon may refuse: a full volume, a layer with children. */
const REFUSED = new Set(['full', 'busy', 'exists', 'state']);

interface Known {
  readonly parent: string | null;
  /** Of the layer's whole contents as a tar; empty as long as they were not read. */
  digest: string;
  /** Digests of its files, inherited ones included, by name. */
  readonly files: ReadonlyMap<string, string>;
}

export class Churn {
  readonly #client: Client;
  readonly #random: Random;
  readonly #readers: Readers;
  /** Layers whose commit was answered, and whose removal was not asked for. */
  readonly #known = new Map<string, Known>();
  #made = 0;
  #going = false;
  #work: Promise<void> = Promise.resolve();
  operations = 0;
  bytesVerified = 0;

  /** `readers` look at files of the layers through the mount. */
  constructor(control: string, random: Random, readers: Readers) {
    this.#client = new Client(control);
    this.#random = random;
    this.#readers = readers;
  }

  go(): void {
    this.#going = true;
    this.#work = this.#loop();
    this.#work.catch(() => undefined); // which `rest` throws
  }

  /** Returns when what is under way has ended, one way or the other. Throws what must not be. */
  async rest(): Promise<void> {
    this.#going = false;
    await this.#work;
  }

  async #loop(): Promise<void> {
    while (this.#going) {
      try {
        await this.step();
      } catch (error) {
        if (isBroken(error)) return;
        if (!isRefused(error)) throw error;
        if (!(await this.#tryRemove())) return;
      }
    }
  }

  /** Makes a layer or removes one. */
  async step(): Promise<void> {
    if (this.#known.size >= LAYERS_MAX || (this.#known.size > 4 && this.#random.below(3) === 0)) await this.#remove();
    else await this.#make();
    this.operations++;
  }

  async #make(): Promise<void> {
    const name = `${PREFIX}${this.#made++}`;
    const parent = this.#known.size > 0 && this.#random.below(2) === 0 ? this.#random.pick([...this.#known.keys()]) : null;
    const files = new Map(parent === null ? [] : this.#known.get(parent)!.files);
    const content = this.#archive(files);
    try {
      await this.#client.upload(`layers/${name}/content`, Readable.from([content]), { parent: parent ?? undefined });
      await this.#client.call('POST', `layers/${name}/commit`, {});
    } catch (error) {
      if (isRefused(error)) await this.#discard(name);
      throw error;
    }
    const known = { parent, digest: '', files };
    this.#known.set(name, known);
    await this.#readers.open(name, files);
    known.digest = await this.#digest(name);
  }

  /** An archive of some files, of which the digests are noted. */
  #archive(files: Map<string, string>): Buffer {
    const entries: EntrySpec[] = [];
    for (let i = 0; i < 1 + this.#random.below(30); i++) {
      const data = Buffer.from(randomBytes(this.#random, this.#random.below(60_000)));
      entries.push({ path: `file${i}`, data });
      files.set(`file${i}`, digestOf(data));
    }
    return archive(...entries);
  }

  async #digest(name: string): Promise<string> {
    const { body, finish } = await this.#client.download(`layers/${name}/content`, { whole: '1' });
    const bytes = await buffer(body);
    finish();
    this.bytesVerified += bytes.length;
    return createHash('sha256').update(bytes).digest('hex');
  }

  async #remove(): Promise<void> {
    const leaves = [...this.#known.keys()].filter((name) => ![...this.#known.values()].some(({ parent }) => parent === name));
    if (leaves.length === 0) return;
    const name = this.#random.pick(leaves);
    this.#known.delete(name);
    await this.#readers.close(name);
    await this.#client.call('DELETE', `layers/${name}`);
  }

  /** Removes what is left of a layer that was refused. */
  async #discard(name: string): Promise<void> {
    await this.#client.call('DELETE', `layers/${name}`).catch((error: unknown) => {
      if (!isBroken(error)) throw error;
    });
  }

  /** False if the daemon went away. */
  async #tryRemove(): Promise<boolean> {
    try {
      await this.#remove();
      return true;
    } catch (error) {
      if (isBroken(error)) return false;
      throw error;
    }
  }

  async #layers(): Promise<Map<string, Layer>> {
    const layers = new Map<string, Layer>();
    for await (const layer of this.#client.lines<Layer>('GET', 'layers')) if (layer.name.startsWith(PREFIX)) layers.set(layer.name, layer);
    return layers;
  }

  /** Compares what is there with the journal, and removes what nobody was promised. Throws if something is missing. */
  async verify(): Promise<void> {
    const layers = await this.#layers();
    for (const [name, known] of this.#known) {
      if (layers.get(name)?.state !== 'sealed') throw new Error(`layer ${name} was committed, and is ${layers.get(name)?.state ?? 'gone'}`);
      const digest = await this.#digest(name);
      if (known.digest !== '' && digest !== known.digest) throw new Error(`layer ${name} has other contents than when it was committed`);
      known.digest = digest;
    }
    await this.#removeAll([...layers.keys()].filter((name) => !this.#known.has(name)));
  }

  /** Removes layers, those that are built on others first. */
  async #removeAll(names: readonly string[]): Promise<void> {
    for (let left = [...names]; left.length > 0;) {
      const layers = await this.#layers();
      const next = left.filter((name) => layers.get(name)?.children === 0);
      for (const name of next) await this.#client.call('DELETE', `layers/${name}`);
      left = left.filter((name) => layers.has(name) && !next.includes(name));
      if (next.length === 0 && left.length > 0) throw new Error(`layers ${left.join(', ')} cannot be removed: others are built on them`);
    }
  }

  /** Removes all of its layers. */
  async clear(): Promise<void> {
    this.#known.clear();
    await this.#removeAll([...(await this.#layers()).keys()]);
  }
}

function isRefused(error: unknown): boolean {
  return error instanceof LcfsError && REFUSED.has(error.code);
}

/** Whether the daemon went away. */
export function isBroken(error: unknown): boolean {
  const { code } = error as { code?: string };
  return error instanceof LcfsError
    ? error.code === 'io' || error.code === 'not-found'
    : ['ECONNRESET', 'EPIPE', 'ECONNREFUSED'].includes(code ?? '');
}
