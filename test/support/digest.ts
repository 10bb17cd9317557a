/** The contents of layers as text, for comparing the same layer at two times or in two volumes. */
import { createHash } from 'node:crypto';
import { GLOBAL_LAYER, ROOT_INO, type Ino, type LayerIndex } from '../../src/layout/constants.js';
import { inodeGid, inodeLinks, inodeMode, inodeMtimeLo, inodeMtimeNsec, inodeRdev, inodeUid } from '../../src/layout/records.js';
import { ioBuffer } from '../../src/linux/libc.js';
import { read } from '../../src/engine/file.js';
import { foundAt, getInode, inodeSize } from '../../src/engine/inode.js';
import { layerInfo, listLayers, type LayerInfo } from '../../src/engine/layers.js';
import { readLink } from '../../src/engine/namespace.js';
import { listXattr, getXattr } from '../../src/engine/xattr.js';
import { S_IFDIR } from '../../src/linux/mode.js';
import { list } from './files.js';

const DIRECTORY_KIND = S_IFDIR >>> 12;

const io = ioBuffer(1 << 20);

/** Bytes of files that were read for digests so far. */
export let digestedBytes = 0;

function contents(layer: LayerIndex, ino: Ino, size: number): string {
  const hash = createHash('sha256');
  for (let offset = 0; offset < size;) {
    const n = read(layer, ino, offset, Math.min(size - offset, io.bytes.length), io, 0);
    if (n <= 0) return `error ${n}`;
    hash.update(io.bytes.subarray(0, n));
    digestedBytes += n;
    offset += n;
  }
  return hash.digest('hex').slice(0, 16);
}

function attributesOf(layer: LayerIndex, ino: Ino): string {
  const length = listXattr(layer, ino, io.bytes, 0, 65536);
  const names = Buffer.from(io.bytes.subarray(0, Math.max(length, 0)))
    .toString('latin1')
    .split('\0')
    .filter((name) => name !== '')
    .toSorted();
  return names
    .map((name) => {
      const bytes = Buffer.from(name, 'latin1');
      const n = getXattr(layer, ino, bytes, 0, bytes.length, io.bytes, 0, 65536);
      return `${name}=${Buffer.from(io.bytes.subarray(0, Math.max(n, 0))).toString('hex')}`;
    })
    .join(' ');
}

/** One line about an inode. */
function describe(layer: LayerIndex, ino: Ino): string {
  const answer = getInode(layer, ino);
  if (answer < 0) return `error ${answer}`;
  const mode = inodeMode(foundAt);
  const size = inodeSize(foundAt);
  const line = `${mode.toString(8)} ${inodeUid(foundAt)}:${inodeGid(foundAt)} ${inodeLinks(foundAt)} ${inodeRdev(foundAt)} ${size} ${inodeMtimeLo(foundAt)}.${inodeMtimeNsec(foundAt)}`;
  const type = mode & 0o170000;
  const body =
    type === 0o100000
      ? contents(layer, ino, size)
      : type === 0o120000
        ? `-> ${Buffer.from(io.bytes.subarray(0, readLink(layer, ino, io.bytes, 0))).toString('latin1')}`
        : '';
  return `${line} ${body} ${attributesOf(layer, ino)}`;
}

/** Everything in a layer, a line a name. */
export function digestLayer(name: string): string {
  return digestTree(layerInfo(name).index).join('\n');
}

function digestTree(layer: LayerIndex): string[] {
  const lines = [`/ ${describe(layer, ROOT_INO)}`];
  const walk = (dir: Ino, path: string): void => {
    const entries = [...list(layer, dir)].filter(([name]) => name !== '.' && name !== '..');
    for (const [name, { ino, kind }] of entries.toSorted(([a], [b]) => (a < b ? -1 : 1))) {
      lines.push(`${path}/${name} ${describe(layer, ino)}`);
      if (kind === DIRECTORY_KIND) walk(ino, `${path}/${name}`);
    }
  };
  walk(ROOT_INO, '');
  return lines;
}

/** Everything in all layers, the global one included. */
export function digestVolume(): string {
  const layers = Array.from(listLayers(), (layer) => `${describeLayer(layer)}\n${digestTree(layer.index).join('\n')}`);
  return [...digestTree(GLOBAL_LAYER), ...layers].join('\n');
}

function describeLayer({ name, state, parent, quotaBytes, properties }: LayerInfo): string {
  return `== ${name} ${state} < ${parent ?? ''} ${quotaBytes} ${JSON.stringify(properties)}`;
}
