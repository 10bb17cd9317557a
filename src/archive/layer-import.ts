/**
 * Applies the tar of a layer to a writable layer, straight through the engine, as containerd and Docker do to a directory.
 *
 *   const work = new LayerImport(layer);
 *   work.write(chunk) …                    // any sizes; synchronous, so the caller's stream sets the pace
 *   const result = work.finish();
 *
 * What an entry does
 *   .wh.NAME          removes NAME as far as it comes from below; `.wh..wh..opq` removes everything in its directory that
 *                     does. What this archive made stays, wherever in the archive the marker stands. Other names with
 *                     `.wh..wh.` are notes of old storage drivers and passed over.
 *   directory         over a directory: changes its attributes; what is in it stays.
 *   anything else     replaces what has its path; a directory goes with everything in it.
 *   hard link         links to what the path of its target names at this point, a file of a lower layer as well, and gives
 *                     it the attributes of the entry.
 * Missing parents are made with mode 0755, owner root. Times of directories are kept by DirectoryTimes. Extended
 * attributes that the file cannot have (`user.` on a device) are left out, as by the engines.
 *
 * "From below" means: there before the import began. An inode is told by its number, since numbers grow. Directories from
 * below that the archive mentioned are kept in a bit set, names that it linked to files from below in a set of
 * LINKED_NAMES_MAX; an opaque marker behind more such names than that removes them.
 *
 * With `recipe`, the archive can be had back byte by byte (recipe.ts). An archive that has data for one path twice is refused
 * then, as the first data is not kept.
 *
 * After an exception the layer holds a part of the archive: the caller removes it. Nothing but the layer was touched.
 */
import { foundAt, getInode } from '../engine/inode.js';
import { LcfsError } from '../engine/errors.js';
import { create, createSymlink, link } from '../engine/namespace.js';
import { beginRead, end, opRecord } from '../engine/operation.js';
import { volumeInfo } from '../engine/volume.js';
import { BLOCK_BYTES, ROOT_INO, SYMLINK_BYTES_MAX, type Ino, type LayerIndex } from '../layout/constants.js';
import { inodeMode, layerNextIno } from '../layout/records.js';
import { EEXIST } from '../linux/errno.js';
import { isSymlink, kindOf, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG } from '../linux/mode.js';
import { causeOf, entryError, quotePath } from './archive-error.js';
import { DirectoryTimes } from './directory-times.js';
import { bounded, EntryAttributes } from './entry-attributes.js';
import { FileContent } from './file-content.js';
import { toHost, type IdMaps, type IdRange } from './id-map.js';
import { InoSet } from './ino-set.js';
import { nameBytes, putName, splitPath, splitRelative } from './names.js';
import { PathResolver, type Directory, type ResolverHost } from './path-resolver.js';
import { check, Refusal } from './refusal.js';
import { RecipeWriter } from './recipe.js';
import { findNamed, hideLower, isDirectory, removeEntry, type Mentions, type NamedEntry } from './removal.js';
import * as Tar from './tar-format.js';
import { TarReader, type TarEntry, type TarSink } from './tar-reader.js';

export interface ImportResult {
  /** Sum of the sizes of all files in the archive, in bytes: what Docker shows as the layer's size. */
  bytes: number;
  entries: number;
  /** Length of the archive. */
  archiveBytes: number;
  /** Whether the archive had its end marker. Without one, it may have been cut off between two entries. */
  ended: boolean;
}

export interface ImportOptions extends IdMaps {
  /** Whether to keep what it takes to give the archive back as it is. */
  readonly recipe?: boolean;
}

const WHITEOUT = '.wh.';
const WHITEOUT_META = '.wh..wh.';
const OPAQUE = '.wh..wh..opq';
/** About 100 bytes each. */
const LINKED_NAMES_MAX = 65_536;
/** (uid_t) -1 means "no change" to chown(2), and so is nobody's id. */
const ID_MAX = 0xffff_fffe;
const MAJOR_MAX = 0xfff;
const MINOR_MAX = 0xf_ffff;
const SYMLINK_KIND = kindOf(S_IFLNK);

export class LayerImport implements TarSink, ResolverHost, Mentions {
  readonly layer: LayerIndex;
  readonly rootUid: number;
  readonly rootGid: number;
  readonly #maps: IdMaps;
  readonly #reader = new TarReader(this);
  readonly #content: FileContent;
  readonly #attributes: EntryAttributes;
  readonly #times: DirectoryTimes;
  readonly #paths: PathResolver;
  /** First inode number that this import gives. */
  readonly #firstOwn: Ino;
  readonly #mentionedDirectories = new InoSet();
  readonly #linkedNames = new Set<string>();
  readonly #recipe: RecipeWriter | null;
  /** Whether an entry took the place of what was there. */
  #removed = false;

  /** The entry that is being applied; its inode, 0 if it has none; what there is to change when its data is complete. */
  #entry: TarEntry | null = null;
  #ino: Ino = 0;
  #isLink = false;
  #uid = 0;
  #gid = 0;

  #bytes = 0;
  #archiveBytes = 0;
  #holeBytes = 0;

  /** Begins an import into a writable layer. Throws LcfsError if there is no such layer. */
  constructor(layer: LayerIndex, { recipe = false, ...maps }: ImportOptions = {}) {
    this.layer = layer;
    this.#maps = maps;
    this.rootUid = rootOf(maps.uids, 'user');
    this.rootGid = rootOf(maps.gids, 'group');
    this.#firstOwn = nextInoOf(layer);
    this.#content = new FileContent(layer);
    this.#attributes = new EntryAttributes(layer);
    this.#times = new DirectoryTimes(layer);
    this.#paths = new PathResolver(this);
    this.#recipe = recipe ? new RecipeWriter(layer) : null;
  }

  /** Takes the next bytes of the archive; they are not kept. Throws LcfsError, after which only `abort` may follow. */
  write(chunk: Uint8Array): void {
    try {
      this.#reader.push(chunk);
    } catch (error) {
      throw this.#explained(error);
    }
    this.#archiveBytes += chunk.length;
  }

  /** The archive is over. Throws LcfsError if it is incomplete. */
  finish(): ImportResult {
    try {
      this.#reader.end();
      this.#times.restore();
      this.#recipe?.finish();
      if (this.#removed) this.#recipe?.verify();
    } catch (error) {
      throw this.#explained(error);
    }
    this.abort();
    return { bytes: this.#bytes, entries: this.#reader.entries, archiveBytes: this.#archiveBytes, ended: this.#reader.ended };
  }

  /** Gives back what the import holds in memory. Needed only when `finish` is not reached; harmless otherwise. */
  abort(): void {
    this.#content.release();
  }

  #explained(error: unknown): unknown {
    if (!(error instanceof Refusal)) return error;
    if (this.#entry === null) return new LcfsError(error.code, `the archive could not be applied: ${error.message}`);
    return entryError(this.#entry.index, this.#entry.path, error.message, error.code);
  }

  // What the path resolver and the removal of lower contents ask

  isOwn(ino: Ino): boolean {
    return ino >= this.#firstOwn;
  }

  isMentioned(dir: Ino, entry: NamedEntry): boolean {
    if (this.isOwn(entry.ino)) return true;
    return isDirectory(entry) ? this.#mentionedDirectories.has(entry.ino) : this.#linkedNames.has(nameKey(dir, entry.name));
  }

  willChange(dir: Ino): void {
    this.#times.note(dir);
  }

  // What the reader tells

  entry(entry: TarEntry): void {
    this.#entry = entry;
    this.#ino = 0;
    this.#isLink = false;
    const parts = splitPath(entry.path);
    const name = parts.at(-1);
    if (name === undefined) this.#applyRoot(entry);
    else if (isPassedOver(parts)) return;
    else if (name.startsWith(WHITEOUT)) this.#applyWhiteout(parts, name);
    else this.#apply(entry, parts, name);
  }

  data(bytes: Uint8Array, at: number, length: number, offset: number): void {
    if (this.#ino === 0) return this.rest(bytes, at, length);
    this.#content.add(bytes, at, length, offset);
    this.#recipe?.file(this.#ino, offset, length);
  }

  rest(bytes: Uint8Array, at: number, length: number): void {
    this.#recipe?.bytes(bytes, at, length);
  }

  endEntry(): void {
    if (this.#ino !== 0) this.#complete(this.#ino, this.#entry!);
    this.#entry = null;
  }

  #complete(ino: Ino, entry: TarEntry): void {
    if (entry.type === Tar.FILE && this.#content.close() < entry.size) this.#attributes.setSize(ino, entry.size);
    this.#attributes.complete(ino, entry, this.#isLink);
    if (entry.type === Tar.DIRECTORY) this.#times.replace(ino, bounded(entry.mtime));
  }

  // Kinds of entries

  #applyRoot(entry: TarEntry): void {
    if (entry.type !== Tar.DIRECTORY) throw new Refusal('the root of a layer can only be a directory');
    this.#takeOwner(entry);
    check(getInode(this.layer, ROOT_INO));
    this.#settle(ROOT_INO);
  }

  #applyWhiteout(parts: readonly string[], name: string): void {
    const dir = this.#parentOf(parts);
    if (name === OPAQUE) this.#hideContents(dir.ino);
    else this.#hideName(dir, name.slice(WHITEOUT.length));
  }

  #hideName(dir: Directory, name: string): void {
    if (name === '' || name === '.' || name === '..') throw new Refusal('a whiteout must name what it hides');
    const entry = findNamed(this.layer, dir.ino, name);
    if (entry === null) return;
    if (!this.isMentioned(dir.ino, entry)) this.#remove(dir, entry);
    else if (isDirectory(entry)) this.#hideContents(entry.ino);
  }

  #hideContents(dir: Ino): void {
    hideLower(this.layer, dir, this);
    this.#paths.forget();
  }

  #apply(entry: TarEntry, parts: readonly string[], name: string): void {
    this.#takeOwner(entry);
    const dir = this.#parentOf(parts);
    switch (entry.type) {
      case Tar.FILE:
        return this.#makeFile(dir, name, entry);
      case Tar.DIRECTORY:
        return this.#makeDirectory(dir, name, entry);
      case Tar.SYMLINK:
        return this.#makeSymlink(dir, name, entry.linkPath);
      case Tar.HARD_LINK:
        return this.#makeLink(dir, name, entry.linkPath);
      case Tar.CHARACTER_DEVICE:
        return this.#make(dir, name, S_IFCHR | entry.mode, deviceNumber(entry));
      case Tar.BLOCK_DEVICE:
        return this.#make(dir, name, S_IFBLK | entry.mode, deviceNumber(entry));
      case Tar.FIFO:
        return this.#make(dir, name, S_IFIFO | entry.mode, 0);
      default:
        throw new Refusal(`its type ${JSON.stringify(String.fromCharCode(entry.type))} is not known`);
    }
  }

  /** The directory that holds the last of `parts`. It counts as mentioned, and so do those above it. */
  #parentOf(parts: readonly string[]): Directory {
    const dir = this.#paths.resolve(parts, parts.length - 1, true);
    for (let at = dir; this.#isNews(at.ino); at = at.parent);
    return dir;
  }

  /** Marks a directory as mentioned; true if it comes from below and was not marked yet. What is above is marked then. */
  #isNews(ino: Ino): boolean {
    return !this.isOwn(ino) && this.#mentionedDirectories.add(ino);
  }

  #makeFile(dir: Directory, name: string, entry: TarEntry): void {
    this.#bytes += entry.size;
    this.#holeBytes += entry.holeBytes;
    if (entry.holeBytes > 0) checkHoles(this.#holeBytes);
    this.#make(dir, name, S_IFREG | entry.mode, 0);
    this.#content.open(this.#ino);
  }

  #make(dir: Directory, name: string, mode: number, rdev: number): void {
    let ino = this.#create(dir, name, mode, rdev);
    if (ino === -EEXIST) {
      this.#clearWay(dir, name);
      ino = this.#create(dir, name, mode, rdev);
    }
    this.#settle(check(ino));
  }

  #create(dir: Directory, name: string, mode: number, rdev: number): number {
    this.#times.note(dir.ino);
    return create(this.layer, dir.ino, nameBytes, 0, putName(name), mode, 0, this.#uid, this.#gid, rdev);
  }

  #makeDirectory(dir: Directory, name: string, entry: TarEntry): void {
    const found = findNamed(this.layer, dir.ino, name);
    if (found === null || !isDirectory(found)) return this.#make(dir, name, S_IFDIR | entry.mode, 0);
    this.#isNews(found.ino);
    this.#settle(found.ino);
  }

  #makeSymlink(dir: Directory, name: string, target: Buffer): void {
    if (target.length === 0) throw new Refusal('its link target is empty');
    if (target.length > SYMLINK_BYTES_MAX) throw new Refusal(`its link target is longer than ${SYMLINK_BYTES_MAX} bytes`);
    if (target.includes(0)) throw new Refusal('its link target has a zero byte in it');
    this.#clearWay(dir, name);
    this.#times.note(dir.ino);
    const length = putName(name);
    const ino = createSymlink(this.layer, dir.ino, nameBytes, 0, length, target, 0, target.length, this.#uid, this.#gid);
    this.#isLink = true;
    this.#settle(check(ino));
  }

  #makeLink(dir: Directory, name: string, targetPath: Buffer): void {
    this.#clearWay(dir, name);
    const target = this.#linkTarget(targetPath);
    this.#isLink = isSymlink(inodeMode(foundAt));
    this.#times.note(dir.ino);
    check(link(this.layer, target, dir.ino, nameBytes, 0, putName(name)));
    if (!this.isOwn(target) && this.#linkedNames.size < LINKED_NAMES_MAX) this.#linkedNames.add(nameKey(dir.ino, name));
    this.#settle(target);
  }

  /** What the path names; also fills `foundAt`. */
  #linkTarget(path: Buffer): Ino {
    const parts = splitRelative(path);
    const name = parts.at(-1);
    if (name === undefined) throw new Refusal('the target of the hard link is a directory');
    const holder = this.#paths.resolve(parts, parts.length - 1, false);
    const found = findNamed(this.layer, holder.ino, name);
    if (found === null) throw new Refusal(`the target of the hard link, ${quotePath(path)}, does not exist`);
    if (isDirectory(found)) throw new Refusal(`the target of the hard link, ${quotePath(path)}, is a directory`);
    return found.ino;
  }

  /** Removes what has the name that an entry is going to take. */
  #clearWay(dir: Directory, name: string): void {
    const entry = findNamed(this.layer, dir.ino, name);
    if (entry !== null) this.#remove(dir, entry);
  }

  #remove(dir: Directory, entry: NamedEntry): void {
    this.#times.note(dir.ino);
    this.#removed = true;
    removeEntry(this.layer, dir.ino, entry);
    this.#linkedNames.delete(nameKey(dir.ino, entry.name));
    if (mayBeOnPath(entry)) this.#paths.forget();
  }

  // Owners

  #takeOwner(entry: TarEntry): void {
    this.#uid = hostId(this.#maps.uids, entry.uid, 'user');
    this.#gid = hostId(this.#maps.gids, entry.gid, 'group');
  }

  /** The entry's inode is there, and `foundAt` shows it: everything that remains changes it. */
  #settle(ino: Ino): void {
    this.#ino = ino;
    this.#attributes.setOwner(ino, this.#uid, this.#gid);
  }
}

function nextInoOf(layer: LayerIndex): Ino {
  const result = beginRead(layer);
  if (result >= 0) return end(layerNextIno(opRecord()));
  const [code, cause] = causeOf(result);
  throw new LcfsError(code, `nothing can be imported: ${cause}`);
}

function nameKey(dir: Ino, name: string): string {
  return `${dir}/${name}`;
}

/** Whether a path of another entry may lead through it. */
function mayBeOnPath(entry: NamedEntry): boolean {
  return isDirectory(entry) || entry.kind === SYMLINK_KIND;
}

/** Notes of aufs, which its own layers carried in early images: hard link pools and the like. */
function isPassedOver(parts: readonly string[]): boolean {
  const last = parts.length - 1;
  return parts.some((part, i) => part.startsWith(WHITEOUT_META) && !(i === last && part === OPAQUE));
}

function hostId(map: readonly IdRange[] | undefined, id: number, what: string): number {
  if (!(id >= 0 && id <= ID_MAX)) throw new Refusal(`its ${what} id ${id} is out of range`);
  const host = toHost(map, id);
  if (host < 0) throw new Refusal(`its ${what} id ${id} is not in the map of the user namespace`);
  return host;
}

function rootOf(map: readonly IdRange[] | undefined, what: string): number {
  const host = toHost(map, 0);
  if (host < 0) throw new LcfsError('invalid', `the map of ${what} ids has no place for root`);
  return host;
}

/** Device number as the kernel packs it (new_encode_dev). */
function deviceNumber({ major, minor }: TarEntry): number {
  if (!(major >= 0 && major <= MAJOR_MAX && minor >= 0 && minor <= MINOR_MAX))
    throw new Refusal(`its device number ${major}:${minor} is out of range`);
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}

/**
 * Holes cost an archive nothing, and a layer nothing either, but whoever copies the file gets zeros. Other storage drivers
 * write them out and run out of space; here an archive is refused that claims more of them than the volume is large.
 */
function checkHoles(holeBytes: number): void {
  const capacity = volumeInfo().blocks.total * BLOCK_BYTES;
  if (holeBytes > capacity)
    throw new Refusal(`the holes of its sparse files add up to ${holeBytes} bytes, more than the volume of ${capacity} bytes`);
}
