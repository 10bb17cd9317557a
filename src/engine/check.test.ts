/** Damage that no checksum shows, as only a bug can do it: each kind is found. What a device does: test/crash/corruption.test.ts. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { describe, test } from 'node:test';
import { ROOT, find as findName, make, openTestVolume, put, testVolumePath } from '../../test/support/files.js';
import { EXTENT, INODE, type LayerIndex } from '../layout/constants.js';
import { W } from '../layout/memory.js';
import { layerRootBlockAt, setExtentBlock, setExtentOwner, setInodeContentLayer } from '../layout/records.js';
import { FREE_BLOCKS, TOTAL_BLOCKS } from './arena.js';
import { checkVolume } from './check.js';
import { createLayer } from './layers.js';
import { beginRead, beginWrite, end, opRecord } from './operation.js';
import { unpinPage } from './pager.js';
import { findForUpdate, pageLevel, pinPointer, recordAt, valueOf } from './tree.js';
import { abandonVolume } from './volume.js';

/** Checks a volume with a layer, its clone and an unrelated one, before and after `damage`. */
function finds(message: RegExp, damage: (layer: LayerIndex, clone: LayerIndex, other: LayerIndex) => void): void {
  const layer = openTestVolume();
  for (let i = 0; i < 200; i++) make(layer, ROOT, `file${i}`);
  put(layer, findName(layer, ROOT, 'file0'), 0, Buffer.alloc(10_000, 1));
  const clone = createLayer('clone', { parent: 'test' });
  make(clone, ROOT, 'own');
  assert.deepEqual(checkVolume({ data: true }).errors, []);
  damage(layer, clone, createLayer('other'));
  assert.match(checkVolume().errors.join('\n'), message);
  const folder = dirname(testVolumePath());
  abandonVolume();
  rmSync(folder, { recursive: true });
}

/** Changes the inherited extent of the file that has data. */
function changeExtent(layer: LayerIndex, change: (extent: number) => void): void {
  const ino = findName(layer, ROOT, 'file0');
  assert.equal(beginWrite(layer, 0, 1), 0);
  change(valueOf(findForUpdate(ino, EXTENT, 0, 0)));
  end(0);
}

function changeContentLayer(layer: LayerIndex, to: LayerIndex): void {
  const ino = findName(layer, ROOT, 'file0');
  assert.equal(beginWrite(layer, 0, 1), 0);
  setInodeContentLayer(valueOf(findForUpdate(ino, INODE, 0, 0)), to);
  end(0);
}

describe('check', () => {
  test('finds an extent that its owner does not have', () => {
    finds(/extent at file block 0 is none that layer 1 has/, (_, clone) =>
      changeExtent(clone, (extent) => setExtentBlock(extent, W[TOTAL_BLOCKS]! - 100)),
    );
  });

  test('finds an extent of a layer that is no ancestor', () => {
    finds(/extent at file block 0 is none that layer 3 has/, (_, clone, other) =>
      changeExtent(clone, (extent) => setExtentOwner(extent, other)),
    );
  });

  test('finds records in the wrong page', () => {
    finds(/layer 1: key of inode or layer \d+ is in the wrong page/, (layer) => {
      assert.equal(beginRead(layer), 0);
      const root = pinPointer(layerRootBlockAt(opRecord()), -1);
      assert.ok(pageLevel(root) > 0);
      W[recordAt(root, 1)]!++;
      unpinPage(root);
      end(0);
    });
  });

  test('finds contents that a file cannot have from where it says', () => {
    finds(/has contents of layer 3, which is neither its own nor an ancestor/, (_, clone, other) => changeContentLayer(clone, other));
    finds(/layer 2 owns data of it, but 1 is said to have changed it last/, (layer, clone) => {
      put(clone, findName(clone, ROOT, 'file0'), 0, Buffer.alloc(5000, 2));
      changeContentLayer(clone, layer);
    });
  });

  test('finds counts of free blocks that are wrong', () => {
    finds(/blocks are free, but \d+ are counted/, () => void W[FREE_BLOCKS]!++);
  });
});
