/**
 * How a layer becomes whole again of which pages are lost: names what is hit, and says which records have to go, to come or to
 * change. Nothing is changed here: check shows the plan, repair carries it out.
 *
 * What can be read stays. In particular
 *  - an unreadable block of a file stays where it is and gives EIO, like blocks whose extents are lost: those get extents that
 *    lead beyond any device (LOST_OWNER). What was not stored cannot be told from what was lost: then both give EIO;
 *  - a file whose names are lost, or whose inode is, goes to /lost+found: what nobody knows of it, as its owner and the last
 *    bytes of its size, must not pass for what it was under its old name;
 *  - a directory whose inode is lost stays where it is, for root alone, with the entries that are left;
 *  - links and attributes of which a part is lost, inodes of which nothing but names is left, and recipes of archives with a part
 *    missing go.
 * Afterwards what can be counted is counted.
 */
import {
  BLOCK_BYTES,
  DIRENT,
  EXTENT,
  INODE,
  INODE_HAS_ACL,
  INODE_HAS_DEFAULT_ACL,
  INODE_HAS_XATTR,
  LINK,
  LOST_BLOCK,
  LOST_EXTENT_BLOCKS,
  LOST_FOUND_INO,
  LOST_OWNER,
  ORPHAN,
  RECIPE,
  ROOT_INO,
  SYMLINK,
  VALUE_BYTES_MAX,
  XATTR,
  type BlockNumber,
  type Ino,
  type LayerIndex,
} from '../layout/constants.js';
import { INODE_WORDS } from '../layout/records.js';
import { isDirectory, isRegular, isSymlink } from '../linux/mode.js';
import { hashHi, hashLo, hashName } from './hash.js';
import { compareKey, factsOf, type Chunk, type Entry, type Facts, type Key, type Lost, type Piece, type Survey } from './survey.js';

/** What damage costs somebody. */
export interface Damage {
  layer: LayerIndex;
  /** As far as it is known. */
  layerName: string;
  /** 0: nothing that is in one inode. */
  ino: Ino;
  /** From the root of the layer; null if it is not known. */
  path: string | null;
  kind: 'data' | 'inode' | 'names' | 'attributes' | 'target' | 'archive' | 'tree';
  text: string;
}

export interface Plan {
  damage: Damage[];
  remove: Key[];
  put: { key: Key; value: Uint8Array }[];
  /** What the layer record has to say afterwards. */
  inodes: number;
  nextIno: number;
}

/** Words of an inode record, as in docs/FORMAT.md. */
const MODE = 0;
const LINKS = 3;
const SIZE_LO = 4;
const SIZE_HI = 5;
const BLOCKS = 6;
const FLAGS = 20;
const ENTRIES = 21;
const CONTENT_LAYER = 22;

const LOST_FOUND = 'lost+found';
const ROOT_MODE = 0o040755;
const DIRECTORY_MODE = 0o040700;
const FILE_MODE = 0o100600;
const GROUP_BITS = 0o070;
const ENTRY_BYTES = 32;
const MAX_WORD = 0xffff_ffff;
/** 16 GiB of blocks of which nobody knows whether they were stored. */
const DOUBTFUL_BLOCKS_MAX = 1 << 22;
const PATH_DEPTH_MAX = 4096;
/** Of a file with more names than this, not all are told. */
const NAMES_TOLD_MAX = 16;

/** Plans for one layer. `isBad` tells blocks whose contents cannot be read or are not what they were. */
export function planLayer(layer: LayerIndex, survey: Survey, nextIno: number, isBad: (block: BlockNumber) => boolean): Plan {
  return new Mending(layer, survey, isBad).plan(nextIno);
}

class Mending {
  readonly #layer: LayerIndex;
  readonly #survey: Survey;
  readonly #isBad: (block: BlockNumber) => boolean;
  readonly #plan: Plan = { damage: [], remove: [], put: [], inodes: 0, nextIno: 0 };
  readonly #alive = new Set<Ino>();
  /** Inodes whose record is made anew. */
  readonly #remade = new Set<Ino>();
  /** Names of inodes as they are going to be. */
  readonly #names = new Map<Ino, { dir: Ino; entry: Entry }[]>();
  /** As they were found, for paths. */
  readonly #found = new Map<Ino, { dir: Ino; name: Buffer }[]>();
  readonly #entries = new Map<Ino, Entry[]>();

  constructor(layer: LayerIndex, survey: Survey, isBad: (block: BlockNumber) => boolean) {
    this.#layer = layer;
    this.#survey = survey;
    this.#isBad = isBad;
  }

  plan(nextIno: number): Plan {
    const plan = this.#plan;
    for (const { ino, entries } of this.#survey.facts.values())
      for (const { ino: of, name } of entries) this.#found.set(of, [...(this.#found.get(of) ?? []), { dir: ino, name }]);
    for (const lost of this.#survey.lost) this.#tell(0, 'tree', `${lost.message}: ${rangeText(lost)} cannot be read`);
    factsOf(this.#survey, ROOT_INO);
    for (const facts of this.#survey.facts.values()) this.#decide(facts);
    this.#keepNames();
    this.#findHomes();
    this.#keepOrphans();
    this.#keepRecipes();
    for (const facts of this.#survey.facts.values()) if (this.#alive.has(facts.ino)) this.#settle(facts);
    plan.inodes = this.#alive.size;
    plan.nextIno = nextIno;
    for (const ino of this.#alive) if (ino !== LOST_FOUND_INO) plan.nextIno = Math.max(plan.nextIno, ino + 1);
    return plan;
  }

  /** Once for each name. */
  #tell(ino: Ino, kind: Damage['kind'], text: string): void {
    const names = this.#found.get(ino)?.slice(0, NAMES_TOLD_MAX);
    const paths = ino === 0 ? [null] : ino === ROOT_INO ? ['/'] : (names?.map(({ dir, name }) => this.#pathOf(dir, name)) ?? [null]);
    for (const path of paths) this.#plan.damage.push({ layer: this.#layer, layerName: '', ino, path, kind, text });
  }

  #pathOf(dir: Ino, last: Buffer): string | null {
    const parts = [last.toString()];
    for (let at = dir; at !== ROOT_INO;) {
      const name = this.#found.get(at)?.[0];
      if (name === undefined || parts.length === PATH_DEPTH_MAX) return null;
      parts.push(name.name.toString());
      at = name.dir;
    }
    return `/${parts.toReversed().join('/')}`;
  }

  // What stays

  #decide(facts: Facts): void {
    if (facts.inode !== null) {
      if (isSymlink(facts.inode[MODE]!) && !isWhole(facts.target, sizeOf(facts.inode)))
        return this.#drop(facts, 'target', 'the target of the link is lost');
      this.#alive.add(facts.ino);
      return;
    }
    if (facts.ino === ROOT_INO) this.#remake(facts, ROOT_MODE, 'the attributes of the root directory are lost');
    else if (facts.entries.length > 0) this.#remake(facts, DIRECTORY_MODE, 'the attributes of the directory are lost');
    else if (facts.pieces.length > 0)
      this.#remake(facts, FILE_MODE, 'attributes and size are lost; what is left of it goes to /lost+found');
    else this.#drop(facts, 'inode', 'it is lost');
  }

  #remake(facts: Facts, mode: number, text: string): void {
    this.#tell(facts.ino, 'inode', text);
    const last = facts.pieces.at(-1);
    facts.inode = new Uint32Array(INODE_WORDS);
    facts.inode[MODE] = mode;
    if (last !== undefined) setSize(facts.inode, (last.start + last.length) * BLOCK_BYTES);
    if (isRegular(mode)) facts.inode[CONTENT_LAYER] = this.#layer;
    this.#alive.add(facts.ino);
    this.#remade.add(facts.ino);
  }

  /** Takes away all records of an inode. It has no extents. */
  #drop(facts: Facts, kind: Damage['kind'], text: string): void {
    this.#tell(facts.ino, kind, text);
    const { ino } = facts;
    if (facts.inode !== null) this.#plan.remove.push([ino, INODE, 0, 0]);
    for (const { hi, lo } of facts.links) this.#plan.remove.push([ino, LINK, hi, lo]);
    for (const { hi, lo } of facts.attributes) this.#plan.remove.push([ino, XATTR, hi, lo]);
    for (const { hi, lo } of facts.target) this.#plan.remove.push([ino, SYMLINK, hi, lo]);
    facts.inode = null;
  }

  // Names

  /** Names that lead to what is there stay; what is remade as a file loses its own. */
  #keepNames(): void {
    for (const { ino, entries } of this.#survey.facts.values()) {
      const kept = entries.filter((entry) => this.#keepName(ino, entry));
      this.#entries.set(ino, kept);
    }
    for (const { ino, links } of this.#survey.facts.values()) if (this.#alive.has(ino)) this.#keepLinks(ino, links);
  }

  #keepName(dir: Ino, entry: Entry): boolean {
    const facts = this.#survey.facts.get(entry.ino);
    const goes = facts === undefined || !this.#alive.has(entry.ino) || this.#losesName(facts);
    if (goes) {
      if (facts === undefined) this.#tell(entry.ino, 'inode', 'it is lost');
      this.#plan.remove.push([dir, DIRENT, entry.hi, entry.lo]);
      return false;
    }
    const kind = facts.inode![MODE]! >>> 12;
    if (entry.kind !== kind) this.#put([dir, DIRENT, entry.hi, entry.lo], direntValue(entry.ino, kind, entry.name));
    this.#nameIt(entry.ino, dir, entry);
    return true;
  }

  #losesName(facts: Facts): boolean {
    return this.#remade.has(facts.ino) && isRegular(facts.inode![MODE]!);
  }

  #nameIt(ino: Ino, dir: Ino, entry: Entry): void {
    const names = this.#names.get(ino);
    if (names === undefined) this.#names.set(ino, [{ dir, entry }]);
    else names.push({ dir, entry });
  }

  /** Back references are made to agree with the names. */
  #keepLinks(ino: Ino, links: readonly { hi: number; lo: number; dir: Ino }[]): void {
    const names = this.#names.get(ino) ?? [];
    for (const link of links) {
      if (!names.some(({ dir, entry }) => dir === link.dir && entry.hi === link.hi && entry.lo === link.lo))
        this.#plan.remove.push([ino, LINK, link.hi, link.lo]);
    }
    for (const { dir, entry } of names) {
      if (!links.some((link) => link.dir === dir && link.hi === entry.hi && link.lo === entry.lo))
        this.#put([ino, LINK, entry.hi, entry.lo], words(dir));
    }
  }

  /** Puts what has no name, and is not meant to have none, into /lost+found. */
  #findHomes(): void {
    // What is entered here is not looked at.
    const found = Array.from(this.#survey.facts.values());
    for (const facts of found) {
      if (!this.#alive.has(facts.ino) || facts.ino === ROOT_INO || this.#names.has(facts.ino)) continue;
      const isOrphan = !this.#remade.has(facts.ino) && (facts.inode![LINKS] === 0 || this.#survey.orphans.has(facts.ino));
      if (isOrphan) continue;
      if (!this.#remade.has(facts.ino)) this.#tell(facts.ino, 'names', 'its names are lost; it goes to /lost+found');
      this.#enter(this.#lostFound(), `#${facts.ino}`, facts);
    }
  }

  #lostFound(): Ino {
    if (this.#alive.has(LOST_FOUND_INO)) return LOST_FOUND_INO;
    const facts = factsOf(this.#survey, LOST_FOUND_INO);
    facts.inode = new Uint32Array(INODE_WORDS);
    facts.inode[MODE] = DIRECTORY_MODE;
    this.#alive.add(LOST_FOUND_INO);
    this.#remade.add(LOST_FOUND_INO);
    this.#entries.set(LOST_FOUND_INO, []);
    const taken = (this.#entries.get(ROOT_INO) ?? []).some((entry) => entry.name.toString() === LOST_FOUND);
    this.#enter(ROOT_INO, taken ? `${LOST_FOUND}.lcfs` : LOST_FOUND, facts);
    return LOST_FOUND_INO;
  }

  #enter(dir: Ino, text: string, facts: Facts): void {
    const name = Buffer.from(text);
    const entries = this.#entries.get(dir) ?? [];
    hashName(dir, name, 0, name.length);
    let lo = hashLo;
    const hi = hashHi;
    while (entries.some((entry) => entry.hi === hi && entry.lo === lo)) lo++;
    const entry = { hi, lo, ino: facts.ino, kind: facts.inode![MODE]! >>> 12, name };
    this.#entries.set(dir, [...entries, entry]);
    this.#nameIt(facts.ino, dir, entry);
    this.#put([dir, DIRENT, hi, lo], direntValue(facts.ino, entry.kind, name));
    this.#put([facts.ino, LINK, hi, lo], words(dir));
  }

  #keepOrphans(): void {
    const { orphans, facts } = this.#survey;
    for (const ino of orphans) if (!this.#alive.has(ino) || this.#names.has(ino)) this.#plan.remove.push([0, ORPHAN, 0, ino]);
    for (const { ino } of facts.values()) {
      if (this.#alive.has(ino) && ino !== ROOT_INO && !this.#names.has(ino) && !orphans.has(ino))
        this.#put([0, ORPHAN, 0, ino], new Uint8Array());
    }
  }

  /** The end of a recipe cannot be told from its records, so one that was next to something lost goes. */
  #keepRecipes(): void {
    const { recipes, lost } = this.#survey;
    for (const layer of new Set(recipes.map((recipe) => recipe.layer))) {
      const chunks = recipes.filter((recipe) => recipe.layer === layer).map(({ chunk }) => chunk);
      const isWholeRecipe =
        chunks.every((chunk, i) => chunk === i) && !lost.some((each) => meets(each, [0, RECIPE, layer, 0], [0, RECIPE, layer, MAX_WORD]));
      if (isWholeRecipe) continue;
      this.#tell(0, 'archive', `the recipe of the archive of layer ${layer} is lost`);
      for (const chunk of chunks) this.#plan.remove.push([0, RECIPE, layer, chunk]);
    }
  }

  // What an inode says of itself

  #settle(facts: Facts): void {
    const old = facts.inode!;
    const inode = old.slice();
    const names = this.#names.get(facts.ino)?.length ?? 0;
    this.#settleAttributes(facts, inode);
    if (isDirectory(inode[MODE]!)) this.#settleDirectory(facts, inode, names);
    else inode[LINKS] = names;
    if (isRegular(inode[MODE]!)) this.#settleContents(facts, inode);
    if (this.#remade.has(facts.ino) || inode.some((word, i) => word !== old[i]))
      this.#put([facts.ino, INODE, 0, 0], new Uint8Array(inode.buffer));
  }

  #settleDirectory(facts: Facts, inode: Uint32Array, names: number): void {
    const entries = this.#entries.get(facts.ino) ?? [];
    const gone = inode[ENTRIES]! - facts.entries.length;
    if (gone > 0) this.#tell(facts.ino, 'names', `${gone} of the names in the directory are lost`);
    const hasName = names > 0 || facts.ino === ROOT_INO;
    inode[LINKS] = hasName ? 2 + entries.filter((entry) => entry.kind === DIRECTORY_MODE >>> 12).length : 0;
    inode[ENTRIES] = entries.length;
    setSize(inode, entries.length * ENTRY_BYTES);
  }

  #settleAttributes(facts: Facts, inode: Uint32Array): void {
    let flags = 0;
    for (const chunks of groupsOf(facts.attributes)) {
      const first = chunks[0]!;
      if ((first.lo & 0xff) === 0 && isWhole(chunks, first.total)) flags |= flagOf(first.name);
      else for (const { hi, lo } of chunks) this.#plan.remove.push([facts.ino, XATTR, hi, lo]);
    }
    if (inode[FLAGS] === flags) return;
    if (!this.#remade.has(facts.ino)) this.#tell(facts.ino, 'attributes', 'extended attributes are lost');
    // With the list of those who are let in, what the group may do is not known any more either.
    if ((inode[FLAGS]! & ~flags & INODE_HAS_ACL) !== 0) inode[MODE]! &= ~GROUP_BITS;
    inode[FLAGS] = flags;
  }

  #settleContents(facts: Facts, inode: Uint32Array): void {
    const { ino, pieces } = facts;
    this.#tellBad(ino, pieces);
    const stored = pieces.reduce((sum, { length }) => sum + length, 0);
    // As in a layer that was put back from one that is built on it.
    if (inode[CONTENT_LAYER]! > this.#layer) inode[CONTENT_LAYER] = this.#layer;
    let blocks = stored;
    if (this.#remade.has(ino) || stored < inode[BLOCKS]!) {
      for (const [from, to] of gapsOf(facts, inode, this.#survey.lost)) {
        this.#tell(ino, 'data', `file blocks ${from} to ${to - 1} are lost`);
        blocks += to - from;
        this.#putLost(ino, from, to);
      }
    }
    inode[BLOCKS] = blocks;
  }

  #tellBad(ino: Ino, pieces: readonly Piece[]): void {
    for (const { start, length, block, owner } of pieces) {
      if (owner === LOST_OWNER) this.#tell(ino, 'data', `file blocks ${start} to ${start + length - 1} were lost before`);
      else
        for (let i = 0; i < length; i++)
          if (this.#isBad(block + i)) this.#tell(ino, 'data', `file block ${start + i} (block ${block + i}) cannot be read`);
    }
  }

  #putLost(ino: Ino, from: number, to: number): void {
    for (let start = from; start < to; start += LOST_EXTENT_BLOCKS) {
      const length = Math.min(LOST_EXTENT_BLOCKS, to - start);
      this.#put([ino, EXTENT, 0, start], words(LOST_BLOCK, length, LOST_OWNER, 0, ...Array.from({ length }, () => 0)));
    }
  }

  #put(key: Key, value: Uint8Array): void {
    this.#plan.put.push({ key, value });
  }
}

function words(...values: number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer);
}

function direntValue(ino: Ino, kind: number, name: Buffer): Uint8Array {
  return Buffer.concat([words(ino, kind), name]);
}

function sizeOf(inode: Uint32Array): number {
  return inode[SIZE_LO]! + inode[SIZE_HI]! * 2 ** 32;
}

function setSize(inode: Uint32Array, bytes: number): void {
  inode[SIZE_LO] = bytes % 2 ** 32;
  inode[SIZE_HI] = Math.floor(bytes / 2 ** 32);
}

/** Chunks of the same attribute lie side by side. */
function* groupsOf(chunks: readonly Chunk[]): Generator<Chunk[]> {
  let group: Chunk[] = [];
  for (const chunk of chunks) {
    const first = group[0];
    if (first !== undefined && (first.hi !== chunk.hi || first.lo >>> 8 !== chunk.lo >>> 8)) {
      yield group;
      group = [];
    }
    group.push(chunk);
  }
  if (group.length > 0) yield group;
}

/** Whether the chunks are all those of something of so many bytes. */
function isWhole(chunks: readonly Chunk[], bytes: number): boolean {
  let done = 0;
  for (const [i, chunk] of chunks.entries()) {
    if ((chunk.lo & 0xff) !== i || chunk.bytes !== Math.min(VALUE_BYTES_MAX, bytes - done)) return false;
    done += chunk.bytes;
  }
  return done === bytes;
}

function flagOf(name: string): number {
  if (name === 'system.posix_acl_access') return INODE_HAS_XATTR | INODE_HAS_ACL;
  return name === 'system.posix_acl_default' ? INODE_HAS_XATTR | INODE_HAS_DEFAULT_ACL : INODE_HAS_XATTR;
}

/** Whether any key of [from, to] is lost. */
function meets(lost: Lost, from: Key, to: Key): boolean {
  return compareKey(lost.from, to) <= 0 && (lost.to === null || compareKey(lost.to, from) > 0);
}

/** File blocks [from, to) that no extent covers and whose extents may have been lost. */
function* gapsOf({ ino, pieces }: Facts, inode: Uint32Array, lost: readonly Lost[]): Generator<[number, number]> {
  const size = Math.ceil(sizeOf(inode) / BLOCK_BYTES);
  let done = 0;
  for (const range of lost) {
    if (!meets(range, [ino, EXTENT, 0, 0], [ino, EXTENT, 0, MAX_WORD])) continue;
    const from = Math.max(done, compareKey(range.from, [ino, EXTENT, 0, 0]) < 0 ? 0 : range.from[3]);
    const inFile = range.to !== null && range.to[0] === ino && range.to[1] === EXTENT;
    // The last extent that is lost may reach beyond the key behind it, as far as the next one that is there.
    const to = Math.min(inFile ? range.to![3] + 64 : size, size, from + DOUBTFUL_BLOCKS_MAX);
    done = to;
    let at = from;
    for (const { start, length } of [...pieces, { start: to, length: 0 }]) {
      if (start + length <= at && start < to) continue;
      if (Math.min(start, to) > at) yield [at, Math.min(start, to)];
      at = Math.max(at, start + length);
      if (at >= to) break;
    }
  }
}

function rangeText({ from, to }: Lost): string {
  if (to === null) return from[0] === 0 ? 'the whole tree' : `inodes from ${from[0]} on`;
  return from[0] === to[0] ? `a part of inode ${from[0]}` : `inodes ${from[0]} to ${to[0]}`;
}
