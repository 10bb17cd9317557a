/**
 * An io_uring that carries commands (IORING_OP_URING_CMD) and reads (IORING_OP_READ) for one thread, without liburing: the
 * rings are mapped and used through typed arrays.
 *
 *   1. `prepare` and `prepareRead` write a submission entry behind the tail, and hand over what is there if it is full;
 *   2. `enter` hands over what was prepared, waits for a completion and runs the work the kernel has queued for the thread;
 *   3. `next` goes through the completions; the caller reads `completionTag` and `completionResult`.
 *
 * The ring is of the kind SINGLE_ISSUER | DEFER_TASKRUN: one thread uses it, and everything happens within `enter`.
 * Entries are 128 bytes long (SQE128), as commands carry 80 bytes of their own.
 *
 * A thread that is killed must not be given work for its commands any more: it would be lost, until the ring is closed, and that is
 * after the process has given its memory back. Linux takes commands back at once when a thread ends, while its memory
 * is still there, and does the work at hand; but only if some request of the thread is about a ring itself, as those
 * could keep each other alive. `endWithThread` makes one that asks for nothing: it waits for a second ring, which nobody uses.
 */
import koffi from 'koffi';
import { EBUSY, EINTR } from './errno.js';
import { addressOf, close, errno } from './libc.js';

const libc = koffi.load('libc.so.6');
// Numbers of system calls above 423 are the same on all architectures.
const SYS_SETUP = 425;
const SYS_ENTER = 426;
const setup = libc.func('syscall', 'long', ['long', 'uint', 'uint64_t']) as (n: number, entries: number, params: number) => number;
const enterRing = libc.func('syscall', 'long', ['long', 'int', 'uint', 'uint', 'uint', 'uint64_t', 'size_t']) as (
  n: number,
  fd: number,
  submit: number,
  wait: number,
  flags: number,
  argument: number,
  bytes: number,
) => number;
const mmap = libc.func('mmap', 'uint64_t', ['uint64_t', 'size_t', 'int', 'int', 'int', 'long']) as (
  at: number,
  bytes: number,
  protection: number,
  flags: number,
  fd: number,
  offset: number,
) => number | bigint;
const munmap = libc.func('munmap', 'int', ['uint64_t', 'size_t']) as (at: number, bytes: number) => number;

const PROT_READ_WRITE = 3;
const MAP_SHARED_POPULATE = 0x8001;
const OFFSET_RINGS = 0;
const OFFSET_SQES = 0x1000_0000;
const SETUP_FLAGS = (1 << 10) | (1 << 12) | (1 << 13); // SQE128, SINGLE_ISSUER, DEFER_TASKRUN
const ENTER_GETEVENTS = 1;
const FEATURE_SINGLE_MMAP = 1;

/** struct io_uring_params, as words; offsets within the mapping of the rings are in bytes. */
const PARAMS_BYTES = 120;
const PARAM = { sqEntries: 0, cqEntries: 1, flags: 2, features: 5, sq: 10, cq: 20 };
const SQ = { tail: 1, mask: 2, array: 6 };
const CQ = { head: 0, tail: 1, mask: 2, cqes: 5 };

const SQE_BYTES = 128;
const SQE_WORDS = SQE_BYTES / 4;
const CQE_WORDS = 4;
const OP_POLL = 6;
const OP_READ = 22;
const OP_URING_CMD = 46;
const POLLIN = 1;

/** Word indices within a submission entry. */
export const SQE = { opcode: 0, fd: 1, command: 2, offset: 2, address: 4, length: 6, pollEvents: 7, tag: 8, payload: 12 };

/** Thrown when the kernel has no such rings or does not allow them. */
export class UringUnavailable extends Error {}

interface Mapping {
  readonly words: Int32Array;
  readonly address: number;
  readonly bytes: number;
}

function map(fd: number, bytes: number, offset: number): Mapping {
  const address = Number(mmap(0, bytes, PROT_READ_WRITE, MAP_SHARED_POPULATE, fd, offset));
  if (address >= 2 ** 47) throw new UringUnavailable(`cannot map an io_uring (error ${errno()})`);
  return { words: new Int32Array(koffi.view(address, bytes)), address, bytes };
}

function newParams(): Uint32Array {
  return new Uint32Array(new SharedArrayBuffer(PARAMS_BYTES));
}

function create(entries: number, params: Uint32Array): number {
  params[PARAM.flags] = SETUP_FLAGS;
  const fd = setup(SYS_SETUP, entries, addressOf(params));
  if (fd < 0) throw new UringUnavailable(`io_uring_setup failed (error ${errno()})`);
  if ((params[PARAM.features]! & FEATURE_SINGLE_MMAP) !== 0) return fd;
  close(fd);
  throw new UringUnavailable('io_uring lacks FEAT_SINGLE_MMAP');
}

export class Uring {
  readonly fd: number;
  completionTag = 0;
  completionResult = 0;
  private readonly rings: Mapping;
  private readonly entries: Mapping;
  private readonly sqTail: number;
  private readonly sqMask: number;
  private readonly sqArray: number;
  private readonly cqHead: number;
  private readonly cqTail: number;
  private readonly cqMask: number;
  private readonly cqes: number;
  private tail = 0;
  private prepared = 0;
  /** Descriptor of the ring that nobody uses; -1 without. */
  private idle = -1;

  /** A ring for `entries` submissions at once (a power of two). Throws UringUnavailable. */
  constructor(entries: number) {
    const params = newParams();
    this.fd = create(entries, params);
    const sq = (field: number): number => params[PARAM.sq + field]! / 4;
    const cq = (field: number): number => params[PARAM.cq + field]! / 4;
    const sqEnd = params[PARAM.sq + SQ.array]! + params[PARAM.sqEntries]! * 4;
    const cqEnd = params[PARAM.cq + CQ.cqes]! + params[PARAM.cqEntries]! * CQE_WORDS * 4;
    this.rings = map(this.fd, Math.max(sqEnd, cqEnd), OFFSET_RINGS);
    this.entries = map(this.fd, params[PARAM.sqEntries]! * SQE_BYTES, OFFSET_SQES);
    this.sqTail = sq(SQ.tail);
    this.sqArray = sq(SQ.array);
    this.sqMask = this.rings.words[sq(SQ.mask)]!;
    this.cqHead = cq(CQ.head);
    this.cqTail = cq(CQ.tail);
    this.cqes = cq(CQ.cqes);
    this.cqMask = this.rings.words[cq(CQ.mask)]!;
  }

  /** Prepares a command for `fd`; returns the word index in `sqes` of the entry, for its other fields. */
  prepare(fd: number, command: number, tag: number): number {
    const at = this.prepareEntry(OP_URING_CMD, fd, tag);
    this.entries.words[at + SQE.command] = command;
    return at;
  }

  /** Prepares to read `bytes` bytes of `fd` from `offset` on to a machine address. */
  prepareRead(fd: number, address: number, bytes: number, offset: number, tag: number): void {
    const at = this.prepareEntry(OP_READ, fd, tag);
    const words = this.entries.words;
    words[at + SQE.offset] = offset % 2 ** 32;
    words[at + SQE.offset + 1] = Math.floor(offset / 2 ** 32);
    words[at + SQE.address] = address % 2 ** 32;
    words[at + SQE.address + 1] = Math.floor(address / 2 ** 32);
    words[at + SQE.length] = bytes;
  }

  /** Prepares that commands are taken back when the thread ends. There is no completion with this tag while it lives. Throws UringUnavailable. */
  endWithThread(tag: number): void {
    this.idle = create(1, newParams());
    const at = this.prepareEntry(OP_POLL, this.idle, tag);
    this.entries.words[at + SQE.pollEvents] = POLLIN;
  }

  private prepareEntry(opcode: number, fd: number, tag: number): number {
    if (this.prepared > this.sqMask) this.makeRoom();
    const index = this.tail & this.sqMask;
    const at = index * SQE_WORDS;
    const words = this.entries.words;
    words.fill(0, at, at + SQE_WORDS);
    words[at + SQE.opcode] = opcode;
    words[at + SQE.fd] = fd;
    words[at + SQE.tag] = tag;
    this.rings.words[this.sqArray + index] = index;
    this.tail = (this.tail + 1) | 0;
    this.prepared++;
    return at;
  }

  /** Words of the submission entries. */
  get sqes(): Int32Array {
    return this.entries.words;
  }

  /** Submits what was prepared and waits until at least `wait` completions are there. Returns 0 or a negative error number. */
  enter(wait: number): number {
    Atomics.store(this.rings.words, this.sqTail, this.tail);
    const submitted = enterRing(SYS_ENTER, this.fd, this.prepared, wait, ENTER_GETEVENTS, 0, 0);
    if (submitted < 0) return -errno();
    this.prepared -= submitted;
    return 0;
  }

  /** Throws if the kernel takes no entries. */
  private makeRoom(): void {
    const result = this.submit();
    if (result < 0) throw new Error(`io_uring_enter failed with error ${-result}`);
  }

  /** Submits all that was prepared, without waiting for completions. Returns 0 or a negative error number. */
  submit(): number {
    while (this.prepared > 0) {
      const result = this.enter(0);
      if (result < 0 && result !== -EINTR && result !== -EBUSY) return result;
    }
    return 0;
  }

  /** Takes the next completion, if there is one, into `completionTag` and `completionResult`. */
  next(): boolean {
    const words = this.rings.words;
    const head = words[this.cqHead]!;
    if (head === Atomics.load(words, this.cqTail)) return false;
    const at = this.cqes + (head & this.cqMask) * CQE_WORDS;
    this.completionTag = words[at]!;
    this.completionResult = words[at + 2]!;
    Atomics.store(words, this.cqHead, (head + 1) | 0);
    return true;
  }

  /** Closes the ring; the kernel cancels what is still under way. */
  close(): void {
    close(this.fd);
    if (this.idle >= 0) close(this.idle);
    munmap(this.rings.address, this.rings.bytes);
    munmap(this.entries.address, this.entries.bytes);
  }
}
