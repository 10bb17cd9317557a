/** The contents of layers as text, for comparing the same layer at two times or in two volumes. */
import { createHash } from 'node:crypto';
import { ROOT_INO, type Ino, type LayerIndex } from '../../src/layout/constants.js';
import { inodeGid, inodeLinks, inodeMode, inodeMtimeLo, inodeMtimeNsec, inodeRdev, inodeUid } from '../../src/layout/records.js';
import { ioBuffer } from '../../src/linux/libc.js';
import { diffLayers } from '../../src/engine/diff.js';
import { read } from '../../src/engine/file.js';
import { foundAt, getInode, inodeSize } from '../../src/engine/inode.js';
import { layerInfo, listLayers } from '../../src/engine/layers.js';
import { readLink } from '../../src/engine/namespace.js';
import { listXattr, getXattr } from '../../src/engine/xattr.js';

const io = ioBuffer(1 << 20);

function contents(layer: LayerIndex, ino: Ino, size: number): string {
  const hash = createHash('sha256');
  for (let offset = 0; offset < size;) {
    const n = read(layer, ino, offset, Math.min(size - offset, io.bytes.length), io, 0);
    if (n <= 0) return `error ${n}`;
    hash.update(io.bytes.subarray(0, n));
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
  const layer = layerInfo(name).index;
  const lines = [`/ ${describe(layer, ROOT_INO)}`];
  for (const change of diffLayers(name, null)) lines.push(`${change.path.toString('latin1')} ${describe(layer, change.ino)}`);
  return lines.join('\n');
}

/** Everything in all layers. */
export function digestVolume(): string {
  return Array.from(listLayers(), (layer) => `== ${layer.name} ${layer.state} < ${layer.parent ?? ''}\n${digestLayer(layer.name)}`).join(
    '\n',
  );
}
