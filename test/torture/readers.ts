/**
 * Files of sealed layers, opened through the mount, where all layers that inherit them share them. Some stay open while the
 * process that serves dies, and are read and compared afterwards.
 */
import { createHash } from 'node:crypto';
import { open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { Random } from '../support/volume.js';

interface Held {
  readonly layer: string;
  readonly path: string;
  readonly file: FileHandle;
  readonly digest: string;
}

/** How a file looks whose mount ended, or whose request was on its way to a process that died. */
const BROKEN = new Set(['ENOTCONN', 'ECONNABORTED', 'ECANCELED', 'ENOENT']);
const OPENED_AT_ONCE = 4;
const OPEN_MAX = 64;

export function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export class Readers {
  readonly #layers: string;
  readonly #random: Random;
  #held: Held[] = [];
  bytesVerified = 0;
  opened = 0;

  /** `layers`: the folder of all layers in the mount. */
  constructor(layers: string, random: Random) {
    this.#layers = layers;
    this.#random = random;
  }

  /** Opens some files of a layer, of which the digests are given, and reads them. */
  async open(layer: string, files: ReadonlyMap<string, string>): Promise<void> {
    const names = [...files.keys()];
    for (let i = 0; i < OPENED_AT_ONCE && this.#held.length < OPEN_MAX; i++) {
      const name = this.#random.pick(names);
      const held = await this.#tryOpen(layer, name, files.get(name)!);
      if (held === null) return;
      this.#held.push(held);
      this.opened++;
      await this.#prove(held);
    }
  }

  async #tryOpen(layer: string, name: string, digest: string): Promise<Held | null> {
    const path = join(this.#layers, layer, name);
    try {
      return { layer, path, digest, file: await open(path, 'r') };
    } catch (error) {
      return unlessBroken(error);
    }
  }

  /** False if it cannot be read any more. Throws if it has other contents. */
  async #prove(held: Held): Promise<boolean> {
    const { size } = await held.file.stat().catch(() => ({ size: -1 }));
    if (size < 0) return false;
    const bytes = Buffer.alloc(size);
    try {
      // What falls short is read on: a read that fails at a later page returns what lies before that.
      for (let at = 0, more = 1; at < size && more > 0; at += more) more = (await held.file.read(bytes, at, size - at, at)).bytesRead;
    } catch (error) {
      return unlessBroken(error) ?? false;
    }
    if (digestOf(bytes) !== held.digest) throw new Error(`${held.path}, which was open, has other contents than it had`);
    this.bytesVerified += size;
    return true;
  }

  /** Reads everything again, and closes half of it, as well as what ended with its mount. */
  async verify(): Promise<void> {
    const stay: Held[] = [];
    for (const held of this.#held) {
      if ((await this.#prove(held)) && this.#random.below(2) === 0) stay.push(held);
      else await close(held);
    }
    this.#held = stay;
  }

  /** Closes the files of a layer, or of all. */
  async close(layer: string | null = null): Promise<void> {
    const isMeant = (held: Held): boolean => layer === null || held.layer === layer;
    for (const held of this.#held.filter(isMeant)) await close(held);
    this.#held = this.#held.filter((held) => !isMeant(held));
  }
}

async function close(held: Held): Promise<void> {
  await held.file.close().catch(unlessBroken);
}

function unlessBroken(error: unknown): null {
  if (!BROKEN.has((error as NodeJS.ErrnoException).code ?? '')) throw error;
  return null;
}
