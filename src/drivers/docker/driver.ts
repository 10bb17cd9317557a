/**
 * The graph driver: Docker's layers are layers of the volume under the names that Docker gives them.
 *
 *   Create           a clone of the parent. It stays writable until it becomes a parent itself, because BuildKit makes
 *                    every snapshot this way and then writes into it
 *   CreateReadWrite  the same with a quota, for containers
 *   Get, Put         the layer's directory below the mount point, held against removal from the first Get to the last Put
 *   ApplyDiff        a tar streamed into the layer. If it fails in any way, the layer goes, be it that the process dies and
 *                    the next one finds the layer marked as unfinished: half a layer must not be
 *                    taken for a whole one, and Docker repeats a call whose connection broke with the rest of the body
 *   Diff, Changes,   comparison with the parent that Docker names; with none, everything in the layer
 *   DiffSize
 *
 * Images are given back exactly: with the files of an applied tar goes the recipe of the tar, and its Diff against its own
 * parent is that tar again. So Docker, which asks once whether it may rely on this (Capabilities), need not take each tar
 * apart itself to keep its headers, which is most of what it does in a pull or an import. A layer that BuildKit wrote has no
 * tar; its Diff is the same each time because exports of the same files are the same. A Docker Engine that finds images of
 * before on the volume is told no, as long as there are any: LCFS cannot give those back as they were.
 *
 * An image layer is durable before Docker writes down that it has it: when ApplyDiff is answered, or, with BuildKit, which
 * writes into the layer, when its Diff is read for the image's checksum. So is a container's layer when it is made. Where
 * Docker's own files lie on the same volume that can wait: a crash takes both back to the same moment.
 */
import { join } from 'node:path';
import { changes, diffSize, type PathChange } from '../../archive/changes.js';
import { exportLayer, exportOriginal, hasOriginal } from '../../archive/export.js';
import { toHost } from '../../archive/id-map.js';
import { importLayer } from '../../archive/import.js';
import { newAttributeChange, SET_GID, SET_UID, setAttributes } from '../../engine/attributes.js';
import { LcfsError } from '../../engine/errors.js';
import { createLayer, findLayer, holdLayer, layerInfo, listLayers, releaseLayer, removeLayer } from '../../engine/layers.js';
import { markFinished, markUnfinished } from '../../engine/unfinished.js';
import { volumeInfo } from '../../engine/volume.js';
import { BLOCK_BYTES, ROOT_INO } from '../../layout/constants.js';
import { LastUses, type ClaimingDriver, type Claims, type NamedLayer } from '../claims.js';
import type { Durable } from '../durable.js';
import { Notes } from '../notes.js';
import { isUntouched } from '../untouched.js';
import { Holds } from './holds.js';
import { knownIn, placeOfHome, type DockerPlace } from './known-layers.js';
import { parseContainerOptions, parseEngineOptions, type ContainerOptions } from './options.js';
import type { Answer, Change, InitRequest, LayerRequest } from './protocol.js';
import { type EngineSettings, homesIn, loadSettings, storeSettings } from './settings.js';
import { Turns } from './turns.js';

/** Property of all layers that a Docker Engine made; its value tells those of images from those of containers. */
const KIND = 'docker.kind';
const IMAGE = 'image';
const CONTAINER = 'container';
/** Property of image layers that were made by an engine which relies on getting exact tars back. */
const EXACT = 'docker.exact';

/** Whether a Docker Engine made the layer with these properties. Earlier versions did not mark the layers of containers. */
export function isOfDocker(properties: Readonly<Record<string, string>>): boolean {
  return properties[KIND] !== undefined;
}

/** What surrounds the driver. */
export interface DriverContext extends Durable {
  /** Where the volume is mounted. */
  mountpoint: string;
  /** What the driver is called in Docker, by the name of its socket. */
  name: string;
  /** How FUSE is served, for `docker info`. */
  transport: string;
  /** Index of the next new layer when the daemon started: layers below it were made before. */
  firstNewLayer: number;
  /** Memory file for what outlives the process; null: there is none. */
  notes: number | null;
  /** Brings what programs wrote to a layer through memory mappings into the volume (fuse/mapped-writes.ts). */
  bringIn: (layer: string) => Promise<void>;
  /** So many bytes more were written of what will have to be durable soon. */
  written: (bytes: number) => void;
  /** Tells the kernel that a layer's name means something else now. */
  announce: (name: string) => void;
}

export class GraphDriver implements ClaimingDriver {
  readonly #context: DriverContext;
  readonly #turns = new Turns();
  readonly #uses = new LastUses<string>();
  readonly #holds: Holds;
  #settings: EngineSettings;
  /** When engines introduced themselves, in milliseconds since 1970, by their homes. */
  readonly #started = new Map<string, number>();

  constructor(context: DriverContext) {
    this.#context = context;
    this.#holds = new Holds({ hold: (name) => void holdLayer(name), release: releaseIfThere }, new Notes(context.notes));
    this.#settings = loadSettings();
  }

  /** A Docker Engine introduces itself. What an earlier process of the same engine had mounted is not mounted any more. */
  init({ home, options, maps }: InitRequest): Answer {
    const homes = [...homesIn(this.#settings).filter((known) => known !== home), home];
    const settings = { home, homes, ...parseEngineOptions(options), maps, exactDiffs: allImagesAreExact() };
    storeSettings(settings, this.#settings);
    this.#settings = settings;
    this.#started.set(home, Date.now());
    this.#holds.dropAllOf(home);
    return {};
  }

  capabilities(): Answer {
    return { Capabilities: { ReproducesExactDiffs: this.#isExact } };
  }

  get #isExact(): boolean {
    return this.#settings.exactDiffs === true;
  }

  /** Docker ends: it has nothing mounted any more. */
  async cleanup(): Promise<Answer> {
    this.#holds.dropAllOf(this.#settings.home);
    await this.#context.checkpoint();
    return {};
  }

  create(request: LayerRequest): Promise<Answer> {
    if (Object.keys(request.storageOptions).length > 0)
      throw new LcfsError('invalid', 'storage options are for containers only, not for image layers');
    return this.#create(request, { quotaBytes: 0 }, { [KIND]: IMAGE, ...(this.#isExact && { [EXACT]: 'yes' }) });
  }

  /** Of a container's two layers the one that is built on `ID-init` is the second, after which Docker writes down that it has them. */
  async createReadWrite(request: LayerRequest): Promise<Answer> {
    const options = parseContainerOptions(request.storageOptions, this.#settings);
    const answer = await this.#create(request, options, { [KIND]: CONTAINER });
    if (!idOf(request).endsWith('-init') && !this.#sharesFate) await this.#context.durable();
    return answer;
  }

  #create(request: LayerRequest, options: ContainerOptions, properties: Record<string, string>): Promise<Answer> {
    const { parent } = request;
    const id = idOf(request);
    return this.#turns.run({ alone: [id], shared: [parent] }, async () => {
      // The parent is sealed now; a running container must not lose what it wrote through a mapping.
      if (parent !== '') await this.#context.bringIn(parent);
      if (!this.#isRepeated(id, parent, properties)) createLayer(id, { ...(parent !== '' && { parent }), ...options, properties });
      this.#uses.note(id);
      if (parent === '') this.#giveRoot(id);
      this.#context.announce(id);
      return {};
    });
  }

  /** Whether Docker calls once more because the process that has made the layer died before it could answer. */
  #isRepeated(id: string, parent: string, properties: Record<string, string>): boolean {
    if (findLayer(id) < 0) return false;
    const info = layerInfo(id);
    const isOld = info.index < this.#context.firstNewLayer && info.properties[KIND] === properties[KIND];
    return isOld && (info.parent ?? '') === parent && info.children === 0 && info.holders === 0 && isUntouched(info);
  }

  /** In a user namespace the root directory belongs to the namespace's root. */
  #giveRoot(id: string): void {
    const { uids, gids } = this.#settings.maps;
    const change = { ...newAttributeChange(), uid: toHost(uids, 0), gid: toHost(gids, 0) };
    if (change.uid === 0 && change.gid === 0) return;
    const result = setAttributes(findLayer(id), ROOT_INO, SET_UID | SET_GID, change);
    if (result < 0) throw new LcfsError('io', `the root directory of layer "${id}" cannot be given its owner (error ${-result})`);
  }

  /** Removing what is not there is no failure: Docker repeats calls. */
  remove(request: LayerRequest): Promise<Answer> {
    const id = idOf(request);
    return this.#turns.run({ alone: [id] }, () => {
      this.#holds.forgetUnsure(id);
      if (findLayer(id) >= 0) this.#remove(id);
      return {};
    });
  }

  #remove(id: string): void {
    removeLayer(id);
    this.#uses.forget(id);
    this.#context.announce(id);
  }

  get(request: LayerRequest): Promise<Answer> {
    const id = idOf(request);
    return this.#turns.run({ shared: [id] }, () => {
      this.#holds.take(id, this.#settings.home);
      this.#uses.note(id);
      return { Dir: this.#directoryOf(id) };
    });
  }

  #directoryOf(id: string): string {
    return join(this.#context.mountpoint, 'layers', id);
  }

  put(request: LayerRequest): Answer {
    const id = idOf(request);
    if (this.#holds.count(id) > 0) this.#uses.note(id);
    this.#holds.drop(id);
    return {};
  }

  exists(request: LayerRequest): Answer {
    return { Exists: findLayer(idOf(request)) >= 0 };
  }

  /** Lines for `docker info`. */
  status(): Answer {
    const { path, uuid, generation, blocks, layers } = volumeInfo();
    const size = (count: number): string => `${((count * BLOCK_BYTES) / 2 ** 30).toFixed(2)}GiB`;
    const { mountpoint, transport } = this.#context;
    return {
      Status: [
        ['Volume', path],
        ['Volume id', uuid],
        ['Mounted on', mountpoint],
        ['Transport', transport],
        ['Space total', size(blocks.total)],
        ['Space used', size(blocks.used)],
        ['Space free', size(blocks.free)],
        ['Layers', String(layers)],
        ['Generation', String(generation)],
      ],
    };
  }

  /** Values for `docker inspect` (GraphDriver.Data). */
  metadata(request: LayerRequest): Answer {
    const { name, index, parent, depth, state, ownBytes, quotaBytes } = layerInfo(idOf(request));
    return {
      Metadata: {
        MergedDir: this.#directoryOf(name),
        Layer: name,
        LayerIndex: String(index),
        Parent: parent ?? '',
        Depth: String(depth),
        State: state,
        OwnBytes: String(ownBytes),
        QuotaBytes: String(quotaBytes),
      },
    };
  }

  /** Applies a tar. The layer is durable when this returns, and gone when it throws. */
  applyDiff(request: LayerRequest, tar: AsyncIterable<Uint8Array>): Promise<Answer> {
    const id = idOf(request);
    return this.#turns.run({ alone: [id] }, async () => {
      this.#refuseOld(id);
      const size = await this.#apply(id, tar);
      await this.#makeDurable();
      this.#uses.note(id); // Docker now enters the layer in its database
      return { Size: size };
    });
  }

  /**
   * A layer that an earlier daemon made may hold the first part of this very tar: that daemon may have ended in the middle
   * of it, and Docker then sends the rest.
   */
  #refuseOld(id: string): void {
    if (layerInfo(id).index >= this.#context.firstNewLayer) return;
    throw new LcfsError(
      'state',
      `layer "${id}" was made before lcfs was started again and may hold half of a diff: remove it and create it anew`,
    );
  }

  async #apply(id: string, tar: AsyncIterable<Uint8Array>): Promise<number> {
    const { index } = layerInfo(id);
    holdLayer(id);
    try {
      markUnfinished(index);
      const { bytes, ended } = await importLayer(tar, id, {
        ...this.#settings.maps,
        recipe: this.#isExact,
        written: this.#context.written,
      });
      if (!ended) throw new LcfsError('invalid', 'the tar has no end marker: it was cut off');
      markFinished(index);
      releaseLayer(id);
      return bytes;
    } catch (error) {
      releaseLayer(id);
      this.#holds.forget(id);
      this.#remove(id);
      throw error;
    }
  }

  async #makeDurable(): Promise<void> {
    if (!this.#sharesFate) await this.#context.checkpoint();
  }

  /** Whether Docker's own files lie on this volume, too: then nothing need be durable before Docker's note of it. */
  get #sharesFate(): boolean {
    return this.#settings.home.startsWith(join(this.#context.mountpoint, 'global/'));
  }

  /** Hands the tar of a diff to `send`; throws before that if there is nothing to compare. */
  diff(request: LayerRequest, send: (tar: Iterable<Buffer>) => Promise<void>): Promise<void> {
    if (isOriginal(request)) return this.#original(request, send);
    return this.#comparing(request, async (id, base) => {
      if (layerInfo(id).properties[KIND] === IMAGE) await this.#makeDurable();
      await send(exportLayer(id, base, this.#settings.maps));
    });
  }

  /** The tar that the layer was made from. Nobody has changed anything in it since, so there is nothing to wait for. */
  #original(request: LayerRequest, send: (tar: Iterable<Buffer>) => Promise<void>): Promise<void> {
    const id = idOf(request);
    return this.#turns.run({ shared: [id] }, async () => {
      holdLayer(id);
      try {
        await send(exportOriginal(id));
      } finally {
        releaseIfThere(id);
      }
    });
  }

  changes(request: LayerRequest): Promise<Answer> {
    return this.#comparing(request, (id, base) => ({ Changes: Array.from(changes(id, base), describeChange) }));
  }

  diffSize(request: LayerRequest): Promise<Answer> {
    return this.#comparing(request, (id, base) => ({ Size: diffSize(id, base) }));
  }

  /** Runs a comparison of two layers that exist and stay meanwhile. */
  #comparing<T>(request: LayerRequest, work: (id: string, base: string | null) => T | Promise<T>): Promise<T> {
    const id = idOf(request);
    const base = request.parent === '' ? null : request.parent;
    return this.#turns.run({ shared: [id, request.parent] }, async () => {
      const held = base === null ? [id] : [id, base];
      for (const name of held) await this.#context.bringIn(name);
      for (const name of held) layerInfo(name); // throws for one that is not there before any is held
      for (const name of held) holdLayer(name);
      try {
        return await work(id, base);
      } finally {
        for (const name of held) releaseIfThere(name);
      }
    });
  }

  // Layers that Docker does not know any more (lcfs gc)

  async claims(layers: readonly NamedLayer[], roots: readonly string[]): Promise<Claims> {
    const places = this.#places(roots);
    if (places.length === 0) throw new LcfsError('state', 'no Docker Engine has used this volume; name one with --docker-root');
    const names = layers.map(({ name }) => name);
    const known = new Set<string>();
    for (const place of places) for (const name of await knownIn(place, names)) known.add(name);
    return {
      asked: `Docker in ${places.map(({ root }) => root).join(', ')}`,
      known: layers.filter(({ name }) => known.has(name)).map(({ index }) => index),
      used: this.#usesOf(layers),
    };
  }

  /** Of all engines that ever used the volume, unless their data roots are named. */
  #places(roots: readonly string[]): DockerPlace[] {
    const told = homesIn(this.#settings).map((home) => placeOfHome(home, this.#started.get(home)));
    if (roots.length === 0) return told;
    const drivers = [...new Set([...told.flatMap((place) => place.drivers), this.#context.name])];
    return roots.map((root) => ({ root, drivers, startedMs: told.find((place) => place.root === root)?.startedMs }));
  }

  #usesOf(layers: readonly NamedLayer[]): Map<number, number> {
    const uses = layers.map(({ index, name }) => [index, this.#uses.of(name)] as const);
    return new Map(uses.filter((use): use is [number, number] => use[1] !== undefined));
  }

  removeUnclaimed({ index, name }: NamedLayer, since: number): Promise<void> {
    return this.#turns.run({ alone: [name] }, () => {
      if (findLayer(name) !== index) return; // Docker was faster
      if ((this.#uses.of(name) ?? 0) >= since) throw new LcfsError('busy', `Docker has just used layer "${name}"`);
      this.#remove(name);
    });
  }
}

/** Whether the diff that is asked for is the one that was applied. */
function isOriginal({ id, parent }: LayerRequest): boolean {
  return findLayer(id) >= 0 && (layerInfo(id).parent ?? '') === parent && hasOriginal(id);
}

function allImagesAreExact(): boolean {
  for (const { properties } of listLayers()) if (properties[KIND] === IMAGE && properties[EXACT] === undefined) return false;
  return true;
}

function idOf(request: LayerRequest): string {
  if (request.id === '') throw new LcfsError('invalid', 'the call names no layer (ID)');
  return request.id;
}

function releaseIfThere(name: string): void {
  if (findLayer(name) >= 0) releaseLayer(name);
}

function describeChange({ path, kind }: PathChange): Change {
  return { Path: path.toString(), Kind: kind };
}
