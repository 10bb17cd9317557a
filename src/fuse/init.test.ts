import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ioBuffer } from '../linux/libc.js';
import { EPROTO } from '../linux/errno.js';
import { WRITE_BYTES_MAX, negotiate, negotiated } from './init.js';
import * as P from './protocol.js';
import { Request, wordsOf } from './request.js';

/** INIT as a kernel sends it that offers the flags given. */
function init(major: number, minor: number, flags: number, flags2?: number): Request {
  const io = ioBuffer(8192);
  const words = wordsOf(io);
  const r = new Request(io, words, { head: 0, args: 10, payload: 56, reply: 4096, replyBytes: 4096, scratch: 1024 });
  words.set([major, minor, 131_072, flags], r.args);
  if (flags2 !== undefined) words[r.args + P.INIT_FLAGS2] = flags2;
  r.payloadBytes = flags2 === undefined ? 0 : 48;
  return r;
}

const ALL = 0x73ff_fffb;
const EVERYTHING = { uring: true, passthrough: true, content: false };
const NOTHING = { uring: false, passthrough: false, content: false };

describe('INIT', () => {
  it('takes what it wants of what is offered', () => {
    const r = init(7, 45, ALL, 0x7fd);
    assert.equal(negotiate(r, EVERYTHING), P.INIT_OUT_BYTES);
    assert.deepEqual(negotiated(r), { minor: 45, setxattrExtended: true, uring: true, passthrough: true });
    const reply = r.words.subarray(r.replyWord);
    const flags = reply[P.INIT_OUT_FLAGS]!;
    for (const wanted of [P.POSIX_ACL, P.DONT_MASK, P.PARALLEL_DIROPS, P.HANDLE_KILLPRIV_V2, P.MAX_PAGES])
      assert.notEqual(flags & wanted, 0);
    const WRITEBACK_CACHE = 1 << 16;
    const LOCKS = (1 << 1) | (1 << 10);
    assert.equal(flags & (WRITEBACK_CACHE | LOCKS), 0);
    assert.equal(reply[P.INIT_OUT_WRITE_MAX], WRITE_BYTES_MAX);
    assert.equal(reply[P.INIT_OUT_PAGES]! * 4096, WRITE_BYTES_MAX);
    assert.equal(reply[P.INIT_OUT_STACK_DEPTH], 1);
  });

  it('asks for nothing that is not offered', () => {
    const r = init(7, 31, P.BIG_WRITES | P.MAX_PAGES);
    assert.equal(negotiate(r, EVERYTHING), P.INIT_OUT_BYTES);
    assert.deepEqual(negotiated(r), { minor: 31, setxattrExtended: false, uring: false, passthrough: false });
    assert.equal(r.words[r.replyWord + P.INIT_OUT_FLAGS], P.BIG_WRITES | P.MAX_PAGES);
  });

  it('leaves io_uring and passthrough alone unless they are to be used', () => {
    const r = init(7, 45, ALL, 0x7fd);
    negotiate(r, NOTHING);
    assert.deepEqual([negotiated(r).uring, negotiated(r).passthrough], [false, false]);
    assert.equal(r.words[r.replyWord + P.INIT_OUT_STACK_DEPTH], 0);
  });

  it('takes nothing for the content mount that makes it a file system to be stacked or written', () => {
    const r = init(7, 45, ALL, 0x7fd);
    negotiate(r, { uring: true, passthrough: false, content: true });
    const flags = r.words[r.replyWord + P.INIT_OUT_FLAGS]!;
    assert.equal(flags & (P.POSIX_ACL | P.DONT_MASK | P.ATOMIC_O_TRUNC), 0);
    assert.notEqual(flags & P.ASYNC_READ, 0);
    assert.deepEqual([negotiated(r).uring, negotiated(r).passthrough], [true, false]);
  });

  it('never speaks a newer protocol than it knows, nor a much older one', () => {
    const newer = init(7, 99, ALL, 0);
    negotiate(newer, NOTHING);
    assert.equal(negotiated(newer).minor, P.FUSE_MINOR);
    assert.equal(negotiate(init(7, 20, ALL), NOTHING), -EPROTO);
    assert.equal(negotiate(init(6, 45, ALL), NOTHING), -EPROTO);
  });
});
