/**
 * Writes a layer as a tar: what changed since another layer, or everything. The result is accepted by containerd and
 * Docker (and by layer-import.ts), and is the same for the same contents.
 *
 *   for (const chunk of exportLayer(name, base)) …      // the consumer sets the pace; works with `for await`, too
 *
 * For each change, in the order of paths
 *   deleted    an empty file `.wh.NAME`
 *   otherwise  the entry as it is now, with its data. Directories that lead to a change come first, changed or not.
 * A file with several names is written once; further names are hard links to the first. A directory that took the place of
 * another directory needs no opaque marker, since diff compares the two name by name.
 *
 * Left out
 *   - sockets, which cannot be archived, and whatever has `.wh.` at the start of a name, which would mean something else;
 *   - fractions of seconds, access times, and names of users, as in the engines' own archives;
 *   - attributes that belong to the machine rather than to the image: `security.` but for capabilities, and overlayfs's
 *     own. `user.`, other `trusted.` and access control lists are kept, unlike in the engines' archives, but as they
 *     apply all attributes they find;
 *   - that a file in a directory that was moved is also known by a name which did not change: it is written in full.
 *
 * The layer may be in use. Each entry is then as at some moment during the export; what disappears is left out, a file
 * that shrinks is filled up with zeros.
 */
import { DELETED, diffLayers, type Change } from '../engine/diff.js';
import { LcfsError } from '../engine/errors.js';
import { foundAt, getInode, inodeSize } from '../engine/inode.js';
import { findLayer } from '../engine/layers.js';
import { lookup, readLink } from '../engine/namespace.js';
import { ROOT_INO, SYMLINK_BYTES_MAX, type Ino, type LayerIndex } from '../layout/constants.js';
import { inodeFlags, inodeGid, inodeLinks, inodeMode, inodeMtimeHi, inodeMtimeLo, inodeRdev, inodeUid } from '../layout/records.js';
import { isDirectory, S_IALLUGO, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG } from '../linux/mode.js';
import { causeOf, quotePath } from './archive-error.js';
import { toContainer, type IdMaps, type IdRange } from './id-map.js';
import { nameBytes, putName } from './names.js';
import * as Tar from './tar-format.js';
import type { Xattr } from './tar-format.js';
import { hasRecipe, recipeSteps } from './recipe.js';
import { TarOutput } from './tar-output.js';
import { END_OF_ARCHIVE, tarHeader, type TarHeader } from './tar-writer.js';
import { exportedXattrs } from './xattrs.js';

const WHITEOUT = '.wh.';
/** First names of files that have more of them; about 150 bytes each. A name behind more than that is written in full. */
const FIRST_NAMES_MAX = 1 << 18;
const WORD_RANGE = 0x1_0000_0000;
const NO_BYTES = Buffer.alloc(0);
const NO_XATTRS: readonly Xattr[] = [];
/** Attributes of the root of a layer that was just made. */
const NEW_ROOT = `${S_IFDIR | 0o755} 0 0`;

const TYPES: ReadonlyMap<number, number> = new Map([
  [S_IFREG, Tar.FILE],
  [S_IFDIR, Tar.DIRECTORY],
  [S_IFLNK, Tar.SYMLINK],
  [S_IFCHR, Tar.CHARACTER_DEVICE],
  [S_IFBLK, Tar.BLOCK_DEVICE],
  [S_IFIFO, Tar.FIFO],
]);

/** Yields the archive in chunks of up to 256 KiB. Throws LcfsError. */
export function* exportLayer(layer: string, base: string | null, maps: IdMaps = {}): Generator<Buffer> {
  const work = new LayerExport(indexOf(layer), maps);
  try {
    yield* work.root(base);
    for (const change of diffLayers(layer, base)) yield* work.change(change);
    yield* work.end();
  } finally {
    work.release();
  }
}

/**
 * Yields the archive that a layer was made from, byte by byte as it was, in chunks of up to 256 KiB. The layer was imported
 * with a recipe, and not changed since. Throws LcfsError.
 */
export function* exportOriginal(layer: string): Generator<Buffer> {
  const index = indexOf(layer);
  const out = new TarOutput(index);
  try {
    for (const step of recipeSteps(index)) yield* 'ino' in step ? out.file(step.ino, step.offset, step.length) : out.put(step);
    yield* out.end();
  } finally {
    out.release();
  }
}

/** Whether `exportOriginal` can be asked for a layer. */
export function hasOriginal(layer: string): boolean {
  return hasRecipe(indexOf(layer));
}

function indexOf(layer: string): LayerIndex {
  const index = findLayer(layer);
  if (index < 0) throw new LcfsError('not-found', `there is no layer "${layer}"; lcfs layer ls lists the layers`);
  return index;
}

/** A directory on the way to the current entry. */
interface Step {
  readonly name: string;
  readonly ino: Ino;
  isWritten: boolean;
}

/** Where the first name of a file is, and how many more names it has. */
interface FirstName {
  readonly path: string;
  left: number;
}

class LayerExport {
  readonly #layer: LayerIndex;
  readonly #maps: IdMaps;
  readonly #steps: Step[] = [];
  readonly #firstNames = new Map<Ino, FirstName>();
  readonly #target = Buffer.alloc(SYMLINK_BYTES_MAX);
  readonly #out: TarOutput;

  constructor(layer: LayerIndex, maps: IdMaps) {
    this.#layer = layer;
    this.#maps = maps;
    this.#out = new TarOutput(layer);
  }

  release(): void {
    this.#out.release();
  }

  /** Docker sets the attributes of the layer's root from an entry for it, so there is one if they changed. */
  *root(base: string | null): Generator<Buffer> {
    const before = base === null ? NEW_ROOT : this.#rootOf(indexOf(base));
    if (this.#rootOf(this.#layer) !== before) yield* this.#entry(ROOT_INO, './');
  }

  #rootOf(layer: LayerIndex): string {
    this.#check(getInode(layer, ROOT_INO), './');
    return `${inodeMode(foundAt)} ${inodeUid(foundAt)} ${inodeGid(foundAt)}`;
  }

  *change(change: Change): Generator<Buffer> {
    const path = change.path.toString('latin1');
    const parts = path.split('/');
    const name = parts.pop()!;
    if (name.startsWith(WHITEOUT) || parts.some((part) => part.startsWith(WHITEOUT)) || !this.#walkTo(parts)) return;
    yield* this.#unwrittenSteps();
    if (change.kind === DELETED) yield* this.#out.put(whiteout(parts, name));
    else yield* this.#present(change.ino, path, name);
  }

  /** Makes `#steps` the directories in `parts`. False if one is gone. */
  #walkTo(parts: readonly string[]): boolean {
    let common = 0;
    while (common < parts.length && this.#steps[common]?.name === parts[common]) common++;
    this.#steps.length = common;
    for (let i = common; i < parts.length; i++) {
      const ino = lookup(this.#layer, this.#steps.at(-1)?.ino ?? ROOT_INO, nameBytes, 0, putName(parts[i]!));
      if (ino < 0 || !isDirectory(inodeMode(foundAt))) return false;
      this.#steps.push({ name: parts[i]!, ino, isWritten: false });
    }
    return true;
  }

  *#unwrittenSteps(): Generator<Buffer> {
    for (let i = 0; i < this.#steps.length; i++) {
      const step = this.#steps[i]!;
      if (step.isWritten) continue;
      step.isWritten = true;
      const path = this.#steps.slice(0, i + 1).map((above) => above.name);
      if (getInode(this.#layer, step.ino) >= 0) yield* this.#entry(step.ino, path.join('/'));
    }
  }

  *#present(ino: Ino, path: string, name: string): Generator<Buffer> {
    if (getInode(this.#layer, ino) < 0) return;
    if (isDirectory(inodeMode(foundAt))) this.#steps.push({ name, ino, isWritten: true });
    yield* this.#entry(ino, path);
  }

  /** Header and data of the inode that `foundAt` shows, or a link to where it was written before. */
  *#entry(ino: Ino, path: string): Generator<Buffer> {
    const type = TYPES.get(inodeMode(foundAt) & S_IFMT);
    if (type === undefined) return;
    const first = type === Tar.DIRECTORY ? null : this.#firstName(ino, path);
    const header = this.#header(ino, type, path);
    if (first !== null)
      yield* this.#out.put(tarHeader({ ...header, type: Tar.HARD_LINK, size: 0, linkPath: latin1Bytes(first), xattrs: [] }));
    else {
      yield* this.#out.put(tarHeader(header));
      if (header.size > 0) yield* this.#out.file(ino, 0, header.size);
      yield* this.#out.put(Buffer.alloc(Tar.paddingAfter(header.size)));
    }
  }

  /** The path that the file was written under before, or null. */
  #firstName(ino: Ino, path: string): string | null {
    const links = inodeLinks(foundAt);
    if (links < 2) return null;
    const first = this.#firstNames.get(ino);
    if (first === undefined) {
      if (this.#firstNames.size < FIRST_NAMES_MAX) this.#firstNames.set(ino, { path, left: links - 1 });
      return null;
    }
    if (--first.left === 0) this.#firstNames.delete(ino);
    return first.path;
  }

  /** From what `foundAt` shows. Attributes and target come last, as reading them may change that. */
  #header(ino: Ino, type: number, path: string): TarHeader {
    const at = foundAt;
    const mode = inodeMode(at);
    const rdev = type === Tar.CHARACTER_DEVICE || type === Tar.BLOCK_DEVICE ? inodeRdev(at) : 0;
    return {
      type,
      path: latin1Bytes(type === Tar.DIRECTORY && !path.endsWith('/') ? `${path}/` : path),
      mode: mode & S_IALLUGO,
      uid: containerId(this.#maps.uids, inodeUid(at), 'user', path),
      gid: containerId(this.#maps.gids, inodeGid(at), 'group', path),
      size: type === Tar.FILE ? inodeSize(at) : 0,
      mtime: inodeMtimeHi(at) * WORD_RANGE + inodeMtimeLo(at),
      major: (rdev >>> 8) & 0xfff,
      minor: (rdev & 0xff) | ((rdev >>> 12) & 0xf_ff00),
      xattrs: inodeFlags(at) === 0 ? NO_XATTRS : exportedXattrs(this.#layer, ino),
      linkPath: type === Tar.SYMLINK ? this.#linkTarget(ino, path) : NO_BYTES,
    };
  }

  #linkTarget(ino: Ino, path: string): Buffer {
    const length = this.#check(readLink(this.#layer, ino, this.#target, 0), path);
    return Buffer.from(this.#target.subarray(0, length));
  }

  *end(): Generator<Buffer> {
    yield* this.#out.put(END_OF_ARCHIVE);
    yield* this.#out.end();
  }

  #check(result: number, path: string): number {
    if (result >= 0) return result;
    const [code, cause] = causeOf(result);
    throw new LcfsError(code, `export of ${quotePath(latin1Bytes(path))}: ${cause}`);
  }
}

function latin1Bytes(path: string): Buffer {
  return Buffer.from(path, 'latin1');
}

function whiteout(parts: readonly string[], name: string): Buffer {
  const path = latin1Bytes([...parts, WHITEOUT + name].join('/'));
  return tarHeader({
    type: Tar.FILE,
    path,
    linkPath: NO_BYTES,
    mode: 0,
    uid: 0,
    gid: 0,
    size: 0,
    mtime: 0,
    major: 0,
    minor: 0,
    xattrs: [],
  });
}

function containerId(map: readonly IdRange[] | undefined, id: number, what: string, path: string): number {
  const container = toContainer(map, id);
  if (container >= 0) return container;
  throw new LcfsError('invalid', `export of ${quotePath(latin1Bytes(path))}: its ${what} id ${id} is not in the map of the user namespace`);
}
