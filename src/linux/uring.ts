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
 * The ring ends with its thread, not with the process: its memory is the thread's own rather than a mapping (NO_MMAP), and its
 * descriptor is registered with the thread and closed. A process that is killed takes some fifty milliseconds to give its
 * memory back before the kernel closes its files, and what the kernel hands over to a ring meanwhile is lost.
 */
import koffi from 'koffi';
import { EBUSY, EINTR } from './errno.js';
import { addressOf, close, errno, ioBuffer, type IoBuffer } from './libc.js';

const libc = koffi.load('libc.so.6');
// Numbers of system calls above 423 are the same on all architectures.
const SYS_SETUP = 425;
const SYS_ENTER = 426;
const SYS_REGISTER = 427;
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
const register = libc.func('syscall', 'long', ['long', 'uint', 'uint', 'uint64_t', 'uint']) as (
  n: number,
  ring: number,
  operation: number,
  argument: number,
  count: number,
) => number;

const SETUP_FLAGS = (1 << 10) | (1 << 12) | (1 << 13) | (1 << 14); // SQE128, SINGLE_ISSUER, DEFER_TASKRUN, NO_MMAP
const ENTER_FLAGS = 1 | (1 << 4); // GETEVENTS, REGISTERED_RING
const REGISTER_RING_FDS = 20;
const UNREGISTER_RING_FDS = 21;
const USE_REGISTERED_RING = 0x8000_0000;

/** struct io_uring_params, as words; offsets within the mapping of the rings are in bytes. */
const PARAMS_BYTES = 120;
const PARAM = { sqEntries: 0, cqEntries: 1, flags: 2, sq: 10, sqesAddress: 18, cq: 20, ringsAddress: 28 };
const SQ = { tail: 1, mask: 2, array: 6 };
const CQ = { head: 0, tail: 1, mask: 2, cqes: 5 };

const SQE_BYTES = 128;
const SQE_WORDS = SQE_BYTES / 4;
const CQE_WORDS = 4;
const OP_READ = 22;
const OP_URING_CMD = 46;

/** Word indices within a submission entry. */
export const SQE = { opcode: 0, fd: 1, command: 2, offset: 2, address: 4, length: 6, tag: 8, payload: 12 };

/** Thrown when the kernel has no such rings or does not allow them. */
export class UringUnavailable extends Error {}

/** Memory of a ring with `entries` submissions. There are twice as many completions; the first page is for the rest. */
function ringBytes(entries: number): number {
  const bytes = 4096 + entries * 2 * CQE_WORDS * 4 + entries * 4;
  return Math.ceil(bytes / 4096) * 4096;
}

function setAddress(params: Uint32Array, at: number, { address }: IoBuffer): void {
  params[at] = address % 2 ** 32;
  params[at + 1] = Math.floor(address / 2 ** 32);
}

function wordsIn({ bytes }: IoBuffer): Int32Array {
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}

/** struct io_uring_rsrc_update: offset, reserved, data (two words). */
const update = new Uint32Array(new SharedArrayBuffer(16));
const updateAddress = addressOf(update);

/** Registers a ring with the calling thread and closes its descriptor. Returns its number there. */
function registerRing(fd: number): number {
  update.set([0xffff_ffff, 0, fd, 0]);
  const registered = register(SYS_REGISTER, fd, REGISTER_RING_FDS, updateAddress, 1);
  const error = errno();
  close(fd);
  if (registered !== 1) throw new UringUnavailable(`an io_uring cannot be registered (error ${error})`);
  return update[0]!;
}

export class Uring {
  completionTag = 0;
  completionResult = 0;
  /** Number of the ring among those of the thread. */
  private readonly number: number;
  private readonly rings: Int32Array;
  private readonly entries: Int32Array;
  private readonly sqTail: number;
  private readonly sqMask: number;
  private readonly sqArray: number;
  private readonly cqHead: number;
  private readonly cqTail: number;
  private readonly cqMask: number;
  private readonly cqes: number;
  private tail = 0;
  private prepared = 0;

  /** A ring for `entries` submissions at once (a power of two). Throws UringUnavailable. */
  constructor(entries: number) {
    const params = new Uint32Array(new SharedArrayBuffer(PARAMS_BYTES));
    const rings = ioBuffer(ringBytes(entries));
    const submissions = ioBuffer(Math.max(4096, entries * SQE_BYTES));
    params[PARAM.flags] = SETUP_FLAGS;
    setAddress(params, PARAM.ringsAddress, rings);
    setAddress(params, PARAM.sqesAddress, submissions);
    const fd = setup(SYS_SETUP, entries, addressOf(params));
    if (fd < 0) throw new UringUnavailable(`io_uring_setup failed (error ${errno()})`);
    this.number = registerRing(fd);
    this.rings = wordsIn(rings);
    this.entries = wordsIn(submissions);
    const sq = (field: number): number => params[PARAM.sq + field]! / 4;
    const cq = (field: number): number => params[PARAM.cq + field]! / 4;
    this.sqTail = sq(SQ.tail);
    this.sqArray = sq(SQ.array);
    this.sqMask = this.rings[sq(SQ.mask)]!;
    this.cqHead = cq(CQ.head);
    this.cqTail = cq(CQ.tail);
    this.cqes = cq(CQ.cqes);
    this.cqMask = this.rings[cq(CQ.mask)]!;
  }

  /** Prepares a command for `fd`; returns the word index in `sqes` of the entry, for its other fields. */
  prepare(fd: number, command: number, tag: number): number {
    const at = this.prepareEntry(OP_URING_CMD, fd, tag);
    this.entries[at + SQE.command] = command;
    return at;
  }

  /** Prepares to read `bytes` bytes of `fd` from `offset` on to a machine address. */
  prepareRead(fd: number, address: number, bytes: number, offset: number, tag: number): void {
    const at = this.prepareEntry(OP_READ, fd, tag);
    const words = this.entries;
    words[at + SQE.offset] = offset % 2 ** 32;
    words[at + SQE.offset + 1] = Math.floor(offset / 2 ** 32);
    words[at + SQE.address] = address % 2 ** 32;
    words[at + SQE.address + 1] = Math.floor(address / 2 ** 32);
    words[at + SQE.length] = bytes;
  }

  private prepareEntry(opcode: number, fd: number, tag: number): number {
    if (this.prepared > this.sqMask) this.submitAll();
    const index = this.tail & this.sqMask;
    const at = index * SQE_WORDS;
    const words = this.entries;
    for (let word = at; word < at + SQE_WORDS; word++) words[word] = 0; // a call of fill() takes longer than so few words
    words[at + SQE.opcode] = opcode;
    words[at + SQE.fd] = fd;
    words[at + SQE.tag] = tag;
    this.rings[this.sqArray + index] = index;
    this.tail = (this.tail + 1) | 0;
    this.prepared++;
    return at;
  }

  /** Words of the submission entries. */
  get sqes(): Int32Array {
    return this.entries;
  }

  /** Submits what was prepared and waits until at least `wait` completions are there. Returns 0 or a negative error number. */
  enter(wait: number): number {
    Atomics.store(this.rings, this.sqTail, this.tail);
    const submitted = enterRing(SYS_ENTER, this.number, this.prepared, wait, ENTER_FLAGS, 0, 0);
    if (submitted < 0) return -errno();
    this.prepared -= submitted;
    return 0;
  }

  /** Makes room for more entries. Throws if the kernel takes none. */
  private submitAll(): void {
    while (this.prepared > 0) {
      const result = this.enter(0);
      if (result < 0 && result !== -EINTR && result !== -EBUSY) throw new Error(`io_uring_enter failed with error ${-result}`);
    }
  }

  /** Takes the next completion, if there is one, into `completionTag` and `completionResult`. */
  next(): boolean {
    const words = this.rings;
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
    update.set([this.number, 0, 0, 0]);
    register(SYS_REGISTER, this.number, (UNREGISTER_RING_FDS | USE_REGISTERED_RING) >>> 0, updateAddress, 1);
  }
}
