/** Requests of the content mount against the engine. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { closeTestVolume, make, openTestVolume, put, ROOT } from '../../test/support/files.js';
import { assertSound, Random } from '../../test/support/volume.js';
import { deviceWire, strings, type Answer, type Node } from '../../test/support/wire.js';
import { createLayer, removeLayer } from '../engine/layers.js';
import { EIO, ENOENT, ENOSYS, EROFS, ESTALE } from '../linux/errno.js';
import { contentLayerName, parseHex, writeHex } from './content-names.js';
import { whenLayerSeen } from './content.js';
import { serveContents } from './dispatch.js';
import * as P from './protocol.js';

const CONTENT_ROOT: Node = { layer: 0, raw: 1 };
const wire = deviceWire();
const seen: number[] = [];
let sealed = 0;
let writable = 0;
let ino = 0;

before(() => {
  sealed = openTestVolume();
  ino = make(sealed, ROOT, 'file');
  put(sealed, ino, 0, Buffer.from('contents'));
  make(sealed, ROOT, 'empty');
  writable = createLayer('writable', { parent: 'test' });
  serveContents();
  whenLayerSeen((layer) => seen.push(layer));
});
after(closeTestVolume);

const lookup = (node: Node, name: string): Answer => wire.send({ opcode: P.LOOKUP, node, payload: strings(name) });
const folder = (layer: number): Node => ({ layer, raw: 3 });

describe('the content mount', () => {
  it('has a folder for each sealed layer', () => {
    const { error, body } = lookup(CONTENT_ROOT, contentLayerName(sealed));
    assert.equal(error, 0);
    assert.deepEqual([body.readUInt32LE(0), body.readUInt32LE(4)], [3, sealed]);
    assert.equal(body.readUInt32LE((P.ENTRY_ATTR + P.ATTR_MODE) * 4), 0o040700);
    lookup(CONTENT_ROOT, contentLayerName(sealed));
    assert.deepEqual(seen, [sealed]);
    for (const name of [contentLayerName(writable), 'ffff', 'x', '0', '01']) assert.equal(lookup(CONTENT_ROOT, name).error, ENOENT, name);
  });

  it('has a file for each that has data', () => {
    const { error, body } = lookup(folder(sealed), ino.toString(16));
    assert.equal(error, 0);
    assert.deepEqual([body.readUInt32LE(0), body.readUInt32LE(4)], [ino * 2, sealed]);
    const attributes = body.subarray(P.ENTRY_ATTR * 4);
    assert.equal(attributes.readUInt32LE(P.ATTR_SIZE * 4), 8);
    assert.equal(attributes.readUInt32LE(P.ATTR_MODE * 4), 0o100600);
    for (const name of ['2', (ino + 1).toString(16), 'ffffffff', '1', 'file'])
      assert.equal(lookup(folder(sealed), name).error, ENOENT, name);
    assert.equal(lookup(folder(writable), ino.toString(16)).error, ENOENT);
    assert.equal(lookup({ layer: sealed, raw: ino * 2 }, '5').error, ENOENT);
  });

  it('is read without being opened, and never changed', () => {
    const node = { layer: sealed, raw: ino * 2 };
    assert.equal(wire.send({ opcode: P.OPEN, node }).error, ENOSYS);
    assert.equal(wire.send({ opcode: P.READ, node, args: [0, 0, 3, 0, 100] }).body.toString(), 'tents');
    assert.equal(wire.send({ opcode: P.GETATTR, node }).body.readUInt32LE((P.ATTR_OUT_ATTR + P.ATTR_SIZE) * 4), 8);
    for (const opcode of [P.WRITE, P.SETATTR, P.UNLINK, P.CREATE, P.FALLOCATE, P.RENAME, P.SETXATTR, P.LINK])
      assert.equal(wire.send({ opcode, node, payload: strings('x', 'y') }).error, EROFS);
    assert.equal(wire.send({ opcode: P.FORGET, node }).error, -1);
  });

  it('survives random requests', () => {
    const chance = new Random();
    console.log(`# seed of the random requests: LCFS_SEED=${chance.seed}`);
    for (let i = 0; i < 5000; i++) {
      const node = { layer: chance.pick([0, sealed, writable, 99]), raw: chance.below(20) };
      const args = Array.from({ length: 12 }, () => chance.below(5000));
      const payload = strings(chance.pick(['2', '3', 'a', '']));
      assert.notEqual(wire.send({ opcode: chance.below(P.OPCODES), node, args, payload }).error, EIO);
    }
    assertSound();
  });

  it('has nothing of a layer that was removed', () => {
    removeLayer('writable');
    removeLayer('test');
    const node = { layer: sealed, raw: ino * 2 };
    assert.equal(wire.send({ opcode: P.READ, node, args: [0, 0, 0, 0, 100] }).error, ESTALE);
    assert.equal(wire.send({ opcode: P.GETATTR, node }).error, ESTALE);
    assert.equal(lookup(CONTENT_ROOT, contentLayerName(sealed)).error, ENOENT);
    assert.equal(lookup(folder(sealed), ino.toString(16)).error, ENOENT);
  });

  it('names numbers in one way', () => {
    for (const number of [0, 1, 15, 16, 0xff, 0x100, 0x1234_5678, 0xffff_ffff]) {
      const bytes = new Uint8Array(16);
      const length = writeHex(bytes, 0, number);
      assert.equal(Buffer.from(bytes.subarray(0, length)).toString(), number.toString(16));
      assert.equal(parseHex(bytes, 0, length), number);
    }
    for (const text of ['', '00', '0x1', 'A', '123456789', 'g', '-1']) assert.equal(parseHex(Buffer.from(text), 0, text.length), -1, text);
  });
});
