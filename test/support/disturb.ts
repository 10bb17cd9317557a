/** Random operations that take and give space, on few names, without a model: for full volumes and for threads in each other's way. */
import type { Ino, LayerIndex } from '../../src/layout/constants.js';
import { EEXIST, EISDIR, ENODATA, ENOENT, ENOSPC, ESTALE } from '../../src/linux/errno.js';
import { KEEP_SIZE, PUNCH_HOLE, allocate, truncate } from '../../src/engine/file.js';
import { RENAME_EXCHANGE, lastUnlinkedIno, reapOrphan } from '../../src/engine/namespace.js';
import { removeXattr, setXattr } from '../../src/engine/xattr.js';
import { ROOT, bytesOf, find, get, linkTo, make, move, put, randomBytes, remove } from './files.js';
import type { Random } from './volume.js';

/** What an operation may come to. ESTALE: another thread freed the inode meanwhile. */
export const DISTURBED = [ENOENT, EEXIST, EISDIR, ENODATA, ENOSPC, ESTALE];

const NAMES = 40;

/** Does something below the root of a layer. Returns the engine's result. */
export function disturb(layer: LayerIndex, random: Random): number {
  const name = `name${random.below(NAMES)}`;
  const other = `name${random.below(NAMES)}`;
  const ino = Math.max(ROOT, find(layer, ROOT, name));
  const attribute = bytesOf(`user.${other}`);
  switch (random.below(12)) {
    case 0:
    case 1:
      return make(layer, ROOT, name);
    case 2:
      return unlinkAndReap(layer, name);
    case 3:
      return move(layer, ROOT, name, ROOT, other, RENAME_EXCHANGE);
    case 4:
      return replace(layer, name, other);
    case 5:
      return truncate(layer, ino, random.below(1_000_000), false);
    case 6:
      return allocate(layer, ino, PUNCH_HOLE | KEEP_SIZE, random.below(500_000), 1 + random.below(500_000));
    case 7:
      return setXattr(layer, ino, attribute, 0, attribute.length, Buffer.alloc(60_000, 1), 0, random.below(60_000), 0, false);
    case 8:
      return removeXattr(layer, ino, attribute, 0, attribute.length);
    case 9:
      return ino === ROOT ? 0 : linkTo(layer, ino, ROOT, other);
    case 10:
      return readSome(layer, ino, random);
    default:
      return put(layer, ino, random.below(1_000_000), randomBytes(random, 1 + random.below(300_000)));
  }
}

function unlinkAndReap(layer: LayerIndex, name: string): number {
  const result = remove(layer, ROOT, name);
  return result < 0 ? result : reapOrphan(layer, lastUnlinkedIno);
}

function replace(layer: LayerIndex, name: string, other: string): number {
  const result = move(layer, ROOT, name, ROOT, other);
  return result < 0 || lastUnlinkedIno === 0 ? result : reapOrphan(layer, lastUnlinkedIno);
}

function readSome(layer: LayerIndex, ino: Ino, random: Random): number {
  const data = get(layer, ino, random.below(1_000_000), random.below(300_000));
  return typeof data === 'number' ? data : data.length;
}

/** Takes everything away that `disturb` may have left. Returns the first error. */
export function clearDisturbed(layer: LayerIndex): number {
  for (let i = 0; i < NAMES; i++) {
    const result = unlinkAndReap(layer, `name${i}`);
    if (result < 0 && result !== -ENOENT) return result;
  }
  return 0;
}
