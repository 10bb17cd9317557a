/**
 * Carries the streams of one task between the main thread and the thread that runs it: input one way, output and the
 * result the other. Bytes travel through slots of shared memory, because buffers that are handed from thread to thread
 * pile up until the receiver's garbage collector happens to run; a message port tells which slots are filled.
 *
 * C1: a slot belongs to the sender until it posts {filled}, then to the receiver until it posts {free}.
 * C2: after {cancel} nobody wants the result: the task's next read or write throws.
 */
import type { Readable } from 'node:stream';
import type { MessagePort } from 'node:worker_threads';
import { LcfsError } from '../engine/errors.js';
import type { Failure } from './protocol.js';

/** As much as a socket gives at once. */
const SLOT_BYTES = 65_536;
/** 512 KiB under way keep both sides busy. */
const SLOTS = 8;

interface Filled {
  filled: number;
  bytes: number;
}
interface Free {
  free: number;
}
type ToTask = Filled | Free | { end: true } | { broken: string } | { cancel: true };
type FromTask = Filled | Free | { result: unknown } | { failure: Failure };

/** The slots of one task, used in one direction. */
export function makeSlots(): SharedArrayBuffer {
  return new SharedArrayBuffer(SLOTS * SLOT_BYTES);
}

/** The side that fills slots. */
class Sender {
  readonly #port: MessagePort;
  readonly #memory: Uint8Array;
  readonly #free = Array.from({ length: SLOTS }, (_, slot) => slot);
  #stopped = false;
  #wake = (): void => {};

  constructor(port: MessagePort, slots: SharedArrayBuffer) {
    this.#port = port;
    this.#memory = new Uint8Array(slots);
  }

  /** Sends the bytes, waiting for free slots. They may be reused afterwards. After `stop` it sends nothing. */
  async send(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length && !this.#stopped; at += SLOT_BYTES) {
      while (this.#free.length === 0 && !this.#stopped) await new Promise<void>((wake) => (this.#wake = wake));
      const slot = this.#free.pop();
      if (slot !== undefined) this.#fill(slot, bytes.subarray(at, at + SLOT_BYTES));
    }
  }

  #fill(slot: number, bytes: Uint8Array): void {
    this.#memory.set(bytes, slot * SLOT_BYTES);
    this.#port.postMessage({ filled: slot, bytes: bytes.length } satisfies Filled);
  }

  release(slot: number): void {
    this.#free.push(slot);
    this.#wake();
  }

  stop(): void {
    this.#stopped = true;
    this.#wake();
  }
}

function slotBytes(slots: SharedArrayBuffer, { filled, bytes }: Filled): Uint8Array {
  return new Uint8Array(slots, filled * SLOT_BYTES, bytes);
}

/** The task's end. */
export class TaskChannel {
  readonly #port: MessagePort;
  readonly #slots: SharedArrayBuffer;
  readonly #sender: Sender;
  readonly #input: Filled[] = [];
  #ended = false;
  #failure: LcfsError | undefined;
  #wake = (): void => {};

  constructor(port: MessagePort, slots: SharedArrayBuffer) {
    this.#port = port;
    this.#slots = slots;
    this.#sender = new Sender(port, slots);
    port.on('message', (message: ToTask) => this.#receive(message));
  }

  #receive(message: ToTask): void {
    if ('free' in message) return this.#sender.release(message.free);
    if ('filled' in message) this.#input.push(message);
    else if ('end' in message) this.#ended = true;
    else this.#fail('cancel' in message ? 'the request was given up: the client went away or the volume is being closed' : message.broken);
    this.#wake();
  }

  #fail(message: string): void {
    this.#failure ??= new LcfsError('io', message);
    this.#sender.stop();
  }

  /** The bytes of the input, each piece valid until the next is asked for. Throws LcfsError when it broke off. */
  async *read(): AsyncGenerator<Uint8Array> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure;
      const next = this.#input.shift();
      if (next !== undefined) {
        yield slotBytes(this.#slots, next);
        this.#port.postMessage({ free: next.filled } satisfies Free);
      } else if (this.#ended) return;
      else await new Promise<void>((wake) => (this.#wake = wake));
    }
  }

  /** Sends bytes of the output; they may be reused afterwards. Lets the thread's other tasks have a turn. */
  async write(bytes: Uint8Array): Promise<void> {
    await this.#sender.send(bytes);
    // Messages, such as one that cancels, come only when the event loop has its turn.
    await new Promise((turn) => setImmediate(turn));
    if (this.#failure !== undefined) throw this.#failure;
  }

  finish(message: { result: unknown } | { failure: Failure }): void {
    this.#port.postMessage(message satisfies FromTask);
    this.#port.close();
  }
}

export interface TaskStreams {
  input?: Readable;
  /** Takes a piece of the output, in order; it is done with it when the promise settles. Must not reject. */
  output?: (bytes: Uint8Array) => Promise<void> | void;
}

/** The main thread's end: carries the streams and settles with the task's result. */
export class MainChannel {
  readonly #port: MessagePort;
  readonly #slots: SharedArrayBuffer;
  readonly #streams: TaskStreams;
  readonly #sender: Sender;
  /** Settles when all output that came so far is through. */
  #written: Promise<unknown> = Promise.resolve();
  #done = false;

  constructor(port: MessagePort, slots: SharedArrayBuffer, streams: TaskStreams) {
    this.#port = port;
    this.#slots = slots;
    this.#streams = streams;
    this.#sender = new Sender(port, slots);
  }

  /** Rejects with the LcfsError that the task ended with. */
  async result<T>(): Promise<T> {
    const result = new Promise<T>((settle, reject) => {
      this.#port.on('message', (message: FromTask) => this.#receive(message, settle as (value: unknown) => void, reject));
    });
    if (this.#streams.input !== undefined) void this.#pump(this.#streams.input);
    try {
      const value = await result;
      await this.#written;
      return value;
    } finally {
      this.#done = true;
      this.#sender.stop();
      this.#port.close();
    }
  }

  /** Nobody waits for the task any more (C2). */
  cancel(): void {
    this.#send({ cancel: true });
  }

  #receive(message: FromTask, settle: (value: unknown) => void, reject: (error: Error) => void): void {
    if ('free' in message) this.#sender.release(message.free);
    else if ('filled' in message) this.#output(message);
    else if ('result' in message) settle(message.result);
    else reject(new LcfsError(message.failure.code as LcfsError['code'], message.failure.message));
  }

  #output(message: Filled): void {
    const through = Promise.resolve(this.#streams.output?.(slotBytes(this.#slots, message)));
    this.#written = Promise.all([this.#written, through.then(() => this.#send({ free: message.filled }))]);
  }

  async #pump(input: Readable): Promise<void> {
    try {
      // The answer still goes out on the connection that a refused input came from.
      for await (const chunk of input.iterator({ destroyOnReturn: false })) {
        await this.#sender.send(chunk as Uint8Array);
        if (this.#done) return;
      }
      this.#send({ end: true });
    } catch (error) {
      this.#send({ broken: `the input broke off: ${(error as Error).message}` });
    } finally {
      // What nobody wants any more is passed over, or the end of its connection would never be seen. Not before: while it is
      // being iterated, an input does not flow.
      input.resume();
    }
  }

  #send(message: ToTask): void {
    this.#port.postMessage(message);
  }
}
