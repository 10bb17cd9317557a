/** Every handler can be restarted: requests that are deferred at random end as those that are not. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { forbidDeferral, allowDeferral, isDeferred } from '../engine/deferral.js';
import { checkpoint } from '../engine/checkpoint.js';
import { currentDevice, useDevice } from '../engine/device.js';
import { getInode } from '../engine/inode.js';
import { createLayer } from '../engine/layers.js';
import { dropCleanPages } from '../engine/pager.js';
import type { Ino } from '../layout/constants.js';
import { EAGAIN, EIO } from '../linux/errno.js';
import {
  DIRECTORY,
  REGULAR,
  ROOT,
  closeTestVolume,
  get,
  list,
  make,
  makeSymlink,
  openTestVolume,
  put,
  stat,
} from '../../test/support/files.js';
import { ChancyDevice, DeferringServer, assertNothingHeld } from '../../test/support/deferring.js';
import { Random, assertSound } from '../../test/support/volume.js';
import { ringWire, strings, wide, wordBytes, type Node, type RawRequest } from '../../test/support/wire.js';
import * as P from './protocol.js';

const REQUESTS = 2500;
/** Which requests succeed is chance, and the rarest of them may take that many. */
const REQUESTS_MAX = 20 * REQUESTS;
const FILES = 25;
const SYMLINKS = 25;
/** Replies that tell nothing of the layer or the time. */
const EQUAL_BODIES = new Set([P.READ, P.READLINK, P.GETXATTR, P.LISTXATTR, P.LSEEK, P.COPY_FILE_RANGE, P.WRITE]);

before(() => {
  const base = openTestVolume(256 << 20);
  const dir = make(base, ROOT, 'n0', DIRECTORY);
  for (let i = 0; i < FILES; i++) {
    const ino = make(base, i % 2 === 0 ? ROOT : dir, `n${i + 1}`);
    put(base, ino, (i % 3) * 5000, Buffer.alloc(i * 3000, i + 1));
  }
  for (let i = 0; i < SYMLINKS; i++) makeSymlink(base, ROOT, `s${i}`, 't'.repeat(100 * (i + 1)));
});
after(closeTestVolume);

type Make = (chance: Random, layer: number) => Omit<RawRequest, 'node'>;

const name = (chance: Random): string => `n${chance.below(FILES + 5)}`;
const range = (chance: Random): [number, number] => wide(chance.pick([0, chance.below(60) * 1000, chance.below(20) * 4096]));
const bytes = (chance: Random): number => chance.pick([1, 100, 4096, 8192, chance.below(60_000), 65_536]);
/** Often one of the two directories, which have all the names at first. */
const someIno = (chance: Random): Ino => (chance.below(2) === 0 ? ROOT + chance.below(2) : ROOT + chance.below(FILES + SYMLINKS + 20));
const node = (layer: number, chance: Random): [number, number] => [someIno(chance) * 2 + 1, layer];
const attribute = (chance: Random): string => `user.${chance.below(3)}`;

/** As the kernel fills its cache. */
function readPages(chance: Random): Omit<RawRequest, 'node'> {
  return { opcode: P.READ, args: [0, 0, ...wide(chance.below(5) * 4096), chance.pick([4096, 65_536, 131_072])] };
}

/** Requests as the kernel makes them. */
const MAKES: readonly Make[] = [
  (chance) => ({ opcode: P.LOOKUP, payload: strings(name(chance)) }),
  () => ({ opcode: P.GETATTR }),
  (chance) => ({ opcode: P.SETATTR, args: [P.VALID_SIZE, 0, 0, 0, ...range(chance)] }),
  (chance) => ({ opcode: P.SETATTR, args: [1, ...Array<number>(16).fill(0), 0o600 + chance.below(64)] }),
  () => ({ opcode: P.READLINK }),
  (chance) => ({ opcode: P.SYMLINK, payload: strings(name(chance), 't'.repeat(1 + chance.below(3000))) }),
  (chance) => ({ opcode: P.MKNOD, args: [REGULAR], payload: strings(name(chance)) }),
  (chance) => ({ opcode: P.MKDIR, args: [0o755], payload: strings(name(chance)) }),
  (chance) => ({ opcode: P.UNLINK, payload: strings(name(chance)) }),
  (chance) => ({ opcode: P.RMDIR, payload: strings(name(chance)) }),
  (chance, layer) => ({ opcode: P.RENAME, args: node(layer, chance), payload: strings(name(chance), name(chance)) }),
  (chance, layer) => ({
    opcode: P.RENAME2,
    args: [...node(layer, chance), chance.below(5)],
    payload: strings(name(chance), name(chance)),
  }),
  (chance, layer) => ({ opcode: P.LINK, args: node(layer, chance), payload: strings(name(chance)) }),
  (chance) => ({ opcode: P.CREATE, args: [0, REGULAR], payload: strings(name(chance)) }),
  () => ({ opcode: P.TMPFILE, args: [0, REGULAR], payload: strings('/') }),
  (chance) => ({ opcode: P.OPEN, args: [chance.pick([0, 1, 0o1000])] }),
  (chance) => ({ opcode: P.READ, args: [0, 0, ...range(chance), bytes(chance)] }),
  readPages,
  readPages,
  readPages,
  readPages,
  (chance) => {
    const data = Buffer.alloc(bytes(chance), chance.below(4));
    return { opcode: P.WRITE, args: [0, 0, ...range(chance), data.length], payload: data };
  },
  (chance) => ({ opcode: P.FALLOCATE, args: [0, 0, ...range(chance), ...wide(bytes(chance)), chance.pick([0, 1, 3, 16])] }),
  (chance) => ({ opcode: P.LSEEK, args: [0, 0, ...range(chance), 3 + chance.below(2)] }),
  (chance, layer) => ({
    opcode: P.COPY_FILE_RANGE,
    args: [0, 0, ...range(chance), ...node(layer, chance), 0, 0, ...range(chance), ...wide(bytes(chance))],
  }),
  () => ({ opcode: P.STATFS }),
  () => ({ opcode: P.STATX }),
  (chance) => ({ opcode: P.READDIR, args: [0, 0, 0, 0, chance.pick([200, 4096])] }),
  (chance) => ({ opcode: P.READDIRPLUS, args: [0, 0, 0, 0, chance.pick([600, 4096, 32_768])] }),
  (chance) => {
    const value = Buffer.alloc(chance.pick([3, 20_000]), chance.below(200));
    const args = new Uint8Array(wordBytes([value.length, 0, 0, 0]));
    return { opcode: P.SETXATTR, args: [...new Uint32Array(args.buffer)], payload: Buffer.concat([strings(attribute(chance)), value]) };
  },
  (chance) => ({ opcode: P.GETXATTR, args: [chance.pick([0, 30_000])], payload: strings(attribute(chance)) }),
  (chance) => ({ opcode: P.LISTXATTR, args: [chance.pick([0, 4096])] }),
  (chance) => ({ opcode: P.REMOVEXATTR, payload: strings(attribute(chance)) }),
];

/** Names of directories, contents of files and links of everything in a layer. */
function describeLayer(layer: number): unknown[] {
  const seen: unknown[] = [];
  for (let ino: Ino = ROOT; ino < ROOT + FILES + 200; ino++) {
    if (getInode(layer, ino) < 0) continue;
    const { mode, size, links } = stat(layer, ino);
    seen.push([ino, mode, size, links]);
    if ((mode & 0o170000) === 0o040000) seen.push([...list(layer, ino).keys()].toSorted());
    if ((mode & 0o170000) === 0o100000) seen.push(get(layer, ino, 0, size));
  }
  return seen;
}

test('a request that is deferred, however often, ends as one that is not', (t) => {
  const chance = new Random();
  t.diagnostic(`LCFS_SEED=${chance.seed}`);
  const layers = [createLayer('plain', { parent: 'test' }), createLayer('deferred', { parent: 'test' })] as const;
  const server = new DeferringServer(new Random(chance.seed + 1));
  const wires = [ringWire(), ringWire((r, payloadBytes) => server.serve(r, payloadBytes))] as const;
  const missing = new Set(MAKES.map((each) => each(chance, 0).opcode));
  for (let i = 0; i < REQUESTS || (missing.size > 0 && i < REQUESTS_MAX); i++) {
    const makeRequest = chance.pick(MAKES);
    const { seed } = new Random(chance.next() + 1);
    const ino = someIno(chance);
    const [plain, deferred] = layers.map((layer, side) => {
      const target: Node = { layer, ino };
      const raw = { ...makeRequest(new Random(seed), layer), node: target };
      return { ...wires[side]!.send(raw), opcode: raw.opcode };
    });
    assert.equal(deferred!.error, plain!.error, `opcode ${plain!.opcode} on inode ${ino}`);
    assert.equal(deferred!.body.length, plain!.body.length, `opcode ${plain!.opcode} on inode ${ino}`);
    if (EQUAL_BODIES.has(plain!.opcode)) assert.deepEqual(deferred!.body, plain!.body, `opcode ${plain!.opcode}`);
    if (plain!.error === 0) missing.delete(plain!.opcode);
  }
  server.end();
  assert.deepEqual(describeLayer(layers[1]), describeLayer(layers[0]));
  assert.ok(server.deferrals > REQUESTS, `${server.deferrals} deferrals`);
  assert.ok(server.later > 0, `${server.later} answers that came later`);
  assert.deepEqual([...missing], [], 'each kind of request was right at times');
  assertSound();
});

/** A device that is cold, and whose blocks cannot be read after all. */
class BrokenDevice extends ChancyDevice {
  override read(): number {
    return 0;
  }
  override readNow(address: number, length: number, offset: number): number {
    return super.readNow(address, length, offset) < 0 ? -1 : 0;
  }
}

test('what cannot be read is an error in the end, and nothing stays locked', () => {
  const layer = createLayer('broken', { parent: 'test' });
  const ino = make(layer, ROOT, 'new');
  checkpoint();
  const device = currentDevice();
  useDevice(new BrokenDevice(device, new Random(7)));
  const outcomes = new Set<number>();
  for (let tries = 0; tries < 50; tries++) {
    dropCleanPages();
    allowDeferral();
    const result = getInode(layer, ino);
    forbidDeferral();
    assert.equal(result, isDeferred() ? -EAGAIN : -EIO);
    assert.equal(getInode(layer, ino), result === -EAGAIN ? -EAGAIN : -EIO, 'no operation begins once one was deferred');
    outcomes.add(result);
    assertNothingHeld();
  }
  assert.deepEqual([...outcomes].toSorted(), [-EAGAIN, -EIO].toSorted());
  useDevice(device);
  allowDeferral();
  forbidDeferral();
  assert.ok(make(layer, ROOT, 'afterwards') > 0);
});
