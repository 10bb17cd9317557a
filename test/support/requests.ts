/** Requests that follow from their number alone: what is done twice in two volumes, or again after a death, comes to the same. */
import assert from 'node:assert/strict';
import type { Ino, LayerIndex } from '../../src/layout/constants.js';
import { EINVAL, EISDIR } from '../../src/linux/errno.js';
import { PUNCH_HOLE, KEEP_SIZE, allocate, truncate } from '../../src/engine/file.js';
import { lastUnlinkedIno, reapOrphan } from '../../src/engine/namespace.js';
import { setOrigin } from '../../src/engine/origins.js';
import { removeXattr, setXattr } from '../../src/engine/xattr.js';
import { DIRECTORY, ROOT, bytesOf, find, linkTo, make, makeSymlink, move, put, remove, removeDir } from './files.js';
import { Random } from './volume.js';

const NAMES = 24;
const ATTRIBUTE = bytesOf('user.attribute');

/** Serves request `number` in a layer, with its number for an origin. */
export function serve(layer: LayerIndex, number: number): void {
  setOrigin(number, 1, number % 7);
  perform(layer, new Random(number * 7919 + 1));
  setOrigin(0, 0, 0);
}

function perform(layer: LayerIndex, random: Random): void {
  for (let i = 0; i < 8; i++) random.next();
  const name = `name${random.below(NAMES)}`;
  const other = `name${random.below(NAMES)}`;
  const ino = Math.max(ROOT, find(layer, ROOT, name));
  switch (random.below(14)) {
    case 0:
    case 1:
    case 2:
      make(layer, ROOT, name);
      break;
    case 3:
      make(layer, ROOT, name, DIRECTORY);
      break;
    case 4:
      remove(layer, ROOT, name);
      reapOrphan(layer, lastUnlinkedIno);
      break;
    case 5:
      move(layer, ROOT, name, ROOT, other);
      reapOrphan(layer, lastUnlinkedIno);
      break;
    case 6:
      truncate(layer, ino, random.below(2_000_000), false);
      break;
    case 7:
      allocate(layer, ino, PUNCH_HOLE | KEEP_SIZE, random.below(500_000), 1 + random.below(900_000));
      break;
    case 8:
      setXattr(layer, ino, ATTRIBUTE, 0, ATTRIBUTE.length, Buffer.alloc(random.below(60_000), 1), 0, random.below(60_000), 0, false);
      break;
    case 9:
      if (random.below(2) === 0) removeXattr(layer, ino, ATTRIBUTE, 0, ATTRIBUTE.length);
      else makeSymlink(layer, ROOT, name, 't'.repeat(1 + random.below(4000)));
      break;
    case 10:
      if (random.below(2) === 0) removeDir(layer, ROOT, name);
      else if (ino !== ROOT) linkTo(layer, ino, ROOT, other);
      break;
    case 11:
      putWhole(layer, ino, random.below(1_000_000), Buffer.alloc(random.below(3_000_000), 1 + random.below(250)));
      break;
    default:
      // Small and at few offsets, so that much is overwritten in place.
      putWhole(layer, ino, random.below(8) * 3000, Buffer.alloc(1 + random.below(200_000), 1 + random.below(250)));
  }
}

/** There is room for everything: what is no file refuses, anything else is written. */
function putWhole(layer: LayerIndex, ino: Ino, offset: number, data: Uint8Array): void {
  const written = put(layer, ino, offset, data);
  assert.ok(written === data.length || written === -EISDIR || written === -EINVAL, `wrote ${written} of ${data.length} bytes`);
}
