/**
 * A directory as a program that keeps a journal knows it: what is in it, what can be done next, and what it is like after
 * each thing that was done. A change is one system call.
 */
import { createHash } from 'node:crypto';
import type { Random } from '../support/volume.js';

export type Change =
  | { readonly kind: 'create' | 'mkdir' | 'unlink' | 'rmdir'; readonly path: string }
  | { readonly kind: 'symlink' | 'link' | 'rename'; readonly path: string; readonly other: string }
  | {
      readonly kind: 'write' | 'append';
      readonly path: string;
      readonly at: number;
      readonly length: number;
      readonly seed: number;
      readonly skip?: number;
    }
  | { readonly kind: 'truncate' | 'chmod'; readonly path: string; readonly value: number };

/**
 * What of a change the file system does as a whole or not at all, in order. Linux may hand a write over in pieces that end
 * between pages; all else comes whole.
 */
export function atomicParts(change: Change): Change[] {
  if (change.kind !== 'write' && change.kind !== 'append') return [change];
  const parts: Change[] = [];
  const skip = change.skip ?? 0;
  for (let at = change.at, end = change.at + change.length; at < end;) {
    const to = Math.min(end, at - (at % PAGE_BYTES) + PAGE_BYTES);
    parts.push({ ...change, at, length: to - at, skip: skip + at - change.at });
    at = to;
  }
  return parts;
}

interface Node {
  kind: 'file' | 'folder' | 'link';
  mode: number;
  /** Replaced with every change, never changed itself. Target of a symbolic link. */
  content: Buffer;
}

const PAGE_BYTES = 4096;
const FILES = 40;
const FOLDERS = 4;
const FILE_BYTES_MAX = 60_000;
const WRITE_BYTES_MAX = 12_000;
const NOTHING = Buffer.alloc(0);

/** The bytes that a write of this seed brings. */
export function contentOf(seed: number, length: number): Buffer {
  const words = new Uint32Array((length >>> 2) + 1);
  for (let i = 0, x = seed | 1; i < words.length; i++) words[i] = x = (Math.imul(x, 1_664_525) + 1_013_904_223) >>> 0;
  return Buffer.from(words.buffer, 0, length);
}

const hashes = new WeakMap<Buffer, string>();

/** One line about a file, a folder or a link: the same for the model and for what is found. */
export function describe(path: string, kind: Node['kind'], mode: number, links: number, content: Buffer): string {
  if (kind === 'folder') return `${path} folder`;
  let hash = hashes.get(content);
  if (hash === undefined) hashes.set(content, (hash = createHash('sha1').update(content).digest('base64')));
  return kind === 'link' ? `${path} link ${hash}` : `${path} ${mode.toString(8)} ${links} ${content.length} ${hash}`;
}

export class TreeModel {
  readonly #nodes: Map<string, Node>;

  constructor(nodes = new Map<string, Node>()) {
    this.#nodes = nodes;
  }

  /** A model of its own with the same contents. */
  copy(): TreeModel {
    const copies = new Map<Node, Node>();
    const copyOf = (node: Node): Node => {
      if (!copies.has(node)) copies.set(node, { ...node });
      return copies.get(node)!;
    };
    return new TreeModel(new Map([...this.#nodes].map(([path, node]) => [path, copyOf(node)])));
  }

  /** All there is, a line each, in order. */
  describe(): string {
    const names = new Map<Node, number>();
    for (const node of this.#nodes.values()) names.set(node, (names.get(node) ?? 0) + 1);
    const lines = [...this.#nodes].map(([path, node]) => describe(path, node.kind, node.mode, names.get(node)!, node.content));
    return lines.toSorted().join('\n');
  }

  files(): string[] {
    return [...this.#nodes].filter(([, node]) => node.kind === 'file').map(([path]) => path);
  }

  size(path: string): number {
    return this.#nodes.get(path)!.content.length;
  }

  apply(change: Change): void {
    const node = this.#nodes.get(change.path)!;
    const skip = 'skip' in change ? (change.skip ?? 0) : 0;
    switch (change.kind) {
      case 'create':
        return this.#add(change.path, 'file', 0o644, NOTHING);
      case 'mkdir':
        return this.#add(change.path, 'folder', 0o755, NOTHING);
      case 'symlink':
        return this.#add(change.path, 'link', 0, Buffer.from(change.other));
      case 'link':
        return void this.#nodes.set(change.other, node);
      case 'rename':
        this.#nodes.delete(change.path);
        return void this.#nodes.set(change.other, node);
      case 'unlink':
      case 'rmdir':
        return void this.#nodes.delete(change.path);
      case 'truncate':
        return void (node.content = resized(node.content, change.value));
      case 'chmod':
        return void (node.mode = change.value);
      default:
        node.content = written(node.content, change.at, contentOf(change.seed, skip + change.length).subarray(skip));
    }
  }

  #add(path: string, kind: Node['kind'], mode: number, content: Buffer): void {
    this.#nodes.set(path, { kind, mode, content });
  }

  /** Something that can be done, with this model's contents, and succeeds. */
  propose(random: Random): Change {
    const files = this.files();
    const kind = random.below(20);
    if (files.length < 4 || (kind < 3 && files.length < FILES)) return { kind: 'create', path: this.#freePath(random) };
    const path = random.pick(files);
    if (kind === 3) return this.#folderChange(random) ?? this.#write(path, random);
    if (kind === 4) return { kind: 'symlink', path: this.#freePath(random), other: `../${path}` };
    if (kind === 5) return { kind: 'link', path, other: this.#freePath(random) };
    if (kind < 8) return { kind: 'rename', path, other: this.#renameTarget(path, random) };
    if (kind < 10 || this.#nodes.size > 2 * FILES) return { kind: 'unlink', path: random.pick(this.#leaves()) };
    if (kind === 10) return { kind: 'truncate', path, value: random.below(FILE_BYTES_MAX) };
    if (kind === 11) return { kind: 'chmod', path, value: 0o600 | random.below(0o100) };
    return this.#write(path, random);
  }

  #write(path: string, random: Random): Change {
    const size = this.size(path);
    const length = 1 + random.below(WRITE_BYTES_MAX);
    const seed = random.next();
    if (size < FILE_BYTES_MAX && random.below(2) === 0) return { kind: 'append', path, at: size, length, seed };
    return { kind: 'write', path, at: random.below(FILE_BYTES_MAX - WRITE_BYTES_MAX), length, seed };
  }

  /** Another file may be in the way, under another name of the same file it may not: that would change nothing. */
  #renameTarget(path: string, random: Random): string {
    const others = this.files().filter((other) => this.#nodes.get(other) !== this.#nodes.get(path));
    return others.length > 0 && random.below(3) === 0 ? random.pick(others) : this.#freePath(random);
  }

  #leaves(): string[] {
    return [...this.#nodes].filter(([, node]) => node.kind !== 'folder').map(([path]) => path);
  }

  #folders(): string[] {
    return [...this.#nodes].filter(([, node]) => node.kind === 'folder').map(([path]) => path);
  }

  #folderChange(random: Random): Change | null {
    const name = `folder${random.below(FOLDERS)}`;
    if (!this.#nodes.has(name)) return { kind: 'mkdir', path: name };
    const isEmpty = ![...this.#nodes.keys()].some((path) => path.startsWith(`${name}/`));
    return isEmpty ? { kind: 'rmdir', path: name } : null;
  }

  #freePath(random: Random): string {
    const folder = random.pick(['', ...this.#folders().map((path) => `${path}/`)]);
    for (;;) {
      const path = `${folder}n${random.below(1_000_000)}`;
      if (!this.#nodes.has(path)) return path;
    }
  }
}

function resized(content: Buffer, size: number): Buffer {
  const next = Buffer.alloc(size);
  content.copy(next);
  return next;
}

function written(content: Buffer, at: number, data: Buffer): Buffer {
  const next = resized(content, Math.max(content.length, at + data.length));
  data.copy(next, at);
  return next;
}
