/** Raw requests for tests, as the kernel lays them out on either transport, and what comes back. */
import assert from 'node:assert/strict';
import { ioBuffer } from '../../src/linux/libc.js';
import { DeviceQueue } from '../../src/fuse/device-queue.js';
import { NO_REPLY, argumentsBytes, serve } from '../../src/fuse/dispatch.js';
import { WRITE_BYTES_MAX } from '../../src/fuse/init.js';
import { nodeLow } from '../../src/fuse/node.js';
import * as P from '../../src/fuse/protocol.js';
import { Request, wordsOf } from '../../src/fuse/request.js';

/** A nodeid: layer index and inode number; `raw` is the low word as it stands. */
export interface Node {
  readonly layer: number;
  readonly ino?: number;
  readonly raw?: number;
}

export interface RawRequest {
  readonly opcode: number;
  readonly node: Node;
  /** Words of the fixed arguments; what is missing is zero. */
  readonly args?: readonly number[];
  readonly payload?: Uint8Array;
  readonly uid?: number;
  readonly gid?: number;
  /** The task that asks; 1 if it is all the same. */
  readonly task?: number;
  /** Both words of the unique number; the next even one by default. */
  readonly unique?: readonly [number, number];
  /** Length of the message, if it is to be another than it should. */
  readonly length?: number;
  /** Extensions, in units of 8 bytes, that the header claims. */
  readonly extensions?: number;
}

export interface Answer {
  /** 0 or the positive error number; -1 for no reply at all. */
  readonly error: number;
  readonly body: Buffer;
}

/** Words as bytes. */
export function wordBytes(words: readonly number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(words).buffer);
}

/** Strings, each with its end. */
export function strings(...texts: (string | Uint8Array)[]): Buffer {
  return Buffer.concat(texts.flatMap((text) => [Buffer.from(text as string), Buffer.of(0)]));
}

/** 64 bits as two words. */
export const wide = (value: number): [number, number] => [value % 2 ** 32, Math.floor(value / 2 ** 32)];

/** Unique numbers are even. */
let unique = 0;

function header(raw: RawRequest, length: number): Uint8Array {
  const { node } = raw;
  const [lo, hi] = raw.unique ?? [(unique += 2), 0];
  const low = node.raw ?? nodeLow(node.ino ?? 0);
  const words = [length, raw.opcode, lo, hi, low, node.layer, raw.uid ?? 0, raw.gid ?? 0, raw.task ?? 1, raw.extensions ?? 0];
  return wordBytes(words);
}

function fixedArguments(raw: RawRequest): Uint8Array {
  const bytes = new Uint8Array(argumentsBytes(raw.opcode));
  bytes.set(wordBytes(raw.args ?? []).subarray(0, bytes.length));
  return bytes;
}

function answer(r: Request, result: number): Answer {
  if (result === NO_REPLY) return { error: -1, body: Buffer.alloc(0) };
  assert.ok(result > -512 && result <= r.replyBytes, `a result of ${result} makes a valid reply`);
  const body = Buffer.from(r.bytes.subarray(r.reply, r.reply + Math.max(result, 0)));
  return { error: Math.max(-result, 0), body };
}

/** Takes raw requests the way a transport would. */
export interface Wire {
  readonly name: string;
  send(raw: RawRequest): Answer;
}

/** Header, arguments and payload in one message, the reply elsewhere. */
export function deviceWire(): Wire {
  const queue = new DeviceQueue(-1);
  const r = queue.request;
  return {
    name: 'devfuse',
    send(raw) {
      const fixed = fixedArguments(raw);
      const payload = raw.payload ?? new Uint8Array(0);
      const length = raw.length ?? P.IN_HEADER_BYTES + fixed.length + payload.length;
      r.bytes.set(Buffer.concat([header(raw, length), fixed, payload]), r.head * 4);
      return queue.accept(length) ? answer(r, serve(r)) : answer(r, NO_REPLY);
    },
  };
}

/** Arguments beside the header, the reply over the payload. `serveWith` may serve in a way of its own. */
export function ringWire(serveWith: (r: Request, payloadBytes: number) => number = (r) => serve(r)): Wire {
  const io = ioBuffer(4096 + WRITE_BYTES_MAX);
  const places = { head: 0, args: P.RING_ARGUMENTS / 4, payload: 4096, reply: 4096, replyBytes: WRITE_BYTES_MAX, scratch: 1024 };
  const r = new Request(io, wordsOf(io), places);
  return {
    name: 'uring',
    send(raw) {
      const fixed = fixedArguments(raw);
      const payload = raw.payload ?? new Uint8Array(0);
      const length = raw.length ?? P.IN_HEADER_BYTES + fixed.length + payload.length;
      r.bytes.set(header(raw, length), 0);
      r.bytes.set(fixed, P.RING_ARGUMENTS);
      r.bytes.set(payload, r.payload);
      r.payloadBytes = length - P.IN_HEADER_BYTES - fixed.length;
      return answer(r, serveWith(r, r.payloadBytes));
    },
  };
}
