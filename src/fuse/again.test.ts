/** Requests that are served, and then once more by who comes after a death: with the same answer and no further effect. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { closeTestVolume, find, get, linkTo, list, make, openTestVolume, put, ROOT, stat } from '../../test/support/files.js';
import { assertSound } from '../../test/support/volume.js';
import { deviceWire, strings, wide, type Answer, type RawRequest } from '../../test/support/wire.js';
import { createLayer } from '../engine/layers.js';
import { keepApplied } from '../engine/origins.js';
import * as P from './protocol.js';

const RESENT = 0x8000_0000;
const wire = deviceWire();
let layer = 0;
let layers = 0;
let unique = 1_000_000;

before(() => {
  openTestVolume();
});
after(closeTestVolume);
beforeEach(() => {
  layer = createLayer(`again ${layers++}`);
});

/** Serves a request, lets the process die and another one serve the request again. Returns both answers. */
function twice(raw: RawRequest): [Answer, Answer] {
  unique += 2;
  const first = wire.send({ ...raw, unique: [unique, 7] });
  keepApplied();
  const second = wire.send({ ...raw, unique: [unique, (7 | RESENT) >>> 0] });
  return [first, second];
}

function sameTwice(raw: RawRequest): Answer {
  const [first, second] = twice(raw);
  assert.equal(first.error, 0);
  assert.deepEqual(second, first);
  return first;
}

const node = (ino: number): RawRequest['node'] => ({ layer, ino });
const inRoot = (): RawRequest['node'] => node(ROOT);

describe('a request that had its effect', () => {
  it('made a name, which is there once', () => {
    const makes: RawRequest[] = [
      { opcode: P.CREATE, node: inRoot(), args: [P.O_RDWR, 0o100644], payload: strings('file') },
      { opcode: P.MKNOD, node: inRoot(), args: [0o010644, 0], payload: strings('fifo') },
      { opcode: P.MKDIR, node: inRoot(), args: [0o755], payload: strings('folder') },
      { opcode: P.SYMLINK, node: inRoot(), payload: strings('link', 'target') },
    ];
    for (const raw of makes) {
      const [first, second] = twice(raw);
      assert.deepEqual([first.error, second.error], [0, 0]);
      // All of the entry; of CREATE the opening is another one.
      assert.deepEqual(second.body.subarray(0, P.ENTRY_BYTES), first.body.subarray(0, P.ENTRY_BYTES));
    }
    assert.deepEqual([...list(layer, ROOT).keys()].filter((name) => !name.startsWith('.')).toSorted(), ['fifo', 'file', 'folder', 'link']);
  });

  it('made another name of an inode', () => {
    const ino = make(layer, ROOT, 'one');
    const [low, high] = [ino * 2 + 1, layer];
    sameTwice({ opcode: P.LINK, node: inRoot(), args: [low, high], payload: strings('other') });
    assert.equal(stat(layer, ino).links, 2);
  });

  it('took a name away, or moved it', () => {
    const ino = make(layer, ROOT, 'one');
    linkTo(layer, ino, ROOT, 'other');
    sameTwice({ opcode: P.RENAME, node: inRoot(), args: [ROOT * 2 + 1, layer], payload: strings('one', 'third') });
    sameTwice({ opcode: P.RENAME2, node: inRoot(), args: [ROOT * 2 + 1, layer, P.RENAME_NOREPLACE], payload: strings('third', 'one') });
    sameTwice({ opcode: P.UNLINK, node: inRoot(), payload: strings('other') });
    assert.equal(find(layer, ROOT, 'one'), ino);
    assert.equal(stat(layer, ino).links, 1);
    wire.send({ opcode: P.MKDIR, node: inRoot(), args: [0o755], payload: strings('folder') });
    sameTwice({ opcode: P.RMDIR, node: inRoot(), payload: strings('folder') });
  });

  it('changed a file, and what was changed later stays', () => {
    const ino = make(layer, ROOT, 'file');
    const write = (text: string, number: readonly [number, number]): Answer =>
      wire.send({ opcode: P.WRITE, node: node(ino), args: [0, 0, 0, 0, text.length], payload: Buffer.from(text), unique: number });
    assert.equal(write('first', [2, 9]).error, 0);
    keepApplied();
    put(layer, ino, 0, Buffer.from('later'));
    const again = write('first', [2, (9 | RESENT) >>> 0]);
    assert.deepEqual([again.error, again.body.readUInt32LE(0)], [0, 5]);
    assert.equal(get(layer, ino, 0, 10).toString(), 'later');
    sameTwice({ opcode: P.FALLOCATE, node: node(ino), args: [0, 0, ...wide(0), ...wide(10_000), 0] });
    sameTwice({ opcode: P.SETXATTR, node: node(ino), args: [3, 1], payload: Buffer.concat([strings('user.x'), Buffer.from('abc')]) });
    sameTwice({ opcode: P.REMOVEXATTR, node: node(ino), payload: strings('user.x') });
    const mode = new Array<number>(22).fill(0);
    mode[P.SETATTR_VALID] = P.VALID_MODE;
    mode[P.SETATTR_MODE] = 0o100600;
    sameTwice({ opcode: P.SETATTR, node: node(ino), args: mode });
  });

  it('copied as much as there was', () => {
    const from = make(layer, ROOT, 'from');
    const to = make(layer, ROOT, 'to');
    put(layer, from, 0, Buffer.alloc(5000, 'x'));
    const args = [0, 0, ...wide(1000), to * 2 + 1, layer, 0, 0, ...wide(0), ...wide(100_000), 0, 0];
    const { body } = sameTwice({ opcode: P.COPY_FILE_RANGE, node: node(from), args });
    assert.equal(body.readUInt32LE(0), 4000);
  });
});

describe('a request that had none', () => {
  it('is served from its start', () => {
    const made = wire.send({
      opcode: P.MKDIR,
      node: inRoot(),
      args: [0o755],
      payload: strings('folder'),
      unique: [4, (11 | RESENT) >>> 0],
    });
    assert.equal(made.error, 0);
    assert.ok(find(layer, ROOT, 'folder') > 0);
  });

  it('leaves the volume sound', assertSound);
});
