/**
 * Requests that no kernel sends, straight into the dispatcher, in the layouts of both transports: unknown opcodes, wrong
 * lengths, names without an end, sizes and offsets beyond all limits, nodeids of layers and inodes that are not there. Each
 * is answered with a valid reply or none; nothing outside the reply's room is written, and the volume below stays sound.
 */
import assert from 'node:assert/strict';
import { createLayer, removeLayer, sealLayer } from '../engine/layers.js';
import { ioBuffer } from '../linux/libc.js';
import { ROOT_INO } from '../layout/constants.js';
import { closeTestVolume, make, makeSymlink, openTestVolume, put, ROOT, DIRECTORY } from '../../test/support/files.js';
import { mutateBytes, oddWord, runCases, type FuzzFigures, type FuzzOptions } from '../../test/support/fuzz.js';
import { assertSound, type Random } from '../../test/support/volume.js';
import { NO_REPLY, argumentsBytes, serve } from './dispatch.js';
import { nodeLow, sharedLow } from './node.js';
import * as P from './protocol.js';
import { Request, wordsOf } from './request.js';

const PAGE = 4096;
const ROOM = 128 << 10;
/** Nobody may write here: in front of the request, between it and the reply, and behind the reply. */
const GUARD = 0xa5;
const REQUESTS_PER_CASE = 40;
const NAMES = ['file', 'dir', 'link', 'a', 'b', 'c', '..', '.', 'x'.repeat(255), 'x'.repeat(256), 'a/b', ''];

/** One way to lay a request out in memory. */
interface Layout {
  readonly request: Request;
  /** Where header and arguments lie; what follows the arguments lies behind them or elsewhere. */
  place(message: Buffer, fixed: number): void;
  /** Ranges of bytes that are nobody's. */
  readonly guards: readonly [number, number][];
}

/** As on /dev/fuse: everything in one piece, the reply elsewhere. */
function deviceLayout(): Layout {
  const io = ioBuffer(4 * PAGE + 2 * ROOM);
  const [at, reply] = [2 * PAGE, 3 * PAGE + ROOM];
  const places = { head: at / 4, args: (at + P.IN_HEADER_BYTES) / 4, payload: at, reply, replyBytes: ROOM, scratch: 0 };
  const r = new Request(io, wordsOf(io), places);
  return {
    request: r,
    place(message, fixed) {
      r.bytes.set(message, at);
      r.payload = at + P.IN_HEADER_BYTES + fixed;
    },
    guards: [
      [PAGE, at],
      [at + ROOM, reply],
      [reply + ROOM, io.bytes.length],
    ],
  };
}

/** As on io_uring: arguments beside the header, the reply over the payload. */
function ringLayout(): Layout {
  const io = ioBuffer(4 * PAGE + ROOM);
  const payload = 2 * PAGE;
  const places = { head: 0, args: P.RING_ARGUMENTS / 4, payload, reply: payload, replyBytes: ROOM, scratch: 1024 };
  const r = new Request(io, wordsOf(io), places);
  return {
    request: r,
    place(message, fixed) {
      const head = P.IN_HEADER_BYTES;
      r.bytes.set(message.subarray(0, head), 0);
      r.bytes.set(message.subarray(head, head + fixed), P.RING_ARGUMENTS);
      r.bytes.set(message.subarray(head + fixed), payload);
    },
    guards: [
      [PAGE, payload],
      [payload + ROOM, io.bytes.length],
    ],
  };
}

function someNode(random: Random, layers: readonly number[]): [number, number] {
  const layer = random.below(8) === 0 ? oddWord(random, 3) : random.pick(layers);
  const ino = random.below(8) === 0 ? oddWord(random, ROOT_INO) : random.below(12);
  return [random.below(6) === 0 ? sharedLow(ino) : nodeLow(ino), layer];
}

function somePayload(random: Random): Buffer {
  const texts = Array.from({ length: 1 + random.below(2) }, () => Buffer.from(`${random.pick(NAMES)}\0`));
  const bytes = Buffer.concat([...texts, Buffer.alloc(random.below(3) === 0 ? random.below(5000) : 0, random.below(256))]);
  return random.below(2) === 0 ? bytes : mutateBytes(bytes, random);
}

/** Small numbers, as sizes and flags mostly are, or odd ones. */
function someArgument(random: Random): number {
  return random.below(3) === 0 ? oddWord(random, 0) : random.below(2) === 0 ? 0 : random.below(9000);
}

function someMessage(random: Random, layers: readonly number[]): Buffer {
  const opcode = random.below(30) === 0 ? oddWord(random, P.OPCODES) : random.below(P.OPCODES + 3);
  const args = Buffer.alloc(argumentsBytes(opcode));
  for (let at = 0; at + 4 <= args.length; at += 4) args.writeUInt32LE(someArgument(random), at);
  if (args.length >= 8 && random.below(3) === 0)
    new Uint32Array(someNode(random, layers)).forEach((word, i) => args.writeUInt32LE(word, i * 4));
  const ids = [someArgument(random), someArgument(random), 1, random.below(4) === 0 ? someArgument(random) : 0];
  const head = [0, opcode, 2, 0, ...someNode(random, layers), ...ids];
  const message = Buffer.concat([Buffer.from(new Uint32Array(head).buffer), args, somePayload(random)]);
  const length = random.below(6) === 0 ? P.IN_HEADER_BYTES + random.below(message.length - P.IN_HEADER_BYTES + 1) : message.length;
  return message.subarray(0, length);
}

function send(layout: Layout, message: Buffer): void {
  const r = layout.request;
  const fixed = argumentsBytes(message.readUInt32LE(4));
  for (const [from, to] of layout.guards) r.bytes.fill(GUARD, from, to);
  layout.place(message, fixed);
  r.payloadBytes = message.length - P.IN_HEADER_BYTES - fixed;
  const result = serve(r);
  assert.ok(result === NO_REPLY || (Number.isInteger(result) && result > -512 && result <= r.replyBytes), `a result of ${result}`);
  for (const [from, to] of layout.guards)
    assert.ok(
      r.bytes.subarray(from, to).every((byte) => byte === GUARD),
      `something was written between ${from} and ${to}`,
    );
}

function fill(layer: number): void {
  put(layer, make(layer, ROOT, 'file'), 0, Buffer.alloc(20_000, 'f'));
  make(layer, make(layer, ROOT, 'dir', DIRECTORY), 'a');
  makeSymlink(layer, ROOT, 'link', 'dir/a');
}

export async function fuzzDispatch(options: FuzzOptions): Promise<FuzzFigures> {
  const writable = openTestVolume(32 << 20);
  const sealed = createLayer('sealed');
  for (const layer of [writable, sealed]) fill(layer);
  sealLayer('sealed');
  const clone = createLayer('clone', { parent: 'sealed' });
  const gone = createLayer('gone');
  removeLayer('gone');
  const layers = [0, writable, writable, writable, sealed, clone, clone, gone];
  const layouts = [deviceLayout(), ringLayout()];
  const figures = await runCases(options, (random, seed) => {
    for (let i = 0; i < REQUESTS_PER_CASE; i++) send(random.pick(layouts), someMessage(random, layers));
    if (seed % 50 === 0) assertSound();
  });
  closeTestVolume();
  return figures;
}
