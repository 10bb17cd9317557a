/**
 * Finds the directory that an entry of an archive goes into, as a process whose root directory is the layer's would.
 *
 * Symbolic links among the parents are followed within the layer: real images have entries such as `lib/x` where a lower
 * layer made `lib` a link to `usr/lib`. Absolute targets start at the layer's root. A link is refused
 *   - if its target climbs above the root, or
 *   - if this very archive made it and its target is absolute: an archive made from a file tree has no entries below its
 *     own links, so somebody tries to write elsewhere, or
 *   - if it is the 41st on the way.
 * Missing directories are made on demand, also behind links.
 *
 * What was found is remembered as a graph of directories: every edge is a name in its directory, also one that leads
 * through a symbolic link. Removing a directory or a link may cut any number of edges, so the caller forgets them all.
 * The graph is bounded by EDGES_MAX in the same way.
 */
import { foundAt } from '../engine/inode.js';
import { create, lookup, readLink } from '../engine/namespace.js';
import { ROOT_INO, SYMLINK_BYTES_MAX, type Ino, type LayerIndex } from '../layout/constants.js';
import { inodeMode } from '../layout/records.js';
import { ENOENT } from '../linux/errno.js';
import { isDirectory, isSymlink, S_IFDIR } from '../linux/mode.js';
import { quotePath } from './archive-error.js';
import { nameBytes, putName } from './names.js';
import { check, Refusal } from './refusal.js';

/** As in the kernel (MAXSYMLINKS). */
const LINKS_MAX = 40;
/** About 200 bytes each. */
const EDGES_MAX = 16_384;
const MISSING_MODE = S_IFDIR | 0o755;

export interface Directory {
  readonly ino: Ino;
  /** The directory that holds it; the root holds itself. */
  readonly parent: Directory;
  readonly children: Map<string, Directory>;
}

/** What the resolver asks of the import it works for. */
export interface ResolverHost {
  readonly layer: LayerIndex;
  /** Owner of directories that are made. */
  readonly rootUid: number;
  readonly rootGid: number;
  /** Whether the inode was made by this import. */
  isOwn(ino: Ino): boolean;
  /** Something in the directory is about to change. */
  willChange(dir: Ino): void;
}

export class PathResolver {
  readonly #host: ResolverHost;
  #root: Directory = rootDirectory();
  #edges = 0;
  #linksLeft = 0;
  readonly #target = Buffer.alloc(SYMLINK_BYTES_MAX);

  constructor(host: ResolverHost) {
    this.#host = host;
  }

  /** Something that other paths may lead through was removed. */
  forget(): void {
    this.#root = rootDirectory();
    this.#edges = 0;
  }

  /** The directory named by the first `count` of `parts`. With `make`, missing ones are made. Throws Refusal. */
  resolve(parts: readonly string[], count: number, make: boolean): Directory {
    if (this.#edges > EDGES_MAX) this.forget();
    this.#linksLeft = LINKS_MAX;
    let dir = this.#root;
    for (let i = 0; i < count; i++) dir = dir.children.get(parts[i]!) ?? this.#step(dir, parts[i]!, make);
    return dir;
  }

  #step(dir: Directory, name: string, make: boolean): Directory {
    const next = this.#find(dir, name, make);
    dir.children.set(name, next);
    this.#edges++;
    return next;
  }

  #find(dir: Directory, name: string, make: boolean): Directory {
    const ino = lookup(this.#host.layer, dir.ino, nameBytes, 0, putName(name));
    if (ino === -ENOENT && make) return directory(this.#make(dir, name), dir);
    check(ino);
    if (isDirectory(inodeMode(foundAt))) return directory(ino, dir);
    if (isSymlink(inodeMode(foundAt))) return this.#follow(dir, name, ino, make);
    throw new Refusal(`${quoteName(name)} in its path is not a directory`);
  }

  #make(dir: Directory, name: string): Ino {
    const { layer, rootUid, rootGid } = this.#host;
    this.#host.willChange(dir.ino);
    return check(create(layer, dir.ino, nameBytes, 0, putName(name), MISSING_MODE, 0, rootUid, rootGid, 0));
  }

  #follow(dir: Directory, name: string, ino: Ino, make: boolean): Directory {
    if (this.#linksLeft-- === 0) throw new Refusal(`there are more than ${LINKS_MAX} symbolic links in its path`);
    const length = check(readLink(this.#host.layer, ino, this.#target, 0));
    const target = this.#target.toString('latin1', 0, length);
    const isAbsolute = target.startsWith('/');
    if (isAbsolute && this.#host.isOwn(ino)) throw this.#escape(name, target, 'which is absolute');
    let at = isAbsolute ? this.#root : dir;
    for (const part of target.split('/')) {
      if (part === '..' && at.parent === at) throw this.#escape(name, target, 'which is outside of the layer');
      at = this.#stepAlong(at, part, make);
    }
    return at;
  }

  #stepAlong(at: Directory, part: string, make: boolean): Directory {
    if (part === '' || part === '.') return at;
    return part === '..' ? at.parent : (at.children.get(part) ?? this.#step(at, part, make));
  }

  #escape(name: string, target: string, cause: string): Refusal {
    return new Refusal(`its path leads through the symbolic link ${quoteName(name)} to ${quoteName(target)}, ${cause}`);
  }
}

function directory(ino: Ino, parent: Directory): Directory {
  return { ino, parent, children: new Map() };
}

function rootDirectory(): Directory {
  const root: { ino: Ino; parent: Directory | null; children: Map<string, Directory> } = {
    ino: ROOT_INO,
    parent: null,
    children: new Map(),
  };
  root.parent = root as Directory;
  return root as Directory;
}

function quoteName(name: string): string {
  return quotePath(Buffer.from(name, 'latin1'));
}
