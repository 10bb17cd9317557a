/**
 * Requests over a /dev/fuse descriptor: one `read` brings one request, one `write` takes one reply.
 *
 * Memory of a queue, so that file data lies page aligned in both directions (the device behind a volume may want that, and
 * copies of whole pages are faster):
 *
 *   SCRATCH                    at 0
 *   in header and arguments    end at IN_DATA for WRITE, whose header and arguments take 80 bytes
 *   data of WRITE              at IN_DATA
 *   out header                 ends at OUT_DATA
 *   body of the reply          at OUT_DATA
 */
import { ReadPlan } from '../engine/planned-read.js';
import { ECONNABORTED, EINTR, EAGAIN, ENODEV, ENOENT } from '../linux/errno.js';
import { errno, ioBuffer, read, write } from '../linux/libc.js';
import { NO_REPLY, argumentsBytes, serve } from './dispatch.js';
import { WRITE_BYTES_MAX } from './init.js';
import * as P from './protocol.js';
import { Request, opcodeOf, uniqueHigh, uniqueLow, wordsOf } from './request.js';

const PAGE = 4096;
const IN_DATA = PAGE;
const IN_AT = IN_DATA - P.IN_HEADER_BYTES - P.ARGUMENTS_BYTES[P.WRITE]!;
/** Header, arguments and data of the largest WRITE, and a page for what the kernel may think of next. */
const IN_BYTES = IN_DATA - IN_AT + WRITE_BYTES_MAX + PAGE;
const OUT_DATA = IN_DATA + WRITE_BYTES_MAX + 2 * PAGE;
const OUT_AT = OUT_DATA - P.OUT_HEADER_BYTES;
const QUEUE_BYTES = OUT_DATA + WRITE_BYTES_MAX;

export class DeviceQueue {
  readonly request: Request;
  private readonly fd: number;

  constructor(fd: number) {
    const io = ioBuffer(QUEUE_BYTES);
    this.fd = fd;
    this.request = new Request(io, wordsOf(io), {
      head: IN_AT / 4,
      args: (IN_AT + P.IN_HEADER_BYTES) / 4,
      payload: IN_AT + P.IN_HEADER_BYTES,
      reply: OUT_DATA,
      replyBytes: WRITE_BYTES_MAX,
      scratch: 0,
    });
    this.request.plan = new ReadPlan();
  }

  /** Waits for a request. Returns 1, 0 if none came after all, or a negative error number once the connection has ended. */
  receive(): number {
    const r = this.request;
    const length = read(this.fd, r.io.address + IN_AT, IN_BYTES);
    if (length < 0) return isPassing(errno()) ? 0 : -errno();
    return this.accept(length) ? 1 : 0;
  }

  /** Makes `length` bytes, which lie where requests are read to, the request at hand. False if they are none. */
  accept(length: number): boolean {
    if (length < P.IN_HEADER_BYTES) return false;
    const r = this.request;
    const fixed = P.IN_HEADER_BYTES + argumentsBytes(opcodeOf(r));
    r.payload = IN_AT + fixed;
    r.payloadBytes = length - fixed;
    return true;
  }

  /** Sends what a handler returned. Returns 0 or a negative error number. */
  answer(result: number): number {
    if (result === NO_REPLY) return 0;
    const r = this.request;
    const bytes = P.OUT_HEADER_BYTES + Math.max(result, 0);
    const out = OUT_AT / 4;
    r.words[out + P.OUT_LENGTH] = bytes;
    r.words[out + P.OUT_ERROR] = Math.min(result, 0);
    r.words[out + P.OUT_UNIQUE] = uniqueLow(r);
    r.words[out + P.OUT_UNIQUE + 1] = uniqueHigh(r);
    return write(this.fd, r.io.address + OUT_AT, bytes) < 0 ? -errno() : 0;
  }
}

/** A signal, an empty queue, or a request that was taken back while it was being read. */
function isPassing(error: number): boolean {
  return error === EINTR || error === EAGAIN || error === ENOENT;
}

/** Whether an error of the descriptor means no more than that the file system is no longer mounted. */
export function isEnd(error: number): boolean {
  return error === -ENODEV || error === -ECONNABORTED;
}

/**
 * How long a thread beside rings rests after a FORGET. Whoever unlinks a file would have to wake it for each one, on another
 * CPU, and wait for the layer's lock afterwards; so it gets a batch of them.
 */
const REST_MS = 1;
const rest = new Int32Array(new SharedArrayBuffer(4));

/** Serves requests of `queue` until the connection ends, `beside` rings or alone. Throws if the descriptor fails otherwise. */
export function serveDevice(queue: DeviceQueue, beside: boolean): void {
  for (;;) {
    const received = queue.receive();
    if (received < 0) {
      if (isEnd(received)) return;
      throw new Error(`reading /dev/fuse failed with error ${-received}`);
    }
    if (received === 0) continue;
    const result = serve(queue.request);
    if (result !== NO_REPLY) answerRequest(queue, result);
    else if (beside) Atomics.wait(rest, 0, 0, REST_MS);
  }
}

/** A reply that nobody waits for any more is no fault; one that the kernel refuses is a bug. */
function answerRequest(queue: DeviceQueue, result: number): void {
  const sent = queue.answer(result);
  if (sent === 0 || sent === -ENOENT || isEnd(sent)) return;
  throw new Error(`the kernel refused the reply to opcode ${opcodeOf(queue.request)} with error ${-sent}`);
}
