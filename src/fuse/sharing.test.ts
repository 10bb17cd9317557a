/** Requests under shared nodeids against the engine, with backing ids that no kernel has given. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { closeTestVolume, find, get, linkTo, make, openTestVolume, put, REGULAR, ROOT, stat } from '../../test/support/files.js';
import { assertSound, Random } from '../../test/support/volume.js';
import { deviceWire, strings, type Answer, type Node } from '../../test/support/wire.js';
import { createLayer } from '../engine/layers.js';
import { EIO, EROFS, ESTALE, ETXTBSY } from '../linux/errno.js';
import * as P from './protocol.js';
import type { Behind } from './behind.js';
import { useOpenFiles } from './open-files.js';
import { backingTable, useSharing } from './sharing.js';
import { newTables } from './tables.js';

const BACKING = 42;
const DIRECT = P.FOPEN_DIRECT_IO | P.FOPEN_NOFLUSH;

const tables = newTables();
const told: Behind[] = [];
const wire = deviceWire();
let parent = 0;
let layer = 0;
let ino = 0;
let clones = 0;

before(() => {
  parent = openTestVolume();
  ino = make(parent, ROOT, 'file');
  put(parent, ino, 0, Buffer.from('contents'));
  linkTo(parent, make(parent, ROOT, 'one'), ROOT, 'other');
  put(parent, find(parent, ROOT, 'one'), 0, Buffer.from('x'));
  make(parent, ROOT, 'empty');
  newClone();
  // Without a content mount there are only the backing ids that are there already.
  useOpenFiles(tables, false);
  useSharing({ contents: -1 }, tables, -1, (behind) => told.push(behind));
  backingTable(tables).put(parent, ino, BACKING);
});
after(closeTestVolume);

function newClone(): void {
  layer = createLayer(`clone ${clones++}`, { parent: 'test' });
  told.length = 0;
}

const shared = (): Node => ({ layer, raw: ino * 2 });
const own = (): Node => ({ layer, ino });

function nodeOf(name: string): number {
  const { error, body } = wire.send({ opcode: P.LOOKUP, node: { layer, ino: ROOT }, payload: strings(name) });
  assert.equal(error, 0);
  return body.readUInt32LE(0);
}

function open(node: Node, flags: number, task = 1): { error: number; handle: number[]; flags: number; backing: number } {
  const { error, body } = wire.send({ opcode: P.OPEN, node, args: [flags], task });
  const word = (at: number): number => (error === 0 ? body.readUInt32LE(at * 4) : -1);
  return { error, handle: [word(0), word(1)], flags: word(P.OPEN_OUT_FLAGS), backing: word(P.OPEN_OUT_BACKING) };
}

function release(node: Node, handle: number[]): Answer {
  return wire.send({ opcode: P.RELEASE, node, args: handle });
}

function sizeShown(node: Node): number {
  const { body } = wire.send({ opcode: P.GETATTR, node });
  return body.readUInt32LE((P.ATTR_OUT_ATTR + P.ATTR_SIZE) * 4);
}

describe('a shared inode', () => {
  it('is what a name stands for, unless it is empty, has several names or is the own', () => {
    assert.equal(nodeOf('file'), ino * 2);
    for (const name of ['empty', 'one', 'other']) assert.equal(nodeOf(name) & 1, 1, name);
    put(layer, make(layer, ROOT, 'own'), 0, Buffer.from('x'));
    assert.equal(nodeOf('own') & 1, 1);
  });

  it('is opened with the backing id of its contents', () => {
    const opened = open(shared(), 0);
    assert.deepEqual([opened.error, opened.flags, opened.backing], [0, P.FOPEN_PASSTHROUGH | P.FOPEN_NOFLUSH, BACKING]);
    assert.equal(opened.handle[1], parent);
    release(shared(), opened.handle);
    assert.equal(backingTable(tables).keys(), 1);
  });

  it('is left for the private one by who writes', () => {
    newClone();
    const reader = open(shared(), 0);
    assert.equal(open(shared(), P.O_RDWR).error, ESTALE);
    assert.equal(nodeOf('file'), ino * 2 + 1);
    const writer = open(own(), P.O_RDWR);
    assert.deepEqual([writer.error, writer.flags], [0, P.FOPEN_KEEP_CACHE | P.FOPEN_NOFLUSH]);
    put(layer, ino, 0, Buffer.from('longer contents'));
    assert.deepEqual([sizeShown(shared()), sizeShown(own())], [8, 15]);
    release(shared(), reader.handle);
    assert.deepEqual([sizeShown(shared()), sizeShown(own())], [15, 15]);
    assert.equal(stat(parent, ino).size, 8);
  });

  it('is not opened again once it is private', () => {
    newClone();
    open(shared(), P.O_RDWR);
    assert.equal(open(shared(), 0, 2).error, ESTALE);
    const opened = open(shared(), 0, 2);
    assert.deepEqual([opened.error, opened.flags], [0, DIRECT]);
  });

  it('serves who has no way to the private one', () => {
    newClone();
    assert.equal(open(shared(), P.O_RDWR, 3).error, ESTALE);
    assert.equal(open(shared(), P.O_RDWR, 4).error, ESTALE);
    const opened = open(shared(), P.O_RDWR, 3);
    assert.deepEqual([opened.error, opened.flags], [0, DIRECT]);
    assert.equal(open(shared(), P.O_RDWR, 3).error, ESTALE);
    const data = Buffer.from('CON');
    const write = wire.send({ opcode: P.WRITE, node: shared(), args: [0, 0, 0, 0, data.length], payload: data });
    assert.equal(write.error, 0);
    const append = wire.send({ opcode: P.WRITE, node: shared(), args: [0, 0, 0, 0, 1, 0, 0, 0, P.O_APPEND], payload: Buffer.from('!') });
    assert.equal(append.error, 0);
    assert.equal(get(layer, ino, 0, 100).toString(), 'CONtents!');
    assert.equal(get(parent, ino, 0, 100).toString(), 'contents');
    assert.ok(told.length >= 3 && told.every((behind) => behind.what === 'contents' && behind.ino === ino && behind.layer === layer));
  });

  it('is not written while it is open to be read', () => {
    newClone();
    const reader = open(shared(), 0);
    assert.equal(open(shared(), P.O_WRONLY).error, ESTALE);
    assert.equal(open(shared(), P.O_WRONLY).error, ETXTBSY);
    // Who reads shares the mode of the others, but not their contents.
    assert.equal(open(shared(), 0).error, ESTALE);
    const again = open(shared(), 0);
    assert.deepEqual([again.flags, again.backing], [DIRECT | P.FOPEN_PASSTHROUGH, BACKING]);
    for (const { handle } of [reader, again]) release(shared(), handle);
    assert.equal(open(shared(), P.O_WRONLY).error, ESTALE);
    assert.equal(open(shared(), P.O_WRONLY).error, 0);
  });

  it('is truncated and linked as the private one, or by who was refused before', () => {
    newClone();
    const truncate = (): Answer => wire.send({ opcode: P.SETATTR, node: shared(), args: [P.VALID_SIZE, 0, 0, 0, 3] });
    assert.equal(truncate().error, ESTALE);
    assert.equal(get(layer, ino, 0, 100).toString(), 'contents');
    assert.equal(truncate().error, 0);
    assert.equal(get(layer, ino, 0, 100).toString(), 'con');
    newClone();
    const link = (): Answer =>
      wire.send({ opcode: P.LINK, node: { layer, ino: ROOT }, args: [ino * 2, layer], payload: strings('second') });
    assert.equal(link().error, ESTALE);
    assert.equal(nodeOf('file'), ino * 2 + 1);
    assert.equal(link().error, 0);
    assert.equal(nodeOf('second'), ino * 2 + 1);
  });

  it('tells the other inode of what both show', () => {
    newClone();
    const chmod = (node: Node): Answer =>
      wire.send({ opcode: P.SETATTR, node, args: [P.VALID_MODE, ...new Array<number>(16).fill(0), REGULAR] });
    chmod(shared());
    assert.deepEqual(told, []);
    open(shared(), P.O_RDWR);
    chmod(shared());
    chmod(own());
    assert.deepEqual(
      told,
      Array.from({ length: 2 }, () => ({ what: 'attributes', layer, ino })),
    );
    chmod({ layer, ino: make(layer, ROOT, 'new') });
    assert.equal(told.length, 2);
  });

  it('without a backing id is private, or read past the cache where it is sealed', () => {
    const sealed = createLayer('to be sealed');
    const file = make(sealed, ROOT, 'file');
    put(sealed, file, 0, Buffer.from('x'));
    const clone = createLayer('clone of it', { parent: 'to be sealed' });
    const opened = open({ layer: sealed, raw: file * 2 }, 0);
    assert.deepEqual([opened.error, opened.flags], [0, DIRECT]);
    assert.equal(open({ layer: sealed, raw: file * 2 }, P.O_RDWR).error, EROFS);
    assert.equal(open({ layer: clone, raw: file * 2 }, 0, 9).error, ESTALE);
    assert.equal(open({ layer: clone, ino: file }, 0, 9).error, 0);
  });

  it('survives random requests', () => {
    newClone();
    const chance = new Random();
    console.log(`# seed of the random requests: LCFS_SEED=${chance.seed}`);
    const answered = new Map<number, number>();
    for (let i = 0; i < 10_000; i++) {
      const node = { layer, raw: chance.pick([ino * 2, ino * 2, ino * 2 + 1, chance.below(30)]) };
      const args = Array.from({ length: 22 }, () => chance.pick([0, 0, 1, 2, 3, 8, layer, ino * 2, 4096, 0o1000, chance.below(2 ** 16)]));
      const { error } = wire.send({ opcode: chance.below(P.OPCODES), node, args, payload: strings('file', 'x'), task: chance.below(3) });
      answered.set(error, (answered.get(error) ?? 0) + 1);
    }
    assert.ok(answered.get(0)! > 100 && answered.get(ESTALE)! > 10);
    assert.equal(answered.get(EIO), undefined);
    assert.equal(get(parent, ino, 0, 100).toString(), 'contents');
    assertSound();
  });
});
