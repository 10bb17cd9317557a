import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { BLOCK_BYTES, EXTENT, FILE_BYTES_MAX, type Ino, type LayerIndex } from '../layout/constants.js';
import { extentBlock, recordKey0 } from '../layout/records.js';
import { EDQUOT, EFBIG, EINVAL, EIO, EISDIR, ENOSPC, ENXIO, EOPNOTSUPP, ESTALE } from '../linux/errno.js';
import {
  KILL_SET_IDS,
  SET_ATIME,
  SET_CTIME,
  SET_GID,
  SET_MODE,
  SET_MTIME,
  SET_SIZE,
  SET_UID,
  newAttributeChange,
  setAttributes,
} from './attributes.js';
import { checkpoint } from './checkpoint.js';
import { currentDevice, useDevice, writeBlocks } from './device.js';
import {
  KEEP_SIZE,
  PUNCH_HOLE,
  SEEK_DATA,
  SEEK_HOLE,
  WRITE_KILL_SET_IDS,
  ZERO_RANGE,
  allocate,
  copyRange,
  seekData,
  truncate,
} from './file.js';
import { createLayer, layerInfo } from './layers.js';
import { reapOrphan } from './namespace.js';
import { beginRead, end } from './operation.js';
import {
  DIRECTORY,
  ROOT,
  bytesOf,
  closeTestVolume,
  foundStat,
  get,
  make,
  makeSymlink,
  nowMicroseconds,
  openTestVolume,
  put,
  randomBytes,
  remove,
  stat,
} from '../../test/support/files.js';
import { Random, assertSound } from '../../test/support/volume.js';
import { next, recordType, seek, valueOf } from './tree.js';
import { volumeInfo } from './volume.js';
import { getXattr, setXattr } from './xattr.js';
import { ioBuffer } from '../linux/libc.js';

const MIB = 1 << 20;
let layer: LayerIndex;
let file: Ino;

function setUp(bytes = 128 * MIB): void {
  layer = openTestVolume(bytes);
  file = make(layer, ROOT, 'file');
}

beforeEach(() => setUp());
afterEach(() => closeTestVolume());

const filled = (length: number, byte = 1): Buffer => Buffer.alloc(length, byte);

/** First device blocks of the extents of a file. */
function extentsOf(of: LayerIndex, ino: Ino): number[] {
  assert.equal(beginRead(of), 0);
  const blocks: number[] = [];
  for (let record = seek(ino, EXTENT, 0, 0); record !== 0 && recordKey0(record) === ino && recordType(record) === EXTENT; record = next()) {
    blocks.push(extentBlock(valueOf(record)));
  }
  end(0);
  return blocks;
}

function ownBlocks(name = 'test'): number {
  const before = layerInfo(name);
  return before.ownBytes / BLOCK_BYTES;
}

test('what is written is read, before and after a checkpoint', () => {
  assert.equal(put(layer, file, 0, Buffer.from('hello world')), 11);
  assert.deepEqual(get(layer, file, 0, 100), Buffer.from('hello world'));
  checkpoint();
  assert.equal(put(layer, file, 6, Buffer.from('moon!')), 5);
  assert.deepEqual(get(layer, file, 0, 4096), Buffer.from('hello moon!'));
  assert.deepEqual(get(layer, file, 11, 5), Buffer.alloc(0));
  assert.deepEqual(get(layer, file, 1000, 5), Buffer.alloc(0));
  assert.equal(stat(layer, file).blocks, 1);
  assert.equal(put(layer, file, 5, Buffer.alloc(0)), 0);
});

test('requests of all alignments', () => {
  const chance = new Random(1);
  const model = Buffer.alloc(40_000);
  for (let i = 0; i < 300; i++) {
    const at = chance.below(39_000);
    const data = randomBytes(chance, 1 + chance.below(Math.min(9000, 40_000 - at)));
    assert.equal(put(layer, file, at, data), data.length);
    model.set(data, at);
    const from = chance.below(40_000);
    const size = chance.below(12_000);
    const { size: length } = stat(layer, file);
    assert.deepEqual(get(layer, file, from, size), model.subarray(from, Math.max(from, Math.min(from + size, length))));
  }
});

test('a request buffer of any alignment works', () => {
  const io = ioBuffer(3 * BLOCK_BYTES);
  assert.equal(put(layer, file, 0, randomBytes(new Random(2), 2 * BLOCK_BYTES)), 2 * BLOCK_BYTES);
  assert.equal(io.bytes.length, 3 * BLOCK_BYTES);
  assert.deepEqual((get(layer, file, 1, BLOCK_BYTES) as Buffer).length, BLOCK_BYTES);
});

test('blocks of zeros are not stored, and no longer stored when they become zero', () => {
  assert.equal(put(layer, file, 0, Buffer.alloc(MIB)), MIB);
  assert.deepEqual([stat(layer, file).size, stat(layer, file).blocks], [MIB, 0]);
  put(layer, file, 0, filled(10 * BLOCK_BYTES));
  put(layer, file, 3 * BLOCK_BYTES, Buffer.alloc(4 * BLOCK_BYTES));
  assert.equal(stat(layer, file).blocks, 6);
  put(layer, file, 100, Buffer.alloc(100));
  put(layer, file, 0, Buffer.alloc(100));
  put(layer, file, 200, Buffer.alloc(BLOCK_BYTES - 200));
  assert.equal(stat(layer, file).blocks, 5, 'zero after three writes to parts of it');
});

test('appending makes full extents, one after the other on the device', () => {
  const append = (size: number, count: number): void => {
    for (let i = 0; i < count; i++) put(layer, file, stat(layer, file).size, filled(size, (i % 250) + 1));
  };
  append(BLOCK_BYTES, 130);
  assert.equal(extentsOf(layer, file).length, 3);
  append(40 * BLOCK_BYTES, 5);
  assert.equal(extentsOf(layer, file).length, Math.ceil((130 + 200) / 64));
  append(100, 200);
  assert.equal(stat(layer, file).blocks, 130 + 200 + Math.ceil(20_000 / BLOCK_BYTES));
  assert.equal(extentsOf(layer, file).length, 6);
});

test('blocks written since the last checkpoint are overwritten in place, others are not', () => {
  put(layer, file, 0, filled(8 * BLOCK_BYTES));
  const first = extentsOf(layer, file);
  put(layer, file, BLOCK_BYTES + 5, filled(2 * BLOCK_BYTES, 2));
  assert.deepEqual(extentsOf(layer, file), first);
  checkpoint();
  put(layer, file, BLOCK_BYTES, filled(BLOCK_BYTES, 3));
  const split = extentsOf(layer, file);
  assert.equal(split.length, 3);
  assert.equal(split[0], first[0]);
  assert.ok(split[1]! < first[0]! || split[1]! >= first[0]! + 8);
  assert.equal(stat(layer, file).blocks, 8);
});

test('a clone that writes a byte owns one block more', () => {
  put(layer, file, 0, filled(MIB));
  const clone = createLayer('clone', { parent: 'test' });
  const pages = ownBlocks('clone');
  assert.equal(pages, 0);
  assert.equal(put(clone, file, 5 * BLOCK_BYTES + 1, Buffer.from([9])), 1);
  const before = ownBlocks('clone');
  put(clone, file, 5 * BLOCK_BYTES + 2, Buffer.from([9]));
  assert.equal(ownBlocks('clone'), before, 'the second byte costs nothing');
  assert.deepEqual(get(clone, file, 5 * BLOCK_BYTES, 4), Buffer.from([1, 9, 9, 1]));
  assert.deepEqual(get(layer, file, 5 * BLOCK_BYTES, 4), Buffer.from([1, 1, 1, 1]));
  assert.equal(truncate(clone, file, 0, false), 0);
  assert.deepEqual(get(layer, file, MIB - 2, 10), Buffer.from([1, 1]));
});

test('files reach to 16 TiB', () => {
  const last = FILE_BYTES_MAX - 3;
  assert.equal(put(layer, file, last, Buffer.from('abcdef')), 3);
  assert.equal(stat(layer, file).size, FILE_BYTES_MAX);
  assert.deepEqual(get(layer, file, last - 2, 100), Buffer.from('\0\0abc'));
  assert.equal(put(layer, file, FILE_BYTES_MAX, Buffer.from('x')), -EFBIG);
  assert.equal(truncate(layer, file, FILE_BYTES_MAX + 1, false), -EFBIG);
  assert.equal(allocate(layer, file, KEEP_SIZE, FILE_BYTES_MAX - 1, 2), -EFBIG);
  assert.equal(seekData(layer, file, 0, SEEK_DATA), FILE_BYTES_MAX - BLOCK_BYTES);
  assert.equal(truncate(layer, file, 2 ** 40, false), 0);
  assert.deepEqual([stat(layer, file).size, stat(layer, file).blocks], [2 ** 40, 0]);
});

test('only regular files have contents', () => {
  const link = makeSymlink(layer, ROOT, 'link', 'target');
  assert.deepEqual([get(layer, ROOT, 0, 10), put(layer, ROOT, 0, filled(1))], [-EISDIR, -EISDIR]);
  assert.deepEqual([get(layer, link, 0, 10), put(layer, link, 0, filled(1)), truncate(layer, link, 0, false)], [-EINVAL, -EINVAL, -EINVAL]);
  assert.deepEqual([get(layer, 999, 0, 10), put(layer, 999, 0, filled(1))], [-ESTALE, -ESTALE]);
  assert.deepEqual([seekData(layer, ROOT, 0, SEEK_DATA), allocate(layer, ROOT, 0, 0, 1)], [-EISDIR, -EISDIR]);
});

test('a truncated file reads zeros when it grows again', () => {
  put(layer, file, 0, filled(3 * BLOCK_BYTES));
  assert.equal(truncate(layer, file, BLOCK_BYTES + 10, false), 0);
  assert.deepEqual([stat(layer, file).size, stat(layer, file).blocks], [BLOCK_BYTES + 10, 2]);
  assert.equal(truncate(layer, file, 3 * BLOCK_BYTES, false), 0);
  const expected = Buffer.alloc(3 * BLOCK_BYTES);
  expected.fill(1, 0, BLOCK_BYTES + 10);
  assert.deepEqual(get(layer, file, 0, 4 * BLOCK_BYTES), expected);
  put(layer, file, 2 * BLOCK_BYTES + 5, Buffer.from('x'));
  assert.deepEqual(get(layer, file, 2 * BLOCK_BYTES, 6), Buffer.from('\0\0\0\0\0x'));
});

test('large files are cut and freed in steps', () => {
  const bytes = 40 * MIB;
  for (let at = 0; at < bytes; at += MIB) assert.equal(put(layer, file, at, filled(MIB)), MIB);
  assert.equal(stat(layer, file).blocks, bytes / BLOCK_BYTES);
  assert.equal(truncate(layer, file, 36 * MIB + 1, false), 0);
  assert.deepEqual([stat(layer, file).size, stat(layer, file).blocks], [36 * MIB + 1, 36 * 256 + 1]);
  assert.equal(allocate(layer, file, PUNCH_HOLE | KEEP_SIZE, MIB + 1, 34 * MIB), 0);
  assert.equal(stat(layer, file).blocks, 256 + 1 + 256 + 1);
  assertSound();
  for (let at = 0; at < bytes; at += MIB) put(layer, file, at, filled(MIB));
  assert.equal(truncate(layer, file, 0, false), 0);
  assert.equal(stat(layer, file).blocks, 0);
  for (let at = 0; at < bytes; at += MIB) put(layer, file, at, filled(MIB));
  remove(layer, ROOT, 'file');
  assert.equal(reapOrphan(layer, file), 0);
  assert.ok(ownBlocks() < 20);
  checkpoint();
  checkpoint();
  assert.ok(volumeInfo().blocks.used < 600);
});

test('fallocate', () => {
  put(layer, file, 0, filled(4 * BLOCK_BYTES));
  assert.equal(allocate(layer, file, KEEP_SIZE, 0, MIB), 0);
  assert.equal(stat(layer, file).size, 4 * BLOCK_BYTES);
  assert.equal(allocate(layer, file, 0, MIB, 1), 0);
  assert.deepEqual([stat(layer, file).size, stat(layer, file).blocks], [MIB + 1, 4]);
  assert.equal(allocate(layer, file, PUNCH_HOLE | KEEP_SIZE, 100, BLOCK_BYTES), 0);
  assert.equal(stat(layer, file).blocks, 4);
  assert.equal(allocate(layer, file, PUNCH_HOLE | KEEP_SIZE, 50, 2 * BLOCK_BYTES), 0);
  assert.equal(stat(layer, file).blocks, 3);
  assert.equal(allocate(layer, file, ZERO_RANGE, 0, 2 * MIB), 0);
  assert.deepEqual([stat(layer, file).size, stat(layer, file).blocks], [2 * MIB, 0]);
  assert.equal(allocate(layer, file, ZERO_RANGE | KEEP_SIZE, 0, 3 * MIB), 0);
  assert.equal(stat(layer, file).size, 2 * MIB);
  for (const mode of [PUNCH_HOLE, 8, PUNCH_HOLE | ZERO_RANGE | KEEP_SIZE]) assert.equal(allocate(layer, file, mode, 0, 1), -EOPNOTSUPP);
  assert.equal(allocate(layer, file, 0, 0, 0), -EINVAL);
  assert.equal(allocate(layer, file, 0, -1, 5), -EINVAL);
  assert.equal(allocate(layer, file, 0, 0, 2 ** 40), -ENOSPC, 'more than the volume holds');
  assert.equal(allocate(layer, file, 0, 0, 1000), 0);
});

test('SEEK_DATA and SEEK_HOLE', () => {
  put(layer, file, 10 * BLOCK_BYTES, filled(2 * BLOCK_BYTES + 7));
  const size = 12 * BLOCK_BYTES + 7;
  assert.equal(seekData(layer, file, 0, SEEK_DATA), 10 * BLOCK_BYTES);
  assert.equal(seekData(layer, file, 0, SEEK_HOLE), 0);
  assert.equal(seekData(layer, file, 11 * BLOCK_BYTES + 3, SEEK_DATA), 11 * BLOCK_BYTES + 3);
  assert.equal(seekData(layer, file, 10 * BLOCK_BYTES, SEEK_HOLE), size);
  assert.equal(seekData(layer, file, size - 1, SEEK_HOLE), size);
  for (const whence of [SEEK_DATA, SEEK_HOLE]) {
    assert.equal(seekData(layer, file, size, whence), -ENXIO);
    assert.equal(seekData(layer, file, -1, whence), -ENXIO);
  }
  truncate(layer, file, MIB, false);
  assert.equal(seekData(layer, file, size + BLOCK_BYTES, SEEK_DATA), -ENXIO);
  assert.equal(seekData(layer, file, 0, 2), -EINVAL);
});

test('ranges are copied within and between layers, holes as holes', () => {
  const data = Buffer.from(randomBytes(new Random(3), 3 * MIB));
  put(layer, file, 0, data.subarray(0, MIB));
  put(layer, file, 100 * MIB + 5, data);
  const other = createLayer('other');
  const copy = make(other, ROOT, 'copy');
  let done = 0;
  for (let n = 1; n > 0; done += n) n = copyRange(layer, file, done, other, copy, done, 2 ** 40);
  assert.equal(done, 103 * MIB + 5);
  assert.deepEqual([stat(other, copy).size, stat(other, copy).blocks], [done, stat(layer, file).blocks]);
  assert.deepEqual(get(other, copy, 100 * MIB, 3 * MIB + 5), get(layer, file, 100 * MIB, 3 * MIB + 5));
  assert.equal(copyRange(layer, file, 3, layer, file, 50 * MIB, 1000), 1000);
  assert.deepEqual(get(layer, file, 50 * MIB, 1000), data.subarray(3, 1003));
  assert.equal(copyRange(layer, file, done, other, copy, 0, 10), 0);
  assert.equal(copyRange(layer, ROOT, 0, other, copy, 0, 10), -EISDIR);
  assert.equal(copyRange(layer, file, 10 * MIB, other, copy, 0, 4 * MIB), 4 * MIB, 'a hole clears what was there');
  assert.deepEqual(get(other, copy, MIB - 10, 20), Buffer.alloc(20));
});

test('a quota is kept to the block', () => {
  const small = createLayer('small', { quotaBytes: 20 * BLOCK_BYTES });
  const ino = make(small, ROOT, 'file');
  assert.equal(put(small, ino, 100, filled(30 * BLOCK_BYTES)), 20 * BLOCK_BYTES - 100);
  assert.equal(stat(small, ino).blocks, 20);
  assert.equal(put(small, ino, 20 * BLOCK_BYTES, filled(1)), -EDQUOT);
  assert.equal(put(small, ino, 50, filled(19 * BLOCK_BYTES, 2)), 19 * BLOCK_BYTES, 'overwriting is free');
  checkpoint();
  assert.equal(put(small, ino, 50, filled(19 * BLOCK_BYTES, 3)), 19 * BLOCK_BYTES, 'also in new places');
  assert.equal(put(small, ino, 30 * BLOCK_BYTES, Buffer.alloc(BLOCK_BYTES)), BLOCK_BYTES, 'zeros are free');
  assert.equal(allocate(small, ino, 0, 0, 21 * BLOCK_BYTES), -EDQUOT);
  assert.equal(allocate(small, ino, 0, 0, 20 * BLOCK_BYTES), 0);
  assert.equal(truncate(small, ino, 19 * BLOCK_BYTES, false), 0);
  assert.equal(put(small, ino, 19 * BLOCK_BYTES, filled(2 * BLOCK_BYTES)), BLOCK_BYTES);
  const clone = createLayer('small clone', { parent: 'small', quotaBytes: 2 * BLOCK_BYTES });
  assert.equal(put(clone, ino, 0, filled(5 * BLOCK_BYTES, 4)), 2 * BLOCK_BYTES, 'what is inherited is not owned');
});

test('a full volume gives ENOSPC after what fits, and recovers', () => {
  closeTestVolume();
  setUp(8 * MIB);
  let size = 0;
  for (;;) {
    const written = put(layer, file, size, filled(MIB, 5));
    if (written < 0) {
      assert.equal(written, -ENOSPC);
      break;
    }
    size += written;
  }
  assert.equal(stat(layer, file).size, size);
  assert.ok(size > 5 * MIB, `${size} bytes fitted on 8 MiB`);
  assert.deepEqual(get(layer, file, size - 3, 10), filled(3, 5));
  let made = 0;
  while (make(layer, ROOT, `more${made}`) > 0) made++;
  assert.equal(make(layer, ROOT, 'one more'), -ENOSPC);
  assertSound();
  assert.equal(truncate(layer, file, MIB, false), 0);
  assert.equal(put(layer, file, MIB, filled(MIB, 6)), MIB);
  assert.equal(remove(layer, ROOT, 'file'), 0);
  assert.equal(reapOrphan(layer, file), 0);
  const again = make(layer, ROOT, 'again');
  for (let at = 0; at < 4 * MIB; at += MIB) assert.equal(put(layer, again, at, filled(MIB)), MIB);
});

test('a corrupted block gives EIO for what needs it, and nothing else', () => {
  put(layer, file, 0, filled(4 * BLOCK_BYTES));
  const [block] = extentsOf(layer, file);
  const garbage = ioBuffer(BLOCK_BYTES);
  garbage.bytes.fill(7);
  writeBlocks(block! + 1, 1, garbage.address);
  assert.equal(get(layer, file, 0, 3 * BLOCK_BYTES), -EIO);
  assert.equal(get(layer, file, BLOCK_BYTES + 1, 1), -EIO);
  assert.deepEqual(get(layer, file, 2 * BLOCK_BYTES, BLOCK_BYTES), filled(BLOCK_BYTES));
  assert.equal(put(layer, file, BLOCK_BYTES + 1, filled(1)), -EIO, 'a part of it is kept');
  assert.equal(truncate(layer, file, BLOCK_BYTES + 1, false), -EIO);
  assert.equal(stat(layer, file).size, 4 * BLOCK_BYTES);
  assert.equal(put(layer, file, BLOCK_BYTES, filled(BLOCK_BYTES)), BLOCK_BYTES, 'nothing of it is kept');
  assert.deepEqual(get(layer, file, 0, 4 * BLOCK_BYTES), filled(4 * BLOCK_BYTES));
});

test('a write that the device refuses changes nothing and leaks nothing', () => {
  put(layer, file, 0, filled(4 * BLOCK_BYTES));
  checkpoint();
  const before = stat(layer, file);
  const own = ownBlocks();
  const device = currentDevice();
  let writes = 0;
  useDevice({ ...device, write: (address, bytes, offset) => (writes++ === 1 ? 0 : device.write(address, bytes, offset)) });
  // The second of two runs fails: a hole lies between them.
  const data = Buffer.concat([filled(3 * BLOCK_BYTES, 2), Buffer.alloc(BLOCK_BYTES), filled(4 * BLOCK_BYTES, 2)]);
  assert.equal(put(layer, file, 2 * BLOCK_BYTES, data), -EIO);
  useDevice(device);
  assert.deepEqual(stat(layer, file), before);
  assert.equal(ownBlocks(), own);
  assert.deepEqual(get(layer, file, 0, 5 * BLOCK_BYTES), filled(4 * BLOCK_BYTES));
});

test('writing and truncating take set-id bits and capabilities away', () => {
  const change = { ...newAttributeChange(), mode: 0o6755 };
  const capability = bytesOf('security.capability');
  const arm = (): void => {
    assert.equal(setAttributes(layer, file, SET_MODE, change), 0);
    assert.equal(setXattr(layer, file, capability, 0, capability.length, filled(20), 0, 20, 0, false), 0);
  };
  const state = (): [number, boolean] => [
    stat(layer, file).mode & 0o7777,
    getXattr(layer, file, capability, 0, capability.length, Buffer.alloc(20), 0, 20) === 20,
  ];
  arm();
  put(layer, file, 0, filled(10));
  assert.deepEqual(state(), [0o6755, false], 'a privileged writer keeps the bits');
  arm();
  put(layer, file, 0, filled(10), WRITE_KILL_SET_IDS);
  assert.deepEqual(state(), [0o755, false]);
  arm();
  setAttributes(layer, file, SET_SIZE | KILL_SET_IDS, change);
  assert.deepEqual(state(), [0o755, false]);
  arm();
  setAttributes(layer, file, SET_UID, change);
  assert.deepEqual(state(), [0o755, false]);
  change.mode = 0o6744;
  arm();
  setAttributes(layer, file, SET_GID, change);
  assert.deepEqual(state(), [0o2744, false], 'set-group-id without group execution is kept');
  arm();
  setAttributes(layer, file, SET_GID | SET_MODE, change);
  assert.equal(state()[0], 0o6744, 'a mode given with the owner counts');
  const dir = make(layer, ROOT, 'dir', DIRECTORY);
  setAttributes(layer, dir, SET_MODE, { ...change, mode: 0o6755 });
  setAttributes(layer, dir, SET_UID, change);
  assert.equal(stat(layer, dir).mode, 0o046755);
});

test('attributes change as the mask says', () => {
  const change = newAttributeChange();
  Object.assign(change, {
    mode: 0o100777,
    uid: 4_000_000_000,
    gid: 5,
    size: 77,
    atimeLo: 0xffff_ffff,
    atimeHi: -1,
    atimeNsec: 999_999_999,
    mtimeLo: 5,
    mtimeHi: 1,
  });
  const before = nowMicroseconds();
  assert.equal(setAttributes(layer, file, SET_MODE | SET_UID | SET_GID | SET_SIZE | SET_ATIME | SET_MTIME, change), 0);
  const found = foundStat();
  assert.deepEqual([found.mode, found.uid, found.gid, found.size], [0o100777, 4_000_000_000, 5, 77]);
  assert.deepEqual([found.atime, found.mtime], [-1, (2 ** 32 + 5) * 1e6]);
  assert.ok(found.ctime >= before);
  Object.assign(change, { ctimeLo: 1000, ctimeHi: 0 });
  assert.equal(setAttributes(layer, file, SET_CTIME, change), 0);
  assert.equal(foundStat().ctime, 1000 * 1e6);
  assert.equal(setAttributes(layer, file, SET_SIZE, change), 0);
  assert.ok(foundStat().mtime >= before && foundStat().ctime >= before, 'a size that is the same counts, too');
  assert.equal(setAttributes(layer, 999, SET_MODE, change), -ESTALE);
  assert.equal(setAttributes(layer, ROOT, SET_SIZE, change), -EISDIR);
  Object.assign(change, { size: FILE_BYTES_MAX + 1 });
  assert.equal(setAttributes(layer, file, SET_SIZE, change), -EFBIG);
});
