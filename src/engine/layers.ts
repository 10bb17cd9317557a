/**
 * Layers: create, clone, seal, rename, remove, list. Control plane: these throw LcfsError and make objects.
 *
 * A clone copies the parent's root pointer and nothing else, so it costs the same whatever the parent holds. It seals
 * the parent: from then on parent and clone cannot influence each other.
 *
 * Removal has two steps. `removeLayer` takes the layer out of the catalog's names, which is durable with the next
 * checkpoint, as one change. The maintenance thread then frees what the layer owns (reclaim.ts), and goes on after a crash.
 *
 * Invariants
 *  L1  A layer with children is sealed. Children go before their parent.
 *  L2  layerChildren is the number of CHILD records of a layer.
 *  L3  A layer index is never used again.
 */
import {
  BLOCK_BYTES,
  CATALOG_OWNER,
  GLOBAL_LAYER,
  INODE,
  LAYER,
  LAYER_FSYNC_RELAXED,
  LAYER_FSYNC_STRICT,
  LAYER_BROKEN,
  LAYER_REMOVING,
  LAYER_SEALED,
  LAYER_WRITABLE,
  NAME_BYTES_MAX,
  ROOT_INO,
  type LayerIndex,
} from '../layout/constants.js';
import { I, W } from '../layout/memory.js';
import {
  INODE_WORDS,
  LAYER_WORDS,
  addSlotMounts,
  inodeAtimeLoAt,
  inodeBtimeLoAt,
  inodeCtimeLoAt,
  inodeMtimeLoAt,
  layerChildren,
  layerCreatedHi,
  layerCreatedLo,
  layerDepth,
  layerFlags,
  layerInodes,
  layerOwnBlocks,
  layerOwnPages,
  layerOwnPagesAt,
  layerParent,
  layerQuotaBlocks,
  layerRootBlockAt,
  layerState,
  loadSlotMounts,
  setInodeLinks,
  setInodeMode,
  setLayerChildren,
  setLayerCreatedHi,
  setLayerCreatedLo,
  setLayerDepth,
  setLayerFlags,
  setLayerInodes,
  setLayerNextIno,
  setLayerOwnBlocks,
  setLayerOwnPages,
  setLayerParent,
  setLayerQuotaBlocks,
  setLayerState,
  slotMountsAt,
} from '../layout/records.js';
import { EAGAIN, EIO, ENOENT } from '../linux/errno.js';
import {
  CATALOG_LOCK,
  CHANGED,
  CHECKPOINT_LOCK,
  HELD_LAYERS,
  LAYER_COUNT,
  NEXT_LAYER,
  REMOVING_LAYERS,
  SLOT_COUNT,
  scratchAt,
} from './arena.js';
import {
  addChild,
  addName,
  addRemoving,
  childrenOf,
  findName,
  foreseeName,
  foreseeNewLayer,
  foreseeRemoval,
  insertInCatalog,
  layerName,
  nextInCatalog,
  removeChild,
  removeName,
  seekInCatalog,
  useCatalog,
} from './catalog.js';
import { checkpoint } from './checkpoint.js';
import { nowHi, nowLo, nowNsec, readClock } from './clock.js';
import { deferral } from './deferral.js';
import { BlockError, LcfsError } from './errors.js';
import { lockExclusive, lockShared, unlockExclusive, unlockShared } from './locks.js';
import { admitEntry, beginEntry, couldAdmit, dismissEntry, entryWords, logCatalogChange } from './log.js';
import { endNotes, noteNewLayer, noteSlot } from './notes.js';
import { panic, ringMaintenance } from './operation.js';
import { blocksToErase, blocksToPut, blocksToStore, checkProperty, propertiesOf, removeProperties, storeProperty } from './properties.js';
import { breakCatalog, refuseIfReadOnly } from './read-only.js';
import { acquireSlot, markSlotDirty, releaseSlot, slotLockWord, slotRecord } from './slots.js';
import { admit, checkpointGivesSpace, closeWindowsOf, dismiss } from './space.js';
import { createTree, insert, recordType, releasePath, useTree, valueOf } from './tree.js';

/** So many layers may be held at a time, each of which keeps its slot: the others are for the layers that are worked on. */
export const HELD_LAYERS_MAX = (SLOT_COUNT / 4) * 3;
/** Pages of the catalog that creating or removing a layer copies at worst, with its names, without its properties. */
const BLOCKS_PER_CHANGE = 64;

export type LayerState = 'writable' | 'sealed' | 'removing';

/** What fsync promises for the files of a layer (durability.ts). */
export type FsyncMode = 'strict' | 'relaxed';

export interface LayerInfo {
  index: LayerIndex;
  name: string;
  state: LayerState;
  /** Name of the parent. */
  parent?: string;
  parentIndex?: LayerIndex;
  /** Length of the chain of parents. */
  depth: number;
  children: number;
  created: Date;
  /** What the layer occupies itself, data and tree pages, without what it inherits. */
  ownBytes: number;
  /** Data the layer may own; 0: no limit. */
  quotaBytes: number;
  /** What fsync promises in this layer, if it is not what the daemon says. Clones do not inherit it. */
  fsync?: FsyncMode;
  /** Inodes in the layer, inherited ones included. */
  inodes: number;
  /** Users that hold the layer at the moment. */
  holders: number;
  properties: Record<string, string>;
}

export interface CreateOptions {
  /** Name of the layer to clone. It is sealed. */
  parent?: string | undefined;
  quotaBytes?: number | undefined;
  /** Without, what the daemon says. */
  fsync?: FsyncMode | undefined;
  properties?: Record<string, string> | undefined;
}

// Names

/** What the layer that every volume has is called wherever a layer is named. */
export const GLOBAL_NAME = 'global';

function nameBytes(name: string): Buffer {
  const bytes = Buffer.from(name);
  if (bytes.length === 0 || bytes.length > NAME_BYTES_MAX || name === '.' || name === '..' || /[/\0]/.test(name)) {
    throw new LcfsError('invalid', `"${name.slice(0, 300)}" cannot be the name of a layer: 1 to 255 bytes, no "/", not "." or ".."`);
  }
  if (name === GLOBAL_NAME) throw new LcfsError('invalid', `"${name}" is the name of the layer that every volume has: choose another name`);
  return bytes;
}

function noSuchLayer(name: string): LcfsError {
  return new LcfsError('not-found', `there is no layer "${name}"; lcfs layer ls lists the layers`);
}

/** Pins the slot of a layer; 0 if there is none. Throws LcfsError('io'). */
function pinLayer(index: LayerIndex): number {
  try {
    return acquireSlot(index);
  } catch (error) {
    throw translate(error);
  }
}

/** Runs with the catalog locked for reading. */
function readCatalog<T>(work: () => T): T {
  lockShared(CATALOG_LOCK);
  try {
    return work();
  } catch (error) {
    throw translate(error);
  } finally {
    releasePath();
    unlockShared(CATALOG_LOCK);
  }
}

/** What a caller of the control plane gets to see of an error. */
function translate(error: unknown): unknown {
  return error instanceof BlockError ? new LcfsError('io', error.message) : error;
}

/** Thrown by `needBlocks`: the change has to begin again with more blocks admitted. */
class TooFewBlocks extends Error {
  readonly blocks: number;
  constructor(blocks: number) {
    super('the change of the catalog needs more blocks');
    this.blocks = blocks;
  }
}

/** Blocks that are admitted for the change of the catalog that this thread is making. */
let admittedBlocks = 0;

/** To be called while a change is prepared: it will take so many blocks beyond BLOCKS_PER_CHANGE. */
function needBlocks(blocks: number): void {
  if (BLOCKS_PER_CHANGE + blocks > admittedBlocks) throw new TooFewBlocks(BLOCKS_PER_CHANGE + blocks);
}

/**
 * Runs a change of the catalog, with the tree of the layer in `slot` (0: none) locked as well, so that operations on it
 * finish first. `prepare` may refuse by throwing; once it has returned, `change` must not fail: a block that can't be read
 * or written leaves a catalog that nobody may use, any other error ends the process. `frees` says that the change leads to blocks being freed, so that it may use what is kept for that on a full
 * volume.
 */
function changeCatalog<T, R>(slot: number, frees: boolean, prepare: () => T, change: (prepared: T) => R): R {
  for (let blocks = BLOCKS_PER_CHANGE; ;) {
    try {
      admitCatalog(blocks, frees);
      return changeAdmitted(blocks, slot, prepare, change);
    } catch (error) {
      if (!(error instanceof TooFewBlocks)) throw error;
      blocks = error.blocks;
    }
  }
}

function changeAdmitted<T, R>(blocks: number, slot: number, prepare: () => T, change: (prepared: T) => R): R {
  if (slot !== 0) lockExclusive(slotLockWord(slot));
  lockExclusive(CATALOG_LOCK);
  try {
    admittedBlocks = blocks;
    const prepared = prepare();
    Atomics.store(I, CHANGED, 1);
    return carryOut(change, prepared, blocks);
  } catch (error) {
    throw translate(error);
  } finally {
    releasePath();
    unlockExclusive(CATALOG_LOCK);
    if (slot !== 0) unlockExclusive(slotLockWord(slot));
    dismiss(blocks);
    dismissEntry(entryWords(blocks));
    unlockShared(CHECKPOINT_LOCK);
  }
}

function carryOut<T, R>(change: (prepared: T) => R, prepared: T, blocks: number): R {
  try {
    beginEntry();
    const result = change(prepared);
    logCatalogChange(CATALOG_OWNER, entryWords(blocks));
    return result;
  } catch (error) {
    if (!(error instanceof BlockError)) return panic(error);
    breakCatalog(error.message);
    throw error;
  } finally {
    endNotes();
  }
}

/** Takes the checkpoint lock with room for a change of the catalog, in the log as well. */
function admitCatalog(blocks: number, frees: boolean): void {
  refuseIfReadOnly();
  const words = entryWords(blocks);
  if (!couldAdmit(words)) throw new LcfsError('invalid', 'so many properties cannot be set in one step; set them one by one');
  for (let tries = 0; ;) {
    lockShared(CHECKPOINT_LOCK);
    const hasRoom = admitEntry(words);
    if (hasRoom && admit(blocks, frees)) return;
    if (hasRoom) dismissEntry(words);
    unlockShared(CHECKPOINT_LOCK);
    if (hasRoom && (tries++ === 2 || !checkpointGivesSpace()))
      throw new LcfsError('full', 'the volume is full; remove layers or files, or let the volume grow (lcfs grow)');
    checkpoint();
  }
}

// Looking

/** Index of the layer with this name, -1 if there is none. */
export function findLayer(name: string): LayerIndex | -1 {
  const bytes = Buffer.from(name);
  return readCatalog(() => findName(bytes, 0, bytes.length));
}

/** The same for bytes of a request; -ENOENT if there is none, -EIO if that cannot be read, -EAGAIN if the request is deferred. */
export function findLayerBytes(bytes: Uint8Array, at: number, length: number): number {
  lockShared(CATALOG_LOCK);
  try {
    const index = findName(bytes, at, length);
    return index < 0 ? -ENOENT : index;
  } catch (error) {
    if (error === deferral) return -EAGAIN;
    if (!(error instanceof BlockError)) panic(error);
    return -EIO;
  } finally {
    releasePath();
    unlockShared(CATALOG_LOCK);
  }
}

function indexOf(name: string): LayerIndex {
  const index = findLayer(name);
  if (index < 0) throw noSuchLayer(name);
  return index;
}

const STATES: Record<number, LayerState> = {
  [LAYER_WRITABLE]: 'writable',
  [LAYER_SEALED]: 'sealed',
  [LAYER_REMOVING]: 'removing',
  [LAYER_BROKEN]: 'writable',
};

/** Describes a layer. Throws LcfsError('not-found'). */
export function layerInfo(layer: string | LayerIndex): LayerInfo {
  const index = typeof layer === 'string' ? indexOf(layer) : layer;
  const slot = pinLayer(index);
  if (slot === 0) throw noSuchLayer(String(layer));
  try {
    return describe(index, slot);
  } finally {
    releaseSlot(slot);
  }
}

function describe(index: LayerIndex, slot: number): LayerInfo {
  const at = slotRecord(slot);
  const parent = layerParent(at);
  const [name, parentName, properties] = readCatalog(() => [
    layerName(index).toString(),
    parent === 0 ? '' : layerName(parent).toString(),
    propertiesOf(index),
  ]);
  return {
    index,
    name: index === GLOBAL_LAYER ? GLOBAL_NAME : name,
    state: STATES[layerState(at)] ?? 'removing',
    ...(parent === 0 ? {} : { parent: parentName, parentIndex: parent }),
    depth: layerDepth(at),
    children: layerChildren(at),
    created: new Date((layerCreatedLo(at) + layerCreatedHi(at) * 2 ** 32) * 1000),
    ownBytes: (layerOwnPages(at) + layerOwnBlocks(at)) * BLOCK_BYTES,
    quotaBytes: layerQuotaBlocks(at) * BLOCK_BYTES,
    ...fsyncOf(layerFlags(at)),
    inodes: layerInodes(at),
    holders: loadSlotMounts(slot),
    properties,
  };
}

function fsyncOf(flags: number): { fsync?: FsyncMode } {
  if ((flags & LAYER_FSYNC_STRICT) !== 0) return { fsync: 'strict' };
  return (flags & LAYER_FSYNC_RELAXED) !== 0 ? { fsync: 'relaxed' } : {};
}

/** Flags of a layer that is made or changed. */
function fsyncFlags(fsync: FsyncMode | null | undefined): number {
  if (fsync === 'strict') return LAYER_FSYNC_STRICT;
  return fsync === 'relaxed' ? LAYER_FSYNC_RELAXED : 0;
}

/** Layer indices in ascending order from `from` on, `count` at most. Layers that are being removed are left out. */
export function layerIndices(from: LayerIndex, count: number): LayerIndex[] {
  return readCatalog(() => {
    useCatalog();
    const found: LayerIndex[] = [];
    let record = seekInCatalog(Math.max(from, 1), LAYER, 0, 0);
    while (record !== 0 && found.length < count) {
      const index = W[record]!;
      if (recordType(record) !== LAYER) record = seekInCatalog(index + 1, LAYER, 0, 0);
      else {
        if (layerState(valueOf(record)) !== LAYER_REMOVING) found.push(index);
        record = nextInCatalog();
      }
    }
    return found;
  });
}

const BATCH = 256;

/** All layers but the global one, oldest first. Layers made or removed meanwhile may or may not be among them. */
export function* listLayers(): Generator<LayerInfo> {
  for (let from = 1; ;) {
    const indices = layerIndices(from, BATCH);
    for (const index of indices) {
      const info = tryDescribe(index);
      if (info !== null) yield info;
    }
    if (indices.length < BATCH) return;
    from = indices.at(-1)! + 1;
  }
}

function tryDescribe(index: LayerIndex): LayerInfo | null {
  try {
    const info = layerInfo(index);
    return info.state === 'removing' || info.name === '' ? null : info;
  } catch (error) {
    if (error instanceof LcfsError && error.code === 'not-found') return null;
    throw error;
  }
}

/** Names of a layer's children. */
export function layerChildrenNames(name: string): string[] {
  const index = indexOf(name);
  return readCatalog(() => childrenOf(index).map((child) => layerName(child).toString()));
}

// Creating

/**
 * Creates a layer, empty or as a clone of `parent`, in constant time. Throws LcfsError: 'exists', 'not-found' for the
 * parent, 'invalid' for a name or property, 'full'.
 */
export function createLayer(name: string, options: CreateOptions = {}): LayerIndex {
  const bytes = nameBytes(name);
  const properties = Object.entries(options.properties ?? {});
  for (const [key, value] of properties) checkProperty(key, value);
  return withParent(options.parent, (parentSlot, parent) =>
    changeCatalog(
      parentSlot,
      false,
      () => {
        if (findName(bytes, 0, bytes.length) >= 0)
          throw new LcfsError('exists', `layer "${name}" exists already; choose another name or remove it`);
        if (parentSlot !== 0 && layerState(slotRecord(parentSlot)) === LAYER_REMOVING) throw noSuchLayer(options.parent!);
        foreseeNewLayer(W[NEXT_LAYER]!, parent);
        needBlocks(properties.reduce((blocks, [key, value]) => blocks + blocksToPut(key, value), 0));
        return Math.ceil((options.quotaBytes ?? 0) / BLOCK_BYTES);
      },
      (quotaBlocks) => {
        const index = enterLayer(bytes, parentSlot, parent, quotaBlocks, fsyncFlags(options.fsync));
        for (const [key, value] of properties) storeProperty(index, key, value);
        return index;
      },
    ),
  );
}

/** Runs with the parent's slot pinned. Its tree lock is taken, as cloning seals it, before the catalog's. */
function withParent<T>(name: string | undefined, work: (slot: number, index: LayerIndex) => T): T {
  if (name === undefined) return work(0, 0);
  const index = indexOf(name);
  const slot = pinLayer(index);
  if (slot === 0) throw noSuchLayer(name);
  try {
    return work(slot, index);
  } finally {
    releaseSlot(slot);
  }
}

/** Makes the record of a new layer, its names, and its root directory unless it inherits one. */
function enterLayer(name: Buffer, parentSlot: number, parent: LayerIndex, quotaBlocks: number, flags: number): LayerIndex {
  const index = W[NEXT_LAYER]!;
  readClock();
  noteNewLayer(index, parent, quotaBlocks, flags);
  makeLayer(index, parentSlot, parent, quotaBlocks, flags);
  addName(name, index);
  if (parentSlot !== 0) addChild(parent, index);
  return index;
}

/** Makes the record and the tree of a layer with the next index, as of the time of `readClock`. For replaying the log, too. */
export function makeLayer(index: LayerIndex, parentSlot: number, parent: LayerIndex, quotaBlocks: number, flags: number): void {
  W[NEXT_LAYER] = index + 1;
  W[LAYER_COUNT]!++;
  const record = scratchAt + 64;
  W.fill(0, record, record + LAYER_WORDS);
  if (parentSlot !== 0) inherit(record, parentSlot, parent);
  setLayerState(record, LAYER_WRITABLE);
  setLayerFlags(record, flags);
  setLayerQuotaBlocks(record, quotaBlocks);
  setLayerCreatedLo(record, nowLo);
  setLayerCreatedHi(record, nowHi);
  if (parentSlot === 0) plantRoot(record, index);
  useCatalog();
  const value = valueOf(insertInCatalog(index, LAYER, 0, 0, LAYER_WORDS * 4));
  W.copyWithin(value, record, record + LAYER_WORDS);
}

/** Seals the parent and takes over its tree. */
function inherit(record: number, parentSlot: number, parent: LayerIndex): void {
  const from = slotRecord(parentSlot);
  seal(parentSlot, parent);
  setLayerChildren(from, layerChildren(from) + 1);
  W.copyWithin(record, from, from + LAYER_WORDS);
  setLayerParent(record, parent);
  setLayerChildren(record, 0);
  setLayerDepth(record, layerDepth(from) + 1);
  setLayerOwnPages(record, 0);
  setLayerOwnBlocks(record, 0);
}

/** Seals a layer whose slot is pinned: operations that are changing it finish first. */
function seal(slot: number, layer: LayerIndex): void {
  touchSlot(slot);
  if (layerState(slotRecord(slot)) !== LAYER_WRITABLE) return;
  setLayerState(slotRecord(slot), LAYER_SEALED);
  closeWindowsOf(layer);
}

/** Makes the tree of a new layer: a root directory with mode 0755. */
function plantRoot(record: number, layer: LayerIndex): void {
  useTree(layerRootBlockAt(record), layer, layerOwnPagesAt(record));
  createTree();
  const inode = valueOf(insert(ROOT_INO, INODE, 0, 0, INODE_WORDS * 4));
  setInodeMode(inode, 0o40755);
  setInodeLinks(inode, 2);
  for (const time of [inodeAtimeLoAt(inode), inodeMtimeLoAt(inode), inodeCtimeLoAt(inode), inodeBtimeLoAt(inode)]) {
    W[time] = nowLo;
    I[time + 1] = nowHi;
    W[time + 2] = nowNsec;
  }
  setLayerNextIno(record, ROOT_INO + 1);
  setLayerInodes(record, 1);
}

/** Part of formatting: the global layer. */
export function createGlobalLayer(): void {
  const record = scratchAt + 64;
  W.fill(0, record, record + LAYER_WORDS);
  readClock();
  setLayerState(record, LAYER_WRITABLE);
  setLayerCreatedLo(record, nowLo);
  setLayerCreatedHi(record, nowHi);
  plantRoot(record, GLOBAL_LAYER);
  useCatalog();
  const value = valueOf(insertInCatalog(GLOBAL_LAYER, LAYER, 0, 0, LAYER_WORDS * 4));
  W.copyWithin(value, record, record + LAYER_WORDS);
  releasePath();
}

// Changing

/** Runs a change of one layer with its tree locked exclusively and the catalog locked. */
function changeLayer<T, R>(
  layer: string | LayerIndex,
  frees: boolean,
  prepare: (record: number, index: LayerIndex, slot: number) => T,
  change: (prepared: T, record: number, index: LayerIndex, slot: number) => R,
): R {
  const index = typeof layer === 'string' ? indexOf(layer) : layer;
  const slot = pinLayer(index);
  if (slot === 0) throw noSuchLayer(String(layer));
  const record = slotRecord(slot);
  try {
    return changeCatalog(
      slot,
      frees,
      () => {
        if (layerState(record) === LAYER_REMOVING) throw noSuchLayer(String(layer));
        return prepare(record, index, slot);
      },
      (prepared) => {
        touchSlot(slot);
        return change(prepared, record, index, slot);
      },
    );
  } finally {
    releaseSlot(slot);
  }
}

/** What `updateLayer` changes; what is left out stays. */
export interface LayerUpdate {
  newName?: string | undefined;
  /** Makes the layer immutable. Sealing a sealed layer changes nothing. */
  seal?: boolean;
  /** What fsync promises from now on; null: what the daemon says. */
  fsync?: FsyncMode | null;
  /** null removes a property. */
  properties?: Readonly<Record<string, string | null>>;
  /** The change is a step of removing something: it may use what is kept for that on a full volume. */
  frees?: boolean;
}

/** Changes a layer in one step, also with regard to crashes. Throws LcfsError: 'not-found', 'exists', 'invalid', 'full'. */
export function updateLayer(layer: string | LayerIndex, update: LayerUpdate): void {
  const newName = update.newName === undefined ? null : nameBytes(update.newName);
  const properties = Object.entries(update.properties ?? {});
  for (const [key, value] of properties) checkProperty(key, value ?? '');
  changeLayer(
    layer,
    update.frees === true,
    (_, index) => {
      if (newName !== null) {
        refuseTaken(newName, index);
        foreseeName(index);
      }
      needBlocks(blocksToStoreAll(index, properties));
    },
    (_, record, index, slot) => {
      if (newName !== null) renameTo(index, newName);
      if (update.fsync !== undefined) setLayerFlags(record, fsyncFlags(update.fsync));
      if (update.seal === true) seal(slot, index);
      for (const [key, value] of properties) storeProperty(index, key, value);
    },
  );
}

function blocksToStoreAll(layer: LayerIndex, properties: readonly (readonly [string, string | null])[]): number {
  return properties.reduce((blocks, [key, value]) => blocks + blocksToStore(layer, key, value), 0);
}

function refuseTaken(name: Buffer, layer: LayerIndex): void {
  const holder = findName(name, 0, name.length);
  if (holder >= 0 && holder !== layer) throw new LcfsError('exists', `layer "${name.toString()}" exists already`);
}

function renameTo(layer: LayerIndex, name: Buffer): void {
  removeName(layer);
  addName(name, layer);
}

/** Makes a layer immutable. Sealing a sealed layer changes nothing. */
export function sealLayer(name: string): void {
  updateLayer(name, { seal: true });
}

/** Gives a layer another name. Throws LcfsError('exists'). */
export function renameLayer(name: string, newName: string): void {
  updateLayer(name, { newName });
}

/** Seals a layer, gives it its final name and makes it durable. */
export function commitLayer(name: string, newName: string = name): void {
  updateLayer(name, { newName, seal: true });
  checkpoint();
}

/**
 * Removes a layer, in constant time; its space comes back in the background. Throws LcfsError: 'busy' if it has children
 * or is held, 'not-found'.
 */
export function removeLayer(layer: string | LayerIndex): void {
  withParentOf(layer, (parentSlot, parent) =>
    changeLayer(
      layer,
      true,
      (record, index, slot) => {
        refuseStranger(record, parent);
        refuseIfUsed(record, index, slot);
        foreseeRemoval(index, parent);
        needBlocks(blocksToErase(index));
      },
      (_, record, index) => takeOut(record, index, parentSlot),
    ),
  );
  ringMaintenance();
}

/**
 * Puts a layer in the place of another, in one step: `replacement` gets the name of `layer`, which is removed, and these
 * properties on top of its own. Throws LcfsError: 'busy' if `layer` has children or is held, 'not-found'.
 */
export function replaceLayer(layer: LayerIndex, replacement: LayerIndex, properties: Readonly<Record<string, string | null>>): void {
  const entries = Object.entries(properties);
  for (const [key, value] of entries) checkProperty(key, value ?? '');
  withParentOf(layer, (parentSlot, parent) =>
    changeLayer(
      layer,
      false,
      (record, index, slot) => {
        refuseStranger(record, parent);
        refuseIfUsed(record, index, slot);
        if (layerName(replacement).length === 0) throw noSuchLayer(String(replacement));
        foreseeRemoval(index, parent);
        foreseeName(replacement);
        needBlocks(blocksToErase(index) + blocksToStoreAll(replacement, entries));
        return layerName(index);
      },
      (name, record, index) => {
        takeOut(record, index, parentSlot);
        renameTo(replacement, name);
        for (const [key, value] of entries) storeProperty(replacement, key, value);
      },
    ),
  );
  ringMaintenance();
}

/** Runs with the slot of a layer's parent pinned (0: no parent): with the catalog locked no slot can be loaded. */
function withParentOf(layer: string | LayerIndex, work: (parentSlot: number, parent: LayerIndex) => void): void {
  const parent = layerInfo(layer).parentIndex ?? 0;
  const parentSlot = parent === 0 ? 0 : pinLayer(parent);
  try {
    work(parentSlot, parent);
  } finally {
    if (parentSlot !== 0) releaseSlot(parentSlot);
  }
}

/** The layer was found by its name before its parent's slot was pinned. */
function refuseStranger(record: number, parent: LayerIndex): void {
  if (layerParent(record) === parent) return;
  throw new LcfsError('busy', 'the layer was removed meanwhile, and another one has its name; try again');
}

function refuseIfUsed(record: number, index: LayerIndex, slot: number): void {
  const name = layerName(index).toString();
  if (layerChildren(record) > 0) {
    const [child] = childrenOf(index);
    const named = child === undefined ? '' : `, among them "${layerName(child).toString()}"`;
    throw new LcfsError('busy', `layer "${name}" has children (${layerChildren(record)}${named}); remove them first`);
  }
  const holders = loadSlotMounts(slot);
  if (holders > 0) throw new LcfsError('busy', `layer "${name}" is in use (by ${holders}); unmount it first`);
}

/** Takes a layer out of the catalog, but for the record from which its space is reclaimed. */
function takeOut(record: number, index: LayerIndex, parentSlot: number): void {
  removeName(index);
  removeProperties(index);
  addRemoving(index);
  if (parentSlot !== 0) {
    const parent = slotRecord(parentSlot);
    removeChild(layerParent(record), index);
    setLayerChildren(parent, layerChildren(parent) - 1);
    touchSlot(parentSlot);
  }
  setLayerState(record, LAYER_REMOVING);
  countOut(index);
}

/** The layer is one that is being removed from now on. */
export function countOut(index: LayerIndex): void {
  closeWindowsOf(index);
  W[LAYER_COUNT]!--;
  Atomics.add(I, REMOVING_LAYERS, 1);
}

/** The record in a slot changes, in a change of the catalog. */
function touchSlot(slot: number): void {
  markSlotDirty(slot);
  noteSlot(slot);
}

// Properties

/** Sets a property of a layer; null removes it. Throws LcfsError('invalid') if key or value are too long. */
export function setProperty(name: string, key: string, value: string | null): void {
  updateLayer(name, { properties: { [key]: value } });
}

export function getProperty(name: string, key: string): string | undefined {
  const index = indexOf(name);
  return readCatalog(() => propertiesOf(index))[key];
}

/** Limits the data a layer may own; 0: no limit. */
export function setQuota(name: string, bytes: number): void {
  changeLayer(
    name,
    false,
    () => undefined,
    (_, record) => setLayerQuotaBlocks(record, Math.ceil(bytes / BLOCK_BYTES)),
  );
}

// Holders

/**
 * Counts one more user of a layer, which is not removed meanwhile. Returns how many there are. The slot stays pinned: one
 * that left the arena would forget its holders. The catalog's lock keeps a removal from deciding at the same time.
 * Throws LcfsError('busy') if HELD_LAYERS_MAX others are held.
 */
export function holdLayer(name: string): number {
  const slot = pinLayer(indexOf(name));
  if (slot === 0) throw noSuchLayer(name);
  return readCatalog(() => {
    const refused = refuseHold(name, slot);
    if (refused === null) return addHolder(slot);
    releaseSlot(slot);
    throw refused;
  });
}

function refuseHold(name: string, slot: number): LcfsError | null {
  if (layerState(slotRecord(slot)) === LAYER_REMOVING) return noSuchLayer(name);
  if (loadSlotMounts(slot) > 0 || I[HELD_LAYERS]! < HELD_LAYERS_MAX) return null;
  return new LcfsError('busy', `layer "${name}" cannot be used: ${HELD_LAYERS_MAX} layers are in use already; unmount some first`);
}

/** Returns how many there are. */
function addHolder(slot: number): number {
  const before = addSlotMounts(slot, 1);
  if (before === 0) Atomics.add(I, HELD_LAYERS, 1);
  return before + 1;
}

/** Counts one user less. Returns how many are left; releasing a layer that nobody holds changes nothing. */
export function releaseLayer(name: string): number {
  const slot = pinLayer(indexOf(name));
  if (slot === 0) throw noSuchLayer(name);
  try {
    for (;;) {
      const holders = loadSlotMounts(slot);
      if (holders === 0) return 0;
      if (Atomics.compareExchange(I, slotMountsAt(slot), holders, holders - 1) !== holders) continue;
      if (holders === 1) Atomics.sub(I, HELD_LAYERS, 1);
      releaseSlot(slot);
      return holders - 1;
    }
  } finally {
    releaseSlot(slot);
  }
}
